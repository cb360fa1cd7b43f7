"""Data sets: the parsers, where files are found, and downloads without a network."""

import gzip
import hashlib
import http.client
import io
import struct
import tarfile
import urllib.error
import urllib.request

import numpy as np
import pytest
from ranvier import datasets
from ranvier.datasets import cifar, files, idx


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data, no cache, no network."""
    monkeypatch.delenv("RANVIER_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache" / "ranvier")

    def refuse(url, timeout=None):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def fake_mnist(folder, packed=False):
    """Write four small files in MNIST's format; return their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (7, 28, 28)), rng.integers(0, 10, 7)]
    arrays += [rng.integers(0, 256, (3, 28, 28)), rng.integers(0, 10, 3)]
    for name, array in zip(idx._PARTS, arrays, strict=True):
        data = idx_bytes(array.astype(np.uint8))
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return arrays


def test_digits_need_no_files():
    (x, y), (x_test, y_test) = datasets.digits()
    assert x.shape == (1437, 1, 8, 8)
    assert x_test.shape == (360, 1, 8, 8)
    assert (x.dtype, y.dtype, y_test.dtype) == ("float32", "int64", "int64")
    assert (x.min(), x.max()) == (0, 1)
    assert datasets.digits(flatten=True)[0][0].shape == (1437, 64)
    np.testing.assert_array_equal(datasets.digits()[1][0], x_test)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("where", ["root", "RANVIER_DATA", "RANVIER_DATA/mnist", "cache"])
def test_mnist_is_found(tmp_path, monkeypatch, packed, where):
    folder = tmp_path / "data" / "mnist"
    root = None
    if where == "root":
        root = folder
    elif where == "cache":
        folder = tmp_path / "cache" / "ranvier" / "mnist"
    else:
        monkeypatch.setenv("RANVIER_DATA", str(folder if where == "RANVIER_DATA" else folder.parent))
    arrays = fake_mnist(folder, packed)
    (x, y), (x_test, y_test) = datasets.mnist(root)
    np.testing.assert_allclose(x[:, 0], arrays[0] / 255, atol=1e-7)
    np.testing.assert_array_equal(y, arrays[1])
    np.testing.assert_array_equal(y_test, arrays[3])
    assert x_test.shape == (3, 1, 28, 28)
    assert datasets.mnist(root, flatten=True)[0][0].shape == (7, 784)


def test_root_comes_first(tmp_path, monkeypatch):
    fake_mnist(tmp_path / "other")
    monkeypatch.setenv("RANVIER_DATA", str(tmp_path / "other"))
    fake_mnist(tmp_path / "root")
    (tmp_path / "root" / idx._PARTS[1]).write_bytes(idx_bytes(np.full(7, 9, np.uint8)))
    assert datasets.mnist(tmp_path / "root")[0][1].tolist() == [9] * 7


def test_fashion_mnist_does_not_take_mnist_for_itself(tmp_path, monkeypatch):
    fake_mnist(tmp_path / "data")
    monkeypatch.setenv("RANVIER_DATA", str(tmp_path / "data"))
    with pytest.raises(OSError, match="could not download"):
        datasets.fashion_mnist()
    arrays = fake_mnist(tmp_path / "data" / "fashion-mnist")
    np.testing.assert_array_equal(datasets.fashion_mnist()[0][1], arrays[1])


