"""Selective Kernel Networks; torch is loaded when a network is asked for, not before."""

from typing import TYPE_CHECKING, Any

from sknet.spec import Body, Branch, NetworkSpec, SelectiveKernel, Stem
from sknet.zoo import create_model, list_models

if TYPE_CHECKING:
    from sknet.resnext import build_network
    from sknet.selective_kernel import SKConv

__all__ = [
    "Body",
    "Branch",
    "NetworkSpec",
    "SKConv",
    "SelectiveKernel",
    "Stem",
    "build_network",
    "create_model",
    "list_models",
]


def __getattr__(name: str) -> Any:
    """Loads what needs torch on first use."""
    if name == "SKConv":
        from sknet.selective_kernel import SKConv

        return SKConv
    if name == "build_network":
        from sknet.resnext import build_network

        return build_network
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
