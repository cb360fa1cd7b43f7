"""Samples without elements: each layer gives a result of the right shape or a clear error, and no crash."""

import pytest
from programs import run

# A layer, and the shape of its samples.
LAYERS = {
    "Linear": ("rv.Linear(3, 4)", (3,)),
    "Linear on rows": ("rv.Linear(3, 4)", (2, 3)),
    "Conv2d": ("rv.Conv2d(2, 4, 3, padding=1)", (2, 5, 5)),
    "Conv2d, 1 x 1": ("rv.Conv2d(2, 4, 1)", (2, 5, 5)),
    "Conv2d, depthwise": ("rv.Conv2d(2, 2, 3, padding=1, groups=2)", (2, 5, 5)),
    "MaxPool2d": ("rv.MaxPool2d(2)", (2, 4, 4)),
    "AvgPool2d": ("rv.AvgPool2d(2)", (2, 4, 4)),
    "GlobalAvgPool2d": ("rv.GlobalAvgPool2d()", (2, 4, 4)),
    "AdaptiveAvgPool2d": ("rv.AdaptiveAvgPool2d(1)", (2, 4, 4)),
    "AdaptiveMaxPool2d": ("rv.AdaptiveMaxPool2d(3)", (2, 4, 4)),
    "Conv1d": ("rv.Conv1d(2, 4, 3, padding=1)", (2, 5)),
    "MaxPool1d": ("rv.MaxPool1d(2)", (2, 4)),
    "BatchNorm1d of lines": ("rv.BatchNorm1d(2)", (2, 4)),
    "Unflatten": ("rv.Unflatten(1, (-1, 2))", (4, 3)),
    "Dropout2d": ("rv.Dropout2d()", (2, 4, 4)),
    "Flatten": ("rv.Flatten()", (2, 3)),
    "Dropout": ("rv.Dropout(0.5)", (2, 3)),
    "GaussianNoise": ("rv.GaussianNoise(0.1)", (2, 3)),
    "RandomShift": ("rv.RandomShift(1)", (1, 4, 4)),
    "RandomRotation": ("rv.RandomRotation(10)", (1, 4, 4)),
    "RandomHorizontalFlip": ("rv.RandomHorizontalFlip()", (1, 4, 4)),
    "RandomCrop": ("rv.RandomCrop(3)", (1, 4, 4)),
    "ReLU": ("rv.ReLU()", (2, 3)),
    "GELU": ("rv.GELU()", (2, 3)),
    "PReLU": ("rv.PReLU()", (2, 3)),
    "PReLU of channels": ("rv.PReLU(2)", (2, 3)),
    "RReLU": ("rv.RReLU()", (2, 3)),
    "Maxout": ("rv.Maxout(2)", (4, 3)),
    "Softmax": ("rv.Softmax()", (2, 3)),
    "LogSoftmax": ("rv.LogSoftmax()", (2, 3)),
    "BatchNorm1d": ("rv.BatchNorm1d(3)", (3,)),
    "BatchNorm2d": ("rv.BatchNorm2d(2)", (2, 3, 3)),
    "LayerNorm": ("rv.LayerNorm((3,))", (2, 3)),
    "GroupNorm": ("rv.GroupNorm(1, 2)", (2, 3)),
    "ConvTranspose2d": ("rv.ConvTranspose2d(2, 3, 3)", (2, 4, 4)),
    "Upsample": ("rv.Upsample(2, 'bilinear')", (2, 3, 3)),
    "Embedding": ("rv.Embedding(3, 2)", (2, 3)),
    "GRU": ("rv.GRU(3, 2)", (2, 3)),
    "LSTM": ("rv.LSTM(3, 2, return_sequences=True)", (2, 3)),
    "Residual": ("rv.Residual([rv.Tanh()])", (2, 3)),
    "Parallel": ("rv.Parallel([[rv.Tanh()], [rv.ReLU()]])", (2, 3)),
    "own layer": ("Own()", (2, 3)),
}

PROGRAM = """
import sys
import numpy as np
import ranvier as rv


class Own:
    def forward(self, x):
        return 2 * x

    def backward(self, grad):
        return 2 * grad


shape = {shape}
for n in (2, 0):
    for axis in range(-1, len(shape)):
        sample = tuple(0 if i == axis else size for i, size in enumerate(shape))
        if n > 0 and axis < 0:
            continue
        for dtype in ("float32", "float64"):
            for use in ("predict", "gradients", "fit"):
                what = f"{{use}} of {{(n, *sample)}} in {{dtype}}"
                print("doing", what, flush=True)
                net = rv.Network([{layer}], seed=0, dtype=dtype)
                x = np.zeros((n, *sample), dtype)
                try:
                    if use == "predict":
                        y = net.predict(x)
                        assert y.shape[0] == n and y.dtype == dtype, (what, y.shape)
                        assert y.shape[1:] == net.engine.output_shape(sample), (what, y.shape)
                    else:
                        target = np.zeros((n, *net.engine.output_shape(sample)), dtype)
                        if use == "gradients":
                            net.loss_gradients(x, target, loss=rv.MSELoss())
                        else:
                            net.fit(x, target, loss=rv.MSELoss(), progress=False)
                except ValueError as error:
                    assert ": expected" in str(error), (what, error)
                except FloatingPointError as error:  # the mean of an empty plane
                    assert "{name}" in ("BatchNorm1d of lines", "BatchNorm2d"), (what, error)
print("done")
"""


@pytest.mark.parametrize("name", LAYERS)
def test_empty_samples_are_no_crash(name):
    layer, shape = LAYERS[name]
    status, output, errors = run(PROGRAM.format(name=name, layer=layer, shape=shape))
    assert status == 0, f"exit status {status}\n{output.splitlines()[-1:]}\n{errors[-1500:]}"
    assert output.endswith("done")