GOOD = idx_bytes(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file"),
        (b"\0\0", "not an IDX file"),
        (b"\0\0\x0d" + GOOD[3:], "not an IDX file"),
        (b"\x89PNG" + GOOD, "not an IDX file"),
        (GOOD[:7], "truncated"),
        (GOOD[:-1], "expected 6 bytes of data"),
        (GOOD + b"\0", "expected 6 bytes of data"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_idx_errors_name_the_file(tmp_path, data, message, packed):
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=rf"file.*{message}"):
        idx.read_idx(path)


def test_truncated_gzip_is_refused(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(GOOD)[:-9])
    with pytest.raises(ValueError, match="not a complete gzip file"):
        idx.read_idx(path)
    path.write_bytes(GOOD)
    with pytest.raises(ValueError, match="not a complete gzip file"):
        idx.read_idx(path)


def test_images_and_labels_must_belong_together(tmp_path):
    fake_mnist(tmp_path)
    (tmp_path / idx._PARTS[1]).write_bytes(idx_bytes(np.zeros(6, np.uint8)))
    with pytest.raises(ValueError, match="expected 7 labels"):
        datasets.mnist(tmp_path)
    (tmp_path / idx._PARTS[1]).write_bytes(idx_bytes(np.full(7, 10, np.uint8)))
    with pytest.raises(ValueError, match="labels from 0 to 9, got 10"):
        datasets.mnist(tmp_path)
    (tmp_path / idx._PARTS[0]).write_bytes(idx_bytes(np.zeros(7, np.uint8)))
    with pytest.raises(ValueError, match="expected images"):
        datasets.mnist(tmp_path)


class Response(io.BytesIO):
    """What urlopen gives."""

    def __init__(self, body, length=None):
        super().__init__(body)
        self.headers = {"Content-Length": str(len(body) if length is None else length)}


def remote(body, *mirrors):
    return files.RemoteFile("thing.bin", mirrors, hashlib.sha256(body).hexdigest(), files.file_digest)


def serve(monkeypatch, answers):
    """Let urlopen give these answers by URL; return the list of URLs asked for."""
    asked = []

    def open_url(url, timeout=None):
        asked.append(url)
        answer = answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", open_url)
    return asked


def test_a_download_tries_mirrors_until_one_is_right(tmp_path, monkeypatch):
    answers = {
        "https://a/thing.bin": urllib.error.URLError("down"),
        "https://b/thing.bin": Response(b"wrong"),
        "https://c/thing.bin": Response(b"right", 99),
        "https://d/thing.bin": Response(b"right"),
    }
    asked = serve(monkeypatch, answers)
    path = files.locate(remote(b"right", "https://a", "https://b/", "https://c", "https://d"), "set", tmp_path)
    assert path == tmp_path / "thing.bin"
    assert path.read_bytes() == b"right"
    assert asked == list(answers)
    assert [p.name for p in tmp_path.iterdir()] == ["thing.bin"]
    files.locate(remote(b"right"), "set", tmp_path)  # found now
    assert asked == list(answers)


def test_a_broken_answer_is_a_reason_to_try_the_next_mirror(tmp_path, monkeypatch):
    class Broken(Response):
        def read(self, size=-1):
            raise http.client.IncompleteRead(b"")

    serve(monkeypatch, {"https://a/thing.bin": Broken(b""), "https://b/thing.bin": Response(b"right")})
    path = files.locate(remote(b"right", "https://a", "https://b"), "set", tmp_path)
    assert path.read_bytes() == b"right"
    (tmp_path / "usual").touch()
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failed_download_tells_all_and_leaves_nothing(tmp_path, monkeypatch):
    serve(
        monkeypatch,
        {"https://a/thing.bin": Response(b"wrong"), "https://b/thing.bin": urllib.error.URLError("down")},
    )
    file = remote(b"right", "https://a", "https://b")
    with pytest.raises(OSError, match="could not download") as caught:
        files.locate(file, "set", tmp_path)
    message = str(caught.value)
    for part in ("thing.bin", file.sha256, str(tmp_path / "thing.bin"), "https://a/thing.bin", "down"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    class Interrupted(Response):
        def read(self, size=-1):
            raise KeyboardInterrupt

    serve(monkeypatch, {"https://a/thing.bin": Interrupted(b"right")})
    with pytest.raises(KeyboardInterrupt):
        files.locate(remote(b"right", "https://a"), "set", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_mirrors_are_several_and_https():
    for mirrors in (idx._MNIST_MIRRORS, idx._FASHION_MIRRORS, cifar._ARCHIVE.mirrors):
        assert len(mirrors) >= 2
        assert all(mirror.startswith("https://") for mirror in mirrors)


def test_missing_files_without_network_are_an_error(tmp_path):
    for load in (datasets.mnist, datasets.fashion_mnist, datasets.cifar10):
        with pytest.raises(OSError, match="no network in tests"):
            load(tmp_path)


def cifar_file(seed):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (10000, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    return records


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10(tmp_path, packed):
    names = (*cifar._TRAIN, *cifar._TEST)
    records = {name: cifar_file(i) for i, name in enumerate(names)}
    folder = tmp_path / "cifar-10-batches-bin"
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:
            for name, array in records.items():
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = array.nbytes
                archive.addfile(info, io.BytesIO(array.tobytes()))
    else:
        folder.mkdir()
        for name, array in records.items():
            (folder / name).write_bytes(array.tobytes())
    (x, y), (x_test, y_test) = datasets.cifar10(tmp_path)
    assert x.shape == (50000, 3, 32, 32)
    assert x_test.dtype == np.float32
    first = records[cifar._TRAIN[0]]
    np.testing.assert_allclose(x[5, 2, 31, 30], first[5, 1 + 2 * 1024 + 31 * 32 + 30] / 255, atol=1e-7)
    np.testing.assert_array_equal(y[:10000], first[:, 0])
    np.testing.assert_array_equal(y_test, records["test_batch.bin"][:, 0])


def test_cifar10_errors(tmp_path):
    data = cifar_file(0).tobytes()
    with pytest.raises(ValueError, match="name: expected 30730000 bytes"):
        cifar.read_records(data[:-1], "name")
    with pytest.raises(ValueError, match="labels from 0 to 9"):
        cifar.read_records(b"\x0b" + data[1:], "name")
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="not a complete archive"):
        datasets.cifar10(tmp_path)
