"""Networks to and from ONNX files, the format that many runtimes and libraries share.

The package onnx is imported where a function needs it.
"""

from __future__ import annotations

import os
from typing import Any

from ranvier.checks import sizes
from ranvier.network import Network

__all__ = ["export", "load"]


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise ImportError("files of ONNX need its package: pip install 'ranvier[onnx]'") from None


def export(network: Network, path: str | os.PathLike[str], input_shape: tuple[int, ...] | None = None) -> None:
    """Write what a network predicts with to an ONNX file.

    The file has opset 17 in IR version 8. Its inputs and outputs have the names of the network's, or ``"input"`` and
    ``"output"`` where there are none; they are of the network's dtype (indices that `ranvier.Embedding` reads of int64)
    and for batches of any size. Layers that act in training only are left out.

    Parameters
    ----------
    network : Network
    path : path-like
        Replaced in one step if it exists.
    input_shape : tuple of int, optional
        Of one sample; the one seen last unless given. A network that is made from `ranvier.Input` knows its shapes.

    Raises
    ------
    TypeError
        If it is no network, or an ``input_shape`` is given for one of Inputs.
    ValueError
        If the shape of samples is neither given nor known; if a layer is of your own, or ONNX cannot say what it does;
        if an input and an output have the same name; if the parameters take 2 GiB or more, which the format cannot
        hold.
    RuntimeError
        If a `ranvier.Standardize` was never told the mean and the standard deviation of its data.
    OSError
        If the file cannot be written; what was there is as it was.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}")
    _require_onnx()
    from ranvier.onnx import writing

    wiring = network.engine.wiring
    if wiring is not None and input_shape is not None:
        raise TypeError("input_shape: expected None, as the network was made from Inputs, which have shapes")
    shape = network.input_shape if input_shape is None else sizes(input_shape, "input_shape")
    shape = shape if wiring is None else wiring.sample_shape
    if shape is None:
        raise ValueError("input_shape: expected the shape of a sample, as no samples have been seen yet")
    writing.write(network, shape, path)


def load(path: str | os.PathLike[str], *, output: str | None = None, seed: int | None = None) -> Network:
    """Read a network from an ONNX file.

    The graph must consist of operators that layers stand for, and of sums and concatenations of what they give; its
    first axis is the batch. With one input and one output, it becomes layers that stand one behind the other if its
    branches part and join one within another. Any other becomes a network of `ranvier.Input`, whose inputs and outputs
    have the names of the file's if there are several, with ``_`` for what Python's names lack. Constants that are added
    or multiplied to each channel become batch normalizations that are frozen. No code is run, and nothing is read
    beyond the file's folder.

    Parameters
    ----------
    path : path-like
    output : str, optional
        The name of the only output to compute; all that are of floats unless given.
    seed : int, optional
        Of the network's random numbers, as for `ranvier.Network`.

    Returns
    -------
    Network
        Its ``metadata`` are those of the file.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is no valid ONNX file, or has what no layer stands for: the node is named, and the reason.
    """
    _require_onnx()
    from ranvier.onnx import reading

    file: Any = os.fspath(path)
    return reading.read(file, output, seed)
