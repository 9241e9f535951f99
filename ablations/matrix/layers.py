"""Layers of settings -> the parts of a network: body, operator, attention."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ablations.config import AttentionSettings, BodySettings, Config, Parts, VariantSettings
from ablations.matrix.user_operators import describe_operator
from sknet.spec import (
    AnyBody,
    BlockAttention,
    BottleneckAttention,
    Branch,
    ConvolutionalAttention,
    Operator,
    SelectiveKernel,
    SqueezeExcitation,
    UserOperator,
)

ATTENTIONS: Mapping[str, type[BlockAttention]] = {
    "SE": SqueezeExcitation,
    "CBAM": ConvolutionalAttention,
    "BAM": BottleneckAttention,
}
"""Attentions of blocks by their names in experiments.yaml."""

OPERATOR_FIELDS = tuple(field.name for field in fields(SelectiveKernel))
"""Settings of our own operator."""


def change_body(config: Config, body: AnyBody, layers: Iterable[Parts]) -> AnyBody:
    """The body that the layers name, or with what they change in it, one layer after the other.

    Raises:
        ValueError: If a body has not what is changed, or becomes impossible.
    """
    for layer in layers:
        if isinstance(layer.body, str):
            body = config.bodies[layer.body]
        elif isinstance(layer.body, BodySettings):
            changes = list_given(layer.body)
            if unknown := changes.keys() - {field.name for field in fields(body)}:
                raise ValueError(f"body must have what is changed in it, got {sorted(unknown)}")
            body = replace(body, **changes)
    return body


def change_operator(
    operator: Operator, layers: Sequence[VariantSettings], *, folder: Path
) -> Operator:
    """The operator that the layers name, with what they set of it.

    Raises:
        ValueError: If a setting is another operator's, or the operator becomes impossible.
    """
    for layer in layers:
        if layer.operator is not None:
            operator = SelectiveKernel()
    paths = [layer.operator for layer in layers if layer.operator is not None]
    given = _merge(layers, (*OPERATOR_FIELDS, "settings"))
    if not paths or paths[-1] == "sk":
        if given.pop("settings", None) is not None:
            raise ValueError("settings are of an operator of your own, got none; name it: operator")
        return replace(operator, **given)
    if misplaced := [key for key in OPERATOR_FIELDS if key in list_given(layers[-1])]:
        raise ValueError(f"{misplaced[0]} is of our own operator; write it under settings")
    return describe_operator(
        paths[-1],
        given.get("settings", {}),
        sources=[name for layer in layers for name in layer.sources],
        folder=folder,
    )


def scale_operator(
    operator: Operator, divisor: int, changes: Sequence[Parts], *, folder: Path
) -> Operator:
    """The operator on a body `divisor` times narrower; what `changes` give is not divided.

    Raises:
        ValueError: If something else cannot be divided.
    """
    given = _merge(changes, (*OPERATOR_FIELDS, "settings"))
    if isinstance(operator, UserOperator):
        settings = {**dict(operator.settings), **given.get("settings", {})}
        sources = [name for name, _ in operator.sources[1:]]
        return describe_operator(operator.path, settings, sources=sources, folder=folder)
    given.pop("settings", None)  # of a variant with another operator
    undivided: dict[str, Any] = {"branches": (Branch(groups=None),), "min_width": divisor}
    rest = {key: value for key, value in undivided.items() if key in given}
    return replace(replace(operator, **rest).scaled_down(divisor), **given)


def change_attention(
    attention: BlockAttention | None, layers: Iterable[Parts]
) -> BlockAttention | None:
    """The attention of blocks with what the layers set of it.

    Raises:
        ValueError: If a setting is another attention's, or has no attention to belong to.
    """
    for layer in layers:
        if layer.block_attention is not None:
            attention = _change_one_attention(attention, layer.block_attention)
    return attention


def _change_one_attention(
    attention: BlockAttention | None, settings: AttentionSettings
) -> BlockAttention | None:
    changes = list_given(settings)
    kind = changes.pop("kind", None)
    if kind == "none":
        return None
    if kind is not None:
        attention = ATTENTIONS[kind]()
    if attention is None:
        raise ValueError(f"block_attention must say its kind, got {sorted(changes)} alone")
    if unknown := changes.keys() - {field.name for field in fields(attention)}:
        raise ValueError(
            f"block_attention must have settings of {type(attention).__name__}, "
            f"got {sorted(unknown)}"
        )
    return replace(attention, **changes)


def list_given(settings: BaseModel) -> dict[str, Any]:
    """What the settings say, without what they leave out."""
    return {key: getattr(settings, key) for key in settings.model_fields_set}


def _merge(layers: Iterable[Parts], keys: Iterable[str]) -> dict[str, Any]:
    """The last value of each key that a layer says; mappings are merged."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in list_given(layer).items():
            if key in keys and value is not None:
                merged[key] = {**merged.get(key, {}), **value} if key == "settings" else value
    return merged
