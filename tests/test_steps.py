"""Training in open steps: forward, backward, step, train_step; their bits, their state, and what they refuse."""

import functools

import numpy as np
import pytest
import ranvier as rv
from fuzz.threads import in_threads

RNG = np.random.default_rng(0)
N, BATCH = 90, 32
X, Y = RNG.standard_normal((N, 6)).astype(np.float32), RNG.integers(0, 3, N)
IMAGES = RNG.standard_normal((N, 2, 9, 8)).astype(np.float32)
WEIGHTS = RNG.random(N)

DENSE = [rv.Linear(6, 40), rv.Tanh(), rv.Dropout(0.3), rv.Linear(40, 20, l2=1e-2), rv.ReLU(), rv.Linear(20, 3)]
NORMALIZED = [rv.Linear(6, 40), rv.BatchNorm1d(40), rv.ReLU(), rv.Dropout(0.3), rv.Linear(40, 3)]
CONVOLUTIONS = [
    rv.Conv2d(2, 8, 3, padding=1, l1=1e-3),
    rv.BatchNorm2d(8),
    rv.ReLU(),
    rv.Residual([rv.Conv2d(8, 8, 3, padding=1), rv.LayerNorm((8, 9, 8))]),
    rv.MaxPool2d(2),
    rv.GaussianNoise(0.1),
    rv.Flatten(),
    rv.Linear(128, 3),
]
OPTIMIZERS = {
    "descent": rv.SGD(0.1),
    "momentum": rv.SGD(0.1, momentum=0.9, clip_norm=0.5),
    "adam": rv.Adam(1e-2),
    "adamw": rv.AdamW(rv.CosineAnnealingLR(1e-2, T_max=2, updates_per_epoch=3), clip_value=0.01),
    "rmsprop": rv.RMSprop(1e-3, weight_decay=1e-2),
    "adagrad": rv.Adagrad(),
}
LOSS = rv.CrossEntropyLoss()


def samples_of(layers):
    return IMAGES if isinstance(layers[0], rv.Conv2d) else X


def assert_same(one, other):
    for a, b in ((one.state_dict(), other.state_dict()), (one.training_state_dict(), other.training_state_dict())):
        assert a.keys() == b.keys()
        for name, value in a.items():
            np.testing.assert_array_equal(value, b[name], err_msg=name)


def batches(*arrays):
    for first in range(0, N, BATCH):
        yield tuple(array[first : first + BATCH] for array in arrays)


def fitted(layers, optimizer, epochs=2, **options):
    net = rv.Network(layers, seed=3)
    options = {"epochs": epochs, "batch_size": BATCH, "loss": LOSS, "shuffle": False, "progress": False} | options
    net.fit(samples_of(layers), Y, optimizer=optimizer, **options)
    return net


# --- bits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("layers", [DENSE, NORMALIZED, CONVOLUTIONS], ids=["dense", "normalized", "convolutions"])
def test_train_step_has_the_bits_of_fit(layers, optimizer, threads, isa):
    rv.set_num_threads(1)
    expected = fitted(layers, optimizer)
    rv.set_num_threads(threads)
    net, losses = rv.Network(layers, seed=3), []
    for _ in range(2):
        for x, y in batches(samples_of(layers), Y):
            losses.append(net.train_step(x, y, loss=LOSS, optimizer=optimizer) * len(x))
    net.epochs_trained = 2
    assert_same(net, expected)
    np.testing.assert_allclose(np.reshape(losses, (2, -1)).sum(1) / N, expected.history.loss, rtol=1e-12)


def opened(layers, optimizer, **options):
    """Train as `fitted` does, in open steps."""
    net = rv.Network(layers, seed=3, **options)
    for _ in range(2):
        for x, y in batches(samples_of(layers), Y):
            net.backward(LOSS.gradient(net.forward(x), y))
            net.step(optimizer)
    net.epochs_trained = 2
    return net


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_open_steps_have_the_bits_of_fit(optimizer, isa):
    net = opened(DENSE, optimizer)
    assert_same(net, fitted(DENSE, optimizer))
    assert net.training_state_dict()["updates"] == 6


