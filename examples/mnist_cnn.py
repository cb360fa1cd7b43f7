"""The lecture notes' convolutional network on MNIST: train, save, load, predict. About half a minute."""

import ranvier as rv
from ranvier.models import DATASETS

(x, y), (x_test, y_test) = rv.datasets.mnist()
net = rv.Network(DATASETS["mnist"].cnn, seed=0)
print(net.summary((1, 28, 28)))
net.fit(x, y, epochs=5, batch_size=50, optimizer=rv.Adam(1e-3), validation_data=(x_test, y_test))
net.save("mnist-cnn.safetensors")
again = rv.load("mnist-cnn.safetensors")
print("the first ten test digits:", again.predict(x_test[:10]).argmax(axis=1), "are", y_test[:10])
