"""Recurrent layers beside PyTorch's: an epoch of training and prediction, in turns.

``python bench/recurrent.py [rounds]`` prints for each shape the milliseconds of both and their ratio.
"""

import sys
import time

import numpy as np
import ranvier as rv
import torch

# layer, samples of a batch, time steps, features, hidden units
SHAPES = [
    ("GRU", 64, 32, 32, 64),
    ("GRU", 64, 50, 64, 128),
    ("LSTM", 64, 32, 32, 64),
    ("LSTM", 32, 28, 28, 128),
    ("LSTM", 16, 100, 8, 32),
]
BATCHES = 6


class Peer(torch.nn.Module):
    """PyTorch's layer and a linear one on its last state."""

    def __init__(self, kind, features, hidden):
        super().__init__()
        self.recurrent = getattr(torch.nn, kind)(features, hidden, batch_first=True)
        self.linear = torch.nn.Linear(hidden, 10)

    def forward(self, x):
        """Return the outputs of a batch."""
        return self.linear(self.recurrent(x)[0][:, -1])


def systems(kind, n, steps, features, hidden):
    """Return by name pairs of functions, ours and PyTorch's, that do the same."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCHES * n, steps, features)).astype(np.float32)
    y = rng.integers(0, 10, len(x))
    net = rv.Network([getattr(rv, kind)(features, hidden), rv.Linear(hidden, 10)], seed=0)
    peer = Peer(kind, features, hidden)
    optimizer, inputs, labels = torch.optim.Adam(peer.parameters()), torch.from_numpy(x), torch.from_numpy(y)

    def train():
        net.fit(x, y, epochs=1, batch_size=n, optimizer=rv.Adam(), shuffle=False, progress=False)

    def train_peer():
        for first in range(0, len(x), n):
            optimizer.zero_grad(set_to_none=True)
            outputs = peer(inputs[first : first + n])
            torch.nn.functional.cross_entropy(outputs, labels[first : first + n]).backward()
            optimizer.step()

    def predict_peer(count):
        with torch.inference_mode():
            return peer(inputs[:count])

    return {
        "epoch": (train, train_peer),
        "predict all": (lambda: net.predict(x), lambda: predict_peer(len(x))),
        "predict one": (lambda: net.predict(x[:1]), lambda: predict_peer(1)),
    }


def milliseconds(call):
    """Return how long a call takes, the least of three in a row."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return 1000 * min(times)


def main():
    """Measure all shapes."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(rv.num_threads())
    print(f"{'layer, batch, steps, features, hidden':40} {'':12} {'ranvier':>9} {'PyTorch':>9} {'ratio':>6}")
    for shape in SHAPES:
        for name, (ours, theirs) in systems(*shape).items():
            turns = []
            for _ in range(rounds):
                turns.append((milliseconds(ours), milliseconds(theirs)))
                time.sleep(0.05)
            own, other = np.median(turns, axis=0)
            print(f"{', '.join(map(str, shape)):40} {name:12} {own:9.3f} {other:9.3f} {other / own:6.2f}", flush=True)


if __name__ == "__main__":
    main()
