"""Several batches for one update: as if they were one batch, to the bit as the open steps add them up."""

import numpy as np
import pytest
import ranvier as rv

RNG = np.random.default_rng(0)
N, BATCH = 90, 16  # six batches, the last of 10
X, Y = RNG.standard_normal((N, 6)).astype(np.float32), RNG.integers(0, 3, N)
WEIGHTS = RNG.random(N)
LAYERS = [rv.Linear(6, 40), rv.Tanh(), rv.Linear(40, 20, l2=1e-2), rv.Dropout(0.3), rv.Linear(20, 3)]
LOSS = rv.CrossEntropyLoss()
OPTIMIZERS = {
    "descent": rv.SGD(0.1),
    "momentum": rv.SGD(0.1, momentum=0.9, clip_norm=0.5),
    "adam": rv.Adam(1e-2, groups=[rv.ParameterGroup("0.*", lr=1e-3)]),
    "adamw": rv.AdamW(rv.CosineAnnealingLR(1e-2, T_max=2), clip_value=0.01),
}


def network(layers=LAYERS, **options):
    return rv.Network(layers, seed=3, **options)


def fit(net, x=X, y=Y, of=4, **options):
    options = {"epochs": 2, "loss": LOSS, "shuffle": False, "progress": False, "optimizer": rv.Adam(1e-2)} | options
    if y is not None:
        options.setdefault("batch_size", BATCH)
    return net.fit(x, y, accumulate_grad_batches=of, **options)


def assert_same(one, other, rtol=0.0, atol=0.0):
    for a, b in ((one.state_dict(), other.state_dict()), (one.training_state_dict(), other.training_state_dict())):
        for name, value in a.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_allclose(value, b[name], rtol=rtol, atol=atol, err_msg=name)
            elif name != "epochs":
                assert value == b[name], name


def groups(of):
    batches = [slice(first, first + BATCH) for first in range(0, N, BATCH)]
    return [batches[first : first + of] for first in range(0, len(batches), of)]


def sum_gradient(output, y):
    """Return the gradient of the sum over samples, each a batch of its own."""
    return np.concatenate([LOSS.gradient(output[i : i + 1], y[i : i + 1]) for i in range(len(y))])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("of", [2, 4, 100])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_has_the_bits_of_the_open_steps(optimizer, of, threads):
    rv.set_num_threads(threads)
    fitted, net = network(), network()
    fit(fitted, of=of, optimizer=optimizer)
    state, rate = None, optimizer.lr
    for _ in range(2):
        for group in groups(of):
            for part in group:
                net.backward(sum_gradient(net.forward(X[part]), Y[part]))
            for gradient in net.gradients().values():
                gradient /= np.float32(sum(len(Y[part]) for part in group))
            if not isinstance(rate, float):  # which only fit knows the epochs of
                per_epoch = len(groups(of))
                net.learning_rate_factor = 1.0
                state = state or rv.AdamW(
                    rv.CosineAnnealingLR(1e-2, T_max=2, updates_per_epoch=per_epoch), clip_value=0.01
                )
            net.step(state or optimizer)
    for name, value in fitted.state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name], err_msg=name)
    assert fitted.training_state_dict()["updates"] == net.training_state_dict()["updates"] == 2 * len(groups(of))


@pytest.mark.parametrize(
    "loss", [LOSS, rv.CrossEntropyLoss(weight=(1, 2, 3)), rv.MSELoss(), rv.SumSquaredResidualsLoss()], ids=repr
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
def test_is_as_one_batch(loss, weights):
    layers = [rv.Linear(6, 40), rv.Tanh(), rv.LayerNorm(40), rv.Linear(40, 3, l1=1e-3)]
    y = Y if isinstance(loss, rv.CrossEntropyLoss) else X[:, :3]
    added, whole = network(layers, dtype="float64"), network(layers, dtype="float64")
    options = {"loss": loss, "sample_weight": weights, "optimizer": rv.SGD(1e-3, momentum=0.9, clip_norm=1.0)}
    one = fit(added, y=y, of=4, **options)
    other = fit(whole, y=y, of=1, batch_size=4 * BATCH, **options)
    assert_same_values(added, whole)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-12)


