"""Selective Kernel Networks. Torch is imported only when a network is built."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sknet.spec import (
    Body,
    BottleneckAttention,
    Branch,
    ConvolutionalAttention,
    MobileNetV2Body,
    NetworkSpec,
    SelectiveKernel,
    ShuffleNetV2Body,
    SqueezeExcitation,
    Stem,
)
from sknet.zoo import create_model, list_models

if TYPE_CHECKING:
    from sknet.build import build_network
    from sknet.folding import fold_normalisation
    from sknet.selection import record_selection, replace_selection
    from sknet.selective_kernel import SKConv
    from sknet.weights import load_weights

__all__ = [
    "Body",
    "BottleneckAttention",
    "Branch",
    "ConvolutionalAttention",
    "MobileNetV2Body",
    "NetworkSpec",
    "SKConv",
    "SelectiveKernel",
    "ShuffleNetV2Body",
    "SqueezeExcitation",
    "Stem",
    "build_network",
    "create_model",
    "fold_normalisation",
    "list_models",
    "load_weights",
    "record_selection",
    "replace_selection",
]

_NEEDS_TORCH = {
    "SKConv": "selective_kernel",
    "build_network": "build",
    "fold_normalisation": "folding",
    "load_weights": "weights",
    "record_selection": "selection",
    "replace_selection": "selection",
}
"""Names that are loaded on first use, since their modules import torch."""


def __getattr__(name: str) -> Any:
    """Loads names that need torch on first use."""
    if name in _NEEDS_TORCH:
        return getattr(import_module(f"{__name__}.{_NEEDS_TORCH[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
