"""Frozen parameters, and groups of parameters with settings of their own: against PyTorch, and what is refused."""

import copy
import pickle

import numpy as np
import pytest
import ranvier as rv

torch = pytest.importorskip("torch", reason="the parity test needs torch: pip install torch==2.13.0")

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.standard_normal((24, 2, 8, 8)), RNG.integers(0, 3, 24)
LAYERS = [
    rv.Conv2d(2, 5, 3),
    rv.BatchNorm2d(5),
    rv.ReLU(),
    rv.Conv2d(5, 4, 3),
    rv.PReLU(4),
    rv.Flatten(),
    rv.LayerNorm(64),
    rv.Linear(64, 17),
    rv.BatchNorm1d(17),
    rv.Tanh(),
    rv.Linear(17, 3),
]
OPTIMIZERS = {
    "descent": (rv.SGD(0.05), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (rv.SGD(0.05, 0.9, weight_decay=0.01), lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.01)),
    "adam": (rv.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    "adamw": (rv.AdamW(0.01), lambda p: torch.optim.AdamW(p, 0.01)),
    "clipped": (rv.SGD(0.05, clip_norm=0.1), lambda p: torch.optim.SGD(p, 0.05)),
}
# What is frozen, as patterns, of which none names running statistics.
FROZEN = {
    "the first layer": ["0.*"],
    "a prefix with a norm": ["0.*", "1.weight", "1.bias", "3.*"],
    "all but the last": ["[0-9].weight", "[0-9].bias"],
    "the middle": ["3.*", "6.*", "7.*"],
    "the last": ["10.*"],
    "biases": ["*.bias"],
    "weights": ["*.weight"],
    "one vector of a norm": ["1.weight", "6.bias", "8.bias"],
}


def twins(layers=None, dtype="float64"):
    net = rv.Network(layers or LAYERS, seed=1, dtype=dtype)
    modules = []
    for layer in net.layers:
        config = {name: value for name, value in layer.config().items() if name not in ("l1", "l2", "init", "max_norm")}
        modules.append(getattr(torch.nn, type(layer).__name__)(**config))
    peer = torch.nn.Sequential(*modules).double()
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()}, strict=False)
    return net, peer


def matched(peer, patterns):
    from fnmatch import fnmatchcase

    return [p for name, p in peer.named_parameters() if any(fnmatchcase(name, pattern) for pattern in patterns)]


def peer_steps(peer, optimizer, steps, clip=None):
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(peer(torch.from_numpy(IMAGES)), torch.from_numpy(LABELS)).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(peer.parameters()), clip)
        optimizer.step()


def assert_agree(net, peer, rtol=1e-7):
    theirs = {name: value.numpy() for name, value in peer.state_dict().items() if "num_batches" not in name}
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(value, theirs[name], rtol=rtol, atol=1e-9, err_msg=name)


def in_steps(net, optimizer, steps):
    for _ in range(steps):
        net.train_step(IMAGES, LABELS, optimizer=optimizer)


def in_parts(net, optimizer, steps):
    loss = rv.CrossEntropyLoss()
    for _ in range(steps):
        net.backward(loss.gradient(net.forward(IMAGES), LABELS))
        net.step(optimizer)


def in_fit(net, optimizer, steps):
    net.fit(IMAGES, LABELS, epochs=steps, batch_size=24, shuffle=False, optimizer=optimizer, progress=False)


@pytest.mark.parametrize("train", [in_fit, in_steps, in_parts])
@pytest.mark.parametrize("rule", OPTIMIZERS)
@pytest.mark.parametrize("frozen", FROZEN)
def test_frozen_parameters_stay_and_the_others_train_as_in_pytorch(frozen, rule, train):
    net, peer = twins()
    ours, theirs = OPTIMIZERS[rule]
    net.freeze(*FROZEN[frozen])
    for parameter in matched(peer, FROZEN[frozen]):
        parameter.requires_grad_(False)
    before = net.state_dict()
    train(net, ours, 3)
    peer_steps(peer, theirs(peer.parameters()), 3, clip=0.1 if rule == "clipped" else None)
    assert_agree(net, peer, rtol=1e-5 if rule == "clipped" else 1e-7)  # PyTorch adds 1e-6 to the norm
    assert net.frozen
    for name in net.frozen:
        np.testing.assert_array_equal(net.state_dict()[name], before[name])


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_layers_thawed_one_after_the_other_count_their_own_updates(rule):
    net, peer = twins()
    ours, theirs = OPTIMIZERS[rule]
    optimizer = theirs(peer.parameters())
    for patterns in (["[0-7].*"], ["[0-3].*"], [], ["7.*"]):
        net.unfreeze("*")
        for parameter in peer.parameters():
            parameter.requires_grad_(True)
        weights = [pattern.replace("*", kind) for pattern in patterns for kind in ("weight", "bias")]
        if weights:
            net.freeze(*weights)
        for parameter in matched(peer, weights):
            parameter.requires_grad_(False)
        in_steps(net, ours, 2)
        peer_steps(peer, optimizer, 2, clip=0.1 if rule == "clipped" else None)
    assert_agree(net, peer, rtol=1e-5 if rule == "clipped" else 1e-7)