def assert_same_values(one, other):
    for name, value in one.state_dict().items():
        np.testing.assert_allclose(value, other.state_dict()[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_of_one_is_the_usual_training():
    one, other = network(), network()
    fit(one, of=1)
    other.fit(X, Y, batch_size=BATCH, epochs=2, loss=LOSS, optimizer=rv.Adam(1e-2), shuffle=False, progress=False)
    assert_same(one, other)


class Batches:
    """An iterable of batches, which knows its length or does not."""

    def __iter__(self):
        for first in range(0, N, BATCH):
            yield X[first : first + BATCH], Y[first : first + BATCH], WEIGHTS[first : first + BATCH]


class SizedBatches(Batches):
    def __len__(self):
        return -(-N // BATCH)


@pytest.mark.parametrize("stream", [Batches, SizedBatches])
def test_streams_have_the_bits_of_arrays(stream):
    one, other = network(), network()
    fit(one, sample_weight=WEIGHTS)
    fit(other, stream(), None)
    assert_same(one, other)


def test_groups_go_across_what_is_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("ranvier.batches._READ", 3 * BATCH * 8 * 6 * 2)  # three batches at a time
    np.save(tmp_path / "x.npy", X.astype(np.float64))
    one, other = network(), network()
    fit(one, shuffle=True)
    fit(other, np.load(tmp_path / "x.npy", mmap_mode="r"), shuffle=True)
    assert_same(one, other)


class Watch(rv.callbacks.Callback):
    def __init__(self, end=None):
        self.heard, self.end = [], end

    def on_batch_end(self, network, batch, loss):
        self.heard.append((batch, loss, network.training_state_dict()["updates"]))
        return batch == self.end


@pytest.mark.parametrize("stream", [False, True])
def test_callbacks_hear_of_updates(stream):
    x, y, weights = (Batches(), None, None) if stream else (X, Y, WEIGHTS)
    one, other, watch = network(), network(), Watch()
    fit(one, x, y, sample_weight=weights)
    fit(other, x, y, sample_weight=weights, callbacks=[watch])
    assert_same(one, other)
    assert [(batch, updates) for batch, _, updates in watch.heard] == [(1, 1), (2, 2), (1, 3), (2, 4)]
    whole, also = network([rv.Linear(6, 3)]), network([rv.Linear(6, 3)])
    large, small = Watch(), Watch()
    fit(whole, of=1, batch_size=4 * BATCH, callbacks=[large], sample_weight=WEIGHTS)
    fit(also, x, y, sample_weight=weights, callbacks=[small])
    np.testing.assert_allclose([loss for _, loss, _ in small.heard], [loss for _, loss, _ in large.heard], rtol=1e-5)


@pytest.mark.parametrize("stream", [False, True])
def test_a_callback_ends_the_training(stream):
    x, y = (Batches(), None) if stream else (X, Y)
    net, watch = network(), Watch(end=1)
    fit(net, x, y, callbacks=[watch])
    assert len(watch.heard) == net.training_state_dict()["updates"] == net.epochs_trained == 1


def test_schedules_count_updates():
    rates = []

    class Rates(rv.callbacks.Callback):
        def on_batch_end(self, network, batch, loss):
            rates.append(network._training.state.lr)

    optimizer = rv.Adam(rv.CosineAnnealingLR(1e-2, T_max=2))
    fit(network(), optimizer=optimizer, callbacks=[Rates()])  # two updates an epoch
    without = []

    class Likewise(rv.callbacks.Callback):
        def on_batch_end(self, network, batch, loss):
            without.append(network._training.state.lr)

    fit(network(), of=1, batch_size=4 * BATCH, optimizer=optimizer, callbacks=[Likewise()])
    assert rates == without
    assert len(set(rates)) == 4


class OwnLoss:
    """The library's, as one of one's own."""

    def __call__(self, prediction, target):
        return LOSS(prediction, target)

    def gradient(self, prediction, target):
        return LOSS.gradient(prediction, target)


def test_a_custom_loss_is_a_mean_over_its_batch():
    one, other = network(dtype="float64"), network(dtype="float64")
    fit(one)
    fit(other, loss=OwnLoss())
    assert_same_values(one, other)


def test_a_bad_batch_is_left_out_of_its_update():
    x, keep = X.copy(), np.ones(N, bool)
    x[BATCH + 3] = np.nan
    keep[BATCH : 2 * BATCH] = False
    layers = [rv.Linear(6, 10), rv.Tanh(), rv.Linear(10, 3)]
    net, other = network(layers, dtype="float64"), network(layers, dtype="float64")
    with pytest.warns(RuntimeWarning, match="batch 2: sample 19 of the input .*; 16 samples"):
        fit(net, x, of=3, epochs=1, on_nonfinite="warn")
    for part in (np.flatnonzero(keep[: 3 * BATCH]), np.arange(3 * BATCH, N)):
        other.train_step(X[part], Y[part], loss=LOSS, optimizer=rv.Adam(1e-2))
    assert_same_values(net, other)


def test_a_bad_batch_ends_the_training_before_its_update():
    x = X.copy()
    x[5 * BATCH + 3] = np.inf
    net, other = network(), network()
    with pytest.raises(FloatingPointError, match="batch 6: sample 83 of the input"):
        fit(net, x)
    fit(other, X[: 4 * BATCH], Y[: 4 * BATCH], epochs=1)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])
    net.fit(X, Y, epochs=1, progress=False)  # and nothing is left of it


def test_only_bad_batches_make_no_update():
    net = network()
    before = net.state_dict()
    with pytest.warns(RuntimeWarning):
        fit(net, np.full_like(X, np.nan), on_nonfinite="warn")
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert net.training_state_dict()["updates"] == 0


def test_a_sum_that_overflows_is_told():
    x, y = np.full((4, 1), 1e19, np.float32), np.zeros((4, 1), np.float32)
    net = network([rv.Linear(1, 1)])
    net.load_state_dict({"0.weight": np.ones((1, 1)), "0.bias": np.zeros(1)})  # gradients of 2e38
    before = net.state_dict()
    options = {"loss": rv.SumSquaredResidualsLoss(), "batch_size": 1, "y": y, "epochs": 1}
    with pytest.raises(FloatingPointError, match="batch 3: the sum of the gradients"):
        fit(net, x, of=3, **options)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize(("of", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (None, TypeError)])
def test_bad_numbers(of, error):
    net = network()
    before = net.state_dict()
    with pytest.raises(error, match="accumulate_grad_batches"):
        fit(net, of=of)
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before["0.weight"])
