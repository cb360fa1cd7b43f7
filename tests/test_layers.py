"""Every layer: analytic gradients against central differences in float64, and their configuration."""

import dataclasses
import pickle

import numpy as np
import pytest
import ranvier as rv
from ranvier import layers as layer_module

IMAGE = (4, 7, 6)


class Indices:
    """Makes indices below 3 of any numbers."""

    def forward(self, x):
        return np.floor(3 * np.mod(np.abs(x), 1))

    def backward(self, grad):
        return np.zeros_like(grad)


# Each between layers that give it a smooth input and a gradient to pass on.
CASES = {
    "Linear": ((5,), [rv.Linear(5, 4), rv.Linear(4, 3, bias=False)]),
    "Linear on rows": ((3, 5), [rv.Linear(5, 4), rv.Flatten()]),
    "Conv2d": (IMAGE, [rv.Conv2d(4, 3, 3, padding=1), rv.Conv2d(3, 2, (2, 3), bias=False), rv.Flatten()]),
    "Conv2d strided": (
        IMAGE,
        [rv.Conv2d(4, 4, 1), rv.Conv2d(4, 3, 3, stride=(2, 3), padding=(1, 2)), rv.Flatten()],
    ),
    "Conv2d dilated": (IMAGE, [rv.Conv2d(4, 4, 1), rv.Conv2d(4, 3, 2, dilation=(3, 2)), rv.Flatten()]),
    "Conv2d grouped": (IMAGE, [rv.Conv2d(4, 4, 1), rv.Conv2d(4, 6, 3, groups=2, padding=1), rv.Flatten()]),
    "Conv2d depthwise": (IMAGE, [rv.Conv2d(4, 4, 1), rv.Conv2d(4, 4, 3, groups=4), rv.Flatten()]),
    "MaxPool2d": (IMAGE, [rv.Conv2d(4, 3, 1), rv.MaxPool2d(3, stride=2, padding=1), rv.Flatten()]),
    "AvgPool2d": (IMAGE, [rv.Conv2d(4, 3, 1), rv.AvgPool2d((2, 3), stride=(1, 2), padding=1), rv.Flatten()]),
    "Dropout": ((6,), [rv.Linear(6, 5), rv.Dropout(0.4), rv.Linear(5, 3)]),
    "GaussianNoise": ((6,), [rv.Linear(6, 5), rv.GaussianNoise(0.4), rv.Tanh(), rv.Linear(5, 3)]),
    "RandomShift": (IMAGE, [rv.Conv2d(4, 3, 1), rv.RandomShift(3), rv.Flatten(), rv.Linear(126, 3)]),
    "RandomRotation": (IMAGE, [rv.Conv2d(4, 3, 1), rv.RandomRotation(60), rv.Flatten(), rv.Linear(126, 3)]),
    "RandomHorizontalFlip": (IMAGE, [rv.Conv2d(4, 3, 1), rv.RandomHorizontalFlip(), rv.Flatten(), rv.Linear(126, 3)]),
    "RandomCrop": (IMAGE, [rv.Conv2d(4, 3, 1), rv.RandomCrop((6, 7), 2), rv.Flatten(), rv.Linear(126, 3)]),
    "Random layers first": (
        IMAGE,
        [rv.RandomCrop(6, 1), rv.RandomRotation(20), rv.GaussianNoise(0.1), rv.Conv2d(4, 3, 3), rv.GlobalAvgPool2d()],
    ),
    "RReLU": ((6,), [rv.Linear(6, 5), rv.RReLU(0.1, 0.4), rv.Linear(5, 3)]),
    "PReLU": ((6,), [rv.Linear(6, 5), rv.PReLU(5), rv.Linear(5, 3), rv.PReLU()]),
    "PReLU on channels": (IMAGE, [rv.Conv2d(4, 3, 1), rv.PReLU(3), rv.Flatten()]),
    "Maxout": (IMAGE, [rv.Conv2d(4, 6, 1), rv.Maxout(2), rv.Flatten(), rv.Linear(126, 6), rv.Maxout(3)]),
    "Softmax": ((6,), [rv.Linear(6, 5), rv.Softmax(), rv.Linear(5, 3)]),
    "Softmax on channels": (IMAGE, [rv.Conv2d(4, 3, 1), rv.Softmax(), rv.Flatten()]),
    "BatchNorm1d": ((6,), [rv.Linear(6, 5), rv.BatchNorm1d(5), rv.Tanh(), rv.Linear(5, 3)]),
    "BatchNorm1d first": ((6,), [rv.BatchNorm1d(6, affine=False), rv.Linear(6, 3)]),
    "BatchNorm2d": (IMAGE, [rv.Conv2d(4, 3, 3), rv.BatchNorm2d(3), rv.Flatten(), rv.Linear(60, 3)]),
    "LayerNorm": ((6,), [rv.Linear(6, 5), rv.LayerNorm(5), rv.Linear(5, 3)]),
    "LayerNorm of images": (IMAGE, [rv.Conv2d(4, 3, 3), rv.LayerNorm((5, 4)), rv.Flatten(), rv.Linear(60, 3)]),
    "GRU": ((4, 3), [rv.GRU(3, 5), rv.Linear(5, 2)]),
    "Embedding": ((4,), [Indices(), rv.Embedding(3, 5), rv.Flatten(), rv.Linear(20, 2)]),
    "GRU of two layers": (
        (4, 3),
        [rv.Linear(3, 2), rv.GRU(2, 3, num_layers=2, bias=False, return_sequences=True), rv.Flatten()],
    ),
    "LSTM": ((4, 3), [rv.LSTM(3, 5), rv.Linear(5, 2)]),
    "LSTM of two layers": (
        (4, 3),
        [rv.Linear(3, 2), rv.LSTM(2, 3, num_layers=2, bias=False, return_sequences=True), rv.Flatten()],
    ),
    "GroupNorm": (IMAGE, [rv.Conv2d(4, 6, 3), rv.GroupNorm(3, 6), rv.Flatten(), rv.Linear(120, 3)]),
    "GroupNorm of features": ((6,), [rv.Linear(6, 8), rv.GroupNorm(2, 8, affine=False), rv.Linear(8, 3)]),
    "ConvTranspose2d": (
        IMAGE,
        [
            rv.Conv2d(4, 3, 3),
            rv.ConvTranspose2d(3, 2, 3, padding=1),
            rv.ConvTranspose2d(2, 2, 2, bias=False),
            rv.Flatten(),
        ],
    ),
    "ConvTranspose2d strided": (
        IMAGE,
        [
            rv.Conv2d(4, 4, 3),
            rv.ConvTranspose2d(
                4, 6, (3, 2), stride=(2, 3), padding=1, output_padding=(1, 2), groups=2, dilation=(1, 2)
            ),
            rv.Flatten(),
        ],
    ),
    "Upsample": (IMAGE, [rv.Conv2d(4, 2, 3), rv.Upsample(2), rv.Upsample((0.7, 1.5)), rv.Flatten()]),
    "Upsample bilinear": (
        IMAGE,
        [
            rv.Conv2d(4, 2, 3),
            rv.Upsample((2, 3), "bilinear"),
            rv.Upsample((1.3, 0.6), "bilinear", align_corners=True),
            rv.Flatten(),
        ],
    ),
    "GlobalAvgPool2d": (IMAGE, [rv.Conv2d(4, 3, 3), rv.GlobalAvgPool2d()]),
    "Conv2d same": (
        IMAGE,
        [
            rv.Conv2d(4, 3, (2, 4), padding="same", dilation=(1, 2)),
            rv.Conv2d(3, 3, 2, padding="same", groups=3),
            rv.Conv2d(3, 2, 3, padding="valid"),
        ],
    ),
    "Conv1d": (
        (4, 11),
        [rv.Conv1d(4, 3, 4, padding="same"), rv.BatchNorm1d(3), rv.Tanh(), rv.Conv1d(3, 2, 3, stride=2, padding=1)],
    ),
    "MaxPool1d": ((4, 11), [rv.Conv1d(4, 3, 1), rv.MaxPool1d(3, 2, 1, ceil_mode=True), rv.Flatten()]),
    "AvgPool1d": ((4, 11), [rv.Conv1d(4, 3, 1), rv.AvgPool1d(4, 3, 2, True, False), rv.Flatten()]),
    "MaxPool2d ceil_mode": (IMAGE, [rv.Conv2d(4, 3, 1), rv.MaxPool2d((2, 3), ceil_mode=True)]),
    "AvgPool2d ceil_mode": (IMAGE, [rv.Conv2d(4, 3, 1), rv.AvgPool2d((2, 4), padding=1, ceil_mode=True)]),
    "AvgPool2d without padding": (IMAGE, [rv.Conv2d(4, 3, 1), rv.AvgPool2d(3, 2, 1, count_include_pad=False)]),
    "AdaptiveAvgPool2d": (IMAGE, [rv.Conv2d(4, 3, 3), rv.AdaptiveAvgPool2d(1), rv.Flatten(), rv.Linear(3, 3)]),
    "AdaptiveAvgPool2d to some": (IMAGE, [rv.Conv2d(4, 3, 1), rv.AdaptiveAvgPool2d((3, None))]),
    "AdaptiveMaxPool2d": (IMAGE, [rv.Conv2d(4, 3, 1), rv.AdaptiveMaxPool2d((3, 4))]),
    "AdaptiveAvgPool1d": ((4, 11), [rv.Conv1d(4, 3, 1), rv.AdaptiveAvgPool1d(4)]),
    "AdaptiveMaxPool1d": ((4, 11), [rv.Conv1d(4, 3, 1), rv.AdaptiveMaxPool1d(1)]),
    "Dropout1d": ((4, 11), [rv.Conv1d(4, 5, 1), rv.Dropout1d(0.4)]),
    "Dropout2d": (IMAGE, [rv.Conv2d(4, 5, 1), rv.Dropout2d(0.4), rv.Conv2d(5, 3, 1)]),
    "Unflatten": ((8,), [rv.Linear(8, 12), rv.Unflatten(1, (2, -1)), rv.Identity(), rv.Conv1d(2, 3, 3)]),
    "Residual": ((6,), [rv.Linear(6, 5), rv.Residual([rv.Linear(5, 5), rv.Tanh(), rv.Linear(5, 5)]), rv.Linear(5, 3)]),
    "Residual first": ((6,), [rv.Residual([rv.Linear(6, 5), rv.Tanh()], [rv.Linear(6, 5, bias=False)])]),
    "Residual in Residual": (
        IMAGE,
        [
            rv.Residual(
                [rv.Conv2d(4, 3, 3, padding=1), rv.Residual([rv.Tanh()]), rv.BatchNorm2d(3)], [rv.Conv2d(4, 3, 1)]
            ),
            rv.GlobalAvgPool2d(),
        ],
    ),
    "Parallel": (
        IMAGE,
        [
            rv.Conv2d(4, 2, 1),
            rv.Parallel([[rv.Conv2d(2, 1, 1)], [], [rv.Conv2d(2, 3, 3, padding=1), rv.Tanh()]]),
            rv.GlobalAvgPool2d(),
        ],
    ),
    "Parallel first": ((6,), [rv.Parallel([[rv.Linear(6, 2), rv.Tanh()], [rv.Dropout(0.4), rv.Linear(6, 3)]])]),
    "LogSoftmax": ((6,), [rv.Linear(6, 5), rv.LogSoftmax(), rv.Linear(5, 3)]),
}
ACTIVATIONS = [
    rv.Sigmoid(),
    rv.Tanh(),
    rv.ReLU(),
    rv.LeakyReLU(0.1),
    rv.LeakyReLU(-0.5),
    rv.ELU(1.3),
    rv.ELU(-1.0),
    rv.ReLU6(),
    rv.SELU(),
    rv.Softplus(),
    rv.GELU(),
    rv.SiLU(),
    rv.Mish(),
    rv.Hardswish(),
]
for activation in ACTIVATIONS:
    # Behind a product it is fused; behind a pooling it stands alone.
    CASES[f"{activation} fused"] = ((6,), [rv.Linear(6, 5), activation, rv.Linear(5, 3)])
    CASES[f"{activation} alone"] = (IMAGE, [rv.Conv2d(4, 3, 1), rv.AvgPool2d(2), activation, rv.Flatten()])


