"""Initializers: what is drawn, for which fans, by which seed; and where it is written down."""

import json
import math

import numpy as np
import pytest
import ranvier as rv
from ranvier import initializers as init
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

LINEAR = rv.Linear(300, 200)  # fans 300 and 200
CONV = rv.Conv2d(60, 40, (3, 5), groups=4)  # fans 15 * 15 and 10 * 15
FANS = {LINEAR: (300, 200), CONV: (225, 150)}
STD = {
    init.Normal(): lambda i, o: 1,
    init.Normal(0.3): lambda i, o: 0.3,
    init.LeCunNormal(): lambda i, o: math.sqrt(1 / i),
    init.LeCunUniform(): lambda i, o: math.sqrt(1 / i),
    init.XavierNormal(): lambda i, o: math.sqrt(2 / (i + o)),
    init.XavierUniform(gain=3): lambda i, o: 3 * math.sqrt(2 / (i + o)),
    init.KaimingNormal(): lambda i, o: math.sqrt(2 / i),
    init.KaimingUniform(): lambda i, o: math.sqrt(2 / i),
    init.KaimingNormal(negative_slope=0.5): lambda i, o: math.sqrt(2 / (1.25 * i)),
}
ALL = [*STD, init.Zeros(), init.Constant(0.25), init.Orthogonal(gain=2)]


def weight_of(layer, seed=0):
    parameters = rv.Network([layer], seed=seed, dtype="float64").parameters()
    assert not parameters["0.bias"].any()
    return np.array(parameters["0.weight"])


def with_init(layer, initializer):
    return type(layer)(**(layer.config() | {"init": initializer}))


@pytest.mark.parametrize("layer", [LINEAR, CONV], ids=["linear", "grouped convolution"])
@pytest.mark.parametrize("initializer", STD, ids=str)
def test_random_weights_have_their_distribution(initializer, layer):
    std = STD[initializer](*FANS[layer])
    weight = weight_of(with_init(layer, initializer)).ravel() / std
    n = len(weight)
    assert abs(weight.mean()) < 4 / math.sqrt(n)
    assert abs(weight.std() - 1) < 4 / math.sqrt(2 * n)
    if "Uniform" in type(initializer).__name__:
        assert 0.995 * math.sqrt(3) < np.abs(weight).max() <= math.sqrt(3)
        assert np.abs(weight).mean() == pytest.approx(math.sqrt(3) / 2, rel=0.03)
    else:
        assert np.abs(weight).max() > 3
        assert np.abs(weight).mean() == pytest.approx(math.sqrt(2 / math.pi), rel=0.03)


def test_constants():
    assert not weight_of(rv.Linear(3, 4, init=init.Zeros())).any()
    np.testing.assert_array_equal(weight_of(rv.Conv2d(1, 2, 3, init=init.Constant(-0.5))), np.full((2, 1, 3, 3), -0.5))


@pytest.mark.parametrize(
    "layer",
    [
        rv.Linear(70, 100, init=init.Orthogonal()),
        rv.Linear(100, 70, init=init.Orthogonal()),
        rv.Linear(97, 97, init=init.Orthogonal()),
        rv.Linear(5, 1, init=init.Orthogonal()),
        rv.Conv2d(6, 40, 3, init=init.Orthogonal()),
    ],
    ids=["tall", "wide", "square", "one row", "convolution"],
)
def test_orthogonal_rows_or_columns(layer):
    weight = weight_of(layer)
    matrix = weight.reshape(len(weight), -1)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-13)
    doubled = weight_of(with_init(layer, init.Orthogonal(gain=2)))
    np.testing.assert_array_equal(doubled, 2 * weight)


def test_orthogonal_matrices_are_spread_evenly():
    rng = np.random.default_rng(0)
    draws = np.array([init.Orthogonal().draw(rng, (3, 3), 3, 3) for _ in range(3000)])
    assert np.abs(draws.mean(axis=0)).max() < 4 / math.sqrt(3 * 3000)  # each entry has variance 1/3
    np.testing.assert_allclose((draws**2).mean(axis=0), 1 / 3, atol=0.025)
    assert abs(np.linalg.det(draws).mean()) < 4 / math.sqrt(3000)  # reflections as often as rotations