GROUPS = [
    rv.ParameterGroup("[0-3].*", lr=0.002),
    rv.ParameterGroup("7.weight", weight_decay=0.3),
    rv.ParameterGroup("7.bias", lr=0.0, weight_decay=0.0),
    rv.ParameterGroup("10.*", lr=0.03, weight_decay=0.1),
]
GROUPED = {
    "descent": (lambda groups: rv.SGD(0.05, groups=groups), lambda p: torch.optim.SGD(p, 0.05)),
    "momentum": (
        lambda groups: rv.SGD(0.05, 0.9, weight_decay=0.02, groups=groups),
        lambda p: torch.optim.SGD(p, 0.05, 0.9, weight_decay=0.02),
    ),
    "adam": (lambda groups: rv.Adam(0.01, groups=groups), lambda p: torch.optim.Adam(p, 0.01)),
    "adamw": (lambda groups: rv.AdamW(0.01, groups=groups), lambda p: torch.optim.AdamW(p, 0.01)),
    "rmsprop": (lambda groups: rv.RMSprop(0.01, groups=groups), lambda p: torch.optim.RMSprop(p, 0.01)),
}


@pytest.mark.parametrize("train", [in_fit, in_steps, in_parts])
@pytest.mark.parametrize("rule", GROUPED)
@pytest.mark.parametrize("frozen", [[], ["0.*", "7.weight"]])
def test_groups_are_pytorchs(rule, train, frozen):
    net, peer = twins()
    ours, theirs = GROUPED[rule]
    groups, rest = [], set(peer.parameters())
    for group in GROUPS:
        options = {"lr": group.lr, "weight_decay": group.weight_decay}
        members = matched(peer, [group.pattern])
        rest -= set(members)
        groups.append({"params": members} | {name: value for name, value in options.items() if value is not None})
    if frozen:
        net.freeze(*frozen)
    for parameter in matched(peer, frozen):
        parameter.requires_grad_(False)
    train(net, ours(GROUPS), 4)
    peer_steps(peer, theirs([{"params": list(rest)}, *groups]), 4)
    assert_agree(net, peer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [[rv.Linear(784, 300), rv.ReLU(), rv.Linear(300, 10)], [rv.Linear(784, 10)]])
@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.Adam(1e-3), rv.SGD(0.1, 0.9, clip_norm=0.5)])
def test_a_group_that_changes_nothing_changes_no_bit(layers, optimizer, dtype):
    # Plain descent adds products to weights, which groups do not let it do.
    exact = optimizer != rv.SGD(0.1)
    x, y = RNG.random((64, 784)), RNG.integers(0, 10, 64)
    results = []
    for groups in ([], [rv.ParameterGroup("0.weight", lr=optimizer.lr)]):
        net = rv.Network(layers, seed=0, dtype=dtype)
        settings = type(optimizer)(**optimizer.config() | {"groups": groups})
        net.fit(x, y, epochs=2, batch_size=16, optimizer=settings, progress=False)
        results.append(net.state_dict())
    for name, value in results[0].items():
        if exact:
            np.testing.assert_array_equal(results[1][name], value)
        else:
            np.testing.assert_allclose(results[1][name], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("sizes", [(784, 300), (30, 7), (1, 1), (2000, 100)])
@pytest.mark.parametrize("optimizer", [rv.SGD(0.1), rv.Adam(1e-3), rv.SGD(0.1, 0.9, clip_norm=0.5)])
def test_a_frozen_part_of_a_linear_layer_leaves_the_bits_of_the_other(part, sizes, optimizer):
    x, y = RNG.random((32, sizes[0])), RNG.random((32, sizes[1]))
    nets = [rv.Network([rv.Linear(*sizes)], seed=0) for _ in range(2)]
    start = nets[0].state_dict()
    nets[1].freeze(f"0.{part}")
    if optimizer == rv.SGD(0.1, 0.9, clip_norm=0.5):
        optimizer = rv.SGD(0.1, 0.9)  # the norm is of other gradients
    for net in nets:
        net.train_step(x, y, loss=rv.MSELoss(), optimizer=optimizer)
    other = {"weight": "bias", "bias": "weight"}[part]
    np.testing.assert_array_equal(nets[1].state_dict()[f"0.{part}"], start[f"0.{part}"])
    np.testing.assert_array_equal(nets[1].state_dict()[f"0.{other}"], nets[0].state_dict()[f"0.{other}"])
    assert not np.array_equal(nets[1].state_dict()[f"0.{other}"], start[f"0.{other}"])


def test_frozen_statistics_normalize_in_training():
    net, peer = twins()
    state = net.state_dict()
    state["1.running_mean"] += 0.3
    state["1.running_var"] *= 1.7
    net.load_state_dict(state)
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()}, strict=False)
    net.freeze("0.*", "1.*")
    for parameter in matched(peer, ["0.*", "1.*"]):
        parameter.requires_grad_(False)
    peer[1].eval()
    in_fit(net, rv.SGD(0.05, 0.9), 3)
    peer_steps(peer, torch.optim.SGD(peer.parameters(), 0.05, 0.9), 3)
    assert_agree(net, peer)
    np.testing.assert_array_equal(net.state_dict()["1.running_mean"], state["1.running_mean"])


