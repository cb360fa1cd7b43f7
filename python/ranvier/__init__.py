"""Ranvier: neural networks on CPUs, from NumPy arrays, fast.

``Network`` trains and runs networks, ``kernels`` has the fast functions alone, ``datasets`` the data sets,
``initializers`` what weights start from.
"""

from ranvier import datasets, initializers, kernels
from ranvier._core import __version__, cpu_info, num_threads, set_num_threads
from ranvier.callbacks import Checkpoint, EarlyStopping, ReduceOnPlateau, StopAtTolerance
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
    QuadraticLoss,
    SumSquaredResidualsLoss,
)
from ranvier.network import Network
from ranvier.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from ranvier.profiling import Profile
from ranvier.schedules import CosineSchedule, ExponentialSchedule, OneCycleSchedule, StepSchedule, WarmUp

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
    "Checkpoint",
    "Conv2d",
    "CosineSchedule",
    "CrossEntropyLoss",
    "Dropout",
    "EarlyStopping",
    "Evaluation",
    "ExponentialSchedule",
    "Flatten",
    "GlobalAvgPool2d",
    "History",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool2d",
    "Maxout",
    "Network",
    "OneCycleSchedule",
    "PReLU",
    "Parallel",
    "Profile",
    "QuadraticLoss",
    "RMSprop",
    "RReLU",
    "ReLU",
    "ReduceOnPlateau",
    "Residual",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "StepSchedule",
    "StopAtTolerance",
    "SumSquaredResidualsLoss",
    "Tanh",
    "WarmUp",
    "__version__",
    "cpu_info",
    "datasets",
    "initializers",
    "kernels",
    "load",
    "num_threads",
    "set_num_threads",
]
