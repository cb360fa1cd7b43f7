"""Lessons 1 to 5 say what is true: their functions, with less training than in the lessons."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from mnist_files import WHY_NOT, mnist_folder
from ranvier.diagnostics import DeadUnits

ROOT = Path(__file__).resolve().parents[1]
NAMES = ["01_neurons", "02_mnist", "03_curve", "04_vanishing", "05_dead_relus"]


def lesson(name):
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"lesson_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn")
    return rv.datasets.digits(flatten=True)


@pytest.mark.parametrize("name", NAMES)
def test_page_shows_the_script_and_its_picture(name):
    page = (ROOT / "docs" / "lessons" / f"{name}.md").read_text(encoding="utf-8")
    assert f"```{{literalinclude}} ../../examples/lesson_{name}.py" in page
    assert f"](../images/lessons/{name}.png)" in page
    assert (ROOT / "docs" / "images" / "lessons" / f"{name}.png").exists()


def test_1_perceptron_is_a_nand_gate():
    module = lesson("01_neurons")
    assert module.nand_gate().predict(module.INPUTS)[:, 0].tolist() == [1, 1, 1, 0]


def test_1_quadratic_cost_starts_slowly():
    module = lesson("01_neurons")
    drops, outputs = {}, {}
    for name, cost in module.COSTS.items():
        history, outputs[name] = module.train_neuron(cost, epochs=50)
        drops[name] = 1 - history.loss[1] / history.loss[0]
    assert drops["cross-entropy"] > 20 * drops["quadratic"] > 0
    assert outputs["quadratic"][0] == outputs["cross-entropy"][0] == pytest.approx(0.982, abs=1e-3)
    assert outputs["quadratic"][-1] > 0.9 > 0.2 > outputs["cross-entropy"][-1]


def test_1_runs(tmp_path, capsys):
    lesson("01_neurons").main(tmp_path / "picture.png")
    assert re.findall(r"nand \d = (\d)", capsys.readouterr().out) == list("1110")
    assert (tmp_path / "picture.png").stat().st_size > 10000


def test_2_later_stages_are_better(tmp_path, monkeypatch, capsys):
    folder = mnist_folder()
    if folder is None:
        pytest.skip(WHY_NOT)
    monkeypatch.setenv("RANVIER_DATA", str(folder))
    module = lesson("02_mnist")
    module.main(tmp_path / "picture.png", epochs=2)
    printed = capsys.readouterr().out
    assert printed.startswith("MNIST: 60000 training")
    percents = [float(percent) for percent in re.findall(r"([\d.]+) % of the test digits", printed)]
    assert percents[0] > 90
    assert percents[2] > percents[1] + 1
    assert percents[3] > percents[2]
    assert percents[4] > max(96, percents[2])
    assert (tmp_path / "picture.png").exists()


def test_2_says_that_it_has_no_mnist(monkeypatch, digits, capsys):
    def missing(**_):
        raise OSError

    module = lesson("02_mnist")
    monkeypatch.setattr(rv.datasets, "mnist", missing)
    (x, _), _ = module.load_digits()
    assert x.shape == (1437, 64)
    assert "no MNIST found" in capsys.readouterr().out
    net, loss, optimizer = module.stages(64, 3)["+ L2, falling rate"]
    history = module.train(net, loss, optimizer, digits, 3)
    assert len(history.val_accuracy) == 3


def test_3_more_units_give_less_error():
    module = lesson("03_curve")
    errors = [
        module.rms_error(module.typical([module.fit_curve(units, seed, epochs=300) for seed in range(3)]))
        for units in (1, 5, 20)
    ]
    assert errors[0] > 0.6
    assert errors[0] > 2 * errors[1] > 6 * errors[2]
    assert errors[2] < 0.1


def test_4_sigmoids_let_the_gradient_vanish(digits):
    module = lesson("04_vanishing")
    norms = {name: module.gradient_norms(module.deep_network(*kind), *digits[0]) for name, kind in module.KINDS.items()}
    assert all(np.diff(norms["sigmoid, Xavier"]) > 0)
    ratio = {name: values[0] / values[5] for name, values in norms.items()}
    assert ratio["sigmoid, Xavier"] < 1e-2 < ratio["sigmoid, 4 x Xavier"] < 0.1
    assert min(ratio["sigmoid, batch norm"], ratio["ReLU, He"], ratio["ReLU, N(0, 1)"]) > 0.5
    assert min(norms["ReLU, N(0, 1)"]) > 1000 * max(norms["ReLU, He"])


def test_4_what_keeps_the_gradient_alive_learns(digits):
    module = lesson("04_vanishing")
    final = {
        name: module.train(module.deep_network(*module.KINDS[name]), digits, epochs=5)[-1]
        for name in ("sigmoid, Xavier", "sigmoid, batch norm", "ReLU, He")
    }
    assert final["sigmoid, Xavier"] < 0.3
    assert min(final["sigmoid, batch norm"], final["ReLU, He"]) > 0.8
    assert module.train(module.deep_network(*module.KINDS["ReLU, N(0, 1)"]), digits) == []


def test_5_large_rate_kills_more_relus(digits):
    module = lesson("05_dead_relus")
    medians = {
        (name, rate): module.medians(
            [module.train(module.network(module.ACTIVATIONS[name], seed), rate, digits) for seed in range(3)], digits
        )
        for name in ("ReLU", "leaky ReLU")
        for rate in (0.3, 1.0)
    }
    silent = {key: values[0] for key, values in medians.items()}
    accuracy = {key: values[1] for key, values in medians.items()}
    assert silent["ReLU", 0.3] < 0.1 < 0.5 < silent["ReLU", 1.0]
    assert silent["leaky ReLU", 1.0] < silent["ReLU", 1.0]
    assert accuracy["ReLU", 0.3] > 0.95
    assert accuracy["ReLU", 0.3] > accuracy["leaky ReLU", 1.0] > accuracy["ReLU", 1.0]


def test_5_silent_relus_are_those_that_dead_units_counts(digits):
    module = lesson("05_dead_relus")
    dead = DeadUnits(digits[0][0])
    net = module.train(module.network(rv.ReLU()), 0.7, digits, epochs=3, callbacks=[dead])
    last = [fractions[-1] for fractions in dead.fractions.values()]
    assert module.silent_units(net, digits[0][0]) == pytest.approx(np.mean(last))
    assert max(last) > 0