def test_open_steps_have_the_bits_of_a_step_in_a_large_batch():
    layers = [rv.Linear(100, 300), rv.Tanh(), rv.Dropout(0.2), rv.Linear(300, 600), rv.GELU(), rv.Linear(600, 10)]
    x, y = RNG.standard_normal((512, 100)).astype(np.float32), RNG.integers(0, 10, 512)
    fused, net = rv.Network(layers, seed=0), rv.Network(layers, seed=0)
    for _ in range(2):
        fused.train_step(x, y, loss=LOSS, optimizer=rv.Adam())
        net.backward(LOSS.gradient(net.forward(x), y))
        net.step(rv.Adam())
    assert_same(net, fused)


# Plain descent of a network of linear layers adds products to the weights at once; and sums over groups of samples are
# of other groups if the loss is not a part of the pass.
@pytest.mark.parametrize(
    ("layers", "optimizer"),
    [([rv.Linear(6, 40), rv.Tanh(), rv.Linear(40, 3)], rv.SGD(0.5)), (NORMALIZED, rv.SGD(0.1))]
    + [(CONVOLUTIONS, optimizer) for optimizer in OPTIMIZERS.values()],
    ids=["plain descent", "normalized", *OPTIMIZERS],
)
def test_open_steps_train_as_fit_does(layers, optimizer):
    expected = rv.Network(layers, seed=3, dtype="float64")
    expected.fit(samples_of(layers), Y, epochs=2, batch_size=BATCH, optimizer=optimizer, shuffle=False, progress=False)
    net = opened(layers, optimizer, dtype="float64")
    for name, value in expected.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("layers", [DENSE, NORMALIZED, CONVOLUTIONS], ids=["dense", "normalized", "convolutions"])
def test_a_step_with_a_loss_of_ones_own_has_the_bits_of_fit(layers):
    class Own:
        def __call__(self, prediction, target):
            return LOSS(prediction, target)

        def gradient(self, prediction, target):
            return LOSS.gradient(prediction, target)

    expected, net = fitted(layers, rv.Adam(), loss=Own()), rv.Network(layers, seed=3)
    for _ in range(2):
        for x, y in batches(samples_of(layers), Y):
            net.train_step(x, y, loss=Own(), optimizer=rv.Adam())
    net.epochs_trained = 2
    assert_same(net, expected)
    if layers is DENSE:
        assert_same(opened(layers, rv.Adam()), expected)


@pytest.mark.parametrize("layers", [DENSE, NORMALIZED, CONVOLUTIONS], ids=["dense", "normalized", "convolutions"])
def test_open_steps_have_the_same_bits_at_any_thread_count(layers, isa):
    results = []
    for threads in (1, 2, 5):
        rv.set_num_threads(threads)
        net = rv.Network(layers, seed=3)
        for x, y in batches(samples_of(layers), Y):
            grad_x = net.backward(LOSS.gradient(net.forward(x), y), input_gradient=True)
            net.step(rv.Adam(clip_norm=0.1))
        results.append((net, grad_x))
    for net, grad_x in results[1:]:
        assert_same(net, results[0][0])
        np.testing.assert_array_equal(grad_x, results[0][1])


def test_weights_of_samples_count_as_in_fit():
    expected, net = fitted(DENSE, rv.Adam(), sample_weight=WEIGHTS), rv.Network(DENSE, seed=3)
    for _ in range(2):
        for x, y, weights in batches(X, Y, WEIGHTS):
            net.train_step(x, y, loss=LOSS, optimizer=rv.Adam(), sample_weight=weights)
    net.epochs_trained = 2
    assert_same(net, expected)


def test_a_shuffled_fit_is_a_loop_over_its_order():
    expected, net, optimizer = fitted(DENSE, rv.Adam(), shuffle=True), rv.Network(DENSE, seed=3), rv.Adam()
    for _ in range(2):
        net.epochs_trained += 1
        order = net.shuffled(N)
        for x, y in batches(X[order], Y[order]):
            net.train_step(x, y, optimizer=optimizer)
    assert_same(net, expected)


