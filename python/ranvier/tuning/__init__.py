"""The search for good settings, and cross-validation. Needs Optuna and scikit-learn, the extra ``tune``.

`search` tries settings from a space of `Real`, `Integer` and `Choice` dimensions; `cross_validate` measures one network
on each part of the data in turn. Both get networks from a function of yours, a new one for each training.
"""

from ranvier.tuning.cross_validation import CrossValidation, cross_validate
from ranvier.tuning.space import Choice, Integer, Real
from ranvier.tuning.trials import Search, Trial, search

__all__ = ["Choice", "CrossValidation", "Integer", "Real", "Search", "Trial", "cross_validate", "search"]
