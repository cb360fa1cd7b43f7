"""Layers of one's own with parameters: trained, checked, saved and copied like any others; and what is refused."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import ranvier as rv
from ranvier.custom import Context
from ranvier.initializers import Constant, KaimingNormal, Normal
from ranvier.testing import check_layer

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((40, 6)), RNG.integers(0, 3, 40)


@rv.register_layer
class MyLinear(rv.CustomLayer):
    """What Linear is."""

    inputs: int
    outputs: int
    init: rv.initializers.Initializer = KaimingNormal()

    def parameters(self):
        return {"weight": rv.Parameter((self.outputs, self.inputs), self.init), "bias": rv.Parameter(self.outputs)}

    def forward(self, x, ctx):
        ctx.x = x
        return x @ ctx.parameters["weight"].T + ctx.parameters["bias"]

    def backward(self, grad, ctx):
        gradients = {"bias": grad.sum(axis=0), "weight": grad.T @ ctx.x}  # in any order
        return grad @ ctx.parameters["weight"], gradients


@rv.register_layer
class Blur(rv.CustomLayer):
    """A random layer with a scalar parameter."""

    strength: float = 0.5

    def parameters(self):
        return {"scale": rv.Parameter((), Constant(self.strength))}

    def forward(self, x, ctx):
        ctx.x = x
        ctx.noise = ctx.rng.standard_normal(x.shape).astype(x.dtype) if ctx.training else np.zeros_like(x)
        return x * (1 + ctx.parameters["scale"] * ctx.noise)

    def backward(self, grad, ctx):
        grad_x = grad * (1 + ctx.parameters["scale"] * ctx.noise)
        return grad_x, {"scale": np.asarray((grad * ctx.x * ctx.noise).sum())}


class Square(rv.CustomLayer):
    """Without parameters, and not registered."""

    def forward(self, x, ctx):
        ctx.x = x
        return x * x

    def backward(self, grad, ctx):
        return 2 * ctx.x * grad


OPTIMIZERS = [
    rv.SGD(0.1),
    rv.SGD(0.1, 0.9, clip_norm=0.5),
    rv.Adam(1e-2),
    rv.AdamW(1e-2),
    rv.RMSprop(1e-2),
    rv.Adagrad(),
]


def twins(dtype="float64"):
    """Return a network with the own layer, and one of the library's with the same parameters."""
    own = rv.Network([rv.Linear(6, 8), rv.Tanh(), MyLinear(8, 7), rv.ReLU(), rv.Linear(7, 3)], seed=0, dtype=dtype)
    other = rv.Network([rv.Linear(6, 8), rv.Tanh(), rv.Linear(8, 7), rv.ReLU(), rv.Linear(7, 3)], seed=0, dtype=dtype)
    other.load_state_dict(own.state_dict())
    return own, other


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_optimizer_trains_it(optimizer, dtype):
    nets = twins(dtype)
    losses = [net.fit(X, Y, epochs=3, batch_size=7, optimizer=optimizer, progress=False).loss for net in nets]
    exact = dict(rtol=1e-9, atol=1e-12) if dtype == "float64" else dict(rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(*losses, **exact)
    for name, value in nets[0].state_dict().items():
        np.testing.assert_allclose(nets[1].state_dict()[name], value, **exact)


def test_starting_values_are_drawn_in_the_order_of_the_layers():
    net = twins()[0]
    rng = np.random.default_rng(0)
    first = rv.Linear(6, 8).initial(rng)
    own = MyLinear(8, 7).initial(rng)
    np.testing.assert_array_equal(net.parameters()["0.weight"], first["weight"])
    np.testing.assert_array_equal(net.parameters()["2.weight"], own["weight"])
    np.testing.assert_array_equal(net.parameters()["2.bias"], np.zeros(7))
    assert 0.3 < net.parameters()["2.weight"].std() / np.sqrt(2 / 8) < 1.5


def test_steps_freezing_and_groups():
    own, other = twins()
    loss = rv.CrossEntropyLoss()
    groups = [rv.ParameterGroup("2.weight", lr=0.01), rv.ParameterGroup("4.*", weight_decay=0.1)]
    for net in (own, other):
        net.freeze("2.bias")
        net.fit(X, Y, optimizer=rv.SGD(0.1, groups=groups), progress=False)
        net.backward(loss.gradient(net.forward(X), Y))
        net.step(rv.AdamW(0.1, groups=groups))
        net.freeze("2.*", "0.*")
        net.train_step(X, Y, optimizer=rv.Adam())
    for name, value in own.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], value, rtol=1e-9, atol=1e-12)
    assert list(own.gradients()) == ["4.weight", "4.bias"]
    np.testing.assert_array_equal(own.parameters()["2.bias"], 0)


