"""Ranvier: neural networks on CPUs, from NumPy arrays, fast.

``Network`` trains and runs networks, ``kernels`` has the fast functions alone, ``datasets`` the data sets.
"""

from ranvier import datasets, kernels
from ranvier._core import __version__, cpu_info, num_threads, set_num_threads
from ranvier.checkpoint import load
from ranvier.history import Evaluation, History
from ranvier.layers import (
    ELU,
    GELU,
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Maxout,
    MaxPool2d,
    PReLU,
    ReLU,
    RReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from ranvier.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    QuadraticLoss,
    SumSquaredResidualsLoss,
)
from ranvier.network import Network
from ranvier.optimizers import SGD, Adam

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "Adam",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Evaluation",
    "Flatten",
    "History",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Maxout",
    "Network",
    "PReLU",
    "QuadraticLoss",
    "RReLU",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "SumSquaredResidualsLoss",
    "Tanh",
    "__version__",
    "cpu_info",
    "datasets",
    "kernels",
    "load",
    "num_threads",
    "set_num_threads",
]
