"""Lessons 6 to 10: what their pages claim, with small settings, and that each writes its picture."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from mnist_files import WHY_NOT, mnist_folder
from ranvier import kernels, metrics
from ranvier.models import DATASETS
from scipy.signal import correlate2d

ROOT = Path(__file__).resolve().parents[1]


def lesson(name):
    """Return a script of the examples as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def absent():
    raise OSError("not here")


def is_picture(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10000


@pytest.mark.parametrize("number", range(6, 11))
def test_each_page_shows_its_script_and_picture(number):
    (page,) = (ROOT / "docs" / "lessons").glob(f"{number:02}_*.md")
    text = page.read_text(encoding="utf-8")
    assert f"{{literalinclude}} ../../examples/lesson_{page.stem}.py" in text
    assert f"../images/lessons/lesson_{number:02}.png" in text
    assert (ROOT / "examples" / f"lesson_{page.stem}.py").is_file()
    assert is_picture(ROOT / "docs" / "images" / "lessons" / f"lesson_{number:02}.png")


# --- lesson 6 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def capacity():
    return lesson("lesson_06_capacity")


@pytest.fixture(scope="module")
def points():
    return rv.datasets.moons(80, noise=0.35, seed=1)


def test_more_units_fit_the_training_points_better(capacity, points):
    few, many = (capacity.train(capacity.network(hidden), *points, 500) for hidden in (3, 20))
    assert many.evaluate(*points).accuracy > few.evaluate(*points).accuracy + 0.05


def test_a_stronger_penalty_leaves_smaller_weights(capacity, points):
    sizes = [
        capacity.weight_size(capacity.train(capacity.network(20, l2=l2), *points, 300)) for l2 in (0, 0.001, 0.01, 0.1)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.3 * sizes[0]


def test_the_size_of_the_weights_leaves_out_biases(capacity):
    net = capacity.network(2)
    for name, value in net.parameters().items():
        value[...] = 2 if name.endswith("weight") else 100
    assert capacity.weight_size(net) == pytest.approx(np.sqrt(8 * 4))


@pytest.mark.parametrize("setting", [{"dropout": 0.3}, {"noise": 0.3}])
def test_dropout_and_noise_hold_the_fit_back(capacity, points, setting):
    free, held = (capacity.train(capacity.network(20, **s), *points, 500) for s in ({}, setting))
    assert held.evaluate(*points).loss > 1.2 * free.evaluate(*points).loss


def test_capacity_draws_all_its_settings(capacity, monkeypatch, tmp_path, capsys):
    train = capacity.train
    monkeypatch.setattr(capacity, "STARTS", 1)
    monkeypatch.setattr(capacity, "train", lambda net, x, y: train(net, x, y, 2))
    capacity.main(tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line[: len(name)] for line, name in zip(lines[1:], capacity.SETTINGS, strict=True)] == [*capacity.SETTINGS]


# --- lesson 7 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cnn():
    return lesson("lesson_07_mnist_cnn")


@pytest.fixture(scope="module")
def mnist():
    if mnist_folder() is None:
        pytest.skip(WHY_NOT)
    return rv.datasets.mnist(mnist_folder())


def test_the_notes_network_is_that_of_the_models(cnn):
    assert rv.Network(cnn.notes_layers(28)).layers == DATASETS["mnist"].cnn


def test_it_is_tested_every_hundred_steps(cnn, mnist):
    (x, y), (x_test, y_test) = mnist
    net = rv.Network(cnn.notes_layers(28), seed=0)
    watched = cnn.train_and_watch(net, x[:12000], y[:12000], x_test[:1000], y_test[:1000])
    assert [step for step, _ in watched] == [100, 200, 240]
    assert watched[-1][1] > 0.88
    assert watched[-1][1] == net.evaluate(x_test[:1000], y_test[:1000]).accuracy


def test_a_watched_epoch_takes_each_sample_once_and_keeps_adams_state(cnn, monkeypatch):
    x, y = np.arange(520, dtype=np.float32).reshape(-1, 1), np.arange(520) % 10
    net = rv.Network([rv.Linear(1, 10)], seed=0)
    seen, states, fit = [], [], net.fit

    def spy(part, *arguments, **settings):
        seen.append(part[:, 0])
        result = fit(part, *arguments, **settings)
        states.append(net._training.state)
        return result

    monkeypatch.setattr(net, "fit", spy)
    watched = cnn.train_and_watch(net, x, y, x, y, epochs=2, steps=5)
    assert [len(part) for part in seen] == [250, 250, 20] * 2
    assert [step for step, _ in watched] == [5, 10, 11, 16, 21, 22]
    assert sorted(np.concatenate(seen[:3])) == sorted(np.concatenate(seen[3:])) == x[:, 0].tolist()
    assert all(state is states[0] for state in states)


def test_a_loaded_network_predicts_the_same_bits(cnn):
    images = np.random.default_rng(0).random((40, 1, 28, 28), dtype=np.float32)
    assert cnn.same_after_loading(rv.Network(cnn.better_layers(28), seed=3), images)


def test_other_bits_are_told(cnn, monkeypatch):
    images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    monkeypatch.setattr(cnn.rv, "load", lambda path: rv.Network(cnn.notes_layers(8), seed=2))
    assert not cnn.same_after_loading(rv.Network(cnn.notes_layers(8), seed=1), images)


def test_dropout_and_augmentation_learn_digits(cnn):
    (x, y), (x_test, y_test) = rv.datasets.digits()
    net = rv.Network(cnn.better_layers(8), seed=0)
    history = cnn.train_better(net, x, y, x_test, y_test, epochs=10)
    assert len(history) == 10
    assert history.val_accuracy[-1] > 0.96


def test_without_mnist_the_cnn_takes_digits_and_says_so(cnn, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cnn.rv.datasets, "mnist", absent)
    cnn.main(tmp_path / "picture.png", epochs=1)
    assert is_picture(tmp_path / "picture.png")
    text = capsys.readouterr().out
    assert text.startswith("MNIST is not here: scikit-learn's digits")
    assert "predicts the same bits: True" in text


# --- lesson 8 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cifar():
    return lesson("lesson_08_cifar10")


def test_two_layers_are_those_of_the_notes(cifar):
    net = cifar.two_layers((3, 32, 32))
    assert [value.shape for value in net.parameters().values()] == [(100, 3072), (100,), (10, 100), (10,)]
    x = np.random.default_rng(0).random((5, 3, 32, 32), dtype=np.float32)
    w1, b1, w2, b2 = net.parameters().values()
    expected = np.maximum(x.reshape(5, -1) @ w1.T + b1, 0) @ w2.T + b2
    np.testing.assert_allclose(net.predict(x), expected, atol=1e-5)


def test_both_networks_take_coloured_images(cifar):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 10
    x = (rng.random((60, 3, 32, 32)) * (1 + y[:, None, None, None])).astype(np.float32)
    for make in (cifar.two_layers, cifar.small_cnn):
        net = make(x.shape[1:])
        assert len(cifar.train(net, x, y, x, y, epochs=1)) == 1
        assert net.predict(x).shape == (60, 10)


def test_the_cnn_has_fewer_parameters_for_coloured_images(cifar):
    assert (
        5 * cifar.parameters(cifar.small_cnn((3, 32, 32))) < cifar.parameters(cifar.two_layers((3, 32, 32))) == 308310
    )


def test_without_cifar10_both_learn_digits_and_say_so(cifar, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cifar.rv.datasets, "cifar10", absent)
    cifar.main(tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    text = capsys.readouterr().out
    assert text.startswith("CIFAR-10 is not here: scikit-learn's digits")
    tested = [float(line.split(" training and ")[1].split()[0]) for line in text.splitlines()[1:]]
    assert len(tested) == 2
    assert min(tested) > 96


# --- lesson 9 ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outputs():
    return lesson("lesson_09_several_outputs")


def test_the_hand_is_where_the_angles_put_it(outputs):
    angles, hand = outputs.arm(50, noise=0)
    elbow = np.stack([np.cos(angles[:, 0]), np.sin(angles[:, 0])], axis=1)
    np.testing.assert_allclose(np.linalg.norm(hand - elbow, axis=1), 1)
    # Two sides of length 1 with the elbow's angle between their directions: the law of cosines.
    np.testing.assert_allclose((hand**2).sum(axis=1), 2 + 2 * np.cos(angles[:, 1]))


def test_two_targets_are_learnt_together(outputs):
    net = outputs.regress(*outputs.arm(600), epochs=60)
    x, y = outputs.arm(300, seed=1)
    assert net.predict(x).shape == (300, 2)
    assert metrics.r2_score(y, net.predict(x)) > 0.96


def test_probabilities_of_irises_sum_to_one_and_are_right(outputs):
    train, (x, y), names = outputs.irises()
    assert (len(train[0]), len(x), names) == (100, 50, ["setosa", "versicolor", "virginica"])
    np.testing.assert_allclose(train[0].mean(axis=0), 0, atol=1e-12)
    probabilities = kernels.softmax(outputs.classify(*train, epochs=100).predict(x))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert metrics.accuracy(y, probabilities) > 0.9
    assert metrics.confusion_matrix(y, probabilities).sum() == 50


def test_several_outputs_draws(outputs, tmp_path, capsys):
    outputs.main(tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    assert len(capsys.readouterr().out.splitlines()) == 5


# --- lesson 10 --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone():
    return lesson("lesson_10_kernels")


def test_edges_are_those_of_scipy(alone):
    image = np.random.default_rng(0).random((1, 1, 23, 31), dtype=np.float32)
    across, down = (correlate2d(image[0, 0].astype(np.float64), kernel, "valid") for kernel in alone.EDGES[:, 0])
    np.testing.assert_allclose(alone.edges(image)[0, 0], np.hypot(across, down), atol=1e-6)


def test_a_ramp_is_as_steep_as_it_is(alone):
    ramp = (0.03 * np.arange(20)[None, :] + 0.04 * np.arange(15)[:, None]).astype(np.float32)
    steep = alone.edges(ramp[None, None])
    assert steep.shape == (1, 1, 13, 18)
    np.testing.assert_allclose(steep, 0.05, atol=1e-6)


def test_the_image_is_grey_and_large(alone):
    image = alone.grey_image()
    assert image.shape == (1, 1, 427, 640)
    assert 0 <= image.min() < 0.1 < 0.9 < image.max() <= 1


def test_timed_functions_are_called_and_their_product_is_right(alone):
    a, b = np.random.default_rng(0).standard_normal((2, 9, 9), dtype=np.float32)
    out = np.empty_like(a)
    assert np.isfinite(alone.best_time(kernels.matmul, a, b, out, 0.01))
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)
    assert alone.time_matmul(8, 0.01).shape == (2,)


def test_kernels_draw(alone, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(alone, "SIZES", (8, 16))
    alone.main(tmp_path / "picture.png")
    assert is_picture(tmp_path / "picture.png")
    assert "NumPy / Ranvier" in capsys.readouterr().out
