"""Threads: counts, forks, the GIL, other libraries' limits, and the choice of an instruction set."""

import functools
import os
import subprocess
import sys
import sysconfig
import threading
import time

import numpy as np
import pytest
import ranvier
from fuzz.threads import in_threads
from programs import run
from ranvier import kernels as K


@pytest.fixture(params=["openmp", "pool"])
def threading_of(request, monkeypatch):
    """Whose threads the programs that a test runs will have."""
    if request.param == "openmp" and not ranvier.cpu_info()["openmp"]:
        pytest.skip("built without OpenMP")
    monkeypatch.setenv("RANVIER_THREADING", request.param)
    return request.param


def test_environment_chooses_the_threads(threading_of):
    code = "import ranvier; print(ranvier.cpu_info()['threading'])"
    assert run(code)[:2] == (0, threading_of)


def test_openmp_is_the_default(monkeypatch):
    monkeypatch.delenv("RANVIER_THREADING", raising=False)
    code = "import ranvier; info = ranvier.cpu_info(); print(info['openmp'] == (info['threading'] == 'openmp'))"
    assert run(code)[:2] == (0, "True")


def test_unknown_threads_are_refused():
    status, _, message = run("import ranvier; ranvier.num_threads()", RANVIER_THREADING="tbb")
    assert status == 1
    assert "ValueError: RANVIER_THREADING: expected openmp or pool, got 'tbb'" in message


def test_count_can_be_set_and_reset():
    usual = ranvier.num_threads()
    assert usual >= 1
    ranvier.set_num_threads(3)
    if ranvier.cpu_info()["openmp"]:
        assert ranvier.num_threads() == 3
    ranvier.set_num_threads(0)
    assert ranvier.num_threads() == usual
    for wrong in (-1, 2**31, -(2**40)):
        with pytest.raises(ValueError, match=f"count: expected .* got {wrong}"):
            ranvier.set_num_threads(wrong)


def test_environment_sets_the_count(threading_of):
    if not ranvier.cpu_info()["openmp"]:
        pytest.skip("built without OpenMP")
    code = "import ranvier; print(ranvier.num_threads())"
    assert run(code, OMP_NUM_THREADS="3")[:2] == (0, "3")


def test_one_thread_starts_no_other(threading_of):
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not list a process's threads")
    code = """
import os, numpy as np, ranvier as rv
before = len(os.listdir("/proc/self/task"))
x = np.ones((600, 600), np.float32)
rv.kernels.matmul(x, x)
rv.Network([600, 300, 10]).predict(x)
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(code, OMP_NUM_THREADS="1")[:2] == (0, "0")
    assert run(code, OMP_NUM_THREADS="3")[:2] == (0, "2")


def test_places_do_not_lower_the_count():
    """The mask of a thread that OpenMP has bound is its place's, not the process's."""
    if not ranvier.cpu_info()["openmp"]:
        pytest.skip("built without OpenMP")
    code = "import ranvier; print(ranvier.num_threads())"
    usual = run(code, RANVIER_THREADING="openmp")
    assert usual[0] == 0
    assert run(code, RANVIER_THREADING="openmp", OMP_PROC_BIND="close", OMP_PLACES="threads")[:2] == usual[:2]


def test_affinity_limits_the_count():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no affinity masks")
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
    code += "import ranvier; print(ranvier.num_threads())"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1"


@pytest.mark.parametrize("shape", [(512, 512, 512), (64, 64, 8000), (3000, 20, 400), (20, 3000, 400)])
def test_products_have_the_same_bits_at_any_count(isa, shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    ranvier.set_num_threads(1)
    expected = K.matmul(a, b)
    for threads in (2, 3, 4, 7):
        ranvier.set_num_threads(threads)
        np.testing.assert_array_equal(K.matmul(a, b), expected)
        np.testing.assert_array_equal(K.matmul(b.T, a.T), expected.T)
    np.testing.assert_array_equal(K.matmul(a[5:6], b)[0], expected[5])


def test_fork_does_not_hang(threading_of):
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    code = """
import os, numpy as np, ranvier
from ranvier import kernels as K
a = np.ones((600, 600), np.float32)
ranvier.set_num_threads(2)
K.matmul(a, a)
child = os.fork()
if child == 0:
    ok = ranvier.num_threads() == 1 and (K.matmul(a, a) == 600).all()
    os._exit(0 if ok else 1)