def test_orthogonal_has_the_same_bits_at_any_number_of_threads():
    draws = []
    for threads in (1, 2, 3):
        rv.set_num_threads(threads)
        draws.append(init.Orthogonal().draw(np.random.default_rng(0), (300, 310), 310, 300))
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])


def test_torch_has_the_same_bounds():
    torch = pytest.importorskip("torch", reason="PyTorch's initializers need torch: pip install torch==2.13.0")
    weight = torch.empty(200, 300)
    for initializer, fill in (
        (init.XavierUniform(1.5), lambda: torch.nn.init.xavier_uniform_(weight, gain=1.5)),
        (init.KaimingUniform(0.2), lambda: torch.nn.init.kaiming_uniform_(weight, a=0.2)),
    ):
        ours = np.abs(weight_of(with_init(LINEAR, initializer))).max()
        assert ours == pytest.approx(fill().abs().max().item(), rel=1e-3)


@pytest.mark.parametrize("initializer", [i for i in ALL if not isinstance(i, init.Zeros | init.Constant)], ids=str)
def test_the_seed_decides(initializer):
    layer = rv.Linear(8, 5, init=initializer)
    np.testing.assert_array_equal(weight_of(layer, seed=1), weight_of(layer, seed=1))
    assert (weight_of(layer, seed=1) != weight_of(layer, seed=2)).sum() > 30  # of 40


def test_the_network_s_is_for_layers_without_their_own():
    layers = [
        rv.Conv2d(1, 2, 3, padding=1),
        rv.PReLU(),
        rv.Residual([rv.Conv2d(2, 2, 1, init=init.Constant(3))], [rv.Conv2d(2, 2, 1)]),
        rv.BatchNorm2d(2),
        rv.Flatten(),
        rv.Linear(8, 3, bias=False),
    ]
    net = rv.Network(layers, seed=0, init=init.Constant(2))
    expected = {
        "0.weight": 2,
        "0.bias": 0,
        "1.weight": 0.25,
        "2.layers.0.weight": 3,
        "2.layers.0.bias": 0,
        "2.shortcut.0.weight": 2,
        "2.shortcut.0.bias": 0,
        "3.weight": 1,
        "3.bias": 0,
        "5.weight": 2,
    }
    assert {name: set(value.ravel().tolist()) for name, value in net.parameters().items()} == {
        name: {value} for name, value in expected.items()
    }
    assert net.layers == tuple(layers)
    assert net.predict(np.zeros((1, 1, 2, 2))).shape == (1, 3)


def test_a_network_of_sizes():
    net = rv.Network([400, 300, 10], seed=0, init=init.LeCunNormal())
    assert [weight.std() for weight in net.weights] == pytest.approx([1 / 20, 1 / math.sqrt(300)], rel=0.05)
    assert not any(bias.any() for bias in net.biases)
    notes = rv.Network([400, 300, 10], seed=0)
    rng = np.random.default_rng(0)
    for values in (notes.biases, notes.weights):
        for value in values:
            np.testing.assert_array_equal(value, rng.standard_normal(value.shape).astype(np.float32))


def test_layers_without_start_as_ever():
    rng = np.random.default_rng(3)
    net = rv.Network([rv.Linear(4, 3), rv.Conv2d(2, 2, 3)], seed=3, dtype="float64")
    for name, bound in (("0", 1 / 2), ("1", 1 / math.sqrt(18))):
        for part in ("weight", "bias"):
            value = net.parameters()[f"{name}.{part}"]
            np.testing.assert_array_equal(value, rng.uniform(-bound, bound, value.shape))


