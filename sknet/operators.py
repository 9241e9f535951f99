"""Builds the spatial operator that a spec describes: our own, or one that a user wrote."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from sknet.selective_kernel import Activation, SKConv
from sknet.spec import Operator, UserOperator


def build_operator(
    operator: Operator, channels: int, *, stride: int = 1, activation: Activation = "relu"
) -> nn.Module:
    """Builds the spatial operator that the spec describes.

    Args:
        operator: What to build.
        channels: Channels of its input and output.
        stride: By how much it shrinks the image.
        activation: What follows normalisation in our own; a user's operator brings its own.

    Raises:
        ValueError: If a user's class cannot be loaded, or is not the one that the spec names.
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
        stride=stride,
        activation=activation,
    )


def load_class(operator: UserOperator) -> Any:
    """Imports a user's class.

    Raises:
        ValueError: If it cannot be imported, is no module of torch, or its file has another content
            than the spec says: a worker elsewhere may see another copy.
    """
    module_name, _, class_name = operator.path.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{operator.path} must be importable, got {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{operator.path} must be a class of torch modules, got {found!r}")
    if operator.sources and hash_module(module) != operator.sources[0][1]:
        raise ValueError(
            f"{module.__file__} must be the file that the trial was planned with, got another "
            "content; plan again, or give every machine the same file"
        )
    return found


def hash_module(module: Any) -> str:
    """SHA-256 of a module's file.

    Raises:
        ValueError: If it has none, such as a module that is built in.
    """
    path = getattr(module, "__file__", None)
    if path is None:
        raise ValueError(f"{module.__name__} must be a module with a file, got one without")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
