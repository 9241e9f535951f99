"""Settings, layer by layer -> the networks that variants stand for, on a body."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ablations.config import (
    PAPER_BODY,
    AttentionSettings,
    BodySettings,
    Config,
    Experiment,
    Parts,
    VariantSettings,
)
from ablations.datasets import Dataset
from ablations.errors import InputError, MisfitError
from ablations.matrix.columns import describe_setting
from ablations.user_operators import check_shapes, describe_operator
from sknet.spec import (
    AnyBody,
    BlockAttention,
    BottleneckAttention,
    Branch,
    ConvolutionalAttention,
    NetworkSpec,
    Operator,
    SelectiveKernel,
    SqueezeExcitation,
    UserOperator,
)
from sknet.zoo import NETWORKS

ATTENTIONS: Mapping[str, type[BlockAttention]] = {
    "SE": SqueezeExcitation,
    "CBAM": ConvolutionalAttention,
    "BAM": BottleneckAttention,
}
"""Attentions of blocks by their names in experiments.yaml."""

OPERATOR_FIELDS = tuple(field.name for field in fields(SelectiveKernel))
"""Settings of our own operator."""


class _ImageSizeError(ValueError):
    """A body is made for images of another size."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network configuration of an experiment."""

    name: str
    """Its name in experiments.yaml, and in the paper's table if it stands there."""

    settings: Mapping[str, Any]
    """What the table shows of it, in the paper's terms."""

    network: NetworkSpec
    """The network that is trained."""

    paper_network: NetworkSpec
    """The same variant at the paper's scale."""

    as_built: str = ""
    """What it is on the body, where experiments.yaml gives that in the body's own numbers."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The variants of an experiment, and how many were not to be."""

    variants: tuple[Variant, ...]
    """Those that are trained, in the table's order."""

    raw: int
    """Number of variants before any was left out."""

    excluded: tuple[str, ...] = ()
    """Names of those that were excluded."""

    duplicates: tuple[str, ...] = ()
    """Names of combinations that are the same network at the paper's scale as one before."""


def build_matrix(
    config: Config, experiment_name: str, *, body_name: str, dataset: Dataset
) -> Matrix:
    """All variants of an experiment on a body, in the file's order.

    Raises:
        InputError: With every variant that cannot be built on the body or at the paper's scale,
            and every two that become the same network there. A MisfitError if all is well but for
            the size of the dataset's images.
    """
    experiment = config.experiment(experiment_name)
    variants, faults, misfits = [], [], 0
    for name, settings in experiment.expansion.variants.items():
        try:
            variants.append(
                _build_variant(
                    config,
                    experiment,
                    name,
                    (experiment.base, settings),
                    body_name=body_name,
                    dataset=dataset,
                )
            )
        except ValueError as error:
            faults.append(f"{_place(config, experiment_name, name)}: {error}")
            misfits += isinstance(error, _ImageSizeError)
    duplicates = _find_duplicates(experiment, variants)
    kept = [variant for variant in variants if variant.name not in duplicates]
    faults += _find_twins(config, experiment_name, kept, body_name)
    faults += _find_missed(config, experiment_name, duplicates)
    if faults:
        kind = MisfitError if misfits == len(faults) else InputError
        raise kind("\n".join(faults))
    return Matrix(
        variants=tuple(kept),
        raw=experiment.expansion.raw,
        excluded=experiment.expansion.excluded,
        duplicates=tuple(duplicates),
    )


