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
    BatchNorm1d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Maxout,
    MaxPool2d,
    Parallel,
    PReLU,
    ReLU,
    Residual,
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
    HingeLoss,
    MSELoss,
    QuadraticLoss,
    SumSquaredResidualsLoss,
)
from ranvier.network import Network
from ranvier.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from ranvier.profiling import Profile

__all__ = [
    "ELU",
    "GELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Evaluation",
    "Flatten",
    "GlobalAvgPool2d",
    "HingeLoss",
    "History",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Maxout",
    "Network",
    "PReLU",
    "Parallel",
    "Profile",
    "QuadraticLoss",
    "RMSprop",
    "RReLU",
    "ReLU",
    "Residual",
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
