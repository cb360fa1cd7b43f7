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
        (lambda: rv.Adagrad(epsilon=0), "epsilon"),
        (lambda: rv.AdamW(weight_decay=-0.1), "weight_decay"),
        (lambda: rv.Linear(2, 3, l1=-1), "l1"),
    ],
)
def test_bad_settings_name_the_field(make, field):
    with pytest.raises(ValueError, match=rf"^{field}:"):
        make()
