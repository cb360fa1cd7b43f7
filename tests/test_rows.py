"""Arrays that stay where they are: mapped files and objects that give rows, read batch by batch."""

import numpy as np
import pytest
import ranvier as rv
from programs import succeeds

N = 300
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 4))
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NUMBERS = X @ RNG.standard_normal((4, 2))


class RowsOnly:
    """An array-like as h5py has it: a slice, or increasing row numbers, and nothing more."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.most = 0

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all()
        part = self._array[rows]
        self.most = max(self.most, len(part))
        return part

    def __len__(self):
        return len(self._array)

    def __iter__(self):
        raise AssertionError("row by row would be slow")


def mapped(array, folder, name):
    np.save(folder / name, array)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def network(outputs, dtype="float32"):
    return rv.Network([rv.Linear(4, 6), rv.Tanh(), rv.Linear(6, outputs)], seed=0, dtype=dtype)


def assert_same(one, other):
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name], err_msg=name)


@pytest.mark.parametrize("kind", ["mapped", "rows"])
@pytest.mark.parametrize("x_dtype", ["float64", "float32", ">f4", "int16", "uint8", "float16"])
@pytest.mark.parametrize("y_kind", ["labels", "int32 labels", "numbers", "column", "labels in memory"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_give_the_bits_of_arrays(tmp_path, monkeypatch, kind, x_dtype, y_kind, shuffle):
    monkeypatch.setattr("ranvier.batches._READ", 1000)  # many parts, some of several batches
    monkeypatch.setattr("ranvier.rows._BLOCK", 500)
    x = (X * 20).astype(x_dtype) if x_dtype != "uint8" else np.abs(X * 20).astype("uint8")
    y = {
        "labels": LABELS,
        "int32 labels": LABELS.astype("int32"),
        "numbers": NUMBERS,
        "column": NUMBERS[:, 0],
        "labels in memory": LABELS,
    }[y_kind]
    outputs, loss = {"numbers": (2, rv.MSELoss()), "column": (1, rv.MSELoss())}.get(y_kind, (3, rv.CrossEntropyLoss()))
    far_x, far_y = (mapped(x, tmp_path, "x"), mapped(y, tmp_path, "y")) if kind == "mapped" else map(RowsOnly, (x, y))
    far_y = y if "memory" in y_kind else far_y
    options = {"epochs": 2, "batch_size": 7, "loss": loss, "shuffle": shuffle, "progress": False}
    near, far = network(outputs), network(outputs)
    one = near.fit(x, y, validation_split=0.2, **options)
    other = far.fit(far_x, far_y, validation_split=0.2, **options)
    assert_same(near, far)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
    assert one.accuracy == other.accuracy
    assert one.val_loss == pytest.approx(other.val_loss, rel=1e-6)
    for name in one.metrics:
        np.testing.assert_allclose(one.metrics[name], other.metrics[name], rtol=1e-9)
    np.testing.assert_array_equal(near.predict(x), far.predict(far_x))
    out = np.zeros((N, outputs), np.float32)
    assert far.predict(far_x, out=out) is out
    np.testing.assert_array_equal(near.predict(x), out)
    np.testing.assert_allclose(near.evaluate(x, y).loss, far.evaluate(far_x, far_y).loss, rtol=1e-6)
    if kind == "rows":
        assert far_x.most < N / 2


def test_weights_go_with_their_rows(monkeypatch):
    monkeypatch.setattr("ranvier.batches._READ", 2000)
    weights = RNG.uniform(0, 2, N)
    near, far = network(3), network(3)
    near.fit(X, LABELS, sample_weight=weights, batch_size=7, progress=False)
    far.fit(RowsOnly(X), LABELS, sample_weight=weights, batch_size=7, progress=False)
    assert_same(near, far)


def test_what_is_not_finite_is_told_by_its_row(monkeypatch):
    monkeypatch.setattr("ranvier.batches._READ", 2000)
    x = X.copy()
    x[203, 1] = np.nan
    with pytest.raises(FloatingPointError, match="batch 30: sample 203 of the input"):
        network(3).fit(RowsOnly(x), LABELS, batch_size=7, shuffle=False, progress=False)


def test_bad_rows_are_told_before_anything_happens(tmp_path):
    labels = LABELS.copy()
    labels[-1] = 3
    for x, y, error, message in (
        (RowsOnly(X), RowsOnly(labels), ValueError, "y: expected labels from 0 to 2"),
        (RowsOnly(X), RowsOnly(LABELS[:-1]), ValueError, "y: expected one target for each of 300 samples"),
        (RowsOnly(X[:, :3]), LABELS, ValueError, "Linear"),
        (RowsOnly(X.astype(complex)), LABELS, TypeError, "x: expected an array of real numbers, got dtype complex128"),
        (RowsOnly(X[:0]), LABELS[:0], ValueError, "x: expected at least one sample"),
    ):
        net = network(3)
        with pytest.raises(error, match=message):
            net.fit(x, y, progress=False)
        assert net.history is None
    with pytest.raises(ValueError, match=r"out: expected 300 rows, got 299"):
        network(3).predict(RowsOnly(X), out=np.zeros((299, 3), np.float32))


def test_a_step_takes_rows():
    near, far = network(3), network(3)
    assert near.train_step(X, LABELS) == far.train_step(RowsOnly(X)[:], RowsOnly(LABELS)[:])


def test_frames_are_arrays():
    pandas = pytest.importorskip("pandas")
    near, far = network(3), network(3)
    near.fit(X, LABELS, progress=False)
    frame = pandas.DataFrame(X, columns=list("abcd")).sample(frac=1, random_state=0)
    labels = pandas.Series(LABELS)[frame.index]
    frame, labels = frame.sort_index(), labels.sort_index()
    far.fit(frame, labels, progress=False)
    assert_same(near, far)
    with pytest.raises(TypeError, match="x: expected an array of real numbers, got dtype object"):
        far.fit(frame.assign(a="text"), labels, progress=False)


def test_polars_frames_are_arrays():
    polars = pytest.importorskip("polars")
    near, far = network(3), network(3)
    near.fit(X, LABELS, progress=False)
    far.fit(polars.DataFrame(X), polars.Series(LABELS), progress=False)
    assert_same(near, far)


def test_a_large_file_is_never_whole_in_memory(tmp_path):
    """What counts is anonymous memory, which the system cannot take back: a file of 160 MB trains in far less."""
    code = f"""
        import numpy as np, ranvier as rv
        def anonymous():
            lines = open("/proc/self/status").read().splitlines()
            return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
        x = np.lib.format.open_memmap({str(tmp_path / "x.npy")!r}, "w+", "float64", (100_000, 200))
        y = np.lib.format.open_memmap({str(tmp_path / "y.npy")!r}, "w+", "float64", (100_000, 1))
        y[:, 0] = np.arange(100_000) / 100_000
        net = rv.Network([rv.Linear(200, 4), rv.Tanh(), rv.Linear(4, 1)], seed=0)
        before, most = anonymous(), 0
        class Watch(rv.callbacks.Callback):
            def on_batch_end(self, network, batch, loss):
                global most
                most = max(most, anonymous())
        net.fit(x, y, batch_size=5000, loss=rv.MSELoss(), validation_data=(x, y), callbacks=[Watch()], progress=False)
        assert most - before < 60, (before, most)
        assert anonymous() - before < 60
    """
    with open("/proc/self/status") as status:
        if "RssAnon" not in status.read():
            pytest.skip("no RssAnon")
    succeeds(code)


@pytest.mark.parametrize("shuffle", [True, False])
def test_data_sets_of_hdf5(tmp_path, shuffle):
    h5py = pytest.importorskip("h5py")
    near, far = network(3), network(3)
    near.fit(X, LABELS, batch_size=7, shuffle=shuffle, progress=False)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        x, y = file.create_dataset("x", data=X, chunks=(32, 4)), file.create_dataset("y", data=LABELS)
        far.fit(x, y, batch_size=7, shuffle=shuffle, progress=False)
        np.testing.assert_array_equal(near.predict(X), far.predict(x))
    assert_same(near, far)


@pytest.mark.parametrize("shuffle", [True, False])
def test_arrays_of_zarr(tmp_path, shuffle):
    zarr = pytest.importorskip("zarr")
    near, far = network(3), network(3)
    near.fit(X, LABELS, batch_size=7, shuffle=shuffle, progress=False)
    x = zarr.open(str(tmp_path / "x"), mode="w", shape=X.shape, chunks=(32, 4), dtype="f8")
    x[:] = X
    far.fit(x, LABELS, batch_size=7, shuffle=shuffle, progress=False)
    assert_same(near, far)


def test_a_profile_reads_some_batches(tmp_path):
    rows = RowsOnly(X)
    profile = network_of(2).profile(rows, NUMBERS, loss=rv.MSELoss(), batch_size=2, seconds=0.0)
    assert profile.samples > 0
    assert rows.most <= 128


@pytest.mark.parametrize("steps", [3, 25])
def test_a_learning_rate_test_reads_batches(steps, tmp_path, monkeypatch):
    monkeypatch.setattr("ranvier.batches._READ", 1000)
    rows, options = RowsOnly(X), {"steps": steps, "batch_size": 30, "loss": rv.MSELoss()}
    expected = rv.diagnostics.learning_rate_range_test(network_of(2), X, NUMBERS, **options)
    assert rv.diagnostics.learning_rate_range_test(network_of(2), rows, NUMBERS, **options) == expected
    assert rows.most <= 30
    assert (
        rv.diagnostics.learning_rate_range_test(network_of(2), mapped(X, tmp_path, "x"), NUMBERS, **options) == expected
    )


def network_of(outputs):
    return rv.Network([rv.Linear(4, 5), rv.Tanh(), rv.Linear(5, outputs)], seed=0)


def test_rows_of_a_large_table_have_the_bits_of_batches():
    """They are copied before they are used, other rows are not."""
    x = np.random.default_rng(0).standard_normal((300_000, 16), dtype=np.float32)
    y = np.random.default_rng(1).standard_normal((300_000, 1), dtype=np.float32)
    one, other = (rv.Network([rv.Linear(16, 8), rv.Tanh(), rv.Linear(8, 1)], seed=0) for _ in range(2))
    loss, optimizer = rv.MSELoss(), rv.Adam()
    one.fit(x, y, loss=loss, optimizer=optimizer, batch_size=3000, progress=False)
    other.epochs_trained = 1
    order = other.shuffled(300_000)
    for first in range(0, 300_000, 3000):
        part = order[first : first + 3000]
        other.train_step(x[part], y[part], loss=loss, optimizer=optimizer)
    assert_same(one, other)