def _build_variant(
    config: Config,
    experiment: Experiment,
    name: str,
    layers: tuple[VariantSettings, VariantSettings],
    *,
    body_name: str,
    dataset: Dataset,
) -> Variant:
    """One variant of two layers: what all share, and what is its own."""
    paper = _build_paper_network(config, experiment, layers)
    own = layers[-1].on.get(body_name, Parts())
    changes = [layer.on[body_name] for layer in layers if body_name in layer.on]
    body, operator = paper.body, paper.operator
    if body_name not in (PAPER_BODY, experiment.paper_body):
        if paper.body != config.bodies[experiment.paper_body] and own.body is None:
            raise ValueError(
                f"its body is not {experiment.paper_body}, so that experiments.yaml must say what "
                f"it is on {body_name}, got nothing; add on: {{{body_name}: {{body: ...}}}}"
            )
        with _naming(f"on the body {body_name}"):
            body = _change_body(config, config.bodies[body_name], changes)
            operator = _scale_operator(paper.operator, body.divisor, changes, folder=config.folder)
    _check_size(body, body_name, dataset)
    with _naming(f"on the body {body_name}"):
        network = NetworkSpec(
            body=body,
            operator=operator,
            attention=_change_attention(paper.attention, changes),
            in_channels=dataset.channels,
            num_classes=dataset.num_classes,
        )
        if isinstance(operator, UserOperator):
            check_shapes(operator, body.operator_widths)
    return Variant(
        name=name,
        settings={key: describe_setting(paper.operator, key) for key in experiment.columns},
        network=network,
        paper_network=paper,
        as_built=_describe_built(network, changes),
    )


def _build_paper_network(
    config: Config, experiment: Experiment, layers: Sequence[VariantSettings]
) -> NetworkSpec:
    """The network at the paper's scale, with ImageNet's classes or those of the zoo's network."""
    known = [NETWORKS[layer.network] for layer in layers if layer.network is not None]
    start = known[-1] if known else NetworkSpec()
    body = start.body if known else config.bodies[experiment.paper_body]
    with _naming("at the paper's scale"):
        return NetworkSpec(
            body=_change_body(config, body, layers),
            operator=_change_operator(start.operator, layers, folder=config.folder),
            attention=_change_attention(start.attention, layers),
            in_channels=start.in_channels,
            num_classes=start.num_classes,
        )


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Says where something cannot be built."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"cannot be built {place}: {error}") from None


def _change_body(config: Config, body: AnyBody, layers: Iterable[Parts]) -> AnyBody:
    for layer in layers:
        if isinstance(layer.body, str):
            body = config.bodies[layer.body]
        elif isinstance(layer.body, BodySettings):
            changes = _list_given(layer.body)
            if unknown := changes.keys() - {field.name for field in fields(body)}:
                raise ValueError(f"body must have what is changed in it, got {sorted(unknown)}")
            body = replace(body, **changes)
    return body


def _change_operator(
    operator: Operator, layers: Sequence[VariantSettings], *, folder: Path
) -> Operator:
    """The operator that the layers name, with what they set of it."""
    for layer in layers:
        if layer.operator is not None:
            operator = SelectiveKernel()
    paths = [layer.operator for layer in layers if layer.operator is not None]
    given = _merge(layers, (*OPERATOR_FIELDS, "settings"))
    if not paths or paths[-1] == "sk":
        if given.pop("settings", None) is not None:
            raise ValueError("settings are of an operator of your own, got none; name it: operator")
        return replace(operator, **given)
    if misplaced := [key for key in OPERATOR_FIELDS if key in _list_given(layers[-1])]:
        raise ValueError(f"{misplaced[0]} is of our own operator; write it under settings")
    return describe_operator(
        paths[-1],
        given.get("settings", {}),
        sources=[name for layer in layers for name in layer.sources],
        folder=folder,
    )


def _scale_operator(
    operator: Operator, divisor: int, changes: Sequence[Parts], *, folder: Path
) -> Operator:
    """The operator on a body `divisor` times narrower; what `changes` give is not divided."""
    given = _merge(changes, (*OPERATOR_FIELDS, "settings"))
    if isinstance(operator, UserOperator):
        settings = {**dict(operator.settings), **given.get("settings", {})}
        sources = [name for name, _ in operator.sources[1:]]
        return describe_operator(operator.path, settings, sources=sources, folder=folder)
    given.pop("settings", None)  # of a variant with another operator
    undivided: dict[str, Any] = {"branches": (Branch(groups=None),), "min_width": divisor}
    rest = {key: value for key, value in undivided.items() if key in given}
    return replace(replace(operator, **rest).scaled_down(divisor), **given)


