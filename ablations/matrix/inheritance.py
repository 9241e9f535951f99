"""Inheritance of settings: base, variant and body each change the parts of a network."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ablations.config import Config, Parts, VariantSettings
from ablations.config.variants import list_given
from ablations.matrix.user_operators import describe_operator
from sknet.spec import (
    ATTENTIONS,
    AnyBody,
    BlockAttention,
    Branch,
    Operator,
    SelectiveKernel,
    UserOperator,
)

OPERATOR_FIELDS = tuple(field.name for field in fields(SelectiveKernel))
"""Settings of sknet's operator."""


def change_body(config: Config, body: AnyBody, layers: Iterable[Parts]) -> AnyBody:
    """Applies each layer to a body: a name replaces it, settings change it.

    Raises:
        ValueError: If the body lacks a setting, or becomes impossible.
    """
    for layer in layers:
        if isinstance(layer.body, str):
            body = config.bodies[layer.body]
        elif layer.body is not None:
            changes = list_given(layer.body)
            if unknown := changes.keys() - {field.name for field in fields(body)}:
                raise ValueError(f"{type(body).__name__} has no settings {sorted(unknown)}")
            body = replace(body, **changes)
    return body


def change_operator(
    operator: Operator, layers: Sequence[VariantSettings], *, folder: Path
) -> Operator:
    """Applies the layers to an operator: a name replaces it, settings change it.

    Raises:
        ValueError: If a setting belongs to another operator, or the operator becomes impossible.
    """
    for layer in layers:
        if layer.operator is not None:
            operator = SelectiveKernel()
    paths = [layer.operator for layer in layers if layer.operator is not None]
    given = _merge(layers, (*OPERATOR_FIELDS, "settings"))
    if not paths or paths[-1] == "sk":
        if given.pop("settings", None) is not None and "settings" in list_given(layers[-1]):
            raise ValueError("settings needs operator: package.module:Class")
        return replace(operator, **given)
    if misplaced := [key for key in OPERATOR_FIELDS if key in list_given(layers[-1])]:
        raise ValueError(f"{misplaced[0]} is a setting of sk; put it under settings")
    return describe_operator(
        paths[-1],
        given.get("settings", {}),
        sources=[name for layer in layers for name in layer.sources],
        folder=folder,
    )


def scale_operator(
    operator: Operator, divisor: int, changes: Sequence[Parts], *, folder: Path
) -> Operator:
    """The operator on a narrower body, divided by its divisor, except for values in `changes`.

    Raises:
        ValueError: If another value is not divisible.
    """
    given = _merge(changes, (*OPERATOR_FIELDS, "settings"))
    if isinstance(operator, UserOperator):
        settings = {**dict(operator.settings), **given.get("settings", {})}
        sources = [name for name, _ in operator.sources[1:]]
        return describe_operator(operator.path, settings, sources=sources, folder=folder)
    given.pop("settings", None)  # meant for variants with an operator of the user's own
    undivided: dict[str, Any] = {"branches": (Branch(groups=None),), "min_width": divisor}
    rest = {key: value for key, value in undivided.items() if key in given}
    return replace(replace(operator, **rest).scaled_down(divisor), **given)


def change_attention(
    attention: BlockAttention | None, layers: Iterable[Parts]
) -> BlockAttention | None:
    """Applies each layer to a block attention: a kind replaces it, settings change it.

    Raises:
        ValueError: If a setting belongs to another kind, or there is no attention to change.
    """
    for layer in layers:
        if layer.block_attention is not None:
            attention = _change_attention(attention, list_given(layer.block_attention))
    return attention


def _change_attention(
    attention: BlockAttention | None, changes: dict[str, Any]
) -> BlockAttention | None:
    kind = changes.pop("kind", None)
    if kind == "none":
        return None
    if kind is not None:
        attention = ATTENTIONS[kind]()
    if attention is None:
        raise ValueError(f"block_attention needs a kind, got only {sorted(changes)}")
    if unknown := changes.keys() - {field.name for field in fields(attention)}:
        raise ValueError(
            f"block_attention: {type(attention).__name__} has no settings {sorted(unknown)}"
        )
    return replace(attention, **changes)


def _merge(layers: Iterable[Parts], keys: Iterable[str]) -> dict[str, Any]:
    """The last value that the layers give for each key; mappings are merged."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in list_given(layer).items():
            if key in keys and value is not None:
                merged[key] = {**merged.get(key, {}), **value} if key == "settings" else value
    return merged
