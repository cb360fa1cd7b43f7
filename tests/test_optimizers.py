"""Update rules and clipping: against PyTorch's, step by step, and against their formulas."""

import numpy as np
import pytest
import ranvier as rv

torch = pytest.importorskip("torch", reason="the parity test needs torch: pip install torch==2.13.0")

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((12, 6)), RNG.integers(0, 3, 12)
LAYERS = [rv.Linear(6, 17), rv.Tanh(), rv.Linear(17, 3)]
CASES = {
    "sgd": (rv.SGD(0.1), torch.optim.SGD, dict(lr=0.1)),
    "momentum": (rv.SGD(0.1, 0.9), torch.optim.SGD, dict(lr=0.1, momentum=0.9)),
    "nesterov": (
        rv.SGD(0.1, 0.9, weight_decay=0.01, nesterov=True),
        torch.optim.SGD,
        dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    ),
    "adam": (rv.Adam(0.01, weight_decay=0.02), torch.optim.Adam, dict(lr=0.01, weight_decay=0.02)),
    "adamw": (rv.AdamW(0.01, weight_decay=0.1), torch.optim.AdamW, dict(lr=0.01, weight_decay=0.1)),
    "rmsprop": (rv.RMSprop(0.01, 0.9), torch.optim.RMSprop, dict(lr=0.01, alpha=0.9)),
    "rmsprop with momentum": (
        rv.RMSprop(0.01, momentum=0.5, weight_decay=0.01),
        torch.optim.RMSprop,
        dict(lr=0.01, momentum=0.5, weight_decay=0.01),
    ),
    "adagrad": (rv.Adagrad(0.05, weight_decay=0.01), torch.optim.Adagrad, dict(lr=0.05, weight_decay=0.01)),
}


def networks(dtype="float64"):
    net = rv.Network(LAYERS, seed=1, dtype=dtype)
    peer = torch.nn.Sequential(torch.nn.Linear(6, 17), torch.nn.Tanh(), torch.nn.Linear(17, 3)).double()
    peer.load_state_dict({name: torch.from_numpy(value.astype(float)) for name, value in net.state_dict().items()})
    return net, peer


def train_both(ours, theirs, clip=lambda parameters: None, steps=5):
    net, peer = networks()
    optimizer = theirs(peer.parameters())
    net.fit(X, Y, epochs=steps, batch_size=12, shuffle=False, optimizer=ours, progress=False)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(peer(torch.from_numpy(X)), torch.from_numpy(Y)).backward()
        clip(peer.parameters())
        optimizer.step()
    return net.state_dict(), {name: value.detach().numpy() for name, value in peer.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
def test_rules_are_pytorchs(case):
    ours, kind, options = CASES[case]
    mine, theirs = train_both(ours, lambda parameters: kind(parameters, **options))
    for name, value in theirs.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("limit", "reached"), [(0.05, True), (100.0, False)])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_clipping_by_norm_is_pytorchs(limit, reached, momentum):
    def clip(parameters):
        assert (torch.nn.utils.clip_grad_norm_(list(parameters), limit) > limit) == reached

    mine, theirs = train_both(
        rv.SGD(0.1, momentum, clip_norm=limit), lambda p: torch.optim.SGD(p, 0.1, momentum=momentum), clip
    )
    for name, value in theirs.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-5, atol=1e-7)  # PyTorch adds 1e-6 to the norm


@pytest.mark.parametrize("frozen", [[], ["0.weight"]])
@pytest.mark.parametrize("train", ["fit", "train_step", "step"])
@pytest.mark.parametrize("optimizer", [rv.SGD(0.1, ema_decay=0.7), rv.Adam(0.01, ema_decay=0.99)], ids=str)
def test_averages_are_those_of_their_formula(optimizer, train, frozen):
    net, loss = networks()[0], rv.CrossEntropyLoss()
    decay = optimizer.ema_decay
    if frozen:
        net.freeze(*frozen)
    expected = {name: np.zeros(value.shape) for name, value in net.parameters().items()}
    with pytest.raises(RuntimeError, match="ema_decay"):
        net.averaged()
    for step in range(1, 5):
        if train == "fit":
            net.fit(X, Y, batch_size=12, shuffle=False, optimizer=optimizer, progress=False)
        elif train == "train_step":
            net.train_step(X, Y, optimizer=optimizer)
        else:
            net.backward(loss.gradient(net.forward(X), Y))
            net.step(optimizer)
        averaged = net.averaged()
        for name, value in net.parameters().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
            np.testing.assert_allclose(averaged.parameters()[name], expected[name] / (1 - decay**step), rtol=1e-12)
            if name in frozen:
                np.testing.assert_array_equal(averaged.parameters()[name], value)


def test_averages_change_no_bit_of_the_training_and_go_on_from_a_file(tmp_path):
    nets = [
        rv.Network([rv.Linear(6, 300), rv.Tanh(), rv.BatchNorm1d(300), rv.Linear(300, 3)], seed=1) for _ in range(2)
    ]
    plain, kept = rv.SGD(0.1), rv.SGD(0.1, ema_decay=0.9)
    nets[0].fit(X, Y, epochs=6, batch_size=5, optimizer=plain, progress=False)
    nets[1].fit(X, Y, epochs=3, batch_size=5, optimizer=kept, progress=False)
    nets[1].save(tmp_path / "net.safetensors", training_state=True)
    twin = rv.load(tmp_path / "net.safetensors")
    for net in (nets[1], twin):
        net.fit(X, Y, epochs=3, batch_size=5, optimizer=kept, progress=False)
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(nets[1].state_dict()[name], value)
        np.testing.assert_array_equal(twin.averaged().state_dict()[name], nets[1].averaged().state_dict()[name])
    assert not np.array_equal(twin.averaged().predict(X), twin.predict(X))


