"""The lecture notes' CNN and PyTorch's, from the same weights: outputs, gradients, updates."""

import warnings

import numpy as np
import pytest
import ranvier as rv
from ranvier.models import DATASETS

torch = pytest.importorskip("torch", reason="the parity test needs torch: pip install torch==2.13.0")


def torch_module(layer):
    """Return PyTorch's layer of that configuration."""
    config = {name: value for name, value in layer.config().items() if name not in ("l1", "l2", "init", "max_norm")}
    if isinstance(layer, rv.MaxPool2d):
        return torch.nn.MaxPool2d(layer.kernel_size)
    return getattr(torch.nn, type(layer).__name__)(**config)


@pytest.fixture
def both():
    net = rv.Network(DATASETS["mnist"].cnn, seed=0)
    peer = torch.nn.Sequential(*[torch_module(layer) for layer in net.layers])
    peer.load_state_dict({name: torch.from_numpy(value) for name, value in net.state_dict().items()})
    return net, peer


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    return rng.random((50, 1, 28, 28)).astype(np.float32), rng.integers(0, 10, 50)


@pytest.mark.parametrize("algorithm", ["automatic", "direct"], indirect=True)
def test_outputs_and_gradients_agree(isa, algorithm, both, batch):
    net, peer = both
    x, y = batch
    output = peer(torch.from_numpy(x))
    np.testing.assert_allclose(net.predict(x), output.detach().numpy(), rtol=0, atol=1e-5)
    torch.nn.functional.cross_entropy(output, torch.from_numpy(y)).backward()
    gradients = net.loss_gradients(x, y)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=0, atol=1e-4)


def adam(parameters):
    return torch.optim.Adam(parameters, 1e-3)


def sgd(parameters):
    return torch.optim.SGD(parameters, 0.1, 0.9, weight_decay=1e-3)


# Adam's first steps have the length of the learning rate however small a gradient is, so that a gradient of mere
# rounding errors moves its weight as far as any other: the comparison is of the update, and both convolve alike.
@pytest.mark.parametrize(
    ("algorithm", "ours", "theirs"),
    [
        ("direct", rv.Adam(1e-3), adam),
        ("direct", rv.SGD(0.1, momentum=0.9, weight_decay=1e-3), sgd),
        ("automatic", rv.SGD(0.1, momentum=0.9, weight_decay=1e-3), sgd),
    ],
    indirect=["algorithm"],
    ids=["adam", "sgd", "sgd by the usual algorithm"],
)
def test_a_few_steps_agree(algorithm, both, batch, ours, theirs):
    net, peer = both
    x, y = batch
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer = theirs(peer.parameters())
        for start in range(0, 50, 10):
            optimizer.zero_grad()
            part = slice(start, start + 10)
            torch.nn.functional.cross_entropy(peer(torch.from_numpy(x[part])), torch.from_numpy(y[part])).backward()
            optimizer.step()
    net.fit(x, y, batch_size=10, shuffle=False, optimizer=ours, progress=False)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(net.parameters()[name], parameter.detach().numpy(), rtol=0, atol=5e-4)
