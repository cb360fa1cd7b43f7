"""Training on several processes: `ranvier.distributed`, in jobs of `mpi_jobs.py` under mpiexec."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ranvier as rv
from programs import HANGING
from ranvier import cli

pytest.importorskip("mpi4py", reason="mpi4py is not installed")
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
if MPIEXEC is None:
    pytest.skip("there is no mpiexec", allow_module_level=True)

JOBS = Path(__file__).with_name("mpi_jobs.py")
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def launch(ranks, *command):
    """Run a command under mpiexec; return its exit code, output and errors."""
    return subprocess.run(
        [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, command)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=HANGING,
    )


def job(ranks, *arguments):
    """Return the results of a job, which has to succeed."""
    done = launch(ranks, JOBS, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def test_same_bits_on_any_number_of_ranks_and_threads():
    one = job(1, "bits", 1)
    assert set(one) == {"mlp", "cnn", "large", "numbers", "arrays", "stream"}
    assert {"val_digit_f1", "val_age_rmse"} <= one["arrays"][2].keys()
    for ranks, threads in ((1, 2), (2, 2), (4, 1)):
        assert job(ranks, "bits", threads) == one, (ranks, threads)
    assert job(2, "bits", 1, "messages") == one


def test_ranks_train_as_one_process_does():
    assert job(3, "against_one")["passed"]


def test_rows_streams_and_own_data(tmp_path):
    assert job(2, "rows", tmp_path / "x.npy")["passed"]


def test_resume_on_another_number_of_ranks(tmp_path):
    whole = job(1, "resume", tmp_path / "whole.safetensors", 4)
    job(2, "resume", tmp_path / "parts.safetensors", 2)
    assert job(4, "resume", tmp_path / "parts.safetensors", 4) == whole


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("seed", "seed: expected the same on all ranks"),
        ("layers", "layers: expected the same on all ranks"),
        (
            "shape",
            "the shape of a sample: expected the same on all ranks, got (1, 8, 8) on rank 0 and (8, 8) on rank 1",
        ),
        ("data", "x (by a checksum of its ends): expected the same on all ranks"),
        ("samples", "the number of samples: expected the same on all ranks, got 107 on rank 0 and 106 on rank 1"),
        ("optimizer", "optimizer: expected the same on all ranks, got SGD(lr=0.2) on rank 0 and SGD(lr=0.1) on rank 1"),
    ],
)
def test_differences_are_named_at_the_start(what, said):
    done = launch(2, JOBS, "differ", what)
    assert done.returncode != 0
    assert said in done.stderr


def test_where_numbers_go_bad():
    result = job(2, "not_finite", "raise")
    assert "batch 1: sample 20 of the input, on rank 1, gave numbers that are infinite or NaN" in result["message"]
    assert result["unchanged"]
    result = job(2, "not_finite", "warn")
    assert not result["unchanged"]
    assert np.isfinite(result["loss"]).all()


@pytest.mark.parametrize("how", ["raise", "exit", "kill"])
def test_a_rank_that_fails_ends_all(how, tmp_path):
    path = tmp_path / "last.safetensors"
    begun = time.time()
    done = launch(2, JOBS, "fail", how, path)
    assert done.returncode != 0
    if how == "raise":
        assert "RuntimeError: this rank has had enough" in done.stderr
        assert "rank 1 of 2" in done.stderr
    last = max(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("EPOCH"))
    assert begun < last
    assert time.time() - last < 30  # a second, if the machine has time
    assert rv.load(path).epochs_trained >= 2


@pytest.mark.parametrize("ranks", [2, 3])
def test_after_an_error_that_all_catch(ranks):
    assert job(ranks, "recover")["passed"]


def test_after_an_error_to_which_one_rank_does_not_come():
    assert job(2, "lost")["passed"]


def test_one_rank_may_stop_all():
    assert job(2, "stop") == {"epochs": 2, "batches": 8}


def test_command_line(tmp_path, capsys):
    model, plot = tmp_path / "model.safetensors", tmp_path / "model.png"
    command = (
        "-m",
        "ranvier",
        "train",
        "digits",
        "--epochs",
        1,
        "--batch-size",
        64,
        "--shards",
        2,
        "--save",
        model,
        "--plot",
        plot,
    )
    done = launch(2, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n    1 ") == 1
    two = rv.load(model).state_dict()
    assert cli.main([str(part) for part in command[2:]]) == 0
    capsys.readouterr()
    one = rv.load(model).state_dict()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    done = launch(2, "-m", "ranvier", "train", "digits", "--save", tmp_path / "none" / "model")
    assert done.returncode == 2
    assert "ranvier train:" in done.stderr


def test_bad_arguments():
    from ranvier.distributed import DataParallel

    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    net = rv.Network([rv.Linear(3, 2)], seed=0)
    with pytest.raises(TypeError, match="communicator: expected one of mpi4py, got int"):
        net.fit(x, y, communicator=3)
    with pytest.raises(ValueError, match="shards: expected a power of two, got 6"):
        DataParallel(shards=6)
    with pytest.raises(ValueError, match="sync_batch_norm: expected True or None with shards, got False"):
        DataParallel(shards=2, sync_batch_norm=False)


def test_one_process_alone_trains_as_ever():
    from mpi4py import MPI

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)).astype(np.float32), rng.integers(0, 2, 50)
    one, other = (rv.Network([rv.Linear(3, 2)], seed=0) for _ in range(2))
    one.fit(x, y, progress=False)
    other.fit(x, y, progress=False, communicator=MPI.COMM_WORLD)
    assert np.array_equal(one.state_dict()["0.weight"], other.state_dict()["0.weight"])


def test_shards_of_one_process_are_its_batch():
    from ranvier.distributed import DataParallel

    rng = np.random.default_rng(0)
    x = rng.standard_normal((45, 2, 6, 6))
    target, weights = rng.standard_normal((45, 3)), rng.uniform(0.1, 2, 45)
    layers = [rv.Conv2d(2, 4, 3, l2=0.1), rv.BatchNorm2d(4), rv.ReLU(), rv.Flatten(), rv.Dropout(0.4), rv.Linear(64, 3)]
    nets = [rv.Network(layers, seed=0, dtype="float64") for _ in range(2)]
    for net, communicator in zip(nets, (None, DataParallel(shards=8)), strict=True):
        net.fit(
            x,
            target,
            epochs=3,
            batch_size=20,
            loss=rv.MSELoss(),
            optimizer=rv.SGD(0.1, momentum=0.9, clip_norm=0.5),
            sample_weight=weights,
            validation_data=(x, target),
            progress=False,
            communicator=communicator,
        )
    one, other = nets
    for name, value in one.state_dict().items():
        np.testing.assert_allclose(other.state_dict()[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    for name in ("loss", "r2", "mae", "val_loss", "val_r2"):
        np.testing.assert_allclose(getattr(other.history, name), getattr(one.history, name), rtol=1e-9, err_msg=name)


def test_custom_layers_take_one_part_at_a_time():
    from ranvier.distributed import DataParallel

    class Double:
        def forward(self, x):
            return 2 * x

        def backward(self, grad):
            return 2 * grad

    net = rv.Network([rv.Linear(3, 2), Double()], seed=0)
    x, y = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    with pytest.raises(ValueError, match="shards: expected as many as there are ranks"):
        net.fit(x, y, progress=False, communicator=DataParallel(shards=2))
