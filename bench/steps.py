"""One training step and one prediction of a small network, called by hand: against `fit`, and against PyTorch.

    python bench/steps.py [--rounds N]

The network is 8-64-64-4 with tanh, trained by Adam on batches of 64 from NumPy arrays. Systems take turns; each figure
is the least of its rounds, in microseconds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import ranvier as rv

BATCH, BATCHES = 64, 200
LAYERS = [rv.Linear(8, 64), rv.Tanh(), rv.Linear(64, 64), rv.Tanh(), rv.Linear(64, 4)]


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH * BATCHES, 8), dtype=np.float32)
    return x, (x[:, :4] + rng.standard_normal((len(x), 4), dtype=np.float32)).argmax(1)


def repeated(call: Callable[[np.ndarray, np.ndarray], object]) -> Callable[[], float]:
    """Return a function that calls it on each batch, and returns the seconds of a call."""
    x, y = data()
    batches = [(x[first : first + BATCH].copy(), y[first : first + BATCH].copy()) for first in range(0, len(x), BATCH)]

    def run() -> float:
        start = time.perf_counter()
        for one, other in batches:
            call(one, other)
        return (time.perf_counter() - start) / len(batches)

    return run


def ours() -> dict[str, Callable[[], float]]:
    x, y = data()
    optimizer, loss = rv.Adam(1e-3), rv.CrossEntropyLoss()
    fitted, stepped, open_steps = (rv.Network(LAYERS, seed=0) for _ in range(3))

    def fit() -> float:
        start = time.perf_counter()
        fitted.fit(x, y, batch_size=BATCH, loss=loss, optimizer=optimizer, progress=False)
        return (time.perf_counter() - start) / BATCHES

    def by_hand(one: np.ndarray, other: np.ndarray) -> None:
        open_steps.backward(loss.gradient(open_steps.forward(one), other))
        open_steps.step(optimizer)

    return {
        "fit, its share": fit,
        "train_step": repeated(lambda one, other: stepped.train_step(one, other, loss=loss, optimizer=optimizer)),
        "forward, backward, step": repeated(by_hand),
        "predict": repeated(lambda one, _: stepped.predict(one)),
        "predict one": repeated(lambda one, _: stepped.predict(one[:1])),
    }


def pytorchs() -> dict[str, Callable[[], float]]:
    try:
        import torch
    except ImportError:
        return {}
    layers = [torch.nn.Linear(8, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 4)]
    net = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step(one: np.ndarray, other: np.ndarray) -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(torch.from_numpy(one)), torch.from_numpy(other)).backward()
        optimizer.step()

    @torch.no_grad()
    def predict(one: np.ndarray, _: np.ndarray) -> None:
        net(torch.from_numpy(one)).numpy()

    return {
        "PyTorch, step": repeated(step),
        "PyTorch, predict": repeated(predict),
        "PyTorch, predict one": repeated(lambda one, other: predict(one[:1], other)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    runs = ours() | pytorchs()
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    best = {name: 1e6 * min(seconds) for name, seconds in times.items()}
    for name, microseconds in best.items():
        print(f"{name:26}{microseconds:9.2f} us")
    print(f"train_step / its share of fit: {best['train_step'] / best['fit, its share']:.2f} (at most 1.25)")
    if "PyTorch, step" in best:
        print(f"PyTorch's step / train_step: {best['PyTorch, step'] / best['train_step']:.1f} (at least 10)")


if __name__ == "__main__":
    main()