def test_penalties_of_frozen_layers_do_not_count():
    layers = [rv.Linear(6, 5, l2=3.0), rv.Tanh(), rv.Linear(5, 3)]
    x, y = RNG.standard_normal((12, 6)), RNG.integers(0, 3, 12)
    nets = [rv.Network(layers, seed=0), rv.Network([rv.Linear(6, 5), *layers[1:]], seed=0)]
    for net in nets:
        net.freeze("0.*")
        net.fit(x, y, epochs=2, progress=False)
    for name, value in nets[0].state_dict().items():
        np.testing.assert_array_equal(nets[1].state_dict()[name], value)


@pytest.mark.parametrize("observed", [False, True])
def test_no_gradient_is_computed_that_nobody_needs(observed):
    net = rv.Network([rv.Linear(6, 50), rv.Tanh(), rv.Linear(50, 40), rv.Tanh(), rv.Linear(40, 3)], seed=0)
    net.freeze("0.*", "2.*")
    x, y = RNG.standard_normal((32, 6)), RNG.integers(0, 3, 32)
    net.train_step(x, y, optimizer=rv.SGD(0.1))
    parameters = net.engine.parameters
    parameters.flat_gradients[...] = 7  # stays where nothing is written
    net.loss_gradients(x, y)
    for name in net.frozen:
        assert (parameters.part(name, parameters.flat_gradients) == 7).all()
    for name in net.loss_gradients(x, y):
        assert not (parameters.part(name, parameters.flat_gradients) == 7).any()
    if observed:
        times = {layer.path: layer.backward for layer in net.profile(x, y, seconds=0.01).layers}
        assert times["0"] == times["2"] == 0 < times["4"]


def test_gradients_are_those_of_what_trains():
    net = rv.Network([rv.Linear(6, 5), rv.Linear(5, 3)], seed=0)
    whole = rv.Network([rv.Linear(6, 5), rv.Linear(5, 3)], seed=0)
    net.freeze("0.weight")
    x, y, loss = RNG.standard_normal((12, 6)), RNG.integers(0, 3, 12), rv.CrossEntropyLoss()
    for each in (net, whole):
        for _ in range(2):
            each.backward(loss.gradient(each.forward(x), y))
    assert list(net.gradients()) == ["0.bias", "1.weight", "1.bias"]
    assert list(net.loss_gradients(x, y)) == ["0.bias", "1.weight", "1.bias"]
    for name, value in net.gradients().items():
        np.testing.assert_array_equal(value, whole.gradients()[name])


def test_a_frozen_network_still_gives_the_gradient_to_its_input():
    net = rv.Network([rv.Linear(6, 5), rv.Tanh(), rv.Linear(5, 3)], seed=0)
    x, grad = RNG.standard_normal((12, 6)), RNG.standard_normal((12, 3))
    net.forward(x)
    expected = net.backward(grad, input_gradient=True)
    net.zero_grad()
    net.freeze("*")
    net.forward(x)
    np.testing.assert_array_equal(net.backward(grad, input_gradient=True), expected)
    assert net.gradients() == {}