print(os.waitpid(child, 0)[1])
"""
    assert run(code)[:2] == (0, "0")


@pytest.mark.parametrize("first", ["parent", "child"])
def test_fork_in_training_does_not_hang(threading_of, first):
    """A layer written in Python is called in the middle of an epoch."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    code = """
import os, numpy as np, ranvier as rv
from ranvier import kernels as K
class Forks:
    child = None
    def forward(self, x):
        if Forks.child is None:
            K.matmul(a, a)
            Forks.child = os.fork()
            if FIRST == "parent" and Forks.child == 0:
                os._exit(0 if (K.matmul(a, a) == 600).all() else 1)
        return x
    def backward(self, grad):
        return grad
a = np.ones((600, 600), np.float32)
rv.set_num_threads(3)
x = np.random.default_rng(0).standard_normal((400, 50)).astype(np.float32)
net = rv.Network([rv.Linear(50, 300), Forks(), rv.Linear(300, 10)], seed=0)
net.fit(x, x[:, :10].copy(), epochs=2, batch_size=100, loss=rv.QuadraticLoss(), optimizer=rv.SGD(0.1))
net.predict(x)
if Forks.child == 0:
    os._exit(0)
print(os.waitpid(Forks.child, 0)[1])
"""
    assert run(f"FIRST = {first!r}" + code)[:2] == (0, "0")


def test_import_starts_no_thread():
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("this system does not list a process's threads")
    # NumPy's own BLAS may start some; so NumPy is imported first.
    code = """
import os, numpy
before = len(os.listdir("/proc/self/task"))
import ranvier
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(code)[:2] == (0, "0")


def test_gil_is_free_while_a_kernel_runs():
    a = np.ones((1500, 1500))
    ranvier.set_num_threads(1)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    K.matmul(a, a)
    end = time.perf_counter()
    done.set()
    thread.join()
    # A held GIL would let the other thread run before and after the product only.
    assert sum(start < t < end for t in ticks) >= 3


def test_threads_of_python_may_call_at_once():
    a = np.random.default_rng(1).standard_normal((300, 300))
    expected, results = K.matmul(a, a), [None] * 4

    def work(i):
        for _ in range(5):
            results[i] = K.matmul(a, a)

    in_threads([functools.partial(work, i) for i in range(4)])
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_threadpoolctl_limits_the_count():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    if not ranvier.cpu_info()["openmp"]:
        pytest.skip("built without OpenMP")
    with threadpoolctl.threadpool_limits(1):
        assert ranvier.num_threads() == 1


def test_instruction_set_can_be_forced():
    for isa in ranvier.cpu_info()["supported_isas"]:
        code = "import ranvier; print(ranvier.cpu_info()['isa'])"
        assert run(code, RANVIER_ISA=isa)[:2] == (0, isa)


def test_unknown_instruction_set_is_refused():
    code = "import numpy as np; from ranvier import kernels; kernels.relu(np.zeros(3))"
    status, _, message = run(code, RANVIER_ISA="v9")
    assert status == 1
    assert "ValueError: RANVIER_ISA: expected one of" in message
    assert "'v9'" in message


def test_denormal_mode_is_restored():
    tiny = np.array([1e-310])
    K.matmul(np.ones((4, 4)), np.ones((4, 4)))
    assert (tiny * 0.5)[0] != 0
    assert K.relu(tiny)[0] == tiny[0]


def test_the_free_threaded_python_stays_free():
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this Python has a GIL")
    assert run("import sys, ranvier; print(sys._is_gil_enabled())")[:2] == (0, "False")
