"""Builds the spatial operator that a spec describes: SKConv, or a class written by a user.

This module is apart from `build` because blocks use it, and `build` uses the blocks.
"""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from sknet.convolution import Activation
from sknet.selective_kernel import SKConv
from sknet.spec import Operator, UserOperator


def build_operator(
    operator: Operator, channels: int, *, stride: int = 1, activation: Activation = "relu"
) -> nn.Module:
    """Builds the spatial operator that the spec describes.

    Args:
        operator: Spec of the operator.
        channels: Channels of its input and output.
        stride: Factor by which it downsamples the image.
        activation: What follows batch normalisation in SKConv; a user's operator brings its own.

    Raises:
        ValueError: If a user's class cannot be loaded, or its file differs from the spec's.
    """
    if isinstance(operator, UserOperator):
        built: nn.Module = load_class(operator)(channels, stride=stride, **dict(operator.settings))
        return built
    return SKConv(
        channels,
        operator.branches,
        attention=operator.attention,
        reduction=operator.reduction,
        min_width=operator.min_width,
        descriptor=operator.descriptor,
        score_bias=operator.score_bias,
        stride=stride,
        activation=activation,
    )


def load_class(operator: UserOperator) -> Any:
    """Imports a user's class.

    Raises:
        ValueError: If it cannot be imported, is not an nn.Module, or its file differs from the one
            that the spec was made from: another machine may have another copy.
    """
    module_name, _, class_name = operator.path.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{operator.path} must be importable, got {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{operator.path} must be a subclass of nn.Module, got {found!r}")
    content = Path(str(module.__file__)).read_bytes()
    if operator.sources and hashlib.sha256(content).hexdigest() != operator.sources[0][1]:
        raise ValueError(
            f"{module.__file__} must be the file that the trial was planned with, got different "
            "content; plan again, or give every machine the same file"
        )
    return found
