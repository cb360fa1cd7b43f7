"""Training on tables that no cache holds, whose batches are gathered while others are trained on."""

import numpy as np
import pytest
import ranvier as rv
from ranvier import _core

ROWS, BATCH = 70_001, 250
RNG = np.random.default_rng(0)
NUMBERS = RNG.standard_normal((ROWS, 64), dtype=np.float32)
DOUBLES = NUMBERS[:40_000].astype(float)
PIXELS = RNG.integers(0, 256, (ROWS, 1, 16, 16), dtype=np.uint8)
LABELS = RNG.integers(0, 3, ROWS)
TARGETS = RNG.standard_normal((ROWS, 2), dtype=np.float32)
WEIGHTS = RNG.random(ROWS)


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request):
    rv.set_num_threads(request.param)
    yield request.param
    rv.set_num_threads(0)


def classifier(dtype="float32"):
    return rv.Network([rv.Linear(64, 8), rv.ReLU(), rv.Dropout(0.1), rv.Linear(8, 3)], seed=3, dtype=dtype)


def of_images():
    return rv.Network([rv.Flatten(), rv.Linear(256, 4), rv.Tanh(), rv.Linear(4, 3)], seed=3)


# What is trained, on what.
CASES = {
    "labels": (classifier, rv.CrossEntropyLoss(), (NUMBERS, LABELS)),
    "float64": (lambda: classifier("float64"), rv.CrossEntropyLoss(), (DOUBLES, LABELS[: len(DOUBLES)])),
    "bytes": (of_images, rv.CrossEntropyLoss(), (PIXELS, LABELS)),
    "rows of targets, weighted": (
        lambda: rv.Network([rv.Linear(64, 8), rv.ReLU(), rv.Linear(8, 2)], seed=3),
        rv.MSELoss(),
        (NUMBERS, TARGETS, WEIGHTS),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_epoch_has_the_bits_of_its_steps(case):
    make, loss, arrays = CASES[case]
    together, apart = make(), make()
    x, y, *weights = arrays
    options = dict(sample_weight=weights[0]) if weights else {}
    together.fit(x, y, loss=loss, optimizer=rv.SGD(0.1), batch_size=BATCH, progress=False, **options)
    order = _core.random_permutation(3, 1, len(x))
    optimizer = rv.SGD(0.1)
    for first in range(0, len(x), BATCH):
        picked = order[first : first + BATCH]
        options = dict(sample_weight=weights[0][picked]) if weights else {}
        apart.train_step(x[picked], y[picked], loss=loss, optimizer=optimizer, **options)
    for name, value in together.state_dict().items():
        np.testing.assert_array_equal(value, apart.state_dict()[name], err_msg=name)


def test_a_batch_that_is_not_finite_is_named_and_the_next_one_is_not_taken():
    order = _core.random_permutation(3, 1, ROWS)
    x = NUMBERS.copy()
    x[order[20 * BATCH + 7], 5] = np.nan
    net, before = classifier(), classifier()
    with pytest.raises(FloatingPointError, match=rf"batch 21: sample {order[20 * BATCH + 7]} of the input"):
        net.fit(x, LABELS, optimizer=rv.SGD(0.1), batch_size=BATCH, progress=False)
    for first in range(0, 20 * BATCH, BATCH):
        picked = order[first : first + BATCH]
        before.train_step(x[picked], LABELS[picked], optimizer=rv.SGD(0.1))
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before.state_dict()[name], err_msg=name)
