"""Notebooks: what a cell shows of pictures, progress and tables, and what a Ctrl-C leaves."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import ranvier as rv
from programs import HANGING
from ranvier.diagnostics import GradientCheck, ParameterCheck
from ranvier.tables import Table

CELLS = {
    "set up": """
import os, signal, sys
import numpy as np
import ranvier as rv
rng = np.random.default_rng(0)
x, y = rng.standard_normal((60, 4)), rng.integers(0, 3, 60)
net = rv.Network([rv.Linear(4, 8), rv.Tanh(), rv.Linear(8, 3)], seed=0)
assert "matplotlib.pyplot" not in sys.modules
""",
    "fit": "net.fit(x, y, epochs=3, validation_data=(x, y))",
    "without a bar": "history = net.fit(x, y, epochs=3, progress=False)",
    "curves": "rv.plot.learning_curves(net.history)",
    "two pictures": """
for layers in ([2, 3], [3, 4, 2]):
    rv.plot.network_diagram(layers).set_title(str(layers))
""",
    "no new picture": "assert not __import__('matplotlib.pyplot').pyplot.get_fignums()",
    "network": "net",
    "summary": "net.summary((4,))",
    "profile": "net.profile(x, y, seconds=0.01)",
    "check": "rv.diagnostics.gradient_check(net, x[:5], y[:5])",
    "interrupt": """
def interrupt(network, epoch, history):
    if epoch == 2:
        os.kill(os.getpid(), signal.SIGINT)

net.fit(x, y, epochs=100, callbacks=[rv.EarlyStopping("loss"), interrupt])
""",
    "after it": "print(len(net.history), np.isfinite(net.predict(x)).all())",
}


class Cells(HTMLParser):
    """Finds in a page what each cell shows, tags with their attributes and text, and the state of its widgets."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.widgets = [], [], ""
        self._is_output = self._is_state = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self._is_state = dict(attributes).get("type") == "application/vnd.jupyter.widget-state+json"
        classes = (dict(attributes).get("class") or "").split()
        if "jp-Cell" in classes:
            self.tags.append([])
            self.texts.append("")
        if "jp-Cell-inputWrapper" in classes or "jp-Cell-outputWrapper" in classes:
            self._is_output = "jp-Cell-outputWrapper" in classes
        if self.tags and self._is_output:
            self.tags[-1].append((tag, dict(attributes)))

    def handle_data(self, text):
        if self._is_state:
            self.widgets += text
        elif self.texts and self._is_output:
            self.texts[-1] += text

    def handle_endtag(self, tag):
        self._is_state = False


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return what an executed notebook shows below each cell, tags and text, and the states of its widgets."""
    for module in ("ipykernel", "ipywidgets", "nbconvert", "matplotlib"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("notebook")
    cells = [
        {
            "cell_type": "code",
            "id": f"cell{number}",
            "source": source,
            "metadata": {"tags": ["raises-exception"] if name == "interrupt" else []},
            "outputs": [],
            "execution_count": None,
        }
        for number, (name, source) in enumerate(CELLS.items())
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebook.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "notebook.ipynb"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANGING, check=False)
    assert result.returncode == 0, result.stderr
    page = Cells((folder / "notebook.html").read_text())
    assert len(page.texts) == len(CELLS)
    cells = {name: (page.tags[number], page.texts[number]) for number, name in enumerate(CELLS)}
    return cells | {"widgets": json.loads(page.widgets)["state"].values()}


def count(tags, wanted):
    return sum(tag == wanted for tag, attributes in tags)


def test_pictures_are_shown_below_their_cells(shown):
    for name, pictures in (("curves", 1), ("two pictures", 2), ("no new picture", 0)):
        tags, _ = shown[name]
        sources = [attributes["src"] for tag, attributes in tags if tag == "img"]
        assert len(sources) == pictures, name
        assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_progress_is_one_bar_of_widgets(shown):
    tags, text = shown["fit"]
    widgets = [attributes for tag, attributes in tags if "widget-view+json" in attributes.get("type", "")]
    assert len(widgets) == 1
    assert "IProgress not found" not in text
    states = shown["widgets"]
    words = " ".join(state["state"].get("value", "") for state in states if state["model_name"] == "HTMLModel")
    words = words.replace("\u2007", " ")  # a space as wide as a digit
    assert "Epoch 3/3: 100%" in words
    assert re.search(r"val_loss=\d.*val_accuracy=\d", words)
    bars = [state["state"] for state in states if state["model_name"] == "FloatProgressModel"]
    assert [(bar["value"], bar["max"], bar["bar_style"]) for bar in bars] == [
        (180, 180, "success"),
        (120, 6000, "danger"),  # the one that was interrupted
    ]
    assert count(shown["without a bar"][0], "script") == 0
    assert shown["without a bar"][1].strip() == ""


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("fit", 4, ["val_accuracy", "seconds"]),
        ("network", 4, ["Linear(in_features=4, out_features=8)", "67 parameters of float32"]),
        ("summary", 4, ["(8,)", "67 parameters of float32"]),
        ("profile", 6, ["backward", "Linear + Tanh", "GFLOP/s"]),
        ("check", 5, ["backpropagation", "passed"]),
    ],
)
def test_results_are_tables(shown, name, rows, words):
    tags, text = shown[name]
    assert count(tags, "table") == 1
    assert count(tags, "tr") == rows
    for word in words:
        assert word in text


def test_an_interrupted_cell_leaves_a_network_and_its_history(shown):
    assert "KeyboardInterrupt" in shown["interrupt"][1]
    assert shown["after it"][1].split() == ["8", "True"]


def test_cells_of_tables_are_escaped():
    table = Table(("<b>", "n"), [("a & b", "1")], 1, "x < y")
    html = table._repr_html_()
    assert "&lt;b&gt;" in html
    assert "a &amp; b" in html
    assert "x &lt; y" in html
    assert "<b>" not in html
    assert str(table) == "<b>    n\na & b  1\nx < y"
    check = GradientCheck((ParameterCheck("0.<script>", 0.0, (0,), 1.0, 1.0, 1, 0),), 1e-6)
    assert "<script>" not in check._repr_html_()


def test_a_long_history_shows_where_it_began_and_where_it_ended():
    history = rv.History()
    for epoch in range(1000):
        history.append(loss=float(epoch), r2=1.0)
    rows = str(history).splitlines()
    assert rows[0].split() == ["epoch", "loss", "r2"]
    assert [row.split()[0] for row in (rows[1], rows[30], rows[31], rows[32], rows[-1])] == [
        "1",
        "30",
        "...",
        "971",
        "1000",
    ]
    assert len(re.findall("<tr>", history._repr_html_())) == 62
    assert str(rv.History()) == "epoch"
