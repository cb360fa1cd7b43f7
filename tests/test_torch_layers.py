"""Layers against PyTorch's of the same name: outputs and gradients, over shapes that are awkward."""

import numpy as np
import pytest
import ranvier as rv

torch = pytest.importorskip("torch", reason="the parity test needs torch: pip install torch==2.13.0")
RNG = np.random.default_rng(0)

IMAGE, LINE = (4, 9, 7), (4, 19)

CASES = {
    "Conv2d to the same size": (rv.Conv2d(4, 3, (4, 1), padding="same", dilation=(1, 2)), IMAGE),
    "Conv2d to the same size, depthwise": (rv.Conv2d(4, 4, 4, padding="same", groups=4), IMAGE),
    "Conv1d": (rv.Conv1d(4, 6, 3, 2, 2, 2, groups=2, bias=False), LINE),
    "Conv1d to the same size": (rv.Conv1d(4, 3, 4, padding="same"), LINE),
    "MaxPool1d": (rv.MaxPool1d(3, 2, 1, ceil_mode=True), LINE),
    "AvgPool1d": (rv.AvgPool1d(4, 3, 2, True, False), LINE),
    "MaxPool2d with ceil_mode": (rv.MaxPool2d((2, 3), (3, 2), ceil_mode=True), IMAGE),
    "AvgPool2d with ceil_mode": (rv.AvgPool2d(3, 2, 1, True, False), IMAGE),
    "AdaptiveAvgPool2d": (rv.AdaptiveAvgPool2d(3), IMAGE),
    "AdaptiveMaxPool2d": (rv.AdaptiveMaxPool2d((2, None)), IMAGE),
    "AdaptiveAvgPool2d of all": (rv.AdaptiveAvgPool2d(1), IMAGE),
    "BatchNorm1d of lines": (rv.BatchNorm1d(4), LINE),
    "GroupNorm": (rv.GroupNorm(3, 6), (6, 5, 4)),
    "GroupNorm of one group": (rv.GroupNorm(1, 6, eps=1e-3), (6, 7)),
    "GroupNorm of all": (rv.GroupNorm(6, 6, affine=False), (6, 5, 4)),
    "GroupNorm of features": (rv.GroupNorm(2, 6), (6,)),
    "ConvTranspose2d": (rv.ConvTranspose2d(3, 4, 3), (3, 5, 4)),
    "ConvTranspose2d of a pixel": (rv.ConvTranspose2d(5, 3, 4), (5, 1, 1)),
    "ConvTranspose2d of 1 x 1": (rv.ConvTranspose2d(5, 3, 1, bias=False), (5, 4, 3)),
    "ConvTranspose2d to twice the size": (rv.ConvTranspose2d(4, 3, 4, 2, 1), (4, 7, 6)),
    "ConvTranspose2d padded behind": (rv.ConvTranspose2d(4, 2, 3, (2, 3), 1, (1, 2)), (4, 5, 3)),
    "ConvTranspose2d in groups": (rv.ConvTranspose2d(4, 6, 3, 2, groups=2, dilation=2), (4, 5, 6)),
    "ConvTranspose2d depthwise": (rv.ConvTranspose2d(6, 6, 4, 2, 1, groups=6), (6, 5, 6)),
    "Upsample": (rv.Upsample(2), (3, 4, 5)),
    "Upsample by a fraction": (rv.Upsample((1.5, 0.5)), (2, 5, 6)),
    "Upsample bilinear": (rv.Upsample(2.0, "bilinear"), (3, 4, 5)),
    "Upsample bilinear by a fraction": (rv.Upsample((1.7, 0.6), "bilinear"), (2, 5, 6)),
    "Upsample of corners": (rv.Upsample((3, 2), "bilinear", align_corners=True), (2, 4, 1)),
}

