"""Ranvier: neural networks on CPUs, from NumPy arrays, fast.

``Network`` trains and runs networks, ``kernels`` has the fast functions alone, ``datasets`` the data sets,
``initializers`` what weights start from.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ranvier import hooks, kernels
from ranvier._core import __version__, cpu_info, num_threads, set_num_threads

if TYPE_CHECKING:  # when it runs, `__getattr__` loads what is named
    from ranvier import callbacks as callbacks
    from ranvier import custom as custom
    from ranvier import datasets as datasets
    from ranvier import diagnostics as diagnostics
    from ranvier import distributed as distributed
    from ranvier import initializers as initializers
    from ranvier import metrics as metrics
    from ranvier import notes as notes
    from ranvier import onnx as onnx
    from ranvier import plot as plot
    from ranvier import schedules as schedules
    from ranvier import sklearn as sklearn
    from ranvier import testing as testing
    from ranvier import torch as torch
    from ranvier import tuning as tuning
    from ranvier.callbacks import Checkpoint, EarlyStopping, ReduceLROnPlateau, StopAtTolerance
    from ranvier.custom import CustomLayer, Parameter, register_layer
    from ranvier.history import Evaluation, History
    from ranvier.joint_losses import JointLoss
    from ranvier.layers import (
        ELU,
        GELU,
        GRU,
        LSTM,
        SELU,
        AdaptiveAvgPool1d,
        AdaptiveAvgPool2d,
        AdaptiveMaxPool1d,
        AdaptiveMaxPool2d,
        Add,
        AvgPool1d,
        AvgPool2d,
        BatchNorm1d,
        BatchNorm2d,
        Concat,
        Conv1d,
        Conv2d,
        ConvTranspose2d,
        Dropout,
        Dropout1d,
        Dropout2d,
        Embedding,
        Flatten,
        GaussianNoise,
        GlobalAvgPool2d,
        GroupNorm,
        Hardswish,
        Heaviside,
        Identity,
        Input,
        LayerNorm,
        LeakyReLU,
        Linear,
        LogSoftmax,
        Maxout,
        MaxPool1d,
        MaxPool2d,
        Mish,
        Parallel,
        PReLU,
        RandomCrop,
        RandomHorizontalFlip,
        RandomRotation,
        RandomShift,
        ReLU,
        ReLU6,
        Residual,
        RReLU,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Standardize,
        Tanh,
        Unflatten,
        Upsample,
    )
    from ranvier.loggers import CSVLogger, JSONLogger, TensorBoardLogger
    from ranvier.losses import (
        BCELoss,
        BCEWithLogitsLoss,
        CrossEntropyLoss,
        FocalLoss,
        HingeLoss,
        HuberLoss,
        L1Loss,
        MSELoss,
        NLLLoss,
        PoissonNLLLoss,
        QuadraticLoss,
        QuantileLoss,
        SmoothL1Loss,
        SumSquaredResidualsLoss,
    )
    from ranvier.network import Network, load
    from ranvier.optimizers import SGD, Adagrad, Adam, AdamW, ParameterGroup, RMSprop
    from ranvier.predictor import Predictor, load_predictor
    from ranvier.schedules import (
        CosineAnnealingLR,
        ExponentialLR,
        InverseTimeLR,
        OneCycleLR,
        StepLR,
        WarmUp,
    )

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CSVLogger",
    "Checkpoint",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "CustomLayer",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "EarlyStopping",
    "Embedding",
    "Evaluation",
    "ExponentialLR",
    "Flatten",
    "FocalLoss",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "Heaviside",
    "HingeLoss",
    "History",
    "HuberLoss",
    "Identity",
    "Input",
    "InverseTimeLR",
    "JSONLogger",
    "JointLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Maxout",
    "Mish",
    "NLLLoss",
    "Network",
    "OneCycleLR",
    "PReLU",
    "Parallel",
    "Parameter",
    "ParameterGroup",
    "PoissonNLLLoss",
    "Predictor",
    "QuadraticLoss",
    "QuantileLoss",
    "RMSprop",
    "RReLU",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "ReLU",
    "ReLU6",
    "ReduceLROnPlateau",
    "Residual",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Standardize",
    "StepLR",
    "StopAtTolerance",
    "SumSquaredResidualsLoss",
    "Tanh",
    "TensorBoardLogger",
    "Unflatten",
    "Upsample",
    "WarmUp",
    "__version__",
    "cpu_info",
    "datasets",
    "initializers",
    "kernels",
    "load",
    "load_predictor",
    "notes",
    "num_threads",
    "register_layer",
    "set_num_threads",
]

# Whose public names are the package's, from the lowest on. A module is loaded when it is first needed.
_PLACES = (
    "layers",
    "losses",
    "joint_losses",
    "optimizers",
    "history",
    "network",
    "schedules",
    "callbacks",
    "custom",
    "loggers",
    "predictor",
)


def _class_of_sizes() -> type[Any]:
    from ranvier import notes

    return notes.Network


def _class_of_values() -> type[Any]:
    from ranvier.graph_network import GraphNetwork

    return GraphNetwork


hooks.class_of_sizes = _class_of_sizes
hooks.class_of_values = _class_of_values


def __getattr__(name: str) -> Any:
    from importlib.util import find_spec

    if not name.startswith("_"):
        if find_spec(f"ranvier.{name}") is not None:  # as in rv.datasets.mnist()
            return import_module(f"ranvier.{name}")
        for place in _PLACES if name in __all__ else ():
            module = import_module(f"ranvier.{place}")
            if name in module.__all__:
                globals()[name] = getattr(module, name)  # the next time, nobody asks
                return globals()[name]
    raise AttributeError(f"module 'ranvier' has no attribute {name!r}")


def __dir__() -> list[str]:
    from pkgutil import iter_modules

    modules = {module.name for module in iter_modules(__path__) if not module.name.startswith("_")}
    return sorted({*globals(), *modules, *__all__})