class Watched(rv.CustomLayer):
    """Counts its backward passes."""

    def forward(self, x, ctx):
        return x * 1.0

    def backward(self, grad, ctx):
        WENT_BACK.append(self)
        return grad * 1.0


WENT_BACK = []


def test_nobody_goes_back_through_what_does_not_train():
    net = rv.Network([rv.Linear(6, 5), Watched(), rv.Linear(5, 3)], seed=0)
    WENT_BACK.clear()
    net.train_step(X, Y)
    assert len(WENT_BACK) == 1
    net.freeze("0.*")
    net.train_step(X, Y)
    assert len(WENT_BACK) == 1


def test_within_branches():
    net = rv.Network([rv.Residual([MyLinear(6, 6), rv.Parallel([[Square()], [MyLinear(6, 2)]])], [MyLinear(6, 8)])])
    assert "0.layers.1.branches.1.0.weight" in net.parameters()
    assert "0.shortcut.0.bias" in net.parameters()
    y = RNG.standard_normal((40, 8))
    assert rv.diagnostics.gradient_check(net, X, y, loss=rv.MSELoss()).passed


@pytest.mark.parametrize("layer", [MyLinear(6, 4), Blur(), Square(), rv.Residual([Blur(), MyLinear(6, 6)])], ids=str)
def test_the_checks_pass(layer):
    check_layer(layer, 6)
    check_layer(layer, (6,), batch_size=1, seed=3)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (rv.Conv2d(2, 3, 3), (2, 5, 6)),
        (rv.BatchNorm2d(2), (2, 5, 4)),
        (rv.LayerNorm((4, 3)), (4, 3)),
        (rv.PReLU(3), 3),
        (rv.Dropout(0.4), 20),
        (rv.MaxPool2d(2), (1, 4, 4)),
        (rv.GroupNorm(2, 4), (4, 3, 5)),
        (rv.ConvTranspose2d(2, 3, 3, stride=2), (2, 3, 3)),
        (rv.Upsample(2, "bilinear"), (2, 3, 3)),
        (rv.GRU(3, 4), (5, 3)),
        (rv.LSTM(3, 4, num_layers=2, return_sequences=True), (5, 3)),
        (rv.Residual([rv.Linear(4, 4), rv.GELU()]), 4),
    ],
    ids=str,
)
def test_the_layers_of_the_library_pass(layer, shape):
    check_layer(layer, shape)


def faulty(name, **methods):
    """Return a layer like MyLinear but for some methods."""
    return type(name, (MyLinear,), methods)(6, 4)


def plus(**changes):
    """Return a backward pass with other gradients of some parameters."""

    def backward(self, grad, ctx):
        grad_x, gradients = MyLinear.backward(self, grad, ctx)
        return grad_x * changes.get("x", 1), {name: g * changes.get(name, 1) for name, g in gradients.items()}

    return backward


def in_double(self, x, ctx):
    return MyLinear.forward(self, x, ctx).astype(np.float64)


def in_place(self, x, ctx):
    x *= 2
    return MyLinear.forward(self, x, ctx)


def of_memory(self, x, ctx):
    ctx.x = x
    return x.ravel(order="K").reshape(x.shape) @ ctx.parameters["weight"].T + ctx.parameters["bias"]


def own_dice(self, x, ctx):
    return MyLinear.forward(self, x, ctx) + np.random.default_rng().standard_normal()


def into_grad(self, grad, ctx):
    result = MyLinear.backward(self, grad, ctx)
    grad[...] = 0
    return result


def into_parameters(self, grad, ctx):
    result = MyLinear.backward(self, grad, ctx)
    ctx.parameters["bias"] += 1
    return result


def double_gradient(self, grad, ctx):
    grad_x, gradients = MyLinear.backward(self, grad, ctx)
    return grad_x, {name: value.astype(np.float64) for name, value in gradients.items()}