def fresh(layers, state=None):
    net = rv.Network(layers, seed=3, dtype="float64")
    if state:
        net.load_state_dict(state)
    return net


def loss_of(layers, state, x, y, loss):
    """Return the mean loss of a first training pass, with the masks of a first pass."""
    return fresh(layers, state).engine.trainer(x.shape[1:], len(x)).gradients(x, y, loss.spec())[0]


def check(layers, x, y, loss, step=1e-6):
    net = fresh(layers)
    state = net.state_dict()
    gradients = {name: np.array(value) for name, value in net.loss_gradients(x, y, loss=loss).items()}
    assert gradients
    rng = np.random.default_rng(0)
    for name, gradient in gradients.items():
        for index in rng.choice(gradient.size, min(gradient.size, 12), replace=False):
            position = np.unravel_index(index, gradient.shape)
            moved = []
            for sign in (1, -1):
                changed = {key: value.copy() for key, value in state.items()}
                changed[name][position] += sign * step
                moved.append(loss_of(layers, changed, x, y, loss))
            numeric = (moved[0] - moved[1]) / (2 * step)
            assert abs(gradient[position] - numeric) < 1e-7 * max(1, abs(numeric)), f"{name}{position}"


@pytest.mark.parametrize("case", CASES)
def test_gradients_agree_with_central_differences(case):
    shape, layers = CASES[case]
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, *shape))
    outputs = fresh(layers).predict(x).shape[1:]
    check(layers, x, rng.standard_normal((3, *outputs)), rv.QuadraticLoss())