@pytest.mark.parametrize("given", ["lists", "float64", "bytes", "strided", "many", "int32"])
def test_a_step_takes_what_fit_takes(given):
    x, y = X, Y
    if given == "bytes":
        x = RNG.integers(0, 256, X.shape, dtype=np.uint8)
    make = {
        "lists": lambda a: a.tolist(),
        "float64": lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a,
        "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
        "int32": lambda a: a.astype(np.int32) if a.dtype.kind == "i" else a,
    }.get(given, lambda a: a)
    net, twin = rv.Network(DENSE, seed=0), rv.Network(DENSE, seed=0)
    for n in (10, 50, 3) if given == "many" else (20, 20):
        net.train_step(make(x[:n]), make(y[:n]))
        twin.fit(x[:n], y[:n], batch_size=n, shuffle=False, progress=False)
    for name, value in twin.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


# --- gradients ------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_central_differences():
    net = rv.Network([rv.Linear(6, 5), rv.Tanh(), rv.LayerNorm(5), rv.Linear(5, 3)], seed=0, dtype="float64")
    x, direction = X[:7].astype(np.float64), RNG.standard_normal((7, 3))
    net.forward(x)
    grad_x = net.backward(direction, input_gradient=True)
    for name, gradient in net.gradients().items():
        values = net.parameters()[name]
        index = tuple(size // 2 for size in values.shape)
        before = values[index]
        ends = []
        for step in (1e-6, -1e-6):
            values[index] = before + step
            ends.append((net.predict(x) * direction).sum())
        values[index] = before
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)
    ends = []
    for step in (1e-6, -1e-6):
        moved = x.copy()
        moved[3, 2] += step
        ends.append((net.predict(moved) * direction).sum())
    assert grad_x[3, 2] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("layers", [DENSE, NORMALIZED, CONVOLUTIONS], ids=["dense", "normalized", "convolutions"])
def test_the_gradient_to_the_input_changes_nothing_else(layers):
    with_it, without = rv.Network(layers, seed=0), rv.Network(layers, seed=0)
    x = samples_of(layers)[:BATCH]
    for net in (with_it, without):
        net.forward(x)
    grad = RNG.standard_normal((BATCH, 3)).astype(np.float32)
    assert without.backward(grad) is None
    assert with_it.backward(grad, input_gradient=True).shape == x.shape
    for name, gradient in with_it.gradients().items():
        np.testing.assert_array_equal(without.gradients()[name], gradient)


def test_gradients_add_up_to_the_step():
    net, together = rv.Network(DENSE[:2], seed=0, dtype="float64"), rv.Network(DENSE[:2], seed=0, dtype="float64")
    grads = RNG.standard_normal((N, 40))
    for x, grad in batches(X, grads):
        net.forward(x)
        net.backward(grad)
    together.forward(X)
    together.backward(grads)
    for name, gradient in together.gradients().items():
        np.testing.assert_allclose(net.gradients()[name], gradient, atol=1e-12)
        assert np.abs(gradient).max() > 0.1
    views = net.gradients()
    net.step(rv.SGD(0.5))
    together.step(rv.SGD(0.5))
    for name, value in together.parameters().items():
        np.testing.assert_allclose(net.parameters()[name], value, atol=1e-12)
    assert not any(view.any() for view in views.values())
    net.forward(X)
    net.backward(grads)
    assert any(view.any() for view in views.values())
    net.zero_grad()
    assert not any(view.any() for view in views.values())