SETTINGS = rv.Adam(rv.CosineAnnealingLR(1e-2, T_max=9), groups=[rv.ParameterGroup("10.*", lr=1e-3)])
WAYS = {
    "copy": lambda net, path: net.copy(),
    "deepcopy": lambda net, path: copy.deepcopy(net),
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "file": lambda net, path: (net.save(path, training_state=True), rv.load(path))[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_goes_on_with_the_same_bits(way, tmp_path):
    net = twins()[0]
    net.freeze("0.*", "1.*")
    net.fit(IMAGES, LABELS, epochs=2, batch_size=10, optimizer=SETTINGS, progress=False)
    net.unfreeze("1.*")
    twin = WAYS[way](net, tmp_path / "net.safetensors")
    assert twin.frozen == net.frozen == ["0.weight", "0.bias"]
    assert twin.training_state_dict()["missed_updates"] == dict.fromkeys(
        ["0.weight", "0.bias", "1.weight", "1.bias"], 6
    )
    for each in (net, twin):
        each.fit(IMAGES, LABELS, epochs=2, batch_size=10, optimizer=SETTINGS, progress=False)
        each.unfreeze("*")
        each.fit(IMAGES, LABELS, epochs=1, batch_size=10, optimizer=SETTINGS, progress=False)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(twin.state_dict()[name], value)


def test_a_group_follows_a_schedule_of_its_own_and_the_factor_from_outside():
    layers = [rv.Linear(6, 3), rv.Linear(3, 2)]
    x, y = RNG.standard_normal((8, 6)), RNG.integers(0, 2, 8)
    schedule = rv.ExponentialLR(0.1, gamma=0.5)
    groups = [rv.ParameterGroup("0.*", lr=schedule), rv.ParameterGroup("1.bias", weight_decay=0.0)]
    optimizer = rv.SGD(0.2, groups=groups)
    nets = [rv.Network(layers, seed=0, dtype="float64") for _ in range(2)]
    nets[0].fit(x, y, batch_size=8, optimizer=optimizer, progress=False)
    nets[0].learning_rate_factor = 0.3
    nets[0].fit(x, y, batch_size=8, optimizer=optimizer, progress=False)
    for first, rest in ((0.1, 0.2), (0.05 * 0.3, 0.2 * 0.3)):
        gradients = nets[1].loss_gradients(x, y)
        for name, value in nets[1].parameters().items():
            value -= (first if name.startswith("0.") else rest) * gradients[name]
    for name, value in nets[0].state_dict().items():
        np.testing.assert_allclose(value, nets[1].state_dict()[name], rtol=1e-12)


def test_a_group_s_schedule_needs_to_know_the_epochs_of_a_stream():
    net = rv.Network([rv.Linear(6, 3)], seed=0)
    group = rv.ParameterGroup("0.*", lr=rv.ExponentialLR(0.1, gamma=0.5))
    with pytest.raises(TypeError, match="steps_per_epoch"):
        net.fit(((x, y) for x, y in []), optimizer=rv.SGD(0.1, groups=[group]), progress=False)


def test_optimizers_that_differ_in_rates_of_groups_go_on_with_the_state():
    net = twins()[0]
    for rate in (1e-3, 1e-4):
        groups = [rv.ParameterGroup("0.*", lr=rate)]
        net.train_step(IMAGES, LABELS, optimizer=rv.Adam(1e-2, groups=groups))
    assert net.training_state_dict()["updates"] == 2
    net.train_step(IMAGES, LABELS, optimizer=rv.Adam(1e-2, groups=[rv.ParameterGroup("1.*", lr=1e-4)]))
    assert net.training_state_dict()["updates"] == 1


def test_a_callback_thaws_in_the_midst_of_a_fit():
    net = twins()[0]
    net.freeze("0.*")
    before = net.state_dict()["0.weight"]
    seen = []

    def thaw(network, epoch, history):
        seen.append(np.array_equal(network.state_dict()["0.weight"], before))
        if epoch == 2:
            network.unfreeze("*")

    net.fit(IMAGES, LABELS, epochs=3, callbacks=[thaw], progress=False)
    assert seen == [True, True, False]

    def freeze_all(network, epoch, history):
        network.freeze("*")

    with pytest.raises(RuntimeError, match=r"all are frozen; unfreeze\(\) some"):
        net.fit(IMAGES, LABELS, epochs=2, callbacks=[freeze_all], progress=False)


def test_the_rate_finder_leaves_rates_of_groups_alone():
    net = twins()[0]
    groups = [rv.ParameterGroup("0.*", lr=0.0)]
    test = rv.diagnostics.learning_rate_range_test(net, IMAGES, LABELS, steps=4, optimizer=rv.Adam(groups=groups))
    assert len(test.losses) > 1


GROUP = rv.ParameterGroup("0.*", lr=0.1)
REFUSED = {
    "freeze nothing": (lambda net: net.freeze(), TypeError, "at least one pattern"),
    "freeze what is not there": (lambda net: net.freeze("0.*", "12.*"), ValueError, r"'12\.\*'"),
    "thaw what is not there": (lambda net: net.unfreeze("weight"), ValueError, "'weight'"),
    "freeze a number": (lambda net: net.freeze(0), TypeError, "expected a str"),
    "one statistic": (lambda net: net.freeze("1.running_mean"), ValueError, "both running statistics of layer 1"),
    "group of nothing": (
        lambda net: net.train_step(IMAGES, LABELS, optimizer=rv.SGD(1, groups=[rv.ParameterGroup("x", 0.1)])),
        ValueError,
        "groups: .*'x'",
    ),
    "group of a statistic": (
        lambda net: net.fit(IMAGES, LABELS, optimizer=rv.SGD(1, groups=[rv.ParameterGroup("*_mean", 0.1)])),
        ValueError,
        r"groups: .*'\*_mean'",
    ),
    "two groups": (
        lambda net: net.fit(IMAGES, LABELS, optimizer=rv.SGD(1, groups=[GROUP, rv.ParameterGroup("*.bias", 0.1)])),
        ValueError,
        r"groups: .*0\.bias in '0\.\*' and '\*\.bias'",
    ),
    "group without settings": (lambda net: rv.ParameterGroup("0.*"), ValueError, "freeze"),
    "negative rate": (lambda net: rv.ParameterGroup("0.*", -1), ValueError, "lr"),
    "negative decay": (lambda net: rv.ParameterGroup("0.*", weight_decay=-1), ValueError, "weight_decay"),
    "no pattern": (lambda net: rv.ParameterGroup(0, 0.1), TypeError, "pattern"),
    "one group": (lambda net: rv.Adam(groups=GROUP), TypeError, "sequence of ParameterGroup"),
    "dict": (lambda net: rv.Adam(groups={"0.*": {"lr": 1}}), TypeError, "ParameterGroup"),
    "names": (lambda net: rv.Adam(groups=["0.*"]), TypeError, "ParameterGroup"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(case):
    net = twins()[0]
    before = net.state_dict()
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(net)
    assert net.frozen == []
    assert net.history is None
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("train", [in_fit, in_steps, in_parts])
def test_training_with_everything_frozen_is_refused(train):
    net = twins()[0]
    net.freeze("*.weight", "*.bias")
    with pytest.raises(RuntimeError, match=r"all are frozen; unfreeze\(\) some"):
        train(net, rv.SGD(0.1), 1)


def test_to_freeze_between_backward_and_step_is_refused():
    net = twins()[0]
    net.backward(rv.CrossEntropyLoss().gradient(net.forward(IMAGES), LABELS))
    with pytest.raises(RuntimeError, match="zero_grad"):
        net.freeze("0.*")
    net.zero_grad()
    net.freeze("0.*")
    with pytest.raises(RuntimeError, match="forward pass"):
        net.backward(np.zeros((24, 3)))


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("frozen", ["nobody"]),
        ("frozen", "0.weight"),
        ("missed_updates", {"nobody": 1}),
        ("missed_updates", {"0.weight": -1}),
        ("missed_updates", [3]),
    ],
)
def test_a_wrong_state_is_refused(entry, value):
    net = twins()[0]
    in_steps(net, rv.Adam(), 1)
    with pytest.raises((TypeError, ValueError), match=f"state: {entry}"):
        net.load_training_state_dict(net.training_state_dict() | {entry: value})
    assert net.frozen == []


def test_bits_are_the_same_at_any_number_of_threads():
    results = []
    threads = rv.num_threads()
    try:
        for count in (1, 3, 4):
            rv.set_num_threads(count)
            net = twins(dtype="float32")[0]
            net.freeze("0.*", "7.weight")
            in_fit(net, rv.AdamW(0.01, groups=[rv.ParameterGroup("10.*", 0.1)]), 3)
            results.append(net.state_dict())
    finally:
        rv.set_num_threads(threads)
    for other in results[1:]:
        for name, value in results[0].items():
            np.testing.assert_array_equal(other[name], value)
