"""Gaussian noise and random images: what is drawn, against NumPy; the exact adjoint; rest in evaluation."""

import math

import numpy as np
import pytest
import ranvier as rv
from ranvier import _core

AUGMENTATIONS = [
    rv.RandomShift(3),
    rv.RandomRotation(60),
    rv.RandomHorizontalFlip(),
    rv.RandomCrop((5, 8)),
    rv.RandomCrop((9, 6), padding=(2, 1)),
]
RANDOM = [rv.GaussianNoise(0.5), *AUGMENTATIONS]
SHAPES = [(2, 9, 8), (1, 1, 1), (3, 1, 7), (1, 6, 1), (2, 17, 13)]


def trainer_of(layers, shape, n, seed=0, dtype="float64"):
    return rv.Network(layers, seed=seed, dtype=dtype).engine.trainer(shape, n)


def drawn(layer, x, seed=0, passes=1):
    """Return the layer's output of that training pass."""
    trainer = trainer_of([layer], x.shape[1:], len(x), seed, x.dtype.name)
    for _ in range(passes):
        y = trainer.forward(x, True)
    return np.array(y)


def images(n, shape, dtype=np.float64):
    return np.random.default_rng(n).standard_normal((n, *shape)).astype(dtype)


def window(image, top, left, height, width):
    """Return image[:, top : top + height, left : left + width], with zeros wherever there is no image."""
    margin = max(height, width, abs(top), abs(left)) + max(image.shape)
    padded = np.pad(image, ((0, 0), (margin, margin), (margin, margin)))
    return padded[:, top + margin : top + margin + height, left + margin : left + margin + width]


@pytest.fixture(scope="module")
def noise():
    """Two passes of 1000 samples of 1001 numbers, an odd count."""
    trainer = trainer_of([rv.GaussianNoise(0.5)], (1001,), 1000, dtype="float32")
    x = np.zeros((1000, 1001), np.float32)
    return [np.array(trainer.forward(x, True), np.float64) / 0.5 for _ in range(2)]


def test_noise_is_standard_normal(noise):
    z = np.sort(noise[0].ravel())
    deviation = 5 / math.sqrt(z.size)  # five standard errors
    assert abs(z.mean()) < deviation
    assert abs((z**2).mean() - 1) < deviation * math.sqrt(2)
    assert abs((z**3).mean()) < deviation * math.sqrt(15)
    assert abs((z**4).mean() - 3) < deviation * math.sqrt(96)
    # Kolmogorov and Smirnov: the greatest distance of the distribution functions, beyond which come 1e-7 of all.
    wanted = np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in z[::100]])
    assert np.abs(wanted - np.arange(z.size)[::100] / z.size).max() < 2.9 / math.sqrt(z.size)
    assert 4.3 < np.abs(z).max() < 6.8


def test_noise_is_independent(noise):
    first, second = noise
    for a, b in [
        (first, second),  # passes
        (first[1:], first[:-1]),  # samples
        (first[:, 1:], first[:, :-1]),  # neighbours, which share a radius
        (first.reshape(-1)[2:], first.reshape(-1)[:-2]),
    ]:
        assert abs((a * b).mean()) < 5 / math.sqrt(a.size)
        assert abs((a**2 * b**2).mean() - 1) < 5 * math.sqrt(8 / a.size)


