"""Builds the spatial operator that a spec describes: SKConv, or a class written by a user.

This module is apart from `build` because blocks use it, and `build` uses the blocks.
"""

import hashlib
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from sknet.convolution import Activation
from sknet.selective_kernel import SKConv
from sknet.spec import Operator, UserOperator

_IMPORTED = "__imported_sha256__"
"""Attribute of a user's module: SHA-256 of its file when it was imported."""


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
        ValueError: If it cannot be imported, is not an nn.Module, or the file that defines it
            differs from the one that the spec was made from: another machine may have another copy.
    """
    module_name, _, class_name = operator.path.partition(":")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{operator.path} must be importable, got {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{operator.path} must be a subclass of nn.Module, got {found!r}")
    own = hash_definition(found)
    if operator.sources and own != operator.sources[0][1]:
        file = getattr(sys.modules.get(found.__module__), "__file__", operator.path)
        raise ValueError(
            f"{file} must be the file that the trial was planned with, got different content; "
            "plan again, or give every machine the same file"
        )
    return found


def hash_definition(found: type) -> str | None:
    """SHA-256 of the file that defines a class, as it was after its import; None without a file.

    It is kept with the module, because what runs is what was imported, not what is edited later.
    """
    module = sys.modules.get(found.__module__)
    file = getattr(module, "__file__", None)
    if module is None or file is None:
        return None
    if _IMPORTED not in vars(module):
        vars(module)[_IMPORTED] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    digest: str = vars(module)[_IMPORTED]
    return digest
