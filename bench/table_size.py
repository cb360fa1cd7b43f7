"""What a row of an epoch costs in tables of different length, in random order and in that of the table.

    python bench/table_size.py [--rounds N] [--columns C] [--batch-size B]

The network is C-32-2 with ReLU, trained by gradient descent through `fit`. Tables take turns; each figure is the least
of its rounds, in nanoseconds a row, with the shuffling.
"""

import argparse
import time

import numpy as np
import ranvier as rv

SMALL, ROWS = 10**5, (10**5, 10**6, 10**7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--columns", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=256)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((max(ROWS), arguments.columns), dtype=np.float32)
    y = rng.integers(0, 2, len(x))
    net = rv.Network([rv.Linear(arguments.columns, 32), rv.ReLU(), rv.Linear(32, 2)], seed=0)
    options = {"optimizer": rv.SGD(0.01), "batch_size": arguments.batch_size, "progress": False}
    net.fit(x[:SMALL], y[:SMALL], **options)  # to warm up

    def nanoseconds(rows: int, shuffle: bool) -> float:
        epochs = max(1, 10**6 // rows)
        start = time.perf_counter()
        net.fit(x[:rows], y[:rows], epochs=epochs, shuffle=shuffle, **options)
        return (time.perf_counter() - start) / rows / epochs * 1e9

    cases = [(rows, shuffle) for rows in ROWS for shuffle in (True, False)]
    turns = [[nanoseconds(*case) for case in cases] for _ in range(arguments.rounds)]
    least = dict(zip(cases, np.min(turns, axis=0).tolist(), strict=True))
    for rows in ROWS:
        shuffled, straight = least[rows, True], least[rows, False]
        ratio = shuffled / least[SMALL, True]
        print(f"{rows:>10,} rows: {shuffled:6.0f} ns shuffled ({ratio:.2f} of {SMALL:,}), {straight:6.0f} ns in order")


if __name__ == "__main__":
    main()
