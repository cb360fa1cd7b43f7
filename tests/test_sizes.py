"""Sizes whose products exceed what memory can hold: a clear error, and no crash."""

import numpy as np
import pytest
from programs import run
from ranvier import kernels as K

BEGIN = "import numpy as np, ranvier as rv\nfrom ranvier import kernels as K\nones = np.ones\n"
HUGE = 2**31 - 1

NETWORKS = {
    "padding": (
        f"rv.Network([rv.Conv2d(1, 1, 1, padding={2**30 - 2}), rv.GlobalAvgPool2d()]).predict(ones((1, 1, 4, 4)))"
    ),
    "padding of a batch": (
        f"rv.Network([rv.Conv2d(1, 1, 1, padding={2**27}), rv.GlobalAvgPool2d()]).predict(ones((256, 1, 4, 4)))"
    ),
    "padding, in training": (
        f"rv.Network([rv.Conv2d(1, 1, 1, padding={2**28}), rv.GlobalAvgPool2d()])"
        ".fit(ones((256, 1, 4, 4)), np.zeros(256, int), batch_size=256, progress=False)"
    ),
    "paddings of several layers": (f"rv.Network([rv.Conv2d(1, 1, 1, padding={HUGE})] * 4).predict(ones((1, 1, 4, 4)))"),
    "channels": f"rv.Network([rv.Conv2d(1, {HUGE}, 1, bias=False)]).predict(ones((1, 1, 4, 4)))",
    "channels of both sides": f"rv.Network([rv.Conv2d({HUGE}, {HUGE}, 3)])",
    "kernel": f"rv.Network([rv.Conv2d(1, 1, {HUGE}, padding={2**30})])",
    "features": f"rv.Network([rv.Linear({HUGE}, {HUGE})])",
    "features of several layers": f"rv.Network([rv.Linear({HUGE}, {2**28})] * 9)",
    "sizes": f"rv.Network([{HUGE}, {HUGE}])",
    "normalized shape": f"rv.Network([rv.LayerNorm(({HUGE}, {HUGE}, {HUGE}))])",
    "normalized features": f"rv.Network([rv.BatchNorm1d({HUGE})] * 3 + [rv.LayerNorm(({HUGE}, {HUGE}))])",
    "pooling": f"rv.Network([rv.Conv2d(1, 1, 1, padding={2**29}), rv.MaxPool2d(2)]).predict(ones((1, 1, 4, 4)))",
}
KERNELS = {
    "padding": f"K.conv2d(ones((1, 1, 4, 4)), ones((1, 1, 1, 1)), padding={2**30})",
    "padding, many channels": f"K.conv2d(ones((1, 1, 4, 4)), ones((64, 1, 1, 1)), padding={HUGE})",
    "padding and dilation": f"K.conv2d(ones((1, 1, 4, 4)), ones((1, 1, 2, 2)), padding={2**30}, dilation={2**31 - 5})",
    "gradient": (
        "K.conv2d_backward(np.broadcast_to(1.0, (1, 1, 3, 3)), ones((1, 1, 4, 4)), ones((1, 1, 1, 1)), "
        f"padding={2**30}, stride={2**30})"
    ),
    "pooling's input": f"K.avg_pool2d_backward(ones((1, 1, 1, 1)), ({2**30}, {2**30}, 4, 4), 4)",
    "maxima's input": (
        f"K.max_pool2d_backward(ones((1, 1, 1, 1)), np.zeros((1, 1, 1, 1), np.int32), (1, 1, {HUGE}, {HUGE}))"
    ),
}
# Stands for all that needs more memory than there is: a limit for the process, so that nothing is really taken.
LIMIT = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"


@pytest.mark.parametrize(
    "code",
    [*NETWORKS.values(), *KERNELS.values()],
    ids=[*(f"network: {name}" for name in NETWORKS), *(f"kernel: {name}" for name in KERNELS)],
)
def test_a_size_too_large_is_an_error(code):
    pytest.importorskip("resource")  # without limits, some would try hard
    status, _, errors = run(f"{LIMIT}{BEGIN}{code}\n", OMP_NUM_THREADS="1")
    assert status == 1, f"{status}\n{errors}"
    last = errors.strip().splitlines()[-1]
    assert last.startswith(("ValueError: ", "MemoryError", "numpy._core._exceptions._ArrayMemoryError")), errors


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (NETWORKS["padding"], "layer 0 (Conv2d): padding, output: expected sizes of an array that memory can hold"),
        (NETWORKS["features"], "ValueError: 0.weight: expected sizes of an array that memory can hold, got "),
        (NETWORKS["channels of both sides"], "ValueError: 0.weight: expected sizes of an array"),
        (NETWORKS["normalized shape"], "ValueError: 0.weight: expected sizes of an array"),
        (KERNELS["padding, many channels"], "ValueError: padding, output: expected sizes of an array"),
    ],
)
def test_the_error_names_what_is_too_large(code, message):
    status, _, errors = run(BEGIN + code)
    assert status == 1
    assert message in errors.strip().splitlines()[-1]


def test_large_paddings_that_fit_are_right():
    x = np.arange(1.0, 17).reshape(1, 1, 4, 4)
    y = K.conv2d(x, np.full((1, 1, 2, 1), 2.0), padding=(3, 200), stride=(2, 100), dilation=(2, 1))
    padded = np.pad(x[0, 0], ((3, 3), (200, 200)))
    expected = 2 * (padded[:-2:2, ::100] + padded[2::2, ::100])
    np.testing.assert_array_equal(y[0, 0], expected)