FAULTS = {
    "gradient to x": (dict(backward=plus(x=1.001)), r"gradient to the input at \(\d, \d\)"),
    "gradient of the weight": (dict(backward=plus(weight=0.999)), r"gradient to parameter weight at"),
    "sign": (dict(backward=plus(bias=-1)), r"gradient to parameter bias at"),
    "dtype": (dict(forward=in_double), "expected float32 back, as it was given, got float64"),
    "dtype of a gradient": (dict(backward=double_gradient), "expected float32 for the gradient to"),
    "input": (dict(forward=in_place), "writes to its input"),
    "gradient": (dict(backward=into_grad), "writes to the gradient"),
    "parameters": (dict(backward=into_parameters), "writes to parameter bias"),
    "strides": (dict(forward=of_memory), "with strides otherwise"),
    "random numbers of its own": (dict(forward=own_dice), "otherwise|from pass to pass"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checks_find(fault):
    methods, message = FAULTS[fault]
    with pytest.raises(AssertionError, match=message):
        check_layer(faulty("Faulty", **methods), 6)


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    runs = []
    for seed in (0, 0, 1):
        net = rv.Network([rv.Linear(6, 8), Blur(), rv.Linear(8, 3)], seed=0)
        net.engine.seed = seed
        net.fit(X, Y, epochs=2, batch_size=10, shuffle=False, progress=False)
        runs.append(net.state_dict()["2.weight"])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


SEEN = []


class Dice(rv.CustomLayer):
    """Shows what it draws."""

    def forward(self, x, ctx):
        SEEN.append((ctx.training, ctx.rng.random() if ctx.training else None))
        return x * 1.0

    def backward(self, grad, ctx):
        return grad * 1.0


def test_each_pass_and_each_layer_draws_its_own_and_prediction_nothing():
    net = rv.Network([Dice(), rv.Linear(6, 3), Dice()], seed=0)
    net.predict(X)
    SEEN.clear()
    net.fit(X, Y, batch_size=10, progress=False)
    numbers = [number for training, number in SEEN if training]
    assert len(numbers) == len(set(numbers)) == 8
    SEEN.clear()
    net.predict(X)
    net.evaluate(X, Y)
    assert {training for training, _ in SEEN} == {False}
    with pytest.raises(RuntimeError, match=r"ctx\.rng: expected a pass of training"):
        rv.Network([type("Always", (Dice,), {"forward": lambda self, x, ctx: x * ctx.rng.random()})()]).predict(X)


def test_a_prediction_in_between_disturbs_nothing():
    net, undisturbed = (rv.Network([MyLinear(6, 5), Square(), MyLinear(5, 3)], seed=0) for _ in range(2))
    grad = RNG.standard_normal((40, 3))
    net.forward(X)
    undisturbed.forward(X)
    net.predict(X[:3])
    net.evaluate(X[:9], Y[:9])
    net.backward(grad)
    undisturbed.backward(grad)
    for name, value in net.gradients().items():
        np.testing.assert_array_equal(value, undisturbed.gradients()[name])


def test_one_object_in_several_networks_and_threads():
    layer = MyLinear(6, 6)
    net = rv.Network([layer, rv.Tanh(), layer, rv.Linear(6, 3)], seed=0)
    twin = net.copy()
    assert not np.array_equal(net.parameters()["0.weight"], net.parameters()["2.weight"])
    predictor = net.predictor()
    expected, wrong = predictor(X), []

    def predict():
        for _ in range(20):
            if not np.array_equal(predictor(X), expected):
                wrong.append(1)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    net.fit(X, Y, epochs=5, progress=False)
    for thread in threads:
        thread.join()
    assert not wrong
    twin.fit(X, Y, epochs=5, progress=False)
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))


