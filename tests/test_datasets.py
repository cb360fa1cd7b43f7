"""Data sets: the parsers, where files are found and that they are checked, and downloads from this machine alone."""

import gzip
import hashlib
import http.server
import io
import struct
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from ranvier import datasets
from ranvier.datasets import cifar, files, idx

pooch = pytest.importorskip("pooch")


def idx_bytes(array):
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """No data, no cache, no network but this machine's."""
    monkeypatch.delenv("RANVIER_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    retrieve = pooch.retrieve

    def retrieve_here(url, *arguments, **options):
        if not url.startswith("http://127.0.0.1:"):
            raise OSError("no network in tests")
        return retrieve(url, *arguments, **options)

    monkeypatch.setattr(pooch, "retrieve", retrieve_here)


@pytest.fixture
def mirror():
    """A server of this machine that has some paths; ``asked`` are those it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            body = server.has.get(self.path)
            self.send_response(404 if body is None else 200)
            cut = self.path.startswith("/cut/")
            self.send_header("Content-Length", str(len(body or b"") + (9 if cut else 0)))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.has = [], {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def fake_mnist(folder, packed=False, monkeypatch=None):
    """Write four small files in MNIST's format; return their arrays. With monkeypatch they become the right ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (7, 28, 28)), rng.integers(0, 10, 7)]
    arrays += [rng.integers(0, 256, (3, 28, 28)), rng.integers(0, 10, 3)]
    contents = [idx_bytes(array.astype(np.uint8)) for array in arrays]
    if monkeypatch is not None:
        monkeypatch.setattr(idx, "_MNIST_UNPACKED_SHA256", tuple(map(sha256, contents)))
    for name, data in zip(idx._PARTS, contents, strict=True):
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
@pytest.mark.parametrize("where", ["root", "RANVIER_DATA", "RANVIER_DATA/mnist"])
def test_mnist_is_found(tmp_path, monkeypatch, packed, where):
    folder = tmp_path / "data" / "mnist"
    root = None
    if where == "root":
        root = folder
    else:
        monkeypatch.setenv("RANVIER_DATA", str(folder if where == "RANVIER_DATA" else folder.parent))
    arrays = fake_mnist(folder, packed, monkeypatch)
    (x, y), (x_test, y_test) = datasets.mnist(root)
    np.testing.assert_allclose(x[:, 0], arrays[0] / 255, atol=1e-7)
    np.testing.assert_array_equal(y, arrays[1])
    np.testing.assert_array_equal(y_test, arrays[3])
    assert x_test.shape == (3, 1, 28, 28)
    assert datasets.mnist(root, flatten=True)[0][0].shape == (7, 784)


def test_root_comes_first(tmp_path, monkeypatch):
    fake_mnist(tmp_path / "other")
    monkeypatch.setenv("RANVIER_DATA", str(tmp_path / "other"))
    arrays = fake_mnist(tmp_path / "root", monkeypatch=monkeypatch)
    (tmp_path / "other" / idx._PARTS[1]).write_bytes(idx_bytes(np.full(7, 9, np.uint8)))
    np.testing.assert_array_equal(datasets.mnist(tmp_path / "root")[0][1], arrays[1])


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_found_is_checked(tmp_path, packed):
    fake_mnist(tmp_path, packed)  # good ones, but not MNIST
    name = idx._PARTS[0] + (".gz" if packed else "")
    with pytest.raises(
        ValueError, match=rf"{name}: expected the SHA-256 [0-9a-f]{{64}}, got [0-9a-f]{{64}}; remove it"
    ):
        datasets.mnist(tmp_path)
    fake_mnist(tmp_path, packed=True)
    if packed:
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: expected the SHA-256"):
            datasets.fashion_mnist(tmp_path)


def test_a_file_that_unpacks_without_end_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LARGEST", 1000)
    (tmp_path / f"{idx._PARTS[0]}.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(ValueError, match="unpacks to more than 1000 bytes"):
        datasets.mnist(tmp_path)


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


def test_images_and_labels_must_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "_MNIST_UNPACKED_SHA256", (None,) * 4)
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


def remote(mirror, body, *folders):
    return files.RemoteFile("thing.bin", [f"{mirror.url}/{folder}" for folder in folders], sha256(body))


def test_a_download_tries_mirrors_until_one_is_right(tmp_path, mirror):
    mirror.has = {"/b/thing.bin": b"wrong", "/cut/thing.bin": b"right", "/d/thing.bin": b"right"}
    path = files.locate(remote(mirror, b"right", "a", "b/", "cut", "d"), "set", tmp_path)
    asked = ["/a/thing.bin", "/b/thing.bin", "/cut/thing.bin", "/d/thing.bin"]
    assert mirror.asked in (asked, asked[:3])  # pooch may take what was cut off behind the right bytes
    assert path == tmp_path / "thing.bin"
    assert path.read_bytes() == b"right"
    assert [p.name for p in tmp_path.iterdir()] == ["thing.bin"]
    assert path.stat().st_mode & 0o444 == 0o444
    files.locate(remote(mirror, b"right"), "set", tmp_path)  # found now


def test_the_cache_is_that_of_pooch(tmp_path, mirror):
    mirror.has = {"/a/thing.bin": b"right"}
    file = remote(mirror, b"right", "a")
    path = files.locate(file, "set", None)
    assert path == tmp_path / "cache" / "ranvier" / "set" / "thing.bin"
    assert files.locate(file, "set", None) == files.locate(file, "set", tmp_path) == path
    assert len(mirror.asked) == 1
    path.write_bytes(b"spoiled")
    assert files.locate(file, "set", None).read_bytes() == b"right"
    assert len(mirror.asked) == 2


def test_a_failed_download_tells_all_and_leaves_nothing(tmp_path, mirror):
    mirror.has = {"/a/thing.bin": b"wrong"}
    file = remote(mirror, b"right", "a", "b")
    with pytest.raises(OSError, match="could not download") as caught:
        files.locate(file, "set", tmp_path)
    message = str(caught.value)
    for part in ("thing.bin", file.sha256, str(tmp_path / "thing.bin"), "/a/thing.bin", "/b/thing.bin", "404"):
        assert part in message
    assert list(tmp_path.iterdir()) == []


def test_without_pooch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"pip install 'ranvier\[data\]'; or put the file at mnist/train-images"):
        datasets.mnist()
    arrays = fake_mnist(tmp_path, monkeypatch=monkeypatch)  # what is there needs none
    np.testing.assert_array_equal(datasets.mnist(tmp_path)[1][1], arrays[3])


def test_pooch_is_loaded_for_downloads_only():
    code = "import sys, ranvier; ranvier.datasets.digits(); assert 'pooch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


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
def test_cifar10(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(files, "_checked", lambda path, file: path)
    names = (*cifar._TRAIN, *cifar._TEST)
    records = {name: cifar_file(i) for i, name in enumerate(names)}
    folder = tmp_path / "cifar-10-batches-bin"
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz", compresslevel=0) as archive:
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
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz: expected the SHA-256 c4a3"):
        datasets.cifar10(tmp_path)
    with pytest.raises(ValueError, match="not a complete archive"):
        cifar._from_archive(tmp_path / "cifar-10-binary.tar.gz")
