"""Networks in files, with what training needs to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ranvier import serialization
from ranvier.data import as_values
from ranvier.serialization import object_from_json, object_to_json, value_from_json, value_to_json
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["load", "save"]


def _optimizer_to_json(network: Network) -> tuple[dict[str, Any] | None, dict[str, Array]]:
    if network._optimizer is None:
        return None, {}
    settings, state = network._optimizer
    config = object_to_json("optimizer", settings, "")
    config |= {"steps": state.steps, "learning_rate_factor": network.learning_rate_factor}
    return config, {serialization.OPTIMIZER + name: value for name, value in state.state.items()}


def _restore_optimizer(network: Network, config: dict[str, Any], tensors: Mapping[str, Array]) -> None:
    steps, factor = int(config.pop("steps")), config.pop("learning_rate_factor", 1.0)
    state = network._optimizer_state(object_from_json(config))
    state.steps = steps
    network.learning_rate_factor = factor
    if state.state.keys() != tensors.keys():
        raise ValueError(f"expected the optimizer's {sorted(state.state)}, got {sorted(tensors)}")
    for part, value in state.state.items():
        value[...] = as_values(tensors[part], value.shape, value.dtype, part)


def save(
    network: Network,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    training_state: bool = False,
) -> None:
    """Write a network to a file, which either is complete or is not there."""
    config = {
        "dtype": network.dtype.name,
        "seed": network.seed,
        "sizes": network.sizes,
        "input_shape": network.input_shape,
        "epochs_trained": network.epochs_trained,
        "layers": serialization.layers_to_json(network.layers),
        "init": value_to_json(network.init, "init"),
    }
    tensors = dict(network.engine.values())
    if training_state:
        config["training_passes"] = network.engine.training_passes
        config["optimizer"], state = _optimizer_to_json(network)
        tensors |= state
    serialization.write(os.fspath(path), serialization.to_bytes(config, tensors, metadata))


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote; or the weights that `Predictor.save` did, as a network to train on.

    A predictor's file has neither seed nor sizes: the network is then one of layers, with a random seed.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, of another format, or not of a ranvier network.
    """
    from ranvier.network import Network

    metadata, tensors = serialization.read(os.fspath(path))
    with serialization.explaining(os.fspath(path)):
        config = serialization.configuration(metadata)
        layers = config["sizes"] or serialization.layers_from_json(config["layers"])
        network = Network(layers, seed=config["seed"], dtype=config["dtype"], init=value_from_json(config.get("init")))
        values, state = serialization.without_optimizer(tensors)
        network.load_state_dict(values)
        network.engine.training_passes = int(config.get("training_passes", 0))
        if config.get("optimizer") is not None:
            _restore_optimizer(network, dict(config["optimizer"]), state)
        network.input_shape = serialization.shape_from_json(config["input_shape"])
        network.epochs_trained = int(config["epochs_trained"])
    network.metadata = serialization.own_metadata(metadata)
    return network