WAYS = {
    "copy": lambda net, path: net.copy(),
    "deepcopy": lambda net, path: copy.deepcopy(net),
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "file": lambda net, path: (net.save(path, training_state=True), rv.load(path))[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_goes_on_with_the_same_bits(way, tmp_path):
    layers = [MyLinear(6, 8, Normal(0.1)), Blur(0.2), rv.Residual([MyLinear(8, 8)]), rv.Linear(8, 3)]
    net = rv.Network(layers, seed=5)
    net.fit(X, Y, epochs=2, batch_size=9, optimizer=rv.Adam(), progress=False)
    twin = WAYS[way](net, tmp_path / "net.safetensors")
    assert list(twin.layers) == layers
    for each in (net, twin):
        each.fit(X, Y, epochs=2, batch_size=9, optimizer=rv.Adam(), progress=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[name], value)
    np.testing.assert_array_equal(twin.predictor()(X), net.predict(X))


def test_a_predictor_goes_through_a_file(tmp_path):
    net = rv.Network([MyLinear(6, 8), Blur(), rv.Linear(8, 3)], seed=5)
    net.predictor().save(tmp_path / "predictor.safetensors")
    np.testing.assert_array_equal(rv.load_predictor(tmp_path / "predictor.safetensors")(X), net.predict(X))


def test_a_file_names_a_class_and_imports_nothing(tmp_path):
    path = tmp_path / "net.safetensors"
    rv.Network([MyLinear(6, 3)], seed=0).save(path)
    program = f"import ranvier as rv; rv.load({str(path)!r})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (
        "there is no layer 'MyLinear'; if it is a CustomLayer, import its class, with register_layer" in result.stderr
    )


def test_an_unregistered_class_is_not_saved(tmp_path):
    net = rv.Network([rv.Linear(6, 3), Square()], seed=0)
    with pytest.raises(ValueError, match=r"layer 1 \(Square\): .* decorate it with register_layer"):
        net.save(tmp_path / "net.safetensors")


def test_the_summary_counts_it():
    text = str(rv.Network([MyLinear(6, 8), Blur(), rv.Linear(8, 3)], seed=5).summary())
    assert "MyLinear(inputs=6, outputs=8)" in text
    assert "72 weights, 11 biases, 1 others" in text


def of(**methods):
    return faulty("Wrong", **methods)


def network(layer):
    return rv.Network([layer, rv.Linear(4, 3)], seed=0)


def declared(parameters):
    return lambda: network(of(parameters=lambda self: parameters))


def back(result):
    return lambda: network(of(backward=lambda self, grad, ctx: result)).train_step(X, Y)


GRAD_X, BIAS, WEIGHT = np.zeros((40, 6)), np.zeros(4), np.zeros((4, 6))
REFUSED = {
    "no gradients": (
        back(GRAD_X),
        ValueError,
        "expected a pair, the gradient to x and a dict with those of weight, bias",
    ),
    "one missing": (back((GRAD_X, {"weight": WEIGHT})), ValueError, "gradient of each parameter, got none of bias"),
    "one too many": (
        back((GRAD_X, {"weight": WEIGHT, "bias": BIAS, "wieght": WEIGHT})),
        ValueError,
        "got one of 'wieght'",
    ),
    "shape of a gradient": (
        back((GRAD_X, {"weight": WEIGHT.T, "bias": BIAS})),
        ValueError,
        r"the gradient of weight: expected an array of shape \(4, 6\) back, got shape \(6, 4\)",
    ),
    "no array": (back((GRAD_X, {"weight": WEIGHT, "bias": 0.0})), ValueError, "the gradient of bias: .* got float"),
    "shape of the gradient to x": (
        back((GRAD_X[:2], {"weight": WEIGHT, "bias": BIAS})),
        ValueError,
        r"backward: expected an array of shape \(40, 6\)",
    ),
    "a list": (declared([rv.Parameter(3)]), TypeError, "expected a dict of Parameter"),
    "an array": (declared({"weight": np.zeros(3)}), TypeError, r"expected Parameter\(shape, init\) for weight"),
    "a dot": (declared({"a.b": rv.Parameter(3)}), ValueError, "'a.b'"),
    "a statistic": (declared({"running_var": rv.Parameter(3)}), ValueError, "running_var"),
    "a shape": (lambda: rv.Parameter((3, 0)), ValueError, "shape"),
    "a float": (lambda: rv.Parameter(3.0), TypeError, "shape"),
    "an initializer": (lambda: rv.Parameter(3, np.ones(3)), TypeError, "init"),
    "an __init__": (
        lambda: type("Own", (rv.CustomLayer,), {"__init__": lambda self: None}),
        TypeError,
        "expected annotated fields and __post_init__",
    ),
    "what was not kept": (
        lambda: network(of(forward=lambda self, x, ctx: x @ ctx.parameters["weight"].T)).train_step(X, Y),
        AttributeError,
        "ctx.x: expected forward to keep it",
    ),
    "the library's name": (lambda: rv.register_layer(type("Tanh", (Square,), {})), ValueError, "Tanh"),
    "another class's name": (
        lambda: rv.register_layer(type("Blur", (Square,), {"__module__": "elsewhere"})),
        ValueError,
        "another Blur already",
    ),
    "no layer": (lambda: rv.register_layer(int), TypeError, "derives from CustomLayer"),
    "an object": (lambda: rv.register_layer(Blur()), TypeError, "derives from CustomLayer"),
    "no methods": (lambda: rv.Network([rv.CustomLayer()]).predict(X), NotImplementedError, "forward"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused(case):
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call()


def test_a_failing_pass_changes_nothing():
    net = network(of(backward=lambda self, grad, ctx: GRAD_X))
    before = net.state_dict()
    with pytest.raises(ValueError, match="pair"):
        net.fit(X, Y, progress=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_infinite_gradients_are_told():
    net = network(of(backward=plus(weight=np.inf)))
    with pytest.raises(FloatingPointError, match=r"backward through layer 0 \(Wrong\)"):
        net.train_step(X, Y)


def test_a_context_is_made_by_hand_for_tests():
    ctx = Context({"weight": np.ones((4, 6)), "bias": np.zeros(4)}, training=False)
    np.testing.assert_array_equal(MyLinear(6, 4).forward(np.ones((2, 6)), ctx), np.full((2, 4), 6.0))
