"""Networks from and to modules of PyTorch, and its state_dict: the same parameters, predictions and training steps."""

import copy
import pickle
import sys

import numpy as np
import pytest
import ranvier as rv
import ranvier.torch
from layer_cases import CASES, LAYERS, named
from safetensors.numpy import save_file

torch = pytest.importorskip("torch", reason="the modules of torch need it: pip install torch==2.13.0")
nn = torch.nn

IMAGES = (3, 12, 12)


def residual_network(dtype="float32"):
    path = [rv.Conv2d(4, 4, 3, padding=1, bias=False), rv.BatchNorm2d(4), rv.ReLU()]
    return rv.Network(
        [
            rv.Conv2d(3, 4, (3, 1), stride=(1, 2), padding=(1, 0)),
            rv.BatchNorm2d(4, momentum=0.3),
            rv.LeakyReLU(0.2),
            rv.Residual(path, [rv.Conv2d(4, 4, 1)]),
            rv.Residual([rv.PReLU(4)]),
            rv.Parallel([[rv.Conv2d(4, 2, 1), rv.Tanh()], [], [rv.AvgPool2d(3, 1, 1)]]),
            rv.Maxout(2),
            rv.MaxPool2d(2),
            rv.GlobalAvgPool2d(),
            rv.Linear(5, 8),
            rv.BatchNorm1d(8),
            rv.GELU(),
            rv.LayerNorm(8),
            rv.Linear(8, 3),
        ],
        seed=0,
        dtype=dtype,
    )


def sequential():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        nn.MaxPool2d(2),
        nn.Identity(),
        nn.Sequential(nn.Sequential(nn.Conv2d(8, 6, 3, stride=2, groups=2, bias=False), nn.ELU(0.7))),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(6, 10),
        nn.Softplus(),
        nn.Linear(10, 4),
        nn.LogSoftmax(dim=-1),
    )


def trained(module, shape):
    """The module after a step, so that running statistics are not at their start."""
    module.train()
    module(torch.randn(16, *shape))
    return module.eval()


def agrees(net, module, shape, n=7):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((n, *shape)).astype(net.dtype)
    if isinstance(net.layers[0], rv.Embedding):
        x = rng.integers(0, net.layers[0].num_embeddings, x.shape)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(net.predict(x), expected, rtol=0, atol=1e-5)


def test_a_sequential_becomes_a_network():
    module = trained(sequential(), IMAGES)
    net = ranvier.torch.from_module(module, seed=5)
    assert net.seed == 5
    assert [type(layer).__name__ for layer in net.layers] == [
        "Conv2d",
        "BatchNorm2d",
        "ReLU",
        "MaxPool2d",
        "Identity",
        "Conv2d",
        "ELU",
        "GlobalAvgPool2d",
        "Linear",
        "Softplus",
        "Linear",
        "LogSoftmax",
    ]
    assert net.layers[0].padding == "same"
    agrees(net, module, IMAGES)


def test_a_network_becomes_a_module_and_comes_back():
    net = residual_network()
    x = np.random.default_rng(1).standard_normal((20, *IMAGES)).astype(np.float32)
    net.fit(x, np.arange(20) % 3, epochs=1, progress=False)
    module = ranvier.torch.to_module(net)
    assert module.training
    agrees(net, module, IMAGES)
    state = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert set(state) == set(net.state_dict())
    back = ranvier.torch.from_module(module)
    assert back.layers == net.layers
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(back.state_dict()[name], value)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        agrees(net, copied, IMAGES)


