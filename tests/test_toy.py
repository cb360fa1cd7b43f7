"""Toy data sets: what their points mean, and that a seed settles them."""

import numpy as np
import pytest
from ranvier import datasets

CLASSIFIED = [datasets.blobs, datasets.circles, datasets.moons, datasets.spirals]


@pytest.mark.parametrize("make", CLASSIFIED)
def test_points_of_the_plane_in_even_classes(make):
    x, y = make(101, seed=3)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((101, 2), np.float32, (101,), np.int64)
    counts = np.bincount(y)
    assert counts.max() - counts.min() == 1
    assert len(set(y[:20])) > 1  # in random order


@pytest.mark.parametrize("make", [*CLASSIFIED, datasets.curve])
def test_a_seed_settles_the_points(make):
    for first, again, other in zip(make(50, seed=1), make(50, seed=1), make(50, seed=2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("make", CLASSIFIED)
def test_noise_is_the_spread(make):
    """Measured as the distance to the nearest point without noise; on a line, only what leads off it counts."""
    clean, clean_y = make(1000, noise=0, seed=0)
    x, y = make(1000, noise=0.01, seed=0)
    distances = [np.linalg.norm(clean[clean_y == k] - p, axis=1).min() for p, k in zip(x, y, strict=True)]
    spread = np.sqrt(np.mean(np.square(distances)))
    expected = 0.01 * np.sqrt(2) if make is datasets.blobs else 0.01
    assert spread == pytest.approx(expected, rel=0.1)


def test_blobs_lie_around_the_unit_circle():
    x, y = datasets.blobs(4000, classes=4, noise=0.3, seed=0)
    for label, centre in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        np.testing.assert_allclose(x[y == label].mean(axis=0), centre, atol=0.05)
        np.testing.assert_allclose(x[y == label].std(axis=0), 0.3, atol=0.03)


def test_circles_have_their_radii():
    x, y = datasets.circles(200, noise=0, factor=0.3)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.where(y == 0, 1, 0.3), rtol=1e-5)


def test_moons_are_half_circles():
    x, y = datasets.moons(200, noise=0)
    np.testing.assert_allclose(np.linalg.norm(x - np.where(y, 1, 0)[:, None] * [1, 0.5], axis=1), 1, rtol=1e-5)
    assert (x[y == 0, 1] >= -1e-6).all()
    assert (x[y == 1, 1] <= 0.5 + 1e-6).all()


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.0), (3, 1.5), (5, -0.5)])
def test_the_angle_tells_the_spiral(classes, turns):
    x, y = datasets.spirals(60 * classes + 1, classes=classes, turns=turns, noise=0)
    radius = np.linalg.norm(x, axis=1)
    phase = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) - turns * radius
    np.testing.assert_array_equal(np.round(phase * classes) % classes, y)
    np.testing.assert_allclose(phase * classes, np.round(phase * classes), atol=1e-4)
    assert radius.max() == pytest.approx(1)
    assert radius.min() < 0.2


def test_a_curve_is_the_function_and_noise():
    x, y = datasets.curve(500, np.square, interval=(-2, 1), noise=0)
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((500, 1), (500, 1), np.float32, np.float32)
    np.testing.assert_allclose(y, x**2, atol=1e-6)
    assert -2 <= x.min() < -1.9
    assert 0.9 < x.max() <= 1
    x, y = datasets.curve(5000, noise=0.2)
    assert np.std(y - np.sin(x)) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: datasets.blobs(0), ValueError, "samples: expected at least 1, got 0"),
        (lambda: datasets.moons(2.5), TypeError, "samples: expected an int"),
        (lambda: datasets.circles(9, noise=-1), ValueError, "noise: expected a standard deviation"),
        (lambda: datasets.circles(9, factor=1), ValueError, "factor: expected a radius from 0 to below 1"),
        (lambda: datasets.spirals(9, classes=10), ValueError, "classes: expected at most one for each of 9"),
        (lambda: datasets.spirals(9, seed=-1), ValueError, "seed: expected at least 0"),
        (lambda: datasets.curve(9, 3), TypeError, "function: expected a function, got 3"),
        (lambda: datasets.curve(9, lambda x: 1.0), ValueError, r"function: expected a result of shape \(9,\)"),
        (lambda: datasets.curve(9, interval=(1, 1)), ValueError, "interval: expected its start below its end"),
        (lambda: datasets.curve(9, interval=3), TypeError, "interval: expected a pair"),
    ],
)
def test_unfit_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'ranvier\[examples\]'"):
        datasets.moons(10)
    datasets.spirals(10)
