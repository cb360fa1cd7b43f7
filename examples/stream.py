"""Training from a stream: batches that are made while the network trains, and never all in memory.

The samples are noisy sums of three sine waves; the network is to find their frequencies.
"""

import numpy as np
import ranvier as rv

TIMES = np.linspace(0, 1, 64)


def signals(seed, batch_size=128):
    """Yield batches of signals and of their frequencies, without end."""
    rng = np.random.default_rng(seed)
    while True:
        frequencies = np.sort(rng.uniform(1, 10, (batch_size, 3)), axis=1)
        waves = np.sin(2 * np.pi * frequencies[:, :, None] * TIMES)
        yield waves.sum(axis=1) + 0.05 * rng.standard_normal((batch_size, len(TIMES))), frequencies


net = rv.Network([rv.Linear(64, 128), rv.ReLU(), rv.Linear(128, 128), rv.ReLU(), rv.Linear(128, 3)], seed=0)
history = net.fit(
    signals(seed=0),
    steps_per_epoch=500,
    epochs=10,
    loss=rv.MSELoss(),
    optimizer=rv.Adam(rv.CosineAnnealingLR(3e-3, T_max=10)),
    validation_data=next(signals(seed=1, batch_size=2000)),
    progress=False,
)
print(f"frequencies within {history.val_mae[-1]:.3f}, R squared {history.val_r2[-1]:.3f}")