def test_layers_draw_numbers_of_their_own():
    shape = (1, 40, 40)
    trainer = trainer_of([rv.GaussianNoise(1.0), rv.GaussianNoise(1.0)], shape, 8)
    both = trainer.forward(np.zeros((8, *shape)), True)
    assert abs(both.std() - math.sqrt(2)) < 0.05


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_is_alike_in_both_dtypes_and_sets(isa, dtype):
    x = np.zeros((3, 1001), dtype)
    wanted = drawn(rv.GaussianNoise(1.0), x.astype(np.float64))
    _core._testing.set_active_isa(_core.cpu_info()["supported_isas"][0])
    tolerance = 2e-6 if dtype == "float32" else 2e-14
    np.testing.assert_allclose(drawn(rv.GaussianNoise(1.0), x), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("layer", RANDOM, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_at_any_thread_count(isa, layer, dtype):
    x = images(37, (3, 41, 37), dtype)
    results = []
    for threads in (1, 2, 3, 7):
        rv.set_num_threads(threads)
        trainer = trainer_of([layer], x.shape[1:], len(x), dtype=dtype)
        y = np.array(trainer.forward(x, True))
        results.append((y, trainer.backward(y, True, False)))
    for y, grad_x in results[1:]:
        np.testing.assert_array_equal(y, results[0][0])
        np.testing.assert_array_equal(grad_x, results[0][1])


@pytest.mark.parametrize("layer", RANDOM, ids=str)
def test_a_seed_and_a_pass_have_their_draws(layer):
    x = images(16, (2, 9, 8))
    np.testing.assert_array_equal(drawn(layer, x), drawn(layer, x))
    for other in (drawn(layer, x, seed=1), drawn(layer, x, passes=2)):
        assert (drawn(layer, x) != other).any(
            axis=(1, 2, 3)
        ).sum() > 3  # of 16 images, some of which may be drawn alike
    np.testing.assert_array_equal(drawn(layer, x)[:5], drawn(layer, x[:5]))


def shifts(image, shifted, pixels):
    """Return the shifts, down and right, that make the one of the other."""
    reach = range(-pixels, pixels + 1)
    return [(d, r) for d in reach for r in reach if np.array_equal(window(image, -d, -r, *image.shape[1:]), shifted)]


def test_shift_moves_whole_pixels_and_all_alike():
    x = images(2000, (1, 4, 5))
    y = drawn(rv.RandomShift(2), x)
    counts = np.zeros((5, 5))
    for image, shifted in zip(x, y, strict=True):
        ((down, right),) = shifts(image, shifted, 2)
        counts[down + 2, right + 2] += 1
    assert np.abs(counts - 80).max() < 5 * math.sqrt(80)


@pytest.mark.parametrize("shape", SHAPES)
def test_shift_of_any_shape(shape):
    x = images(40, shape)
    for image, shifted in zip(x, drawn(rv.RandomShift(4), x), strict=True):
        assert shifts(image, shifted, 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_some(shape):
    x = images(1000, shape)
    y = drawn(rv.RandomHorizontalFlip(0.3), x)
    flipped = (y == x[..., ::-1]).all(axis=(1, 2, 3))
    assert (flipped | (y == x).all(axis=(1, 2, 3))).all()
    if shape[2] > 1:
        assert abs(flipped.mean() - 0.3) < 0.08
    np.testing.assert_array_equal(drawn(rv.RandomHorizontalFlip(1), x), x[..., ::-1])


@pytest.mark.parametrize(("size", "padding"), [((5, 8), (0, 0)), ((9, 6), (2, 1)), ((3, 4), (0, 3)), ((13, 12), 2)])
def test_crop_cuts_any_window_that_fits(size, padding):
    x = images(800, (2, 9, 8))
    y = drawn(rv.RandomCrop(size, padding), x)
    assert y.shape == (800, 2, *size)
    margins = padding if isinstance(padding, tuple) else (padding, padding)
    rows, cols = (range(-p, n + p - s + 1) for n, p, s in zip((9, 8), margins, size, strict=True))
    windows = [(top, left) for top in rows for left in cols]
    seen = set()
    for image, cut in zip(x, y, strict=True):
        (found,) = (at for at in windows if np.array_equal(window(image, *at, *size), cut))
        seen.add(found)
    assert seen == set(windows)


def rotated(image, angle):
    """Return an image turned by an angle: a plain loop in float64."""
    _, height, width = image.shape
    center = np.array([(height - 1) / 2, (width - 1) / 2])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    result = np.zeros(image.shape)
    for position in np.ndindex(height, width):
        place = center + turn @ (np.array(position) - center)
        corner = np.floor(place).astype(int)
        for step in np.ndindex(2, 2):
            pixel = corner + step
            if (pixel >= 0).all() and (pixel < [height, width]).all():
                result[(slice(None), *position)] += np.prod(1 - abs(place - pixel)) * image[(slice(None), *pixel)]
    return result


def angles(n, degrees, shape, dtype=np.float64):
    """Return the angles that are drawn first, seen from a ramp: interpolation keeps linear functions."""
    ramp = np.zeros((n, 1, *shape), dtype)
    ramp += np.arange(shape[1]) - (shape[1] - 1) / 2
    ramp = np.concatenate([ramp, np.ones_like(ramp)], axis=1)
    turned = drawn(rv.RandomRotation(degrees), ramp)
    row, col = shape[0] // 2, shape[1] // 2
    # The columns that a pixel and the one below it come from differ by the sine.
    assert (turned[:, 1, row : row + 2, col] > 0.999).all(), "inside at any angle"
    sine, cosine = (turned[:, 0, row, col] - turned[:, 0, r, c] for r, c in [(row + 1, col), (row, col - 1)])
    return np.arctan2(sine, cosine)


def test_rotation_agrees_with_a_plain_loop():
    for shape in [(9, 8), (7, 7), (17, 6)]:
        x = images(12, (2, *shape))
        y = drawn(rv.RandomRotation(180), x)
        narrow = drawn(rv.RandomRotation(180), x.astype(np.float32))
        for image, turned, single, angle in zip(x, y, narrow, angles(12, 180, shape), strict=True):
            np.testing.assert_allclose(turned, rotated(image, angle), atol=1e-12)
            np.testing.assert_allclose(single, turned, atol=1e-5)


def test_angles_are_uniform_and_independent():
    fractions = np.rad2deg(angles(4000, 30, (9, 9))) / 60 + 0.5
    assert fractions.min() >= 0
    assert fractions.max() < 1
    assert np.abs(np.sort(fractions) - np.arange(4000) / 4000).max() < 2.9 / math.sqrt(4000)
    assert abs(np.corrcoef(fractions[1:], fractions[:-1])[0, 1]) < 5 / math.sqrt(4000)


def test_rotation_keeps_an_infinity_near_its_place():
    x = np.zeros((50, 1, 11, 11))
    x[:, :, 4, 0] = np.inf
    y = drawn(rv.RandomRotation(45), x)
    assert ((~np.isfinite(y)).sum(axis=(1, 2, 3)) <= 9).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", AUGMENTATIONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_backward_is_the_adjoint(layer, shape, training):
    if isinstance(layer, rv.RandomCrop) and shape[1] < 9:
        layer = rv.RandomCrop(1, padding=2)
    x = images(11, shape)
    trainer = trainer_of([layer], shape, 11)
    y = np.array(trainer.forward(x, training))
    grad = np.random.default_rng(1).standard_normal(y.shape)
    grad_x = trainer.backward(grad.copy(), True, False)
    sums = ((y * grad).sum(axis=(1, 2, 3)), (x * grad_x).sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(*sums, rtol=1e-12, atol=1e-12)


def test_noise_passes_the_gradient_unchanged():
    x = images(4, (7,))
    trainer = trainer_of([rv.GaussianNoise(0.5)], (7,), 4)
    trainer.forward(x, True)
    np.testing.assert_array_equal(trainer.backward(x.copy(), True, False), x)


def test_a_first_layer_takes_no_part_in_the_gradients():
    x, y = images(6, (2, 9, 8)), np.arange(6)
    layers = [rv.Flatten(), rv.Linear(144, 6)]
    turned = drawn(rv.RandomRotation(40), x)
    with_layer = rv.Network([rv.RandomRotation(40), *layers], seed=0, dtype="float64").loss_gradients(x, y)
    without = rv.Network(layers, seed=0, dtype="float64").loss_gradients(turned, y)
    np.testing.assert_array_equal(with_layer["2.weight"], without["1.weight"])


@pytest.mark.parametrize("layer", RANDOM[:4], ids=str)
def test_evaluation_passes_through(layer):
    x = images(3, (2, 9, 8))
    np.testing.assert_array_equal(rv.Network([layer], dtype="float64").predict(x), x)


@pytest.mark.parametrize(
    ("size", "padding", "top", "left"),
    [((5, 8), 0, 2, 0), ((4, 5), 3, 2, 1), ((9, 8), 2, 0, 0), ((12, 11), 2, -2, -2)],
)
def test_evaluation_takes_the_crop_in_the_middle(size, padding, top, left):
    x = images(3, (2, 9, 8))
    y = rv.Network([rv.RandomCrop(size, padding)], dtype="float64").predict(x)
    for image, cut in zip(x, y, strict=True):
        np.testing.assert_array_equal(cut, window(image, top, left, *size))


@pytest.mark.parametrize(
    "layer",
    [rv.GaussianNoise(0), rv.RandomShift(0), rv.RandomRotation(0), rv.RandomHorizontalFlip(0), rv.RandomCrop((9, 8))],
    ids=str,
)
def test_a_layer_without_chance_does_nothing(layer):
    x = images(3, (2, 9, 8))
    np.testing.assert_array_equal(drawn(layer, x), x)


@pytest.mark.parametrize("layer", AUGMENTATIONS, ids=str)
def test_augmentation_is_of_images(layer):
    with pytest.raises(ValueError, match=rf"layer 0 \({type(layer).__name__}\): expected samples of shape"):
        rv.Network([layer]).predict(np.zeros((3, 8)))


def test_a_crop_must_fit():
    with pytest.raises(ValueError, match=r"layer 0 \(RandomCrop\): expected images.*\(14, 8\), got shape \(2, 9, 8\)"):
        rv.Network([rv.RandomCrop((14, 8), padding=2)]).predict(images(1, (2, 9, 8)))


def test_training_with_all_of_them_and_a_file(tmp_path):
    layers = [*RANDOM[:4], rv.RandomCrop((6, 6), padding=1), rv.Conv2d(1, 4, 3), rv.ReLU(), rv.Flatten()]
    net = rv.Network([*layers, rv.Linear(64, 3)], seed=2)
    x, y = images(50, (1, 9, 8), np.float32), np.arange(50) % 3
    net.fit(x, y, epochs=2, progress=False)
    net.save(tmp_path / "net.safetensors")
    again = rv.load(tmp_path / "net.safetensors")
    assert again.layers == net.layers
    np.testing.assert_array_equal(again.predict(x), net.predict(x))
