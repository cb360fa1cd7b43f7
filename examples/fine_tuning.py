"""Fine-tuning: a network that reads digits gets used to a shifted camera, from 20 images, its later layers frozen."""

import numpy as np
import ranvier as rv


def shifted(images):
    """Return images of 8 x 8 pixels, one pixel further to the right."""
    return np.roll(images.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)


(x, y), (x_test, y_test) = rv.datasets.digits(flatten=True)
layers = [rv.Linear(64, 64), rv.ReLU(), rv.Linear(64, 32), rv.ReLU(), rv.Linear(32, 10)]
few, labels, x_test = shifted(x[:20]), y[:20], shifted(x_test)

net = rv.Network(layers, seed=0)
net.fit(x, y, epochs=20, progress=False)
print(f"as it was                {net.evaluate(x_test, y_test).accuracy:.3f}")

net.freeze("2.*", "4.*")
net.fit(few, labels, epochs=100, optimizer=rv.Adam(1e-3), progress=False)
print(f"its first layer trained  {net.evaluate(x_test, y_test).accuracy:.3f}")

net.unfreeze("*")
slow = [rv.ParameterGroup("[24].*", lr=1e-4)]
net.fit(few, labels, epochs=100, optimizer=rv.Adam(1e-3, groups=slow), progress=False)
print(f"the others slowly, too   {net.evaluate(x_test, y_test).accuracy:.3f}")

scratch = rv.Network(layers, seed=0)
scratch.fit(few, labels, epochs=200, optimizer=rv.Adam(1e-3), progress=False)
print(f"from these images alone  {scratch.evaluate(x_test, y_test).accuracy:.3f}")
