"""Arrays that another thread changes while they are used: there may be an error or any value, but no crash."""

import pytest
from programs import succeeds

# work() is called over and over while the array changes between good and bad values.
HAMMER = """
    import threading, time
    import numpy as np
    import ranvier as rv
    from ranvier import kernels as K

    rng = np.random.default_rng(0)

    def hammer(array, bad, work, seconds=1.0):
        good, done = array.copy(), threading.Event()

        def change():
            while not done.is_set():
                array[...] = bad
                time.sleep(0)
                array[...] = good
                time.sleep(0)

        thread = threading.Thread(target=change)
        thread.start()
        refused = passed = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            try:
                work()
                passed += 1
            except ValueError:
                refused += 1
        done.set()
        thread.join()
        work()
        print(passed, refused)
"""
LOSSES = {
    "cross-entropy": "rv.CrossEntropyLoss()",
    "class weights": "rv.CrossEntropyLoss(weight=[1.0] * 10)",
    "hinge": "rv.HingeLoss()",
}


@pytest.mark.parametrize("bad", ["2**40", "-(2**40)"])
@pytest.mark.parametrize("loss", LOSSES)
def test_labels_of_a_loss(loss, bad):
    succeeds(
        HAMMER
        + f"""
    p = rng.standard_normal((20000, 10)).astype(np.float32)
    labels = rng.integers(0, 10, len(p))
    loss = {LOSSES[loss]}
    hammer(labels, {bad}, lambda: (loss(p, labels), loss.gradient(p, labels)), 0.4)
    """
    )


@pytest.mark.parametrize("use", ["evaluate", "gradients", "fit", "fit by descent"])
def test_labels_of_a_network(use):
    call = {
        "evaluate": "net.evaluate(x, labels, loss=loss)",
        "gradients": "net.loss_gradients(x, labels, loss=loss)",
        "fit": "net.fit(x, labels, loss=loss, **options)",
        "fit by descent": "net.fit(x, labels, loss=loss, optimizer=rv.SGD(0.01), **options)",
    }[use]
    succeeds(
        HAMMER
        + f"""
    x = rng.standard_normal((20000, 20)).astype(np.float32)
    labels = rng.integers(0, 10, len(x))
    net = rv.Network([rv.Linear(20, 10)], seed=0)
    options = dict(on_nonfinite="ignore", progress=False)
    loss = rv.CrossEntropyLoss(weight=[1.0] * 10)
    hammer(labels, 2**40, lambda: {call}, 0.8)
    """
    )


@pytest.mark.parametrize("bad", ["2**31 - 1", "-(2**31)"])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_indices_of_pooling(dtype, layout, bad):
    change = "np.asfortranarray(grad)" if layout == "transposed" else "grad"
    succeeds(
        HAMMER
        + f"""
    x = rng.standard_normal((16, 8, 40, 40)).astype("{dtype}")
    y, indices = K.max_pool2d(x, 3, stride=2)
    grad = np.ones_like(y)
    grad = {change}
    hammer(indices, {bad}, lambda: K.max_pool2d_backward(grad, indices, x.shape), 0.4)
    """
    )