SETTINGS = [
    *[(layer, (50,)) for layer in (rv.SiLU(), rv.SELU(), rv.ReLU6(), rv.Mish(), rv.Hardswish(), rv.GELU(), rv.ELU())],
    (rv.Identity(), (50,)),
    (rv.MaxPool2d(2, ceil_mode=True), IMAGE),
    (rv.MaxPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    (rv.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    (rv.AvgPool2d(3, 2, 1, True), IMAGE),
    (rv.AvgPool2d((2, 4), 3, (1, 2), True), IMAGE),
    *[(kind(n), IMAGE) for kind in (rv.AdaptiveAvgPool2d, rv.AdaptiveMaxPool2d) for n in (1, 3, (2, None), (9, 10))],
    *[(kind(n), LINE) for kind in (rv.AdaptiveAvgPool1d, rv.AdaptiveMaxPool1d) for n in (1, 4, 19, 25)],
    (rv.Conv2d(4, 3, 3, padding="same"), IMAGE),
    (rv.Conv2d(4, 3, 2, padding="same"), IMAGE),
    (rv.Conv2d(4, 6, (2, 4), padding="same", dilation=3, groups=2), IMAGE),
    (rv.Conv2d(4, 4, 4, padding="valid"), IMAGE),
    (rv.Conv2d(4, 3, (4, 6), padding="same"), (4, 2, 3)),
    (rv.Conv2d(4, 4, (6, 4), padding="same", groups=4), (4, 3, 2)),
    (rv.Conv1d(4, 3, 4, padding="same"), (4, 2)),
    (rv.Conv1d(4, 3, 3), LINE),
    (rv.Conv1d(4, 4, 5, padding="valid", groups=4), LINE),
    (rv.Conv1d(4, 8, 1), LINE),
    (rv.Unflatten(1, (2, -1)), (6, 3)),
    (rv.Unflatten(2, (5, 1, 2)), (3, 10)),
]
NOT_PYTORCHS = ("init", "l1", "l2", "max_norm")


def peer_of(layer):
    config = {name: value for name, value in layer.config().items() if name not in NOT_PYTORCHS}
    if isinstance(layer, rv.Upsample) and layer.mode == "nearest":
        del config["align_corners"]
    return getattr(torch.nn, type(layer).__name__)(**config).double()


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # PyTorch's, of kernels of even size
@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize(("layer", "shape"), [*CASES.values(), *SETTINGS], ids=str)
def test_outputs_and_gradients_are_pytorchs(isa, layer, shape, n):
    net = rv.Network([layer], seed=0, dtype="float64")
    peer = peer_of(layer)
    state = {name: RNG.standard_normal(value.shape) for name, value in net.state_dict().items()}
    state = {name: np.abs(value) if name.endswith("running_var") else value for name, value in state.items()}
    net.load_state_dict(state)
    peer.load_state_dict({name.removeprefix("0."): torch.from_numpy(value) for name, value in state.items()})
    x = RNG.standard_normal((n, *shape))
    inputs = torch.from_numpy(x).requires_grad_()
    expected = peer(inputs)
    options = dict(rtol=1e-10, atol=1e-11)
    grad = RNG.standard_normal(expected.shape)
    expected.backward(torch.from_numpy(grad))
    np.testing.assert_allclose(net.forward(x), expected.detach().numpy(), **options)
    np.testing.assert_allclose(net.backward(grad, input_gradient=True), inputs.grad.numpy(), **options)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(net.gradients()[f"0.{name}"], parameter.grad.numpy(), err_msg=name, **options)
    predicted = peer.eval()(inputs).detach().numpy()
    np.testing.assert_allclose(net.predict(x), predicted, **options)
    np.testing.assert_allclose(net.predictor()(x), predicted, **options)


@pytest.mark.parametrize("case", CASES)
def test_bits_depend_on_neither_threads_nor_batch(isa, case):
    layer, shape = CASES[case]
    layers = [layer, rv.Flatten()]
    width = rv.Network(layers, seed=0).predict(np.zeros((1, *shape))).shape[1]
    x, y = RNG.standard_normal((90, *shape)).astype(np.float32), RNG.integers(0, 2, 90)
    results = []
    for threads in (1, 2, 3):
        rv.set_num_threads(threads)
        net = rv.Network([*layers, rv.Linear(width, 2)], seed=0)
        net.fit(x, y, batch_size=40, progress=False)
        results.append([net.predict(x), *net.state_dict().values()])
        for predict in (net.predict, net.predictor()):
            together = predict(x)
            for count in (1, 2, 5, 33):
                np.testing.assert_array_equal(predict(x[:count]), together[:count])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_nan_stays_in_its_group_of_channels():
    x = RNG.standard_normal((2, 6, 3, 3))
    x[1, 3, 0, 0] = np.nan
    y = rv.Network([rv.GroupNorm(3, 6)], seed=0, dtype="float64").predict(x)
    assert np.isnan(y[1, 2:4]).all()
    assert np.isfinite(y[0]).all()
    assert np.isfinite(np.delete(y[1], [2, 3], axis=0)).all()


@pytest.mark.parametrize("layer", [rv.Dropout1d(0.4), rv.Dropout2d(0.4)], ids=str)
def test_whole_channels_are_dropped(layer):
    shape = (30, 8) if isinstance(layer, rv.Dropout1d) else (30, 4, 2)
    net = rv.Network([layer], seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((40, *shape))
    x[0, 0] = np.nan  # what is dropped is zero whatever it was
    factors = (net.forward(x) / x).reshape(40 * 30, 8)[1:]
    assert set(np.round(factors.ravel(), 12)) == {0.0, round(1 / 0.6, 12)}
    assert (factors == factors[:, :1]).all() or np.allclose(factors, factors[:, :1], rtol=1e-12)
    assert abs((factors[:, 0] == 0).mean() - 0.4) < 0.05
    np.testing.assert_array_equal(net.predict(x), x)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (rv.Conv1d(3, 2, 3), (4, 9), r"expected samples of shape \(3, length\), got \(4, 9\)"),
        (rv.Conv1d(3, 2, 3), (3, 1, 9), r"expected samples of shape \(channels, length\)"),
        (rv.Conv1d(3, 2, 3), (3, 2), ".*kernel_size: expected a kernel"),
        (rv.BatchNorm1d(3), (3, 2, 2), r"expected samples of shape \(3,\) or \(3, length\), got \(3, 2, 2\)"),
        (rv.AdaptiveAvgPool2d(1), (3, 2), r"expected samples of shape \(channels, height, width\), got \(3, 2\)"),
        (rv.Dropout2d(), (3, 2), r"expected samples of shape \(channels, height, width\), got \(3, 2\)"),
        (rv.Unflatten(3, (2, 2)), (3, 4), r"dim: expected an axis of samples of shape \(3, 4\), .*got 3"),
        (rv.Unflatten(1, (2, 2)), (5,), r"unflattened_size: expected sizes that make 5 .*got \(2, 2\)"),
        (rv.Unflatten(1, (2, -1)), (5,), r"unflattened_size: expected sizes that make 5 .*got \(2, -1\)"),
        (rv.GroupNorm(2, 4), (3, 5), "expected samples of 4 channels"),
        (rv.ConvTranspose2d(3, 2, 3), (2, 5, 5), r"expected samples of shape \(3, height, width\)"),
        (rv.ConvTranspose2d(3, 2, 3, padding=4), (3, 2, 2), "expected images that leave an output"),
        (rv.Upsample(2), (5,), r"expected samples of shape \(channels, height, width\)"),
        (rv.Upsample(0.1), (1, 5, 5), "expected a scale_factor that leaves"),
    ],
    ids=str,
)
def test_samples_that_do_not_fit_are_refused(layer, shape, message):
    with pytest.raises(ValueError, match=rf"layer 0 \({type(layer).__name__}\): {message}"):
        rv.Network([layer], seed=0).predict(np.zeros((2, *shape)))
