"""Networks as estimators of scikit-learn: in pipelines, searches, cross-validation and calibration.

`NetworkClassifier` and `NetworkRegressor` take the parameters of scikit-learn's ``MLPClassifier`` and ``MLPRegressor``
where they mean the same, and in place of them any layers, loss and optimizer of this library. They need scikit-learn
1.6 or later, the extra ``sklearn``.
"""

try:
    from sklearn.utils.validation import validate_data as _validate_data  # noqa: F401  (new in 1.6)
except ImportError:
    raise ImportError("the estimators need scikit-learn 1.6 or later: pip install 'ranvier[sklearn]'") from None

from ranvier.sklearn.estimators import NetworkClassifier, NetworkRegressor

__all__ = ["NetworkClassifier", "NetworkRegressor"]
