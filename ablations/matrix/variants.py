"""What an experiment declares -> its variants, as networks on a body and at the paper's scale."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ablations.config import PAPER_BODY, Config, Experiment, Parts, VariantSettings
from ablations.data.catalogue import Dataset
from ablations.errors import InputError, MisfitError
from ablations.matrix.columns import describe_setting
from ablations.matrix.layers import (
    change_attention,
    change_body,
    change_operator,
    list_given,
    scale_operator,
)
from ablations.matrix.user_operators import check_shapes
from sknet.spec import AnyBody, NetworkSpec, UserOperator
from sknet.zoo import NETWORKS


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
    variants: list[Variant] = []
    faults: list[str] = []
    misfits: dict[str, None] = {}
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
        except _ImageSizeError as error:
            misfits[str(error)] = None  # told once: it is the recipe's, not the variants'
        except ValueError as error:
            faults.append(f"{_place(config, experiment_name, name)}: {error}")
    duplicates = _find_duplicates(experiment, variants)
    kept = [variant for variant in variants if variant.name not in duplicates]
    faults += _find_twins(config, experiment_name, kept, body_name)
    faults += _find_missed(config, experiment_name, duplicates)
    if faults:
        raise InputError("\n".join(faults))
    if misfits:
        place = config.place("experiments", experiment_name)
        raise MisfitError("\n".join(f"{place}: {misfit}" for misfit in misfits))
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
            body = change_body(config, config.bodies[body_name], changes)
            operator = scale_operator(paper.operator, body.divisor, changes, folder=config.folder)
    _check_size(body, body_name, dataset)
    with _naming(f"on the body {body_name}"):
        network = NetworkSpec(
            body=body,
            operator=operator,
            attention=change_attention(paper.attention, changes),
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
            body=change_body(config, body, layers),
            operator=change_operator(start.operator, layers, folder=config.folder),
            attention=change_attention(start.attention, layers),
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


def _check_size(body: AnyBody, body_name: str, dataset: Dataset) -> None:
    if not body.input_size <= 2 * dataset.image_size <= 4 * body.input_size:
        raise _ImageSizeError(
            f"cannot be trained on the body {body_name}: it is made for images of "
            f"{body.input_size} pixels, got {dataset.image_size} of {dataset.name}; "
            "choose another recipe"
        )


def _describe_built(network: NetworkSpec, changes: Iterable[Parts]) -> str:
    """What a body's own numbers make of a variant; nothing if there are none."""
    said = {key for layer in changes for key in list_given(layer)}
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
