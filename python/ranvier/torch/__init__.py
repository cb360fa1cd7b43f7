"""Networks from and to modules of PyTorch, with their parameters.

PyTorch itself is imported where a function needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranvier.network import Network

if TYPE_CHECKING:
    from torch import nn

__all__ = ["from_module", "to_module"]


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ImportError("modules of PyTorch need it: pip install 'ranvier[torch]'") from None


def from_module(module: nn.Module, *, seed: int | None = None) -> Network:
    """Return a network with the layers and parameters of a PyTorch module.

    Parameters
    ----------
    module : torch.nn.Module
        A ``Sequential``, whose members may be ``Sequential``, too, or a single layer.
    seed : int, optional
        Of the network's random numbers, as for `ranvier.Network`.

    Returns
    -------
    Network
        Of float64 if all parameters are, else of float32. Where a parameter has ``requires_grad=False``, the network's
        is frozen. It predicts as the module does in evaluation mode.

    Raises
    ------
    TypeError
        If something is no module.
    ValueError
        If there is no layer that does the same as one of the modules; it names that module and says why.
    """
    _require_torch()
    from ranvier.torch.reading import network_of

    return network_of(module, seed)


def to_module(network: Network) -> Any:
    """Return a PyTorch module with the layers and parameters of a network.

    Parameters
    ----------
    network : Network

    Returns
    -------
    torch.nn.Sequential or torch.nn.Module
        The latter for a network that is made from `ranvier.Input`: it takes and gives tensors, or dicts of them where
        inputs or outputs are several. In training mode and of the network's dtype, with copies of the parameters. Those
        that are frozen have ``requires_grad=False``. Its ``state_dict`` has the names of the network's.

    Raises
    ------
    TypeError
        If it is no network.
    ValueError
        If PyTorch has no module that does the same as one of the layers; it names that layer and says why.
    RuntimeError
        If a `ranvier.Standardize` was never told the mean and the standard deviation of its data.

    Warns
    -----
    UserWarning
        If layers have penalties (``l1``, ``l2``) or a ``max_norm``, or running statistics are frozen: the module's own
        training would not heed them.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network: expected a Network, got {type(network).__name__}")
    _require_torch()
    from ranvier.torch.writing import module_of

    return module_of(network)
