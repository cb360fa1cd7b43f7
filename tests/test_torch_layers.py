"""Layers of images against PyTorch's: outputs and gradients, over shapes that are awkward."""

import numpy as np
import pytest
import ranvier as rv

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)

CASES = {
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


def peer_of(layer):
    config = {name: value for name, value in layer.config().items() if name != "init"}
    if isinstance(layer, rv.Upsample) and layer.mode == "nearest":
        del config["align_corners"]
    return getattr(torch.nn, type(layer).__name__)(**config).double()


@pytest.mark.parametrize("n", [1, 20])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_pytorchs(isa, case, n):
    layer, shape = CASES[case]
    net = rv.Network([layer], seed=0, dtype="float64")
    peer = peer_of(layer)
    state = {name: RNG.standard_normal(value.shape) for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    peer.load_state_dict({name.removeprefix("0."): torch.from_numpy(value) for name, value in state.items()})
    x = RNG.standard_normal((n, *shape))
    inputs = torch.from_numpy(x).requires_grad_()
    expected = peer(inputs)
    options = dict(rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(net.predict(x), expected.detach().numpy(), **options)
    np.testing.assert_allclose(net.predictor()(x), expected.detach().numpy(), **options)
    grad = RNG.standard_normal(expected.shape)
    expected.backward(torch.from_numpy(grad))
    np.testing.assert_allclose(net.forward(x), expected.detach().numpy(), **options)
    np.testing.assert_allclose(net.backward(grad, input_gradient=True), inputs.grad.numpy(), **options)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(net.gradients()[f"0.{name}"], parameter.grad.numpy(), err_msg=name, **options)


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


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
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