def _change_attention(
    attention: BlockAttention | None, layers: Iterable[Parts]
) -> BlockAttention | None:
    for layer in layers:
        if layer.block_attention is not None:
            attention = _change_one_attention(attention, layer.block_attention)
    return attention


def _change_one_attention(
    attention: BlockAttention | None, settings: AttentionSettings
) -> BlockAttention | None:
    changes = _list_given(settings)
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


def _list_given(settings: BaseModel) -> dict[str, Any]:
    """What the settings say, without what they leave out."""
    return {key: getattr(settings, key) for key in settings.model_fields_set}


def _merge(layers: Iterable[Parts], keys: Iterable[str]) -> dict[str, Any]:
    """The last value of each key that a layer says; mappings are merged."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in _list_given(layer).items():
            if key in keys and value is not None:
                merged[key] = {**merged.get(key, {}), **value} if key == "settings" else value
    return merged


def _check_size(body: AnyBody, body_name: str, dataset: Dataset) -> None:
    if not body.input_size <= 2 * dataset.image_size <= 4 * body.input_size:
        raise _ImageSizeError(
            f"cannot be trained on the body {body_name}: it is made for images of "
            f"{body.input_size} pixels, got {dataset.image_size} of {dataset.name}; "
            "choose another recipe"
        )


def _describe_built(network: NetworkSpec, changes: Iterable[Parts]) -> str:
    """What a body's own numbers make of a variant; nothing if there are none."""
    said = {key for layer in changes for key in _list_given(layer)}
    texts = {"body": str(network.body), "block_attention": str(network.attention)}
    shown = [texts[key] for key in texts if key in said]
    return "; ".join([*shown, *([str(network.operator)] if said - texts.keys() else [])])


def _find_duplicates(experiment: Experiment, variants: Sequence[Variant]) -> dict[str, str]:
    """Combinations of axes that are the same network as a variant before, with its name."""
    first: dict[str, str] = {}
    duplicates = {}
    for variant in variants:
        networks = (variant.paper_network.architecture(), variant.network.architecture())
        twin = first.setdefault(str(networks), variant.name)
        if twin != variant.name and variant.name in experiment.expansion.generated:
            duplicates[variant.name] = twin
    return duplicates


def _find_twins(
    config: Config, experiment_name: str, variants: Sequence[Variant], body_name: str
) -> list[str]:
    first: dict[str, str] = {}
    faults = []
    for variant in variants:
        twin = first.setdefault(str(variant.network.architecture()), variant.name)
        if twin != variant.name:
            place = _place(config, experiment_name, variant.name)
            faults.append(
                f"{place}: must be a network of its own on the body {body_name}, "
                f"got the same as {twin!r}; remove one"
            )
    return faults


def _find_missed(config: Config, experiment_name: str, duplicates: Mapping[str, str]) -> list[str]:
    """Faults of a baseline and of claims that speak of a combination that was left out."""
    experiment = config.experiment(experiment_name)
    named = {(("baseline",), experiment.baseline)} | {
        (("claims", str(index)), name)
        for index, claim in enumerate(experiment.claims)
        for _, name in claim.list_names()
    }
    return [
        f"{config.place('experiments', experiment_name, *keys)}: must speak of variants that are "
        f"trained, got {name!r}, the same network as {duplicates[name]!r}; name that one"
        for keys, name in sorted(named)
        if name in duplicates
    ]


def _place(config: Config, experiment_name: str, variant: str) -> str:
    """Where a variant stands; one that comes of axes, where the experiment does."""
    keys = ("experiments", experiment_name, "variants", variant)
    written = variant in config.experiment(experiment_name).variants
    return config.place(*keys) if written else f"{config.place(*keys[:2])}.{variant}"
