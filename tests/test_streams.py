"""Training from iterables of batches: to the bit as from arrays, and with nothing left behind."""

import itertools
import threading
import traceback

import numpy as np
import pytest
import ranvier as rv

N, BATCH = 50, 8
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NUMBERS = X @ RNG.standard_normal((4, 2)).astype(np.float32)
WEIGHTS = RNG.uniform(0, 2, N)


class Batches:
    """An iterable that begins anew, which knows its length or does not."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __iter__(self):
        for first in range(0, len(self.arrays[0]), BATCH):
            yield tuple(array[first : first + BATCH] for array in self.arrays)


class SizedBatches(Batches):
    def __len__(self):
        return -(-len(self.arrays[0]) // BATCH)


def network(outputs, seed=0):
    return rv.Network([rv.Linear(4, 6), rv.Tanh(), rv.Dropout(0.2), rv.Linear(6, outputs)], seed=seed)


def assert_same(one, other):
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ranvier")]


@pytest.fixture(autouse=True)
def no_thread_survives():
    yield
    assert threads() == []


@pytest.mark.parametrize(
    ("y", "loss", "weights"),
    [
        (LABELS, rv.CrossEntropyLoss(), None),
        (LABELS, rv.CrossEntropyLoss(weight=(1, 2, 3)), WEIGHTS),
        (NUMBERS, rv.MSELoss(), None),
        (NUMBERS, rv.SumSquaredResidualsLoss(), WEIGHTS),
    ],
    ids=["labels", "weighted labels", "numbers", "weighted numbers"],
)
@pytest.mark.parametrize("kind", [Batches, SizedBatches, list])
def test_a_stream_gives_the_bits_of_arrays(y, loss, weights, kind):
    outputs = 3 if y.ndim == 1 else 2
    arrays = (X, y) if weights is None else (X, y, weights)
    stream = Batches(*arrays) if kind is Batches else kind(SizedBatches(*arrays)) if kind is list else kind(*arrays)
    options = {"epochs": 3, "loss": loss, "optimizer": rv.Adam(0.01), "progress": False}
    by_arrays, by_stream = network(outputs), network(outputs)
    one = by_arrays.fit(
        X, y, batch_size=BATCH, sample_weight=weights, shuffle=False, validation_data=(X[:20], y[:20]), **options
    )
    other = by_stream.fit(stream, validation_data=Batches(X[:20], y[:20]), **options)
    assert_same(by_arrays, by_stream)
    assert one.loss == other.loss
    np.testing.assert_allclose(one.val_loss, other.val_loss, rtol=1e-6)
    assert one.accuracy == other.accuracy
    assert one.metrics.keys() == other.metrics.keys()
    for name in one.metrics:
        np.testing.assert_allclose(one.metrics[name], other.metrics[name], rtol=1e-9)


def test_callbacks_hear_of_each_batch_of_a_stream():
    heard = []

    class Watch(rv.callbacks.Callback):
        def on_batch_end(self, network, batch, loss):
            heard.append((batch, loss))
            return len(heard) == 10

    by_hand = network(3)
    expected = [by_hand.train_step(x, y, optimizer=rv.Adam(0.01)) for x, y in list(Batches(X, LABELS)) * 2]
    network(3).fit(Batches(X, LABELS), epochs=5, optimizer=rv.Adam(0.01), callbacks=[Watch()], progress=False)
    assert [batch for batch, _ in heard] == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]
    np.testing.assert_array_equal([loss for _, loss in heard], expected[:10])


def test_an_endless_stream_is_shared_out_by_steps():
    taken = []

    def endless():
        for number in itertools.count():
            taken.append(number)
            yield X[:BATCH] + number, LABELS[:BATCH]

    fitted, by_hand = network(3), network(3)
    batches = endless()
    for _ in range(2):  # the second goes on with the very next batch
        history = fitted.fit(batches, steps_per_epoch=5, epochs=3, optimizer=rv.Adam(0.01), progress=False)
    assert taken == list(range(30))
    assert len(history) == 6
    for x, y in itertools.islice(endless(), 30):
        by_hand.train_step(x, y, optimizer=rv.Adam(0.01))
    assert_same(fitted, by_hand)


def test_steps_go_on_through_an_iterable_and_begin_anew():
    fitted, by_hand = network(3), network(3)
    fitted.fit(Batches(X, LABELS), steps_per_epoch=5, epochs=3, optimizer=rv.Adam(0.01), progress=False)
    for x, y in itertools.islice(itertools.cycle(Batches(X, LABELS)), 15):
        by_hand.train_step(x, y, optimizer=rv.Adam(0.01))
    assert_same(fitted, by_hand)


def test_an_iterator_lasts_for_an_epoch():
    net, batches = network(3), iter(Batches(X, LABELS))
    with pytest.raises(ValueError, match=r"x: expected batches for each of 2 epochs, got an iterator \(generator\)"):
        net.fit(batches, epochs=2, progress=False)
    net.fit(batches, progress=False)
    with pytest.raises(ValueError, match="x: expected at least one batch, got none; the iterator is exhausted"):
        net.fit(batches, progress=False)
    batches = iter(Batches(X, LABELS))
    with pytest.raises(ValueError, match="x: expected 2 epochs of 5 batches, got only 7"):
        net.fit(batches, epochs=2, steps_per_epoch=5, progress=False)
    with pytest.raises(ValueError, match="validation_data: expected batches for each of 2 epochs"):
        net.fit(X, LABELS, epochs=2, validation_data=iter(Batches(X, LABELS)), progress=False)


def test_an_iterable_that_does_not_begin_anew_is_found_out():
    class Once:
        def __init__(self):
            self.batches = iter(Batches(X, LABELS))

        def __iter__(self):
            return self.batches

    with pytest.raises(ValueError, match="x: expected batches again in a further epoch, got none"):
        network(3).fit(Once(), epochs=2, progress=False)


def test_an_exception_of_the_iterable_comes_with_its_traceback():
    def broken(after):
        yield from itertools.islice(Batches(X, LABELS), after)
        raise OSError("the disk is gone")

    for after in (0, 1, 5):
        net = network(3)
        with pytest.raises(OSError, match="the disk is gone") as caught:
            net.fit(broken(after), progress=False)
        assert "broken" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert net.training_state_dict()["updates"] == after


def test_an_interrupted_training_ends_the_thread():
    class Interrupt(rv.callbacks.Callback):
        def on_batch_end(self, network, batch, loss):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network(3).fit(Batches(X, LABELS), callbacks=[Interrupt()], progress=False)
    assert threads() == []


def test_numpys_error_state_is_that_of_the_caller():
    def dividing():
        yield X[:8] / np.float32(0), LABELS[:8]

    with np.errstate(divide="raise", invalid="raise"), pytest.raises(FloatingPointError, match="divide by zero"):
        network(3).fit(dividing(), progress=False)


def test_what_is_not_finite_is_told_by_batch_and_sample():
    x = X.copy()
    x[19, 2] = np.inf
    with pytest.raises(FloatingPointError, match="epoch 1, batch 3: sample 3 of the input"):
        network(3).fit(Batches(x, LABELS), progress=False)
    with pytest.warns(RuntimeWarning, match="batch 3: .*; 8 samples in such batches were left out"):
        network(3).fit(Batches(x, LABELS), on_nonfinite="warn", progress=False)


def test_schedules_need_to_know_the_length_of_an_epoch():
    schedule = rv.Adam(rv.CosineAnnealingLR(0.01, 3))
    fitted, by_hand = network(3), network(3)
    for stream, steps in ((SizedBatches(X, LABELS), None), (Batches(X, LABELS), 7)):
        fitted, by_hand = network(3), network(3)
        fitted.fit(stream, steps_per_epoch=steps, epochs=3, optimizer=schedule, progress=False)
        by_hand.fit(X, LABELS, batch_size=BATCH, shuffle=False, epochs=3, optimizer=schedule, progress=False)
        assert_same(fitted, by_hand)
    with pytest.raises(TypeError, match=r"steps_per_epoch: expected the batches of an epoch"):
        network(3).fit(Batches(X, LABELS), epochs=3, optimizer=schedule, progress=False)

    class Wrong(Batches):
        def __len__(self):
            return 9

    with pytest.raises(ValueError, match=r"x: expected 9 batches, as its len\(\) says, got 7"):
        network(3).fit(Wrong(X, LABELS), progress=False)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net: net.fit(X, progress=False), TypeError, "y: expected targets, or x as an iterable of batches"),
        (lambda net: net.fit(3, progress=False), TypeError, "y: expected targets, or x as an iterable of .* got int"),
        (lambda net: net.fit([], progress=False), TypeError, "y: expected targets"),
        (lambda net: net.fit((X, LABELS), progress=False), TypeError, "y: expected targets.* got tuple"),
        (lambda net: net.fit(iter([]), progress=False), ValueError, "x: expected at least one batch, got none"),
        (
            lambda net: net.fit([(X,)], progress=False),
            TypeError,
            r"x, batch 1: expected a tuple \(x, y\) or .* 1 items",
        ),
        (lambda net: net.fit(iter([X]), progress=False), TypeError, r"x, batch 1: expected a tuple .* got ndarray"),
        (lambda net: net.fit([(X, LABELS + 9)], progress=False), ValueError, "x, batch 1: y: expected labels"),
        (lambda net: net.fit([(X[:, :3], LABELS)], progress=False), ValueError, "Linear"),
        (lambda net: net.fit(Batches(X, LABELS), batch_size=9), TypeError, "batch_size: expected none with a stream"),
        (lambda net: net.fit(X, LABELS, steps_per_epoch=9), TypeError, "steps_per_epoch: expected None with arrays"),
        (
            lambda net: net.fit(Batches(X, LABELS), steps_per_epoch=0),
            ValueError,
            "steps_per_epoch: expected at least 1",
        ),
        (
            lambda net: net.fit(Batches(X, LABELS), sample_weight=WEIGHTS),
            TypeError,
            r"sample_weight: expected None with a stream, whose batches have it",
        ),
        (lambda net: net.fit(Batches(X, LABELS), validation_split=0.2), TypeError, "validation_split: expected None"),
        (
            lambda net: net.fit(X, LABELS, validation_data=3),
            TypeError,
            r"validation_data: expected a pair \(x, y\) or an iterable of batches",
        ),
    ],
)
def test_bad_streams_change_nothing(call, error, message):
    net = network(3)
    with pytest.raises(error, match=message):
        call(net)
    assert_same(net, network(3))
    assert net.history is None


def test_batches_that_change_shape_are_told():
    odd = [(X[:8], LABELS[:8]), (X[:8, :3], LABELS[:8])]
    with pytest.raises(
        ValueError, match=r"x, batch 2: expected samples of shape \(4,\) as in the first batch, got \(3,\)"
    ):
        network(3).fit(odd, progress=False)
    odd = [(X[:8], LABELS[:8]), (X[:8], np.eye(3)[LABELS[:8]])]
    with pytest.raises(ValueError, match="x, batch 2: y: expected labels as in the first batch, got rows"):
        network(3).fit(odd, progress=False)


def test_batches_may_grow():
    sizes = [3, 20, 1, 26]
    firsts = np.cumsum([0, *sizes])
    batches = [(X[a:b], LABELS[a:b]) for a, b in itertools.pairwise(firsts)]
    fitted, by_hand = network(3), network(3)
    fitted.fit(batches, epochs=2, optimizer=rv.Adam(0.01), progress=False)
    for x, y in batches * 2:
        by_hand.train_step(x, y, optimizer=rv.Adam(0.01))
    assert_same(fitted, by_hand)


def test_streams_are_evaluated():
    net = network(3)
    loss, accuracy = net.evaluate(Batches(X, LABELS))
    assert (loss, accuracy) == (pytest.approx(net.evaluate(X, LABELS).loss, rel=1e-6), net.evaluate(X, LABELS).accuracy)
    weighted = net.evaluate(Batches(X, LABELS, WEIGHTS))
    assert weighted.loss == pytest.approx(net.evaluate(X, LABELS, sample_weight=WEIGHTS).loss, rel=1e-6)
    two = [(X[:30], LABELS[:30]), (X[30:], LABELS[30:])]
    assert net.evaluate(two).loss == pytest.approx(net.evaluate(X, LABELS).loss, rel=1e-6)
    notes = rv.Network([4, 5, 3], seed=0)
    assert notes.evaluate(iter(two)).accuracy == notes.evaluate(X, LABELS).accuracy


def test_losses_of_ones_own_take_streams():
    class Squares:
        def __call__(self, prediction, target):
            return float(np.mean((prediction - target) ** 2))

        def gradient(self, prediction, target):
            return 2 * (prediction - target) / prediction.size

    nets = [network(2) for _ in range(2)]
    options = {"epochs": 2, "loss": Squares(), "progress": False}
    one = nets[0].fit(X, NUMBERS, batch_size=BATCH, shuffle=False, **options)
    other = nets[1].fit(Batches(X, NUMBERS), **options)
    assert_same(*nets)
    np.testing.assert_allclose(one.loss, other.loss, rtol=1e-12)
    np.testing.assert_allclose(one.r2, other.r2, rtol=1e-9)


def test_a_profile_takes_the_first_batch():
    profile = network(2).profile(Batches(X, NUMBERS), loss=rv.MSELoss(), seconds=0.0)
    assert profile.samples % BATCH == 0
    with pytest.raises(TypeError, match="y: expected targets, or x as an iterable"):
        network(2).profile(X, loss=rv.MSELoss())
    with pytest.raises(TypeError, match="batch_size: expected none with a stream"):
        network(2).profile(Batches(X, NUMBERS), batch_size=5)


@pytest.mark.parametrize("steps", [2, 6, 17])
def test_a_learning_rate_test_takes_streams(steps):
    net = network(2)
    before = net.state_dict()
    stream = Batches(X, NUMBERS)
    result = rv.diagnostics.learning_rate_range_test(net, stream, steps=steps, loss=rv.MSELoss(), high=1e-2)
    assert len(result.losses) == steps
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    batches = list(itertools.islice(itertools.cycle(stream), steps))
    losses = [net.train_step(x, y, loss=rv.MSELoss(), optimizer=rv.Adam(1e-6)) for x, y in batches[:1]]
    np.testing.assert_allclose(result.losses[0], losses[0], rtol=1e-6)
    with pytest.raises(TypeError, match="y: expected targets, or x as an iterable"):
        rv.diagnostics.learning_rate_range_test(net, X)