def test_a_wrong_decay_of_averages_is_refused():
    for value in (0, 1, -0.5, 1.5, "much"):
        with pytest.raises((TypeError, ValueError), match="ema_decay"):
            rv.Adam(ema_decay=value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (rv.Linear(5, 1, max_norm=0.1), (5,)),
        (rv.Linear(1, 7, max_norm=0.4), (1,)),
        (rv.Linear(60, 100, max_norm=0.4), (60,)),
        (rv.Linear(37, 16, max_norm=0.4), (37,)),
        (rv.Conv2d(3, 5, 3, max_norm=0.4), (3, 6, 6)),
        (rv.Conv2d(4, 40, (1, 3), groups=2, max_norm=0.4), (4, 6, 6)),
    ],
    ids=str,
)
@pytest.mark.parametrize("optimizer", [rv.SGD(0.5), rv.SGD(0.5, 0.9, clip_norm=9.0), rv.Adam(0.1)], ids=str)
def test_norms_are_limited_after_each_update(layer, shape, optimizer, dtype):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((8, *shape))
    nets = [
        rv.Network([given], seed=0, dtype=dtype)
        for given in (layer, type(layer)(**layer.config() | {"max_norm": None}))
    ]
    target = rng.standard_normal(nets[0].predict(x).shape)
    for net in nets:
        net.train_step(x, target, loss=rv.MSELoss(), optimizer=optimizer)
    free = nets[1].state_dict()["0.weight"].astype(np.float64)
    limit = layer.max_norm
    norms = np.sqrt((free**2).reshape(len(free), -1).sum(axis=1)).reshape(-1, *[1] * (free.ndim - 1))
    assert (norms > limit).any()
    expected = np.where(norms > limit, free * limit / norms, free)
    np.testing.assert_allclose(nets[0].state_dict()["0.weight"], expected, rtol=1e-6 if dtype == "float32" else 1e-13)
    np.testing.assert_array_equal(nets[0].state_dict()["0.bias"], nets[1].state_dict()["0.bias"])


def test_norms_of_frozen_weights_are_left_alone_and_averages_are_of_limited_ones():
    net = rv.Network([rv.Linear(6, 9, max_norm=1e-3), rv.Linear(9, 3, max_norm=1e-3)], seed=0, dtype="float64")
    before = net.state_dict()["0.weight"]
    net.freeze("0.*")
    net.train_step(X, Y, optimizer=rv.SGD(0.1, ema_decay=0.5))
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before)
    np.testing.assert_allclose(np.linalg.norm(net.state_dict()["1.weight"], axis=1), 1e-3, rtol=1e-12)
    np.testing.assert_allclose(net.averaged().state_dict()["1.weight"], net.state_dict()["1.weight"], rtol=1e-14)


def test_a_wrong_limit_of_norms_is_refused():
    for value in (0, -1, np.inf, "much"):
        for make in (lambda value: rv.Linear(2, 3, max_norm=value), lambda value: rv.Conv2d(2, 3, 3, max_norm=value)):
            with pytest.raises((TypeError, ValueError), match="max_norm"):
                make(value)


def test_clipping_by_value_is_pytorchs():
    def clip(parameters):
        torch.nn.utils.clip_grad_value_(list(parameters), 0.01)

    mine, theirs = train_both(rv.Adam(0.01, clip_value=0.01), lambda p: torch.optim.Adam(p, 0.01), clip)
    for name, value in theirs.items():
        np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_penalties_are_added_to_the_gradient(kind):
    penalized = [rv.Linear(6, 17, **{kind: 0.3}), rv.Tanh(), rv.Linear(17, 3)]
    net, plain = rv.Network(penalized, seed=1, dtype="float64"), rv.Network(LAYERS, seed=1, dtype="float64")
    weight = net.state_dict()["0.weight"]
    mine, theirs = net.loss_gradients(X, Y), plain.loss_gradients(X, Y)
    expected = 0.3 * (np.sign(weight) if kind == "l1" else weight)
    np.testing.assert_allclose(mine["0.weight"] - theirs["0.weight"], expected, atol=1e-15)
    np.testing.assert_array_equal(mine["0.bias"], theirs["0.bias"])
    np.testing.assert_array_equal(mine["2.weight"], theirs["2.weight"])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: rv.SGD(0.1, clip_norm=0), "clip_norm"),
        (lambda: rv.Adam(clip_value=-1), "clip_value"),
        (lambda: rv.RMSprop(alpha=1.0), "alpha"),
        (lambda: rv.Adagrad(eps=0), "eps"),
        (lambda: rv.AdamW(weight_decay=-0.1), "weight_decay"),
        (lambda: rv.Linear(2, 3, l1=-1), "l1"),
    ],
)
def test_bad_settings_name_the_field(make, field):
    with pytest.raises(ValueError, match=rf"^{field}:"):
        make()
