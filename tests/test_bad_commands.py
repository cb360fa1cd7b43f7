"""Bad calls of the command line: one clear line, exit code 2, and nothing is written."""

import io
import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from ranvier.cli import main
from ranvier.datasets import files
from ranvier.models import DATASETS

LARGE = str(2**63)
DIGITS = ["train", "digits"]
NUMBERS = {
    "--epochs": ["0", "-1", "1.5", "many", "", "nan", LARGE, "9" * 5000, "1e3"],
    "--batch-size": ["0", "-3", "2.5", "inf", LARGE, "0x10"],
    "--lr": ["-1", "nan", "inf", "-inf", "1e400", "1e30", "fast", ""],
    "--seed": ["-1", LARGE, "1.0", "random"],
    "--threads": ["0", "-2", LARGE, "2147483648", "all"],
    "--optimizer": ["magic", "Adam", ""],
    "--model": ["rnn", "", "MLP"],
}
COMMANDS = {
    **{f"{option} {value[:20]}": [*DIGITS, option, value] for option, values in NUMBERS.items() for value in values},
    "nothing": [],
    "no such command": ["nosuchcommand"],
    "an empty command": [""],
    "no data set": ["train"],
    "no such data set": ["train", "nosuchset"],
    "no such option": [*DIGITS, "--fast"],
    "an option without its value": [*DIGITS, "--epochs"],
    "too much": [*DIGITS, "mnist"],
    "info of something": ["info", "all"],
    "no image": ["predict", "net"],
    "no model": ["predict"],
    "save to no folder": [*DIGITS, "--save", "no/net"],
    "save to a folder": [*DIGITS, "--save", "folder"],
    "save to a folder by its name": [*DIGITS, "--save", "new/"],
    "save to nothing": [*DIGITS, "--save", ""],
    "save to a device": [*DIGITS, "--save", "/dev/null"],
    "save to a long name": [*DIGITS, "--save", "n" * 300],
    "save below a file": [*DIGITS, "--save", "text.png/net"],
    "save to a circle": [*DIGITS, "--save", "circle"],
    "plot in no folder": [*DIGITS, "--plot", "no/plot.png"],
    "plot to a folder": [*DIGITS, "--plot", "folder"],
    "plot in no format": [*DIGITS, "--plot", "plot.xyz"],
    "plot to nothing": [*DIGITS, "--plot", ""],
    "other data": ["train", "mnist", "--data", "folder"],
    "broken data": ["train", "mnist", "--data", "broken"],
    "data that are a file": ["train", "cifar10", "--data", "text.png"],
    "a model that is not there": ["predict", "no", "good.npy"],
    "a model that is a folder": ["predict", "folder", "good.npy"],
    "a model that is a device": ["predict", "/dev/zero", "good.npy"],
    "a model that is text": ["predict", "text.png", "good.npy"],
    "a model that is cut off": ["predict", "cut", "good.npy"],
    "a model of no samples": ["predict", "unseen", "good.npy"],
    "a model that gives images": ["predict", "images", "good.npy"],
    "a model that gives one number": ["predict", "one", "good.npy"],
    "a model that is NaN": ["predict", "nan", "good.npy"],
    "classes that are no JSON": ["predict", "classes-text", "good.npy"],
    "classes that are no list": ["predict", "classes-number", "good.npy"],
    "classes that are no names": ["predict", "classes-numbers", "good.npy"],
    "too few classes": ["predict", "classes-few", "good.npy"],
    "too many classes": ["predict", "classes-many", "good.npy"],
    "classes that are nested": ["predict", "classes-nested", "good.npy"],
    "a picture that is not there": ["predict", "net", "no.png"],
    "a picture that is a folder": ["predict", "net", "folder"],
    "a picture that is text": ["predict", "net", "text.png"],
    "a picture that is cut off": ["predict", "net", "cut.png"],
    "a picture that is a bomb": ["predict", "net", "bomb.png"],
    "a picture that is empty": ["predict", "net", "empty.png"],
    "a picture without a name": ["predict", "net", ""],
    "a picture for vectors": ["predict", "vectors", "good.png"],
    **{f"an array that is {kind}": ["predict", "net", f"{kind}.npy"] for kind in (
        "missing", "empty", "text", "small", "large", "objects", "strings", "complex", "structured", "archive",
        "archive-of-text", "cut", "claims", "nan", "beyond", "magic", "version", "header", "dates", "pickle",
    )},
    "one good and one bad": ["predict", "net", "good.npy", "small.npy"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models, arrays and pictures with everything that may be wrong with them."""
    image = pytest.importorskip("PIL.Image")
    path = tmp_path_factory.mktemp("commands")
    (path / "folder").mkdir()
    (path / "circle").symlink_to("circle")
    _models(path)
    _arrays(path)
    _pictures(path, image)
    (path / "broken").mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (path / "broken" / name).write_bytes(struct.pack(">4i", 2051, 2**31 - 1, 28, 28))
    return path


def _models(path):
    layers = DATASETS["digits"].mlp
    net = rv.Network(layers, seed=0)
    net.save(path / "unseen")
    net.predict(np.zeros((1, 1, 8, 8)))
    ten = [str(i) for i in range(10)]
    net.save(path / "net", {"classes": json.dumps(ten)})
    for name, classes in {
        "text": "zero, one",
        "number": "3",
        "numbers": json.dumps(list(range(10))),
        "few": json.dumps(ten[:9]),
        "many": json.dumps([*ten, "10"]),
        "nested": "[" * 100000,
    }.items():
        net.save(path / f"classes-{name}", {"classes": classes})
    (path / "cut").write_bytes((path / "net").read_bytes()[:-9])
    net.parameters()["1.weight"][...] = np.nan
    net.save(path / "nan")
    for name, other, shape in (
        ("images", [rv.Conv2d(1, 3, 3)], (1, 8, 8)),
        ("one", [rv.Flatten(), rv.Linear(64, 1)], (1, 8, 8)),
        ("vectors", [rv.Linear(64, 10)], (64,)),
    ):
        net = rv.Network(other, seed=0)
        net.predict(np.zeros((1, *shape)))
        net.save(path / name)


def _arrays(path):
    good = np.linspace(0, 1, 64).reshape(8, 8)
    arrays = {
        "good": good,
        "small": good[0],
        "large": np.zeros((8, 8, 8)),
        "strings": good.astype(str),
        "complex": good + 0j,
        "structured": np.zeros(64, [("a", "f4"), ("b", "f4")]),
        "nan": np.where(good < 0.5, np.nan, good),
        "beyond": good * 1e300,
        "dates": np.zeros(64, "datetime64[s]"),
    }
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    np.save(path / "objects.npy", np.array([object] * 64), allow_pickle=True)
    contents = (path / "good.npy").read_bytes()
    with io.BytesIO() as archive:
        np.savez(archive, good)
        (path / "archive.npy").write_bytes(archive.getvalue())
    with zipfile.ZipFile(path / "archive-of-text.npy", "w") as file:
        file.writestr("a", "b")
    for name, changed in {
        "empty": b"",
        "text": b"1, 2, 3",
        "cut": contents[:-5],
        "claims": contents.replace(b"(8, 8)", b"(8, 8000000000000)"),
        "magic": contents[:6],
        "version": contents[:6] + b"\xff" + contents[7:],
        "header": contents[:10] + b"(" * 118 + contents[128:],
        "pickle": b"\x80\x04}\x94.",
    }.items():
        (path / f"{name}.npy").write_bytes(changed)


def _pictures(path, image):
    image.new("L", (16, 16)).save(path / "good.png")
    image.effect_noise((64, 64), 50).save(path / "whole.png")
    (path / "cut.png").write_bytes((path / "whole.png").read_bytes()[:-900])
    image.new("1", (20000, 20000)).save(path / "bomb.png")
    (path / "text.png").write_text("no picture")
    (path / "empty.png").touch()


def no_network(*arguments):
    raise OSError("there is no network")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_call_is_one_line_and_code_2(folder, monkeypatch, capfd, name):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(files, "_retrieved", no_network)
    monkeypatch.delenv("RANVIER_DATA", raising=False)
    before = {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in os.scandir(folder)}
    try:
        code = main(COMMANDS[name])
    except SystemExit as exit:  # of argparse
        code = exit.code
    output, errors = capfd.readouterr()
    lines = errors.splitlines()
    assert code == 2, (code, errors)
    assert len([line for line in lines if line.startswith("ranvier")]) == 1, errors
    assert "Traceback" not in errors
    if "lr 1e30" not in name:  # which is tried
        assert len(lines) == 1
        assert "model saved" not in output
        assert "epoch" not in output
    after = {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in os.scandir(folder)}
    assert after == before


def test_good_calls_are_none(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    assert main(["predict", "net", "good.npy", "good.png"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_bytes_are_pixels(folder, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    np.save(tmp_path / "bytes.npy", pixels)
    np.save(tmp_path / "numbers.npy", pixels / np.float32(255))
    assert main(["predict", "net", str(tmp_path / "bytes.npy"), str(tmp_path / "numbers.npy")]) == 0
    first, second = (line.split("npy: ")[1] for line in capfd.readouterr().out.splitlines())
    assert first == second


def test_in_a_process_of_its_own(folder):
    for name in ("--threads 9223372036854775808", "an array that is archive", "classes that are no JSON"):
        command = [sys.executable, "-m", "ranvier", *COMMANDS[name]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANGING, check=False)
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_output_that_cannot_be_written_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ranvier", "info"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANGING, check=False)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
