"""How a network's file is written: whole or not at all, where links lead, with its permissions; what is refused."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from ranvier.callbacks import Checkpoint

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")
NET = rv.Network([rv.Linear(2, 2)], seed=0)


@pytest.fixture(params=["network", "predictor"])
def save(request):
    return NET.save if request.param == "network" else NET.predictor().save


def readable(path):
    np.testing.assert_array_equal(rv.load(path).state_dict()["0.weight"], NET.state_dict()["0.weight"])


@posix
def test_a_link_stays_and_its_target_is_written(save, tmp_path):
    (tmp_path / "deep").mkdir()
    target = tmp_path / "deep" / "target"
    (tmp_path / "middle").symlink_to("deep/target")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    for before in (None, b"old"):
        if before is not None:
            target.write_bytes(before)
        save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "middle").is_symlink()
        assert not target.is_symlink()
        readable(target)
        assert sorted(os.listdir(tmp_path)) == ["deep", "link", "middle"]
        assert os.listdir(tmp_path / "deep") == ["target"]


@posix
def test_links_that_lead_nowhere_are_an_error(save, tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "lost").symlink_to("no/such/file")
    for name in ("circle", "lost"):
        with pytest.raises(OSError, match=name):
            save(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["circle", "lost"]


@posix
def test_what_is_no_plain_file_is_refused(save, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "device"):
        with pytest.raises(ValueError, match="path: expected a plain file"):
            save(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        save(tmp_path / "folder")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["device", "folder", "pipe"]


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_permissions_stay(save, tmp_path, mode):
    (tmp_path / "net").write_bytes(b"old")
    os.chmod(tmp_path / "net", mode)
    save(tmp_path / "net")
    assert stat.S_IMODE(os.stat(tmp_path / "net").st_mode) == mode
    readable(tmp_path / "net")


@pytest.mark.parametrize("letter", ["n", "ö", "網"])
def test_long_names_are_taken(save, tmp_path, letter):
    longest = os.pathconf(tmp_path, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
    name = letter * (longest // len(os.fsencode(letter)))
    save(tmp_path / name)
    readable(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with pytest.raises(OSError, match=letter):
        save(tmp_path / (name + letter))
    assert os.listdir(tmp_path) == [name]


def test_names_that_are_none_are_refused(save, tmp_path):
    with pytest.raises((OSError, ValueError)):
        save("")
    with pytest.raises((OSError, ValueError)):
        save(str(tmp_path / "new") + os.sep)
    with pytest.raises(ValueError, match="null"):
        save(tmp_path / "a\0b")
    with pytest.raises(TypeError):
        save(None)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save(tmp_path / "no" / "net")
    assert os.listdir(tmp_path) == []


@posix
def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
    path = tmp_path / "net"
    NET.save(path)
    code = """
import os, signal, sys
import ranvier as rv
net = rv.Network([rv.Linear(2, 2)], seed=0)
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
net.save(sys.argv[1])
"""
    for _ in range(2):
        status = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=HANGING).returncode
        assert status == -signal.SIGKILL
    other = tmp_path / f".ranvier-{'0' * 16}-0123456789abcdef"  # of another file
    other.write_bytes(b"")
    assert len(os.listdir(tmp_path)) == 3  # the second removed what the first left
    NET.save(path)
    assert set(os.listdir(tmp_path)) == {"net", other.name}


def test_saves_of_one_file_at_once_do_not_disturb_each_other(tmp_path):
    errors, end = [], time.monotonic() + 1
    code = f"""
import time
import ranvier as rv
net = rv.Network([rv.Linear(2, 2)], seed=0)
end = time.monotonic() + 1
while time.monotonic() < end:
    net.save({str(tmp_path / "net")!r})
"""

    def work():
        try:
            while time.monotonic() < end:
                NET.save(tmp_path / "net")
                readable(tmp_path / "net")
        except BaseException as error:
            errors.append(error)

    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert not errors, errors
    readable(tmp_path / "net")
    assert os.listdir(tmp_path) == ["net"]


@pytest.mark.parametrize(
    ("metadata", "error", "message"),
    [
        ({"ranvier": "{}"}, ValueError, "metadata: expected other entries than 'ranvier'"),
        ({"a": "x" * 100_000_001}, ValueError, "metadata: expected some that the format can hold"),
        ({"a": 1}, TypeError, "metadata: expected str for str"),
        ({1: "a"}, TypeError, "metadata: expected str for str"),
        ({"a": b"b"}, TypeError, "metadata: expected str for str"),
        ({"a": "\ud800"}, ValueError, "metadata: expected text"),
        ("text", TypeError, "metadata: expected a mapping"),
        (3, TypeError, "metadata: expected a mapping"),
        ([("a", "b")], TypeError, "metadata: expected a mapping"),
    ],
    ids=["reserved", "too long", "number", "number for a name", "bytes", "no text", "str", "int", "list"],
)
def test_metadata_that_cannot_be_read_again_are_refused(tmp_path, metadata, error, message):
    NET.save(tmp_path / "net", {"a": "b"})
    with pytest.raises(error, match=message):
        NET.save(tmp_path / "net", metadata)
    assert rv.load(tmp_path / "net").metadata == {"a": "b"}
    assert os.listdir(tmp_path) == ["net"]


def test_metadata_of_any_text_come_back(tmp_path):
    metadata = {"": "", "__metadata__": "{}", "0.weight": "\0\n\"'\\", "網": "ö\U0001f600"}
    NET.save(tmp_path / "net", metadata)
    assert rv.load(tmp_path / "net").metadata == metadata


@posix
def test_a_checkpoint_that_cannot_be_written_is_told_before_training(tmp_path):
    net = rv.Network([rv.Linear(2, 2)], seed=0)
    before = net.state_dict()["0.weight"]
    (tmp_path / "link").symlink_to("/dev/null")
    for path in (tmp_path, tmp_path / "no" / "net", tmp_path / "link"):
        with pytest.raises((OSError, ValueError)):
            net.fit(np.ones((4, 2)), np.zeros(4, int), callbacks=[Checkpoint(path)], progress=False)
    np.testing.assert_array_equal(net.state_dict()["0.weight"], before)
    assert os.listdir(tmp_path) == ["link"]
