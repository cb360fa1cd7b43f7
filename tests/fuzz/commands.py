"""Command lines of good and bad words: done, or one line and exit code 2."""

import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
from ranvier.cli import main
from ranvier.datasets import files as dataset_files

from . import files

WORDS = {
    "--epochs": ["1", "2", "0", "-1", "x", "1e9", "9" * 30],
    "--batch-size": ["1797", "100", "2147483647", "0", "2147483648", "none"],
    "--lr": ["0.1", "0", "1e-3", "1e30", "1e300", "nan", "inf", "-1", "1e-320"],
    "--optimizer": ["adam", "sgd", "x"],
    "--model": ["mlp", "mlp", "mlp", "x"],
    "--seed": ["0", "9223372036854775807", "9223372036854775808", "-1"],
    "--threads": ["1", "2", "300", "2147483647", "2147483648", "0"],
    "--save": ["a", "folder", "no/a", "", "/dev/null", "n" * 255, "n" * 256, "link", "ö", "a\udcff"],
    "--plot": ["a.png", "a.svg", "a", "a.xyz", "folder", "", "a.png/b"],
}
ARRAYS = ["good.npy", "cut.npy", "changed.npy", "folder", "no.npy", "good.png", "changed.png", ""]


def case(seed):
    """Run a command in a folder of good and bad files."""
    rng = np.random.default_rng(seed)
    before = os.getcwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder) if hasattr(contextlib, "chdir") else _in(folder, before),
    ):
        make_files(rng)
        words = random_words(rng)
        output, errors = io.StringIO(), io.StringIO()
        download, dataset_files._download = dataset_files._download, _no_network
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    code = main(words)
                except SystemExit as exit:  # of argparse
                    code = exit.code
        finally:
            dataset_files._download = download
        told = [line for line in errors.getvalue().replace("\r", "\n").splitlines() if line.startswith("ranvier")]
        assert code in (0, 2), (words, code, errors.getvalue())
        assert len(told) == (code == 2), (words, code, errors.getvalue())


@contextlib.contextmanager
def _in(folder, before):
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _no_network(url, path):
    raise OSError("there is no network")


def make_files(rng):
    """Models, arrays and pictures."""
    Path("folder").mkdir()
    Path("link").symlink_to("target")
    shape = (1, 4, 4) if rng.random() < 0.7 else (5,)
    Path("good").write_bytes(files.originals()[0 if len(shape) == 3 else 4])
    Path("changed").write_bytes(files.changed(rng))
    dtype = rng.choice(["float32", "float64", "uint8", "int64", "complex64", "U3", "bool"])
    np.save("good.npy", (rng.random(shape) * 9).astype(dtype))
    contents = bytearray(Path("good.npy").read_bytes())
    Path("cut.npy").write_bytes(contents[: rng.integers(len(contents))])
    for position in rng.integers(0, len(contents), 3):
        contents[position] = rng.integers(256)
    Path("changed.npy").write_bytes(contents)
    from PIL import Image

    Image.new(str(rng.choice(["L", "LA", "RGB", "RGBA", "1", "P", "I;16"])), (5, 7)).save("good.png")
    picture = bytearray(Path("good.png").read_bytes())
    for position in rng.integers(0, len(picture), 2):
        picture[position] = rng.integers(256)
    Path("changed.png").write_bytes(picture)


def random_words(rng):
    """Return the words of a command."""
    kind = rng.random()
    if kind < 0.3:
        # The last of an option counts: an epoch is enough.
        words = ["train", "digits", "--batch-size", "1797", "--epochs", "1"]
        for name in rng.choice(list(WORDS), rng.integers(0, 4), replace=False):
            words += [str(name), WORDS[name][rng.integers(len(WORDS[name]))]]
    elif kind < 0.9:
        model = str(rng.choice(["good", "good", "changed", "folder", "no", "good.npy"]))
        words = ["predict", model, *(str(word) for word in rng.choice(ARRAYS, rng.integers(0, 4)))]
    else:
        words = [str(word) for word in rng.choice(["info", "train", "predict", "", "--help", "-x", "digits", "x"], 2)]
    if rng.random() < 0.1:
        words.insert(int(rng.integers(len(words) + 1)), str(rng.choice(["--", "-", "--x", "a", "\0"])))
    return words