@pytest.mark.parametrize("case", CASES)
def test_layers_come_back(case, tmp_path):
    shape, layers = CASES[case]
    if any(isinstance(layer, Indices) for layer in layers):
        shape, layers = (4,), layers[1:]
    net = rv.Network(layers, seed=3)
    x = np.random.default_rng(1).integers(0, 3, (5, *shape))
    y = net.predict(x)
    net.save(tmp_path / "net.safetensors")
    for again in (rv.load(tmp_path / "net.safetensors"), pickle.loads(pickle.dumps(net)), net.copy()):
        assert again.layers == net.layers
        np.testing.assert_array_equal(again.predict(x), y)


def test_a_layer_is_its_fields():
    layer = rv.Conv2d(1, 16, 5, padding=2)
    assert layer == rv.Conv2d(1, 16, 5, padding=2)
    assert repr(layer).startswith("Conv2d(in_channels=1, out_channels=16, kernel_size=5")
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.stride = 2


@pytest.mark.parametrize(
    ("make", "error", "field"),
    [
        (lambda: rv.Linear(0, 3), ValueError, "in_features"),
        (lambda: rv.Linear(3, 2.0), TypeError, "out_features"),
        (lambda: rv.Conv2d(3, 4, 0), ValueError, "kernel_size"),
        (lambda: rv.Conv2d(3, 4, 3, stride=0), ValueError, "stride"),
        (lambda: rv.Conv2d(3, 4, 3, padding=-1), ValueError, "padding"),
        (lambda: rv.Conv2d(3, 4, (3, 3, 3)), ValueError, "kernel_size"),
        (lambda: rv.Conv2d(3, 4, 3, groups=2), ValueError, "groups"),
        (lambda: rv.MaxPool2d(2, padding=2), ValueError, "padding"),
        (lambda: rv.MaxPool2d(2, ceil_mode=1), TypeError, "ceil_mode"),
        (lambda: rv.AvgPool2d(2, count_include_pad="no"), TypeError, "count_include_pad"),
        (lambda: rv.AdaptiveAvgPool2d(0), ValueError, "output_size"),
        (lambda: rv.AdaptiveMaxPool2d((1, 2, 3)), ValueError, "output_size"),
        (lambda: rv.AdaptiveMaxPool1d(None), TypeError, "output_size"),
        (lambda: rv.Conv2d(3, 4, 3, padding="full"), ValueError, "padding"),
        (lambda: rv.Conv2d(3, 4, 3, stride=2, padding="same"), ValueError, "padding"),
        (lambda: rv.Conv1d(3, 4, (3, 3)), TypeError, "kernel_size"),
        (lambda: rv.MaxPool1d((2, 2)), TypeError, "kernel_size"),
        (lambda: rv.Dropout2d(1), ValueError, "p"),
        (lambda: rv.Unflatten(0, (2, 3)), ValueError, "dim"),
        (lambda: rv.Unflatten(1, 6), TypeError, "unflattened_size"),
        (lambda: rv.Unflatten(1, (-1, -1)), ValueError, "unflattened_size"),
        (lambda: rv.Dropout(1.0), ValueError, "p"),
        (lambda: rv.GaussianNoise(-0.1), ValueError, "std"),
        (lambda: rv.RandomShift(1.5), TypeError, "pixels"),
        (lambda: rv.RandomShift(-1), ValueError, "pixels"),
        (lambda: rv.RandomRotation(-10), ValueError, "degrees"),
        (lambda: rv.RandomRotation("10"), TypeError, "degrees"),
        (lambda: rv.RandomHorizontalFlip(1.1), ValueError, "p"),
        (lambda: rv.RandomCrop(0), ValueError, "size"),
        (lambda: rv.RandomCrop(4, padding=-1), ValueError, "padding"),
        (lambda: rv.RReLU(0.5, 0.1), ValueError, "lower"),
        (lambda: rv.GRU(0, 3), ValueError, "input_size"),
        (lambda: rv.GroupNorm(2, 5), ValueError, "num_groups"),
        (lambda: rv.GroupNorm(2, 4, eps=0), ValueError, "eps"),
        (lambda: rv.ConvTranspose2d(4, 4, 3, stride=2, output_padding=2), ValueError, "output_padding"),
        (lambda: rv.ConvTranspose2d(4, 6, 3, groups=4), ValueError, "groups"),
        (lambda: rv.Upsample(0), ValueError, "scale_factor"),
        (lambda: rv.Upsample((1, 2, 3)), ValueError, "scale_factor"),
        (lambda: rv.Upsample(2, "cubic"), ValueError, "mode"),
        (lambda: rv.Upsample(2, align_corners=True), ValueError, "align_corners"),
        (lambda: rv.Embedding(0, 3), ValueError, "num_embeddings"),
        (lambda: rv.Embedding(3, 1.5), TypeError, "embedding_dim"),
        (lambda: rv.LSTM(3, 4, num_layers=0), ValueError, "num_layers"),
        (lambda: rv.LSTM(3, 4, return_sequences=1), TypeError, "return_sequences"),
        (lambda: rv.Maxout(0), ValueError, "pieces"),
        (lambda: rv.ELU(float("nan")), ValueError, "alpha"),
        (lambda: rv.Linear(2, 3, bias="no"), TypeError, "bias"),
        (lambda: rv.Linear(10**30, 3), ValueError, "in_features"),
        (lambda: rv.SGD(-1.0), ValueError, "lr"),
        (lambda: rv.SGD("0.1"), TypeError, "lr"),
        (lambda: rv.SGD(0.1, weight_decay=float("inf")), ValueError, "weight_decay"),
        (lambda: rv.SGD(0.1, nesterov=True), ValueError, "nesterov"),
        (lambda: rv.Adam(betas=0.9), TypeError, "betas"),
        (lambda: rv.Adam(eps=0), ValueError, "eps"),
        (lambda: rv.SGD(0.1, momentum=1.0), ValueError, "momentum"),
        (lambda: rv.Adam(betas=(0.9, 1.0)), ValueError, "betas"),
    ],
)
def test_bad_configuration_names_the_field(make, error, field):
    with pytest.raises(error, match=rf"^{field}:"):
        make()