def test_a_network_of_any_wiring_becomes_a_module():
    image, table = rv.Input(IMAGES), rv.Input((5,))
    h = rv.GlobalAvgPool2d()(rv.ReLU()(rv.BatchNorm2d(4)(rv.Conv2d(IMAGES[0], 4, 3)(image))))
    g = rv.Linear(5, 4)(table)
    total = rv.Add()([h, g, h])
    outputs = {"digit": rv.Linear(8, 3)(rv.Concat()([total, g])), "age": rv.Linear(4, 1)(total)}
    net = rv.Network(inputs={"image": image, "table": table}, outputs=outputs, seed=0)
    rng = np.random.default_rng(1)
    x = {"image": rng.standard_normal((20, *IMAGES)).astype(np.float32), "table": rng.standard_normal((20, 5))}
    y = {"digit": np.arange(20) % 3, "age": rng.standard_normal(20)}
    net.fit(x, y, loss={"digit": rv.CrossEntropyLoss(), "age": rv.MSELoss()}, progress=False)
    net.freeze("0.*")
    module = ranvier.torch.to_module(net)
    state = {name: value for name, value in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert set(state) == set(net.state_dict())
    assert [name for name, parameter in module.named_parameters() if not parameter.requires_grad] == net.frozen
    tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in x.items()}
    for copied in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        theirs = copied.eval()(tensors)
        for name, expected in net.predict(x).items():
            np.testing.assert_allclose(theirs[name].detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"x: expected .*'table'"):
        module({"image": tensors["image"]})


def test_a_wiring_of_one_input_and_output_takes_and_gives_a_tensor():
    x = rv.Input((4,))
    h = rv.Linear(4, 4)(x)
    net = rv.Network(inputs=x, outputs=rv.Concat()([rv.Add()([h, x]), h]), seed=0, dtype="float64")
    samples = np.random.default_rng(0).standard_normal((3, 4))
    theirs = ranvier.torch.to_module(net)(torch.from_numpy(samples))
    np.testing.assert_allclose(theirs.detach().numpy(), net.predict(samples), rtol=1e-12)


def test_a_layer_that_was_not_adapted():
    with pytest.raises(RuntimeError, match=r"layer 0 \(Standardize\): expected the mean and std"):
        ranvier.torch.to_module(rv.Network([rv.Standardize(3)]))


def test_making_a_module_draws_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    module = ranvier.torch.to_module(residual_network())
    assert torch.equal(torch.get_rng_state(), before)
    module[0].weight.data.zero_()
    assert residual_network().parameters()["0.weight"].any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_step_of_gradient_descent_agrees(momentum):
    net = residual_network("float64")
    module = ranvier.torch.to_module(net)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((10, *IMAGES)), rng.integers(0, 3, 10)
    peer = torch.optim.SGD(module.parameters(), 0.1, momentum=momentum)
    for _ in range(3):
        peer.zero_grad()
        loss = nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        peer.step()
        own = net.train_step(x, y, loss=rv.CrossEntropyLoss(), optimizer=rv.SGD(0.1, momentum=momentum))
        assert own == pytest.approx(loss.item(), abs=1e-9)
    expected = module.state_dict()
    for name, value in net.state_dict().items():
        np.testing.assert_allclose(value, expected[name].numpy(), rtol=0, atol=1e-6)


WRITING = pytest.importorskip("ranvier.torch.writing")


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_each_layer_is_written_or_refused(layer):
    branching = {rv.Residual, rv.Parallel}
    assert sum(layer in known for known in (WRITING.WRITTEN, WRITING.REFUSED, branching)) == 1


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, of kernels of even size
@pytest.mark.parametrize(
    ("layer", "shape"), [case for case in CASES if type(case[0]) not in WRITING.REFUSED], ids=named
)
def test_each_layer_agrees_and_comes_back(layer, shape):
    net = rv.Network([layer], seed=0)
    if isinstance(layer, rv.Standardize):
        net.adapt(np.random.default_rng(0).standard_normal((20, *shape)) + 1)
    module = ranvier.torch.to_module(net)
    agrees(net, module, shape)
    back = ranvier.torch.from_module(module)
    agrees(back, module, shape)
    assert repr(back.state_dict()) == repr(net.state_dict())


@pytest.mark.parametrize("layer", [layer for layer, _ in CASES if type(layer) in WRITING.REFUSED], ids=repr)
def test_refused_layers_are_named(layer):
    with pytest.raises(ValueError, match=rf"layer 0\.layers\.1 \({type(layer).__name__}\): PyTorch has no module"):
        ranvier.torch.to_module(rv.Network([rv.Residual([rv.ReLU(), layer])]))


class Own:
    def forward(self, x):
        return x

    def backward(self, grad):
        return grad


def test_layers_of_ones_own_are_refused():
    with pytest.raises(ValueError, match=r"layer 1 \(Own\): a layer of your own"):
        ranvier.torch.to_module(rv.Network([rv.ReLU(), Own()]))
    with pytest.raises(TypeError, match="network: expected a Network, got Sequential"):
        ranvier.torch.to_module(sequential())


