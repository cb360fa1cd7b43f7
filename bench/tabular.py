"""Training on a table of 20,000 rows: `ranvier.sklearn.NetworkClassifier` beside scikit-learn's ``MLPClassifier``.

Both get the same parameters, rows and epochs, in turns; the times are the least of all turns. The accuracy is on rows
held out.

    python bench/tabular.py [--turns 3] [--epochs 20] [--hidden 100 300] [--threads 1]
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
import ranvier as rv
from ranvier.sklearn import NetworkClassifier
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

ROWS = 20_000


def tables(features: int, classes: int, dtype: str) -> list[Any]:
    """Return rows and labels to train on, and as many to test with, scaled."""
    x, y = make_classification(
        2 * ROWS, features, n_informative=features // 2, n_classes=classes, n_clusters_per_class=3, random_state=0
    )
    parts = train_test_split(x, y, test_size=ROWS, random_state=0)
    scaler = StandardScaler().fit(parts[0])
    return [scaler.transform(parts[0]).astype(dtype), scaler.transform(parts[1]).astype(dtype), *parts[2:]]


def measure(features: int, classes: int, dtype: str, hidden: int, epochs: int, turns: int) -> None:
    x, x_test, y, y_test = tables(features, classes, dtype)
    options = {"hidden_layer_sizes": (hidden,), "max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs}
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    scores: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(turns):
        for name, kind in (("ours", NetworkClassifier), ("theirs", MLPClassifier)):
            estimator = kind(random_state=turn, **options)
            start = time.perf_counter()
            estimator.fit(x, y)
            seconds[name].append(time.perf_counter() - start)
            scores[name].append(estimator.score(x_test, y_test))
    ours, theirs = (min(seconds[name]) for name in ("ours", "theirs"))
    print(
        f"{features:4} features {classes:3} classes {dtype:8} hidden {hidden:4} | "
        f"Ranvier {ours / epochs * 1e3:7.2f} ms an epoch, scikit-learn {theirs / epochs * 1e3:7.2f}: "
        f"{theirs / ours:5.2f} times | accuracy {np.mean(scores['ours']):.4f} and {np.mean(scores['theirs']):.4f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--hidden", type=int, nargs="*", default=[100, 300])
    parser.add_argument("--threads", type=int, default=None, help="of both; all unless given")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    with threadpool_limits(given.threads):
        print(f"{rv.num_threads()} threads, {rv.cpu_info()['isa']}, batches of 200")
        for hidden in given.hidden:
            for features, classes in ((20, 2), (60, 5)):
                for dtype in ("float32", "float64"):
                    measure(features, classes, dtype, hidden, given.epochs, given.turns)


if __name__ == "__main__":
    main()