def test_fields_become_plain_values():
    layer = rv.Conv2d(np.int64(1), np.prod((4, 4)), [3, np.int32(5)], bias=np.bool_(False))
    assert layer == rv.Conv2d(1, 16, (3, 5), bias=False)
    assert hash(layer) == hash(rv.Conv2d(1, 16, (3, 5), bias=False))
    assert [type(value) for value in layer.config().values()] == [
        int,
        int,
        tuple,
        int,
        int,
        int,
        int,
        bool,
        float,
        float,
        type(None),
        type(None),
    ]
    assert type(rv.LeakyReLU(np.float32(0.25)).negative_slope) is float
    assert rv.SGD(np.float64(0.5)) == rv.SGD(0.5)


def test_every_layer_is_covered():
    covered = {type(layer) for _, layers in CASES.values() for layer in layers}
    named = {getattr(layer_module, name) for name in layer_module.__all__}
    built_in = {kind for kind in named if isinstance(kind, type) and issubclass(kind, layer_module.Layer)}
    # Heaviside has no gradient to speak of; Standardize, which needs statistics, and joins have tests of their own.
    assert built_in - covered == {layer_module.Layer, rv.Heaviside, rv.Standardize, rv.Add, rv.Concat}


def test_random_layers_rest_in_evaluation():
    x = np.random.default_rng(4).standard_normal((5, 8))
    net = rv.Network([rv.Dropout(0.5), rv.RReLU(0.2, 0.4)], dtype="float64", seed=0)
    np.testing.assert_allclose(net.predict(x), np.where(x > 0, x, 0.3 * x))