class OwnModule(nn.Module):
    def forward(self, x):
        return x + 1


class OwnSequential(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class LikeSequential(nn.Sequential):
    pass


REFUSED = [
    (nn.Conv2d(1, 2, 3, padding_mode="circular"), "padding_mode"),
    (nn.BatchNorm2d(3, track_running_stats=False), "track_running_stats"),
    (nn.BatchNorm1d(3, momentum=None), "momentum"),
    (nn.LayerNorm(3, bias=False), "bias"),
    (nn.Embedding(5, 3, padding_idx=0), "padding_idx"),
    (nn.Upsample(size=9), "scale_factor"),
    (nn.Upsample(scale_factor=2, mode="bicubic"), "mode"),
    (nn.MaxPool2d(2, dilation=2), "dilation"),
    (nn.MaxPool2d(2, return_indices=True), "return_indices"),
    (nn.AdaptiveMaxPool1d(2, return_indices=True), "return_indices"),
    (nn.Unflatten(-1, (2, 2)), "dim"),
    (nn.MaxPool2d(5, padding=2, stride=0), "stride"),
    (nn.AvgPool2d(2, divisor_override=3), "divisor_override"),
    (nn.Flatten(0), "start_dim"),
    (nn.Softmax(), "dim=1"),
    (nn.Softmax(dim=-1), "dim=1"),
    (nn.Softmax(dim=2), "dim=1"),
    (nn.Softplus(beta=2), "beta"),
    (nn.GELU("tanh"), "approximate"),
    (nn.Dropout(1.0), "probability"),
    (nn.Bilinear(2, 2, 2), "there is no layer that is known to do the same"),
    (OwnModule(), "there is no layer that is known to do the same"),
    (OwnSequential(nn.ReLU()), "its forward is not that of a Sequential"),
    (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "there is no layer"),
    (nn.utils.spectral_norm(nn.Linear(2, 2)), "hooks"),
    (nn.LazyLinear(3), "there is no layer"),
]


@pytest.mark.parametrize(("module", "reason"), REFUSED, ids=lambda value: type(value).__name__)
def test_modules_without_a_layer_are_refused_by_name(module, reason):
    outer = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh(), module))
    with pytest.raises(ValueError, match=rf"^module 1\.1 \({type(module).__name__}\): .*{reason}"):
        ranvier.torch.from_module(outer)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match=r"module: expected a torch\.nn\.Module, got list"):
        ranvier.torch.from_module([nn.ReLU()])
    with pytest.raises(ValueError, match="at least one layer"):
        ranvier.torch.from_module(nn.Sequential())
    shared = nn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"got one for 0\.weight and 2\.weight"):
        ranvier.torch.from_module(nn.Sequential(shared, nn.ReLU(), shared))
    activation = nn.ReLU()
    module = nn.Sequential(nn.Linear(3, 3), activation, LikeSequential(nn.Linear(3, 3)), activation)
    agrees(ranvier.torch.from_module(module), module, (3,))
    module[2].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"^module 2 \(LikeSequential\)"):
        ranvier.torch.from_module(module)


def test_softmax_of_the_last_axis_is_that_of_vectors():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(dim=-1))
    agrees(ranvier.torch.from_module(module), module, (3, 4))
    with pytest.raises(ValueError, match="expected dim=1"):
        ranvier.torch.from_module(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 4)), nn.Softmax(dim=-1)))


def test_dtypes():
    assert ranvier.torch.from_module(nn.Linear(3, 2).double()).dtype == np.float64
    half = nn.Linear(3, 2).to(torch.bfloat16)
    net = ranvier.torch.from_module(half)
    assert net.dtype == np.float32
    np.testing.assert_array_equal(net.parameters()["0.weight"], half.weight.detach().float().numpy())
    assert ranvier.torch.to_module(rv.Network([2, 3], dtype="float64"))[0].weight.dtype == torch.float64


def test_frozen_parameters_stay_frozen():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[0].weight.requires_grad_(False)
    net = ranvier.torch.from_module(module)
    assert net.frozen == ["0.weight"]
    back = ranvier.torch.to_module(net)
    assert [name for name, value in back.named_parameters() if not value.requires_grad] == ["0.weight"]
    net.freeze("1.*")
    with pytest.warns(UserWarning, match=r"running statistics.*eval\(\)"):
        ranvier.torch.to_module(net)


