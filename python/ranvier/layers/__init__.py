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
from ranvier.layers.convolution import Conv2d, ConvTranspose2d
from ranvier.layers.embedding import Embedding
from ranvier.layers.linear import Linear, layers_of_sizes
from ranvier.layers.noise import Dropout, GaussianNoise
from ranvier.layers.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, Standardize
from ranvier.layers.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ranvier.layers.recurrent import GRU, LSTM
from ranvier.layers.shape import Flatten
from ranvier.layers.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "SELU",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "Heaviside",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
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
    "Upsample",
    "checked_initializer",
    "checked_result",
    "layer_spec",
    "layers_of_sizes",
    "require_layers",
]
