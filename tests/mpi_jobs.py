"""Jobs that `test_distributed.py` runs under mpiexec: ``python mpi_jobs.py NAME [ARGUMENTS]``."""

import hashlib
import json
import os
import sys
import time

import numpy as np
import pytest
import ranvier as rv
from mpi4py import MPI
from ranvier.distributed import DataParallel, machine

WORLD = MPI.COMM_WORLD


def tell(**results):
    """Print results on rank 0, for the test to read."""
    if WORLD.rank == 0:
        print("RESULT " + json.dumps(results), flush=True)


def digest(net):
    """Return a hash of parameters and running statistics, which has to be the same on all ranks."""
    state = net.state_dict()
    own = hashlib.sha256(b"".join(state[name].tobytes() for name in sorted(state))).hexdigest()
    assert len(set(WORLD.allgather(own))) == 1
    return own


def images(n=107, seed=0):  # ragged: 107 = 3 * 32 + 11
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 1, 8, 8)).astype(np.float32)
    return x, (x.sum(axis=(1, 2, 3)) > 0).astype(np.int64)


def mlp():
    return rv.Network([rv.Flatten(), rv.Linear(64, 48), rv.ReLU(), rv.Linear(48, 2)], seed=3)


def cnn():
    return rv.Network(
        [
            rv.Conv2d(1, 6, 3, padding=1),
            rv.BatchNorm2d(6),
            rv.ReLU(),
            rv.MaxPool2d(2),
            rv.Residual([rv.Conv2d(6, 6, 3, padding=1), rv.BatchNorm2d(6)]),
            rv.Flatten(),
            rv.Dropout(0.3),
            rv.Linear(96, 24),
            rv.Sigmoid(),
            rv.Linear(24, 2),
        ],
        seed=3,
    )


def large():
    """A layer that takes the whole batch, so that gradients are complete phase by phase; some are frozen."""
    net = rv.Network(
        [
            rv.Flatten(),
            rv.Linear(64, 20),
            rv.Linear(20, 2049 * 4),
            rv.Tanh(),
            rv.Linear(2049 * 4, 20),
            rv.Linear(20, 2),
        ],
        seed=3,
    )
    net.freeze("1.*", "2.bias")
    return net


def tower(dtype="float32"):
    """A network of two inputs and two outputs."""
    image, table = rv.Input((1, 8, 8)), rv.Input((5,))
    h = rv.MaxPool2d(2)(rv.ReLU()(rv.BatchNorm2d(4)(rv.Conv2d(1, 4, 3)(image))))
    h = rv.Concat()([rv.Flatten()(h), table])
    h = rv.Dropout(0.2)(rv.Tanh()(rv.Linear(41, 16)(h)))
    h = rv.Add()([h, rv.Linear(5, 16)(table)])
    return rv.Network(
        inputs={"image": image, "table": table},
        outputs={"digit": rv.Linear(16, 3)(h), "age": rv.Linear(16, 1)(h)},
        seed=5,
        dtype=dtype,
    )


def named_data(n=107):
    x, _ = images(n)
    table = np.random.default_rng(2).standard_normal((n, 5)).astype(np.float32)
    target = {"digit": np.arange(n) * np.arange(n) % 3, "age": table.sum(axis=1)}
    return {"image": x, "table": table}, target


JOINT = rv.JointLoss({"digit": rv.CrossEntropyLoss(), "age": rv.MSELoss()}, weights={"age": 0.1})


def train(net, data=None, *, shards=None, n_epochs=2, batch_size=32, optimizer=None, **options):
    x, y = images() if data is None else data
    together = DataParallel(shards=shards, own_data=options.pop("own_data", False))
    optimizer = rv.Adam(1e-2) if optimizer is None else optimizer
    return net.fit(
        x,
        y,
        epochs=n_epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        progress=False,
        communicator=together,
        **options,
    )