def test_a_gradient_of_ones_own_making_is_used():
    net = rv.Network([rv.Linear(2, 1)], seed=0)
    before = net.parameters()["0.weight"].copy()
    net.forward(np.zeros((1, 2)))
    net.gradients()["0.weight"][...] = [[1, -2]]
    net.step(rv.SGD(0.5))
    np.testing.assert_allclose(net.parameters()["0.weight"], before - [[0.5, -1]])
    net.gradients()["0.weight"][...] = [[1, -2]]
    net.forward(np.ones((1, 2)))
    net.backward(np.ones((1, 1)))
    np.testing.assert_array_equal(net.gradients()["0.weight"], [[2, -1]])


def test_every_step_draws_a_fresh_mask():
    net = rv.Network([rv.Dropout(0.5)], seed=0)
    ones = np.ones((4, 50), np.float32)
    first, second = net.forward(ones), net.forward(ones)
    assert 60 < (first != second).sum() < 140  # of 200
    np.testing.assert_array_equal(net.backward(ones, input_gradient=True), second)


def test_running_statistics_move_at_each_forward_pass_that_is_finite():
    torch = pytest.importorskip("torch", reason="a peer's statistics need torch")
    net, peer = rv.Network([rv.BatchNorm1d(6)], seed=0, dtype="float64"), torch.nn.BatchNorm1d(6).double()
    for x in (X[:30], X[30:]):
        net.forward(x)
        peer(torch.from_numpy(x.astype(np.float64)))
    np.testing.assert_allclose(net.state_dict()["0.running_var"], peer.running_var, rtol=1e-12)
    before = net.state_dict()["0.running_mean"]
    assert np.isnan(net.forward(np.full((3, 6), np.nan))).all()
    np.testing.assert_array_equal(net.state_dict()["0.running_mean"], before)


def test_steps_are_pytorchs():
    torch = pytest.importorskip("torch", reason="a peer's steps need torch")
    net = rv.Network([rv.Linear(6, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0, dtype="float64")
    peer = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    theirs = torch.optim.Adam(peer.parameters(), 1e-2)
    for _ in range(5):
        theirs.zero_grad()
        for x, y in batches(X, Y):  # accumulated
            inputs = torch.from_numpy(x.astype(np.float64)).requires_grad_()
            torch.nn.functional.cross_entropy(peer(inputs), torch.from_numpy(y)).backward()
            grad_x = net.backward(LOSS.gradient(net.forward(x), y), input_gradient=True)
            np.testing.assert_allclose(grad_x, inputs.grad, atol=1e-9)
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 0.3)
        theirs.step()
        net.step(rv.Adam(1e-2, clip_norm=0.3))
    for name, value in peer.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], value, rtol=1e-4, atol=1e-7)


def test_targets_that_nobody_needs_may_be_nan():
    net = rv.Network([rv.Linear(6, 3)], seed=0)
    target = np.full((N, 3), np.nan)
    chosen = RNG.random((N, 3)) < 0.4
    target[chosen] = 1.0
    losses = []
    for _ in range(100):
        y = net.forward(X)
        losses.append(np.square(y - target)[chosen].mean())
        net.backward(np.where(chosen, y - target, 0) / N)
        net.step(rv.Adam(0.05))
    assert losses[-1] < 0.1 * losses[0]


# --- state ----------------------------------------------------------------------------------------------------