@pytest.mark.parametrize("initializer", ALL, ids=str)
def test_files_keep_initializers(initializer, tmp_path):
    layers = [rv.Conv2d(1, 2, 3, init=initializer), rv.Residual([rv.Conv2d(2, 2, 1, init=initializer)])]
    net = rv.Network(layers, seed=0, init=initializer)
    net.save(tmp_path / "net")
    again = rv.load(tmp_path / "net")
    assert again.layers == net.layers
    assert again.init == net.init == initializer
    assert repr(again) == repr(net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)
    sizes = rv.Network([3, 2], seed=0, init=initializer)
    sizes.save(tmp_path / "sizes")
    assert rv.load(tmp_path / "sizes").init == initializer


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"initializer": "system"}, "there is no initializer 'system'"),
        ({"initializer": "Initializer"}, "there is no initializer 'Initializer'"),
        ({"initializer": "Constant"}, "value"),
        ({"layer": "ReLU"}, "init: expected an initializer"),
        ("KaimingNormal", "init: expected an initializer"),
    ],
)
def test_a_wrong_initializer_in_a_file_is_refused(wrong, message, tmp_path):
    path = tmp_path / "net"
    rv.Network([rv.Linear(2, 2)], seed=0).save(path)
    with safe_open(path, "np") as file:
        config = json.loads(file.metadata()["ranvier"])
    for changed in (config | {"init": wrong}, config | {"layers": [config["layers"][0] | {"init": wrong}]}):
        save_file(load_file(path), path, {"ranvier": json.dumps(changed)})
        with pytest.raises(ValueError, match=message):
            rv.load(path)


def test_a_file_from_before_there_were_initializers(tmp_path):
    path = tmp_path / "net"
    rv.Network([rv.Linear(2, 2)], seed=0).save(path)
    with safe_open(path, "np") as file:
        config = json.loads(file.metadata()["ranvier"])
    del config["init"], config["layers"][0]["init"]
    save_file(load_file(path), path, {"ranvier": json.dumps(config)})
    assert rv.load(path).init is None


def test_layers_and_networks_show_it():
    assert repr(rv.Linear(2, 3, init=init.Normal(0.5))) == (
        "Linear(in_features=2, out_features=3, init=Normal(std=0.5))"
    )
    assert repr(rv.Network([3, 2], init=init.Zeros())) == "Network([3, 2], init=Zeros())"


def test_the_core_does_not_see_it():
    for layer in (rv.Linear(2, 3, init=init.Zeros()), rv.Conv2d(2, 3, 1, init=init.Zeros())):
        assert "init" not in layer.spec()[1]
        assert layer.spec() == with_init(layer, None).spec()


class Own(init.Initializer):
    def __init__(self, values):
        object.__setattr__(self, "values", values)

    def draw(self, rng, shape, fan_in, fan_out):
        return self.values


def test_an_initializer_of_ones_own(tmp_path):
    net = rv.Network([rv.Linear(2, 3, init=Own(np.arange(6.0).reshape(3, 2)))])
    np.testing.assert_array_equal(net.parameters()["0.weight"], np.arange(6).reshape(3, 2))
    with pytest.raises(ValueError, match=r"initializer 0\.init \(Own\)"):
        net.save(tmp_path / "net")
    with pytest.raises(ValueError, match=r"init: expected Own\.draw to give shape \(3, 2\), got \(2, 3\)"):
        rv.Network([rv.Linear(2, 3)], init=Own(np.ones((2, 3))))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: rv.Linear(2, 3, init="he"), TypeError, "init: expected an initializer, .* got 'he'"),
        (lambda: rv.Conv2d(2, 3, 1, init=init.KaimingNormal), TypeError, "init: expected an instance"),
        (lambda: rv.Network([2, 3], init=0), TypeError, "init: expected an initializer"),
        (lambda: init.Normal(-1), ValueError, "std: expected a number from 0, got -1"),
        (lambda: init.Constant(math.nan), ValueError, "value: expected a finite number"),
        (lambda: init.XavierNormal(0), ValueError, "gain: expected a number above 0"),
        (lambda: init.KaimingNormal("a"), TypeError, "negative_slope: expected a number"),
        (lambda: init.Orthogonal(-1), ValueError, "gain: expected a number above 0"),
    ],
)
def test_bad_settings_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
