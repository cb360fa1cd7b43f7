"""Real digits: MNIST, from RANVIER_DATA or ../shared/data/mnist beside the repository."""

import pytest
import ranvier as rv
from mnist_files import WHY_NOT, mnist_folder
from ranvier.models import DATASETS


@pytest.fixture(scope="module")
def data():
    if mnist_folder() is None:
        pytest.skip(WHY_NOT)
    return rv.datasets.mnist(mnist_folder())


def test_has_its_shapes(data):
    (x, y), (x_test, y_test) = data
    assert x.shape == (60000, 1, 28, 28)
    assert x_test.shape == (10000, 1, 28, 28)
    assert (x.dtype, y.dtype) == ("float32", "int64")
    assert (x.min(), x.max()) == (0, 1)
    assert sorted(set(y_test)) == list(range(10))
    assert y[:5].tolist() == [5, 0, 4, 1, 9]


def test_the_notes_network_learns(data, capsys):
    (x, y), (x_test, y_test) = data
    net = rv.Network([784, 30, 10], seed=0)
    net.SGD((x.reshape(-1, 784), y), 3, 10, 3.0, test_data=(x_test.reshape(-1, 784), y_test))
    assert net.evaluate((x_test.reshape(-1, 784), y_test)) >= 9200
    assert capsys.readouterr().out.startswith("Epoch 0: ")


def test_the_notes_cnn_learns_and_comes_back(data, tmp_path):
    (x, y), (x_test, y_test) = data
    net = rv.Network(DATASETS["mnist"].cnn, seed=0)
    net.fit(x, y, epochs=1, batch_size=50, optimizer=rv.Adam(1e-3), progress=False)
    assert net.evaluate(x_test, y_test).accuracy >= 0.975
    net.save(tmp_path / "cnn.safetensors")
    assert (rv.load(tmp_path / "cnn.safetensors").predict(x_test[:100]) == net.predict(x_test[:100])).all()