def test_the_state_of_training_is_in_the_open():
    net = rv.Network(DENSE, seed=0)
    assert net.training_state_dict()["optimizer"] is None
    optimizer = rv.Adam(1e-2, betas=(0.8, 0.9))
    net.forward(X)
    net.backward(np.ones((N, 3)) / N)
    gradient = net.gradients()["5.bias"].copy()
    net.step(optimizer)
    state = net.training_state_dict()
    assert state["optimizer"] == optimizer
    assert state["updates"] == 1
    np.testing.assert_allclose(state["first_moment.5.bias"], 0.2 * gradient, rtol=1e-6)
    np.testing.assert_allclose(state["second_moment.5.bias"], 0.1 * gradient**2, rtol=1e-5)
    assert state["first_moment.0.weight"].shape == (40, 6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_goes_on_from_its_state(optimizer, tmp_path):
    whole, half = rv.Network(DENSE, seed=0), rv.Network(DENSE, seed=0)
    for net, count in ((whole, 10), (half, 4)):
        for _ in range(count):
            net.train_step(X, Y, optimizer=optimizer)
    loaded = rv.Network(DENSE, seed=0)
    loaded.load_state_dict(half.state_dict())
    loaded.load_training_state_dict(half.training_state_dict())
    half.save(tmp_path / "net", training_state=True)
    for net in (loaded, half, rv.load(tmp_path / "net")):
        for _ in range(6):
            net.train_step(X, Y, optimizer=optimizer)
        assert_same(net, whole)


def test_a_wrong_state_changes_nothing():
    net = rv.Network(DENSE, seed=0)
    net.train_step(X, Y)
    good = net.training_state_dict()
    bad = [
        ({}, ValueError, "state: missing"),
        (good | {"third_moment.0.weight": 0}, ValueError, "state: expected the optimizer's"),
        (good | {"first_moment.0.weight": np.zeros(3)}, ValueError, r"state: first_moment.0.weight: expected shape"),
        (good | {"updates": -1}, ValueError, "state: updates: expected at least 0"),
        (good | {"optimizer": 3}, TypeError, "optimizer: expected an optimizer"),
        (good | {"optimizer": rv.SGD(0.1)}, ValueError, r"state: expected the optimizer's \[\]"),
        (good | {"learning_rate_factor": -1}, ValueError, "learning_rate_factor"),
        (good | {"epochs": 1.5}, TypeError, "state: epochs"),
    ]
    for state, error, message in bad:
        with pytest.raises(error, match=message):
            net.load_training_state_dict(state)
        for name, value in good.items():
            np.testing.assert_array_equal(net.training_state_dict()[name], value)


def test_another_number_as_learning_rate_goes_on_with_the_moments():
    net, torn = rv.Network(DENSE, seed=0), rv.Network(DENSE, seed=0)
    for rate in (0.1, 0.05, 0.02):
        net.train_step(X, Y, optimizer=rv.SGD(rate, momentum=0.9))
        torn.train_step(X, Y, optimizer=rv.SGD(rate, momentum=0.9 - rate))  # another optimizer each time
    assert net.training_state_dict()["updates"] == 3
    assert torn.training_state_dict()["updates"] == 1


def test_another_optimizer_begins_anew():
    net = rv.Network(DENSE, seed=0)
    for optimizer in (rv.Adam(rv.CosineAnnealingLR(1e-2, 3, updates_per_epoch=1)), rv.Adam(1e-2), rv.AdamW(1e-2)):
        net.learning_rate_factor = 0.5
        net.train_step(X, Y, optimizer=optimizer)
        assert net.training_state_dict()["updates"] == 1
        assert net.learning_rate_factor == 1
    net.learning_rate_factor = 0.5
    net.train_step(X, Y, optimizer=rv.AdamW(1e-3))
    assert net.learning_rate_factor == 1  # a rate is taken as it is given
    assert net.training_state_dict()["updates"] == 2


def test_schedules_count_updates_whoever_makes_them():
    schedule = rv.WarmUp(rv.CosineAnnealingLR(0.1, 20, updates_per_epoch=1), 5)
    rates = schedule.rates(0, 20, None)
    net, twin = rv.Network(DENSE, seed=0), rv.Network(DENSE, seed=0)
    optimizer = rv.Adam(schedule)
    calls = [
        lambda: net.train_step(X, Y, optimizer=optimizer),
        lambda: net.fit(X, Y, batch_size=45, optimizer=optimizer, shuffle=False, progress=False),
        lambda: (net.backward(LOSS.gradient(net.forward(X), Y)), net.step(optimizer)),
    ]
    seen = []
    for k in range(9):
        before = net.training_state_dict()["updates"]
        calls[k % 3]()
        after = net.training_state_dict()["updates"]
        seen.append((after, net._training.state.lr))
        for update in range(before, after):
            part = slice(None) if k % 3 != 1 else slice(45 * (update - before), 45 * (update - before) + 45)
            twin.train_step(X[part], Y[part], optimizer=rv.Adam(float(rates[update])))
    assert [after for after, _ in seen] == [1, 3, 4, 5, 7, 8, 9, 11, 12]
    assert [rate for _, rate in seen] == [rates[after - 1] for after, _ in seen]
    np.testing.assert_array_equal(net.predict(X), twin.predict(X))
    assert net.history.lr == [rates[2], rates[6], rates[10]]


def test_a_schedule_in_epochs_needs_fit():
    net = rv.Network(DENSE, seed=0)
    before = net.state_dict()
    with pytest.raises(ValueError, match="lr: expected a schedule with updates_per_epoch"):
        net.train_step(X, Y, optimizer=rv.Adam(rv.CosineAnnealingLR(0.1, 3)))
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before["0.weight"])
    with pytest.raises(ValueError, match="updates_per_epoch: expected at least 1"):
        rv.CosineAnnealingLR(0.1, 3, updates_per_epoch=0)


