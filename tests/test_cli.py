"""The command line, as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING, INTERRUPTIBLE
from ranvier.models import DATASETS


def command(*arguments):
    return [sys.executable, "-m", "ranvier", *map(str, arguments)]


def run(*arguments, cwd=None):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=HANGING, cwd=cwd, check=False)


def table_of_epochs(output):
    """Return the cells of the header and of each row."""
    lines = [line.split() for line in output.splitlines() if re.match(r"epoch | +\d+ ", line)]
    assert lines[0][0] == "epoch"
    return lines


def test_train_digits_learns_saves_and_draws(tmp_path):
    result = run("train", "digits", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    header, *rows = table_of_epochs(result.stdout)
    assert header == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert [row[0] for row in rows] == [str(epoch + 1) for epoch in range(DATASETS["digits"].epochs)]
    accuracies = [row[4] for row in rows]
    assert float(accuracies[-1]) >= 0.96
    assert result.stderr == ""  # no progress bar where nobody sees it
    assert "model saved to digits-mlp.safetensors" in result.stdout
    assert (tmp_path / "digits-mlp.png").read_bytes().startswith(b"\x89PNG")
    (_, _), (x_test, y_test) = rv.datasets.digits()
    accuracy = rv.load(tmp_path / "digits-mlp.safetensors").evaluate(x_test, y_test).accuracy
    assert accuracy == pytest.approx(float(accuracies[-1]), abs=1e-4)


def test_options_are_heard(tmp_path):
    options = ["--model", "cnn", "--epochs", 2, "--batch-size", 50, "--lr", 0.05, "--optimizer", "sgd"]
    options += ["--seed", 3, "--threads", 1, "--save", tmp_path / "m.safetensors", "--plot", tmp_path / "p.svg"]
    result = run("train", "digits", *options)
    assert result.returncode == 0, result.stderr
    assert len(table_of_epochs(result.stdout)) == 3
    net = rv.load(tmp_path / "m.safetensors")
    assert net.layers == DATASETS["digits"].cnn
    assert net.seed == 3
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_predict_prints_classes_and_probabilities(tmp_path):
    from PIL import Image

    result = run("train", "digits", "--save", tmp_path / "m.safetensors", "--plot", tmp_path / "p.png")
    assert result.returncode == 0, result.stderr
    _, (x, y) = rv.datasets.digits()
    np.save(tmp_path / "a.npy", x[0])
    Image.fromarray((x[1, 0] * 255).astype(np.uint8)).resize((64, 64)).save(tmp_path / "b.png")
    result = run("predict", tmp_path / "m.safetensors", tmp_path / "a.npy", tmp_path / "b.png")
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    match = re.fullmatch(r".*a\.npy: (\d) (\d\.\d{4}), \d \d\.\d{4}, \d \d\.\d{4}", first)
    assert match
    assert int(match[1]) == y[0]
    assert "b.png: " in second


def test_info_tells_what_is_used():
    result = run("info")
    assert result.returncode == 0
    assert rv.__version__ in result.stdout
    assert rv.cpu_info()["isa"] in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "nosuchset"],
        ["train", "digits", "--model", "rnn"],
        ["train", "digits", "--epochs", "0"],
        ["train", "digits", "--batch-size", "many"],
        ["train", "digits", "--optimizer", "magic"],
        ["nosuchcommand"],
        [],
        ["predict", "model-without-image"],
    ],
)
def test_senseless_commands_are_one_line_and_code_2(arguments):
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("ranvier")


def test_failures_are_one_line_and_code_2(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    rv.Network([4, 2], seed=0).save(tmp_path / "flat.safetensors")
    (tmp_path / "text.png").write_text("no picture")
    net = rv.Network(DATASETS["digits"].mlp, seed=0)
    net.predict(np.zeros((1, 1, 8, 8)))
    net.save(tmp_path / "net.safetensors", {"classes": json.dumps(list("0123456789"))})
    np.save(tmp_path / "small.npy", np.zeros(3))
    (tmp_path / "empty.npy").touch()
    for arguments, text in (
        (["predict", tmp_path / "nowhere.safetensors", "x.png"], "nowhere.safetensors"),
        (["predict", tmp_path / "broken.safetensors", "x.png"], "broken.safetensors"),
        (["predict", tmp_path / "flat.safetensors", tmp_path / "text.png"], "not that of a picture"),
        (["predict", tmp_path / "net.safetensors", tmp_path / "text.png"], "not a picture"),
        (["predict", tmp_path / "net.safetensors", tmp_path / "small.npy"], "expected an array of 64 elements"),
        (["predict", tmp_path / "net.safetensors", tmp_path / "empty.npy"], "empty.npy"),
        (["train", "digits", "--save", tmp_path / "no" / "m.safetensors"], "there is no folder"),
    ):
        result = run(*arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert text in result.stderr


def test_ctrl_c_keeps_what_was_trained(tmp_path):
    if os.name != "posix":
        pytest.skip("needs POSIX signals")
    code = INTERRUPTIBLE + "import sys\nfrom ranvier.cli import main\nsys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "train", "digits", "--epochs", "1000000", "--save", "m.safetensors"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        watchdog = threading.Timer(HANGING, process.kill)
        watchdog.start()
        for line in process.stdout:
            if line.startswith("    2 "):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        watchdog.cancel()
    assert process.returncode == 130
    assert "what was trained is in m.safetensors" in rest
    assert rv.load(tmp_path / "m.safetensors").layers == DATASETS["digits"].mlp