def bits_of_rows():
    """Return hashes and histories with four shards, of each network."""
    results = {}
    x, y = images()
    for make in (mlp, cnn, large):
        net = make()
        optimizer = rv.SGD(0.1, momentum=0.9, clip_norm=1.0) if make is mlp else rv.Adam(1e-2, weight_decay=1e-3)
        n_epochs = 1 if make is large else 2
        history = train(
            net, shards=4, n_epochs=n_epochs, optimizer=optimizer, validation_data=(x[:41], y[:41]), metrics=["f1"]
        )
        results[make.__name__] = [
            digest(net),
            history.loss,
            history.val_loss,
            history.accuracy,
            history.f1,
            history.val_f1,
        ]
    net = rv.Network([rv.Flatten(), rv.Linear(64, 3)], seed=1, dtype="float64")
    weights = np.linspace(0.1, 2, 107)
    history = train(
        net, (x, x.reshape(107, 64)[:, :3]), shards=4, loss=rv.MSELoss(), sample_weight=weights, metrics=["rmse"]
    )
    results["numbers"] = [digest(net), history.r2, history.rmse, history.mae]
    return results


def bits_of_ends():
    """The same of a network of several inputs and outputs: from arrays and a stream, with weights and validation."""
    x, y = named_data()
    some = {name: rows[:41] for name, rows in x.items()}, {name: rows[:41] for name, rows in y.items()}
    net = tower()
    history = train(
        net,
        (x, y),
        shards=4,
        loss=JOINT,
        validation_data=some,
        sample_weight=np.linspace(0.1, 2, 107),
        metrics={"digit": ["f1"], "age": ["rmse"]},
    )
    results = {"arrays": [digest(net), history.loss, {name: history.metrics[name] for name in sorted(history.metrics)}]}

    size, rank = WORLD.size, WORLD.rank

    class Stream:
        def __iter__(self):
            for first in range(0, 96, 32):
                own = slice(first + 32 * rank // size, first + 32 * (rank + 1) // size)
                yield {k: v[own] for k, v in x.items()}, {k: v[own] for k, v in y.items()}

    net = tower("float64")
    history = train(net, (Stream(), None), shards=4, loss=JOINT, validation_data=some)
    results["stream"] = [digest(net), history.loss, history.val_loss]
    return results


def bits(threads, by="memory"):
    """Both with a number of threads; by messages if the machine has no shared memory free."""
    rv.set_num_threads(int(threads))
    if by == "messages":
        machine._free_bytes = lambda: 0
    tell(**bits_of_rows(), **bits_of_ends())


def against_one():
    """The parameters without shards, and those of one process, which has other bits only."""
    for make in (mlp, large):
        net, alone = make(), make()
        x, y = images()
        weights = np.linspace(0.1, 2, len(x))
        for one, options in ((net, {"communicator": WORLD}), (alone, {})):
            one.fit(x, y, epochs=2, sample_weight=weights, optimizer=rv.SGD(0.1), progress=False, **options)
        digest(net)
        for name, value in alone.state_dict().items():
            np.testing.assert_allclose(net.state_dict()[name], value, rtol=2e-4, atol=2e-6, err_msg=name)
        np.testing.assert_allclose(net.history.loss, alone.history.loss, rtol=1e-5)
        assert net.history.accuracy == alone.history.accuracy
    # Synchronized statistics and dropout are those of the whole batch.
    together = DataParallel(sync_batch_norm=True)
    for make, (x, y), loss in ((cnn, images(), None), (tower, named_data(), JOINT)):
        net, alone = make(), make()
        for one, options in ((net, {"communicator": together}), (alone, {})):
            one.fit(x, y, epochs=1, loss=loss, optimizer=rv.SGD(0.1), progress=False, **options)
        digest(net)
        for name, value in alone.state_dict().items():
            np.testing.assert_allclose(net.state_dict()[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    # Local statistics: each rank's own, and one mean in the end.
    net = cnn()
    train(net)
    digest(net)
    tell(passed=True)


def rows(path):
    """A mapped file that is read by rows, a stream, and data of each rank's own come to what arrays do."""
    x, y = images()
    if WORLD.rank == 0:
        np.save(path, x.astype(np.float64))
    WORLD.Barrier()
    net, other = cnn(), cnn()
    train(net, shards=4)
    mapped = np.load(path, mmap_mode="r")
    train(other, (mapped, y), shards=4)
    assert digest(net) == digest(other)

    size, rank = WORLD.size, WORLD.rank
    x, y = images(96)

    def stream():
        for first in range(0, 96, 32):
            own = slice(first + 32 * rank // size, first + 32 * (rank + 1) // size)
            yield x[own], y[own]

    class Stream:
        def __iter__(self):
            return stream()

    net, other, third = cnn(), cnn(), cnn()
    train(net, (x, y), shards=4, shuffle=False)
    train(other, (Stream(), None), shards=4)
    assert digest(net) == digest(other), "stream"
    own = np.concatenate([np.arange(f + 32 * rank // size, f + 32 * (rank + 1) // size) for f in range(0, 96, 32)])
    train(third, (x[own], y[own]), shards=4, shuffle=False, own_data=True)
    assert digest(net) == digest(third), "own data"
    train(third, (x[own], y[own]), n_epochs=1, own_data=True, validation_split=0.25)
    held = len(own) // 4
    losses = WORLD.allgather(third.evaluate(x[own][-held:], y[own][-held:]).loss)
    np.testing.assert_allclose(third.history.val_loss[-1], np.mean(losses), rtol=1e-6)
    tell(passed=True)


def resume(path, epochs):
    """Train up to that epoch, from the file if it is there, and hash."""
    net = rv.load(path) if os.path.exists(path) else cnn()
    WORLD.Barrier()
    train(net, shards=4, n_epochs=int(epochs) - net.epochs_trained, callbacks=[rv.Checkpoint(path)])
    tell(digest=digest(net), loss=net.history.loss)


def differ(what):
    """One rank has another something."""
    x, y = images()
    odd = WORLD.rank == WORLD.size - 1
    seed = None if what == "seed" else 3
    net = rv.Network([rv.Flatten(), rv.Linear(64, 3 if odd and what == "layers" else 2)], seed=seed)
    if what == "shape" and odd:
        x = x[:, :, :, :4].repeat(2, axis=2)
        net = rv.Network([rv.Flatten(), rv.Linear(64, 2)], seed=3)
        x = x.reshape(len(x), 8, 8)
    if what == "data" and odd:
        x, y = x[::-1], y[::-1]
    if what == "samples" and odd:
        x, y = x[:-1], y[:-1]
    if what == "optimizer":
        train(net, (x, y), optimizer=rv.SGD(0.1 if odd else 0.2))
    train(net, (x, y))


def not_finite(policy):
    """A sample of the second rank's part is NaN."""
    x, y = images()
    x[20, 0, 3, 3] = np.nan
    net = cnn()
    before = digest(net)
    try:
        train(net, (x, y), shuffle=False, n_epochs=1, on_nonfinite=policy)
    except FloatingPointError as error:
        assert policy == "raise"
        tell(message=str(error), unchanged=before == digest(net))
        return
    tell(unchanged=before == digest(net), loss=net.history.loss)


def fail(how):
    """One rank fails in the middle."""

    class Failing(rv.callbacks.Callback):
        def on_epoch_end(self, network, epoch, history):
            if WORLD.rank == WORLD.size - 1 and epoch == 3:
                if how == "raise":
                    raise RuntimeError("this rank has had enough")
                if how == "exit":
                    sys.exit(3)
                os.kill(os.getpid(), 9)
            if WORLD.rank == 0:  # the ranks share one output, on which their words could mix
                sys.stdout.write(f"EPOCH {epoch} {time.time()}\n")  # at once: this rank may end at any moment
                sys.stdout.flush()

    train(mlp(), n_epochs=2000, callbacks=[Failing(), rv.Checkpoint(sys.argv[3])])


class Loss:
    """The mean squared error, which fails on the last rank when it is called for that time."""

    def __init__(self, net, fails_at=None):
        self.net, self.fails_at, self.calls = net, fails_at, 0

    def __call__(self, prediction, target):
        return float(np.mean((prediction - target) ** 2))

    def gradient(self, prediction, target):
        self.calls += 1
        if self.calls == self.fails_at and WORLD.rank == WORLD.size - 1:
            raise ArithmeticError("no gradient")
        if self.calls == 1 and WORLD.size > 1:  # in the midst of an epoch
            with pytest.raises(RuntimeError, match="optimizer: expected its whole state, but each rank has a share"):
                self.net.training_state_dict()
        return 2 * (prediction - target) / prediction.size


def recover():
    """After an error that all ranks catch, parameters and state are whole, and as those of as many steps."""
    x, _ = images(96)
    target = x.reshape(96, 64)[:, :2]
    communicator = WORLD.Dup()
    options = {"batch_size": 16, "optimizer": rv.Adam(ema_decay=0.9), "shuffle": False, "progress": False}
    net, other = mlp(), mlp()
    is_last = WORLD.rank == WORLD.size - 1
    said = "no gradient" if is_last else "communicator: rank . has failed in the middle of the training"
    with pytest.raises(ArithmeticError if is_last else RuntimeError, match=said):
        net.fit(x, target, loss=Loss(net, fails_at=4), communicator=communicator, **options)
    assert machine.machine_of(communicator)._segments == []
    other.fit(x[:48], target[:48], loss=Loss(other), communicator=communicator, **options)
    assert len(machine.machine_of(communicator)._segments) == WORLD.size
    assert digest(net) == digest(other)
    one, two = net.training_state_dict(), other.training_state_dict()
    for name, value in one.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, two[name], err_msg=name)
    own = WORLD.allgather(hashlib.sha256(one["second_moment.1.weight"].tobytes()).hexdigest())
    assert len(set(own)) == 1
    net.fit(x, target, loss=Loss(net), communicator=communicator, **options)
    digest(net)
    communicator.Free()
    tell(passed=True)


def lost():
    """After an error to which one rank does not come, nobody has the optimizer's state; another one may train."""
    x, _ = images(96)
    target = x.reshape(96, 64)[:, :2]
    machine._PATIENCE = 0.2
    together = DataParallel()
    options = {"batch_size": 16, "shuffle": False, "progress": False, "communicator": together}
    net = mlp()
    meets = machine.Machine.meets
    if WORLD.rank == 0:
        machine.Machine.meets = lambda self: False
    with pytest.raises((ArithmeticError, RuntimeError)):
        net.fit(x, target, loss=Loss(net, fails_at=4), **options)
    machine.Machine.meets = meets
    if WORLD.rank > 0:
        assert together.machine.is_lost
    with pytest.raises(RuntimeError, match="go on from a checkpoint"):
        net.training_state_dict()
    digest(net)
    net.fit(x, target, loss=rv.MSELoss(), optimizer=rv.SGD(0.1), **options)
    digest(net)
    tell(passed=True)


def stop():
    """A callback of one rank ends the training of all; one that hears of batches is there on one rank only."""

    class Hears(rv.callbacks.Callback):
        batches = 0

        def on_batch_end(self, network, batch, loss):
            self.batches += 1

    hears = Hears()

    def enough(network, epoch, history):
        return WORLD.rank == WORLD.size - 1 and epoch == 2

    net = mlp()
    train(net, n_epochs=5, callbacks=[enough, *([hears] if WORLD.rank == 0 else [])])
    digest(net)
    tell(epochs=net.epochs_trained, batches=hears.batches)


if __name__ == "__main__":
    job = globals()[sys.argv[1]]
    if sys.argv[1] == "fail":
        job(sys.argv[2])
    else:
        job(*sys.argv[2:])