def test_a_fit_in_chunks_goes_on_in_everything():
    optimizer = rv.Adam(rv.CosineAnnealingLR(1e-2, T_max=5))
    whole = fitted(DENSE, optimizer, epochs=5, shuffle=True)
    net = rv.Network(DENSE, seed=3)
    for epochs in (2, 1, 2):
        history = net.fit(X, Y, epochs=epochs, batch_size=BATCH, loss=LOSS, optimizer=optimizer, progress=False)
        assert history is net.history
    assert_same(net, whole)
    for name in ("loss", "accuracy", "lr"):
        assert getattr(net.history, name) == getattr(whole.history, name)
        assert len(getattr(net.history, name)) == 5
    np.testing.assert_allclose(net.history.lr[:2], optimizer.learning_rates(0, 6, 3)[[2, 5]])


def test_the_history_stays_in_step_where_only_some_epochs_were_validated():
    net = rv.Network(DENSE, seed=0)
    net.fit(X, Y, progress=False)
    net.fit(X, Y, validation_data=(X, Y), progress=False)
    history = net.fit(X, Y, progress=False)
    assert len(history) == len(history.val_loss) == len(history.val_accuracy) == 3
    assert np.isnan(history.val_loss).tolist() == [True, False, True]


# --- speed ----------------------------------------------------------------------------------------------------


def test_like_steps_build_nothing_anew():
    net, loss, optimizer = rv.Network(DENSE, seed=0), rv.CrossEntropyLoss(), rv.Adam()
    net.train_step(X, Y, loss=loss, optimizer=optimizer)
    ready, predictor = net._training._ready, net.engine.predictor((6,))
    assert ready is not None
    for n in (N, 5, 1):
        net.train_step(X[:n], Y[:n], loss=loss, optimizer=optimizer)
        net.predict(X[:n])
    assert net._training._ready is ready
    assert net.engine.predictor((6,)) is predictor


def test_steps_of_several_threads_do_not_mix():
    net = rv.Network(DENSE, seed=0)
    net.train_step(X, Y)
    failures = []

    def work(number):
        rng = np.random.default_rng(number)
        for _ in range(200):
            n = int(rng.integers(1, N))
            if not np.isfinite(net.train_step(X[:n], Y[:n])):
                failures.append(n)

    in_threads([functools.partial(work, number) for number in range(4)])
    assert not failures
    assert net.training_state_dict()["updates"] == 801


# --- errors ---------------------------------------------------------------------------------------------------