def test_penalties_are_not_silently_lost():
    with pytest.warns(UserWarning, match=r"layer 0\.layers\.0 \(Linear\).*l2"):
        ranvier.torch.to_module(rv.Network([rv.Residual([rv.Linear(3, 3, l2=0.1)])]))


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: ranvier.torch.from_module(None), lambda: ranvier.torch.to_module(rv.Network([2, 3]))):
        with pytest.raises(ImportError, match=r"pip install 'ranvier\[torch\]'"):
            call()


# --- state_dict -----------------------------------------------------------------------------------------------


def pair():
    module = trained(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.PReLU(), nn.Linear(3, 2)), (4,))
    net = rv.Network([rv.Linear(4, 3), rv.BatchNorm1d(3), rv.PReLU(), rv.Linear(3, 2)], seed=0)
    return module, net


def test_a_state_dict_is_taken_as_it_is():
    module, net = pair()
    assert "1.num_batches_tracked" in module.state_dict()
    keys = net.load_state_dict(module.state_dict())
    assert keys == ([], [])
    agrees(net, module, (4,))
    net.load_state_dict(module.state_dict(keep_vars=True))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn"])
def test_tensors_of_any_real_dtype_are_taken(dtype):
    module, net = pair()
    state = {name: value.to(getattr(torch, dtype)) for name, value in module.state_dict().items()}
    net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, state[name].float().numpy())


def test_tensors_that_are_no_arrays_are_refused():
    module, net = pair()
    before = net.state_dict()
    state = module.state_dict()
    for bad, error in (
        (torch.empty(3, 4, device="meta"), ValueError),
        (state["0.weight"].to_sparse(), TypeError),
        (state["0.weight"].to(torch.complex64), TypeError),
        (state["0.weight"][:2], ValueError),
    ):
        with pytest.raises(error, match=r"state: 0\.weight: expected"):
            net.load_state_dict(state | {"0.weight": bad})
    with pytest.raises(TypeError, match=r"expected a mapping.*got Sequential; give what its state_dict\(\) returns"):
        net.load_state_dict(module)
    with pytest.raises(TypeError, match="strict: expected a bool"):
        net.load_state_dict(state, strict="no")
    for name, value in before.items():
        np.testing.assert_array_equal(net.state_dict()[name], value)


def test_a_state_that_is_not_strict():
    module, net = pair()
    state = module.state_dict()
    del state["3.bias"], state["0.weight"]
    state["9.weight"] = state["8.num_batches_tracked"] = torch.zeros(())
    with pytest.raises(ValueError, match=r"missing \['0\.weight', '3\.bias'\]"):
        net.load_state_dict(state)
    before = net.state_dict()
    peer = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.PReLU(), nn.Linear(3, 2))
    expected = peer.load_state_dict(state, strict=False)
    keys = net.load_state_dict(state, strict=False)
    assert keys.missing_keys == expected.missing_keys == ["0.weight", "3.bias"]
    assert keys.unexpected_keys == expected.unexpected_keys == ["9.weight", "8.num_batches_tracked"]
    np.testing.assert_array_equal(net.parameters()["3.bias"], before["3.bias"])
    np.testing.assert_array_equal(net.parameters()["3.weight"], state["3.weight"].numpy())
    with pytest.raises(ValueError, match=r"3\.weight: expected shape"):
        net.load_state_dict({"3.weight": torch.zeros(3)}, strict=False)


def test_files_of_torch_say_what_to_do(tmp_path):
    module, _ = pair()
    save_file(
        {name: value.numpy() for name, value in module.state_dict().items()}, tmp_path / "model.safetensors"
    )  # int64 is in it
    for reader in (rv.load, rv.load_predictor):
        with pytest.raises(
            ValueError, match=r"model\.safetensors: .*not of a ranvier network.*load_state_dict\(\) what .*load_file"
        ):
            reader(tmp_path / "model.safetensors")
    torch.save(module.state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt: .*torch\.save.*load_state_dict\(\) what torch\.load"):
        rv.load(tmp_path / "model.pt")
