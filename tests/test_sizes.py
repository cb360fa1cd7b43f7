"""Sizes whose products exceed what memory can hold: a clear error, and no crash."""

from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from programs import run
from ranvier import kernels as K

BEGIN = "import numpy as np, ranvier as rv\nfrom ranvier import kernels as K\nones = np.ones\n"
HUGE = 2**31 - 1
PADDED = f"rv.Conv2d(1, 1, 1, padding={2**27 - 2})"

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
    # The padded image has 2**56 pixels. That, times 256, is 2**64, which wraps around to 0.
    "outputs of a chunk": f"rv.Network([{PADDED}, rv.Flatten()]).evaluate(ones((256, 1, 4, 4)), np.zeros(256, int))",
    "outputs of a batch": (
        f"rv.Network([{PADDED}, rv.Flatten()])"
        ".fit(ones((256, 1, 4, 4)), np.zeros(256, int), batch_size=256, progress=False)"
    ),
    "outputs of all layers": (
        f"rv.Network([{PADDED}] + [rv.Tanh(), rv.Sigmoid()] * 128 + [rv.GlobalAvgPool2d()])"
        ".fit(ones((1, 1, 4, 4)), np.zeros(1, int), progress=False)"
    ),
    "outputs of branches": (
        f"rv.Network([{PADDED}, rv.Parallel([[rv.Sigmoid(), rv.GlobalAvgPool2d()]] * 256)]).predict(ones((1, 1, 4, 4)))"
    ),
    "outputs between segments": (
        f"rv.Network([{PADDED}, rv.Flatten(), rv.Residual([rv.Tanh()])])"
        ".loss_gradients(ones((256, 1, 4, 4)), np.zeros(256, int))"
    ),
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


def test_without_memory_a_network_stays_usable():
    pytest.importorskip("resource")
    code = """
import resource
import numpy as np, ranvier as rv

layers = [rv.Conv2d(1, 64, 3, padding=1), rv.BatchNorm2d(64), rv.ReLU(), rv.GlobalAvgPool2d(), rv.Linear(64, 3)]
net = rv.Network(layers)
few, many = np.ones((4, 1, 8, 8), np.float32), np.ones((64, 1, 600, 600), np.float32)
labels = np.zeros(64, int)
before, state = net.predict(few).copy(), net.state_dict()
limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for use in (
    lambda: net.fit(many, labels, batch_size=64, progress=False),
    lambda: net.loss_gradients(many, labels),
    lambda: net.profile(many, labels, batch_size=64),
    lambda: net.predict(np.broadcast_to(np.float32(1), (1, 1, 10**4, 10**4))),
    lambda: net.predict(np.ones((1, 1, 5000, 5000), np.float32)),
    lambda: net.activations(many),
    lambda: rv.Network([rv.Linear(20000, 20000)]),
):
    try:
        use()
        raise SystemExit("no error")
    except MemoryError:
        pass
    assert np.array_equal(net.predict(few), before)
    assert all(np.array_equal(value, state[name]) for name, value in net.state_dict().items())
net.fit(few, labels[:4], progress=False)
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not tell how much memory a process has")
    status, output, errors = run(code, OMP_NUM_THREADS="2")
    assert status == 0, f"{status}\n{output}\n{errors}"


@pytest.mark.parametrize("shape", [(-3, -4), (3, -1), (-1,), (2.5,), 3, ("3",), (2**70,), (True,), None])
def test_shapes_of_samples_are_checked(shape):
    net = rv.Network([rv.Flatten(), rv.ReLU()])
    with pytest.raises((TypeError, ValueError), match=r"^input_shape: expected"):
        net.shapes(shape)
    if shape is not None:
        with pytest.raises((TypeError, ValueError), match=r"^input_shape: expected"):
            net.summary(shape)
