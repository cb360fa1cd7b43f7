"""The lecture notes' network on scikit-learn's digits: sizes, SGD, the number of hits after each epoch."""

import ranvier as rv

(x, y), (x_test, y_test) = rv.datasets.digits(flatten=True)
net = rv.Network([64, 30, 10], seed=0)
net.SGD((x, y), epochs=20, mini_batch_size=10, eta=3.0, test_data=(x_test, y_test))
