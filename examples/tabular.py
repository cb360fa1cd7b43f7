"""A table with text labels, from the frame to a service: scale, search, calibrate, save, load and answer.

Needs scikit-learn, pandas and skops: ``pip install 'ranvier[sklearn]' pandas skops``. Takes some seconds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import ranvier as rv
import skops.io
from ranvier.sklearn import NetworkClassifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# What the file may have beside the types that skops trusts by itself.
TRUSTED = [
    "ranvier.network.Network",
    "ranvier.optimizers.AdamW",
    "ranvier.sklearn.estimators.NetworkClassifier",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
]


def customers(rows: int, seed: int) -> pd.DataFrame:
    """Return invented customers, some of whom leave, most of all new ones and those who pay much for little use."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "months": rng.integers(1, 72, rows),
            "monthly_charge": rng.gamma(4.0, 15.0, rows),
            "hours_of_use": rng.gamma(2.0, 20.0, rows),
            "calls_for_help": rng.poisson(1.0, rows),
        }
    )
    value = frame.hours_of_use / frame.monthly_charge
    risk = 1.5 - frame.months / 18 - 2 * np.log(value) + 0.6 * frame.calls_for_help * (frame.months < 24)
    leaves = rng.random(rows) < 1 / (1 + np.exp(-risk))
    return frame.assign(outcome=np.where(leaves, "leaves", "stays"))


def trained(table: pd.DataFrame) -> CalibratedClassifierCV:
    """Return a classifier of customers, the best of a small grid, whose probabilities are calibrated."""
    network = NetworkClassifier(solver=rv.AdamW(3e-3), early_stopping=True, n_iter_no_change=5, random_state=0)
    grid = {
        "networkclassifier__hidden_layer_sizes": [(8,), (32, 16)],
        "networkclassifier__dropout": [0.0, 0.2],
    }
    search = GridSearchCV(make_pipeline(StandardScaler(), network), grid, scoring="neg_log_loss", cv=2, n_jobs=2)
    x, y = table.drop(columns="outcome"), table.outcome
    search.fit(x, y)
    print(f"best settings: {search.best_params_}")
    return CalibratedClassifierCV(search.best_estimator_, cv=2).fit(x, y)


def served(path: Path) -> Callable[[Mapping[str, float]], float]:
    """Return a function that takes a customer as a dict, and gives the probability that it leaves."""
    classifier = skops.io.load(path, trusted=TRUSTED)
    columns = list(classifier.feature_names_in_)
    leaves = list(classifier.classes_).index("leaves")

    def answer(row: Mapping[str, float]) -> float:
        frame = pd.DataFrame([row])[columns]
        return float(classifier.predict_proba(frame)[0, leaves])

    return answer


def main() -> None:
    table, test = train_test_split(customers(4000, seed=0), test_size=1000, random_state=0)
    classifier = trained(table)
    x, y = test.drop(columns="outcome"), test.outcome
    probabilities = classifier.predict_proba(x)[:, 0]
    print(f"accuracy: {classifier.score(x, y):.3f}")
    print(f"Brier score: {brier_score_loss(y == 'leaves', probabilities):.3f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "customers.skops"
        skops.io.dump(classifier, path)
        answer = served(path)
    row = {"months": 3, "monthly_charge": 90.0, "hours_of_use": 10.0, "calls_for_help": 4}
    print(f"a new customer who pays much for little: {answer(row):.3f}")
    print(f"one of five years: {answer(row | {'months': 60, 'hours_of_use': 120.0}):.3f}")
    same = all(answer(r) == p for r, p in zip(x.head(5).to_dict("records"), probabilities[:5], strict=True))
    print(f"the loaded one answers as the one that was saved: {same}")


if __name__ == "__main__":
    main()
