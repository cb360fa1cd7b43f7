"""The adding problem: the sum of two numbers that are marked in a sequence.

Each step has a number between 0 and 1 and a mark, which is 1 at two steps and 0 elsewhere. To give the sum at the end,
a network keeps a number over many steps: what the gates of a GRU are for (Hochreiter and Schmidhuber 1997).
"""

import numpy as np
import ranvier as rv

STEPS = 30
rng = np.random.default_rng(0)


def sequences(count):
    """Return samples of (steps, 2), and the sums of their marked numbers."""
    numbers, marks = rng.random((count, STEPS)), np.zeros((count, STEPS))
    first, second = rng.integers(0, STEPS // 2, count), rng.integers(STEPS // 2, STEPS, count)
    rows = np.arange(count)
    marks[rows, first] = marks[rows, second] = 1
    return np.stack([numbers, marks], axis=2), (numbers[rows, first] + numbers[rows, second])[:, None]


x, y = sequences(5000)
x_new, y_new = sequences(1000)
net = rv.Network([rv.GRU(2, 32), rv.Linear(32, 1)], seed=0)
net.fit(x, y, epochs=15, batch_size=50, loss=rv.MSELoss(), optimizer=rv.Adam(5e-3, clip_norm=1.0))

error = net.evaluate(x_new, y_new, loss=rv.MSELoss()).loss
print(f"guessing 1: error {np.mean((y_new - 1) ** 2):.4f}")
print(f"the GRU: error {error:.4f}")
for sample, target in zip(x_new[:3], y_new[:3, 0], strict=True):
    numbers = " + ".join(f"{value:.2f}" for value, mark in sample if mark)
    print(f"{numbers} = {target:.2f}, and by the GRU {net.predict(sample[None])[0, 0]:.2f}")