def refusals():
    nan = X.copy()
    nan[3, 1] = np.nan
    infinite = X.copy()
    infinite[5, 0] = np.inf
    return {
        "no forward": (lambda net: net.backward(np.ones((N, 3))), RuntimeError, "backward: expected a forward pass"),
        "no gradients": (lambda net: (net.forward(X), net.step(rv.Adam())), RuntimeError, "step: expected gradients"),
        "backward after training": (
            lambda net: (net.forward(X), net.train_step(X, Y), net.backward(np.ones((N, 3)))),
            ValueError,
            "grad_output: expected a forward pass before it",
        ),
        "backward after a step": (
            lambda net: (
                net.forward(X),
                net.backward(np.ones((N, 3))),
                net.step(rv.SGD(0.0)),
                net.backward(np.ones((N, 3))),
            ),
            ValueError,
            "grad_output: expected a forward pass before it",
        ),
        "shape": (
            lambda net: (net.forward(X), net.backward(np.ones((N, 2)))),
            ValueError,
            r"grad_output: expected samples of shape \(3,\)",
        ),
        "count": (
            lambda net: (net.forward(X), net.backward(np.ones((5, 3)))),
            ValueError,
            f"grad_output: expected the {N} samples",
        ),
        "strings": (lambda net: (net.forward(X), net.backward("ab")), TypeError, "grad_output: expected an array"),
        "no samples": (lambda net: net.forward(X[:0]), ValueError, "x: expected at least one sample"),
        "width": (lambda net: net.forward(X[:, :5]), ValueError, r"layer 0 \(Linear\)"),
        "a class": (lambda net: net.step(rv.Adam), TypeError, "optimizer: expected an instance"),
        "no optimizer": (lambda net: net.train_step(X, Y, optimizer="adam"), TypeError, "optimizer: expected an opt"),
        "labels": (lambda net: net.train_step(X, Y + 1), ValueError, "y: expected labels from 0 to 2, got 3"),
        "weights": (
            lambda net: net.train_step(X, Y, sample_weight=-WEIGHTS),
            ValueError,
            "sample_weight: expected finite numbers of at least 0",
        ),
        "NaN": (lambda net: net.train_step(nan, Y), FloatingPointError, "sample 3 of the input gave numbers"),
        "infinite": (lambda net: net.train_step(infinite, Y), FloatingPointError, "sample 5 of the input gave numbers"),
    }


@pytest.mark.parametrize("again", [False, True], ids=["at first", "after a like step"])
@pytest.mark.parametrize("case", refusals())
def test_refusals_change_nothing(case, again):
    call, error, message = refusals()[case]
    net = rv.Network(DENSE, seed=0)
    if again:
        net.train_step(X, Y)
    if case == "a class":
        net.forward(X)
        net.backward(np.ones((N, 3)))
    before = net.state_dict()
    updates = net.training_state_dict()["updates"]
    if again and case == "no forward":
        message, error = "grad_output: expected a forward pass before it", ValueError
    with pytest.raises(error, match=message):
        call(net)
    if case not in ("backward after training", "backward after a step"):
        assert net.training_state_dict()["updates"] == updates
        for name, value in before.items():
            np.testing.assert_array_equal(net.state_dict()[name], value)


def test_gradients_that_are_not_finite_are_refused_by_name():
    net = rv.Network(DENSE, seed=0)
    net.forward(X)
    net.backward(np.ones((N, 3)))
    net.gradients()["3.weight"][2, 1] = np.nan
    before, kept = net.state_dict(), net.gradients()["0.weight"].copy()
    with pytest.raises(FloatingPointError, match=r"gradients: 3\.weight has numbers that are infinite or NaN"):
        net.step(rv.Adam())
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)
    np.testing.assert_array_equal(net.gradients()["0.weight"], kept)
    net.gradients()["3.weight"][2, 1] = 0
    net.step(rv.Adam())


@pytest.mark.parametrize("call", ["fit", "train_step"])
def test_gradients_that_wait_for_a_step_are_not_passed_over(call):
    net = rv.Network(DENSE, seed=0)
    options = {"progress": False} if call == "fit" else {}
    net.train_step(X, Y)
    net.forward(X)
    net.backward(np.ones((N, 3)))
    with pytest.raises(RuntimeError, match=r"backward\(\) has added some that no step\(\) has used"):
        getattr(net, call)(X, Y, **options)
    net.zero_grad()
    net.gradients()  # to look at them does not count
    getattr(net, call)(X, Y, **options)
