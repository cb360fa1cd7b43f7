"""Losses and their gradients against PyTorch's, in float64."""

import numpy as np
import pytest
import ranvier as rv

torch = pytest.importorskip("torch", reason="the parity test needs torch: pip install torch==2.13.0")

WEIGHTS = (0.5, 2.0, 0.0, 1.5, 3.0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def focal_loss(inputs, targets, alpha=0.25, gamma=2.0):
    """Return what torchvision.ops.sigmoid_focal_loss documents, which need not be installed."""
    p = torch.sigmoid(inputs)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    loss = entropy * (1 - p * targets - (1 - p) * (1 - targets)) ** gamma
    return (loss * (alpha * targets + (1 - alpha) * (1 - targets)) if alpha >= 0 else loss).mean()


CASES = {
    "mse": (rv.MSELoss(), torch.nn.MSELoss(), "rows"),
    "bce": (rv.BCELoss(), torch.nn.BCELoss(), "rows"),
    "bce with logits": (rv.BCEWithLogitsLoss(), torch.nn.BCEWithLogitsLoss(), "rows"),
    "positive weight": (rv.BCEWithLogitsLoss(3), torch.nn.BCEWithLogitsLoss(pos_weight=tensor(3.0)), "rows"),
    "positive weights": (rv.BCEWithLogitsLoss(WEIGHTS), torch.nn.BCEWithLogitsLoss(pos_weight=tensor(WEIGHTS)), "rows"),
    "hinge": (rv.HingeLoss(), lambda p, t: 5 * torch.nn.functional.multi_margin_loss(p, t), "labels"),
}
PREDICTED_LIKE = {"bce": (0.05, 0.95), "poisson of means": (0.05, 3)}
CASES |= {
    "l1": (rv.L1Loss(), torch.nn.L1Loss(), "rows"),
    "huber": (rv.HuberLoss(0.7), torch.nn.HuberLoss(delta=0.7), "rows"),
    "smooth l1": (rv.SmoothL1Loss(0.3), torch.nn.SmoothL1Loss(beta=0.3), "rows"),
    "smooth l1 of 0": (rv.SmoothL1Loss(0), torch.nn.SmoothL1Loss(beta=0), "rows"),
    "nll": (rv.NLLLoss(), torch.nn.NLLLoss(), "labels"),
    "nll with weights": (rv.NLLLoss(WEIGHTS), torch.nn.NLLLoss(tensor(WEIGHTS)), "labels"),
    "poisson": (rv.PoissonNLLLoss(), torch.nn.PoissonNLLLoss(), "rows"),
    "poisson of means": (rv.PoissonNLLLoss(False), torch.nn.PoissonNLLLoss(log_input=False), "rows"),
    "focal": (rv.FocalLoss(), focal_loss, "rows"),
    "focal with settings": (rv.FocalLoss(None, 1.5), lambda p, t: focal_loss(p, t, -1, 1.5), "rows"),
}
for kind in ("labels", "rows"):
    for smoothing in (0.0, 0.2):
        for weights in (None, WEIGHTS):
            CASES[f"cross-entropy {smoothing} {weights} {kind}"] = (
                rv.CrossEntropyLoss(smoothing, weights),
                torch.nn.CrossEntropyLoss(weight=weights and tensor(weights), label_smoothing=smoothing),
                kind,
            )


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_agree(case):
    ours, theirs, kind = CASES[case]
    rng = np.random.default_rng(0)
    bounds = PREDICTED_LIKE.get(case)
    p = rng.uniform(*bounds, (30, 5)) if bounds else 3 * rng.standard_normal((30, 5))
    t = rng.integers(0, 5, 30) if kind == "labels" else rng.dirichlet(np.ones(5), 30)
    prediction = torch.tensor(p, requires_grad=True)
    value = theirs(prediction, torch.from_numpy(t))
    value.backward()
    assert ours(p, t) == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(ours.gradient(p, t), prediction.grad.numpy(), rtol=0, atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_sample_weights_multiply_what_pytorch_does_not_reduce(smoothing):
    rng = np.random.default_rng(1)
    x, y, weights = rng.standard_normal((30, 5)), rng.integers(0, 5, 30), rng.random(30)
    loss = rv.CrossEntropyLoss(smoothing, WEIGHTS)
    net = rv.Network([rv.Linear(5, 5)], seed=0, dtype="float64")
    peer = torch.nn.Linear(5, 5, dtype=torch.float64)
    peer.load_state_dict({name[2:]: torch.from_numpy(value) for name, value in net.state_dict().items()})
    unreduced = torch.nn.CrossEntropyLoss(weight=tensor(WEIGHTS), label_smoothing=smoothing, reduction="none")
    each = unreduced(peer(torch.from_numpy(x)), torch.from_numpy(y))
    value = (tensor(weights) * each).sum() / (tensor(weights) * tensor(WEIGHTS)[y]).sum()
    value.backward()
    assert net.evaluate(x, y, loss=loss, sample_weight=weights).loss == pytest.approx(value.item(), rel=1e-12)
    gradient = net.loss_gradients(x, y, loss=loss, sample_weight=weights)["0.weight"]
    np.testing.assert_allclose(gradient, peer.weight.grad.numpy(), rtol=0, atol=1e-13)
