"""Layers: small dataclasses whose fields are their whole configuration.

A layer holds no parameters; the network that it is put into does. A layer of your own is any object with
``forward(x)`` and ``backward(grad)`` in NumPy, or with parameters a `ranvier.CustomLayer`; it may stand anywhere in a
network.
"""

from ranvier.layers.activation import (
    ELU,
    GELU,
    SELU,
    Hardswish,
    Heaviside,
    LeakyReLU,
    LogSoftmax,
    Maxout,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from ranvier.layers.augmentation import RandomCrop, RandomHorizontalFlip, RandomRotation, RandomShift
from ranvier.layers.base import Layer, PlainLayer, checked_initializer, checked_result, layer_spec, require_layers
from ranvier.layers.containers import Parallel, Residual
from ranvier.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from ranvier.layers.embedding import Embedding
from ranvier.layers.joins import Add, Concat
from ranvier.layers.linear import Linear, layers_of_sizes
from ranvier.layers.noise import Dropout, Dropout1d, Dropout2d, GaussianNoise
from ranvier.layers.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, Standardize
from ranvier.layers.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool2d,
    MaxPool1d,
    MaxPool2d,
)
from ranvier.layers.recurrent import GRU, LSTM
from ranvier.layers.shape import Flatten, Identity, Unflatten
from ranvier.layers.symbolic import Input, Value
from ranvier.layers.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "Add",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Concat",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "Heaviside",
    "Identity",
    "Input",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "Maxout",
    "Mish",
    "PReLU",
    "Parallel",
    "PlainLayer",
    "RReLU",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "ReLU",
    "ReLU6",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Standardize",
    "Tanh",
    "Unflatten",
    "Upsample",
    "Value",
    "checked_initializer",
    "checked_result",
    "layer_spec",
    "layers_of_sizes",
    "require_layers",
]
