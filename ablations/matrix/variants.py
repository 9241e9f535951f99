"""Builds the variants of an experiment as networks, on a body and at the paper's scale."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ablations.config import (
    PAPER_BODY,
    Config,
    Experiment,
    Parts,
    VariantSettings,
    describe_setting,
)
from ablations.config.variants import list_given
from ablations.data import Dataset
from ablations.errors import InputError, MisfitError
from ablations.matrix.inheritance import (
    change_attention,
    change_body,
    change_operator,
    scale_operator,
)
from ablations.matrix.user_operators import check_shapes
from ablations.user_code import UserCodeError
from sknet.spec import AnyBody, NetworkSpec, UserOperator
from sknet.zoo import NETWORKS


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One network configuration of an experiment."""

    name: str
    """Name in experiments.yaml, and in the paper's table if it is printed there."""

    settings: Mapping[str, Any]
    """Cells of the table's setting columns, in the paper's terms."""

    network: NetworkSpec
    """Network to train."""

    paper_network: NetworkSpec
    """The same variant at the paper's scale."""

    as_built: str = ""
    """The parts that experiments.yaml gives in the body's own numbers, as text."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The variants of an experiment, and those that were left out."""

    variants: tuple[Variant, ...]
    """Variants to train, in the order of the table."""

    raw: int
    """Number of variants before any was left out."""

    excluded: tuple[str, ...] = ()
    """Names of the excluded variants."""

    duplicates: tuple[str, ...] = ()
    """Names of generated variants that are the same network as an earlier variant."""


class _ImageSizeError(Exception):
    """A body is made for images of another size."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """What variants are built for."""

    config: Config
    """Configuration that holds the experiment."""

    name: str
    """Name of the experiment."""

    body_name: str
    """Name of the body."""

    dataset: Dataset
    """Dataset to train on."""

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        return self.config.experiment(self.name)

    @property
    def is_paper_scale(self) -> bool:
        """Whether the body is the paper's own."""
        return self.body_name in (PAPER_BODY, self.experiment.paper_body)

    def place(self, variant: str) -> str:
        """The place of a variant in the file; of a generated one, that of the experiment."""
        keys = ("experiments", self.name, "variants", variant)
        if variant in self.experiment.variants:
            return self.config.place(*keys)
        return f"{self.config.place(*keys[:2])}.{variant}"


def build_matrix(
    config: Config, experiment_name: str, *, body_name: str, dataset: Dataset
) -> Matrix:
    """All variants of an experiment on a body, in the order of the file.

    Raises:
        InputError: With every variant that cannot be built on the body or at the paper's scale,
            and every two listed variants that become the same network. A MisfitError if only the
            size of the dataset's images is wrong.
    """
    target = _Target(config=config, name=experiment_name, body_name=body_name, dataset=dataset)
    expansion = target.experiment.expansion
    variants: list[Variant] = []
    faults: list[str] = []
    misfits: dict[str, None] = {}
    for name, settings in expansion.variants.items():
        try:
            variants.append(_build_variant(target, name, settings))
        except _ImageSizeError as error:
            misfits[str(error)] = None  # a fault of the recipe, the same for many variants
        except (ValueError, UserCodeError) as error:
            faults.append(f"{target.place(name)}: {error}")
    duplicates = _find_duplicates(target.experiment, variants)
    kept = [variant for variant in variants if variant.name not in duplicates]
    faults += [*_find_twins(target, kept), *_find_missing(target, duplicates)]
    if faults:
        raise InputError("\n".join(faults))
    if misfits:
        place = config.place("experiments", experiment_name)
        raise MisfitError("\n".join(f"{place}: {misfit}" for misfit in misfits))
    return Matrix(
        variants=tuple(kept),
        raw=expansion.raw,
        excluded=expansion.excluded,
        duplicates=tuple(duplicates),
    )


def _build_variant(target: _Target, name: str, settings: VariantSettings) -> Variant:
    """Builds one variant from the experiment's base and its own settings."""
    layers = (target.experiment.base, settings)
    paper = _build_paper_network(target, layers)
    if not target.is_paper_scale:
        _check_counterpart(target, paper.body, settings)
    changes = [layer.on[target.body_name] for layer in layers if target.body_name in layer.on]
    network = _build_network(target, paper, changes)
    columns = target.experiment.columns
    return Variant(
        name=name,
        settings={column: describe_setting(paper.operator, column) for column in columns},
        network=network,
        paper_network=paper,
        as_built=_describe_built(network, changes),
    )


def _build_paper_network(target: _Target, layers: Sequence[VariantSettings]) -> NetworkSpec:
    """The network at the paper's scale, with the classes of ImageNet or of the zoo's network."""
    known = [NETWORKS[layer.network] for layer in layers if layer.network is not None]
    start = known[-1] if known else NetworkSpec()
    body = start.body if known else target.config.bodies[target.experiment.paper_body]
    with _naming("at the paper's scale"):
        return NetworkSpec(
            body=change_body(target.config, body, layers),
            operator=change_operator(start.operator, layers, folder=target.config.folder),
            attention=change_attention(start.attention, layers),
            in_channels=start.in_channels,
            num_classes=start.num_classes,
        )


def _build_network(target: _Target, paper: NetworkSpec, changes: Sequence[Parts]) -> NetworkSpec:
    """The network to train; values in `changes` are the body's own numbers and not scaled."""
    config, body, operator = target.config, paper.body, paper.operator
    with _naming(f"on the body {target.body_name}"):
        if not target.is_paper_scale:
            body = change_body(config, config.bodies[target.body_name], changes)
            operator = scale_operator(operator, body.divisor, changes, folder=config.folder)
        _check_size(target, body)
        network = NetworkSpec(
            body=body,
            operator=operator,
            attention=change_attention(paper.attention, changes),
            in_channels=target.dataset.channels,
            num_classes=target.dataset.num_classes,
        )
        if isinstance(operator, UserOperator):
            check_shapes(operator, body.operator_widths)
    return network


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Adds to an error where the network cannot be built."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"cannot be built {place}: {error}") from None


def _check_counterpart(target: _Target, paper_body: AnyBody, settings: VariantSettings) -> None:
    """Makes sure that a variant with another body at the paper's scale defines one on the target's.

    Raises:
        ValueError: If it does not.
    """
    usual, name = target.experiment.paper_body, target.body_name
    if paper_body != target.config.bodies[usual] and settings.on.get(name, Parts()).body is None:
        raise ValueError(
            f"its body differs from {usual} and has no counterpart on {name}; "
            f"add on: {{{name}: {{body: ...}}}}"
        )


def _check_size(target: _Target, body: AnyBody) -> None:
    size = target.dataset.image_size
    remedy = (
        "resize them, or choose another body" if target.dataset.is_own else "choose another recipe"
    )
    if not body.input_size <= 2 * size <= 4 * body.input_size:
        raise _ImageSizeError(
            f"cannot be trained on the body {target.body_name}: it is made for images of "
            f"{body.input_size} pixels, but those of {target.dataset.name} have {size}; "
            f"{remedy}"
        )


def _describe_built(network: NetworkSpec, changes: Iterable[Parts]) -> str:
    """The parts that are given in a body's own numbers; empty if there are none."""
    given = {key for layer in changes for key in list_given(layer)}
    texts = {"body": str(network.body), "block_attention": str(network.attention)}
    shown = [texts[key] for key in texts if key in given]
    return "; ".join([*shown, *([str(network.operator)] if given - texts.keys() else [])])


def _find_duplicates(experiment: Experiment, variants: Sequence[Variant]) -> dict[str, str]:
    """Generated variants that are the same network as an earlier variant, with its name."""
    first: dict[str, str] = {}
    duplicates = {}
    generated = experiment.expansion.generated
    for variant in variants:
        networks = (variant.paper_network.architecture(), variant.network.architecture())
        twin = first.setdefault(str(networks), variant.name)
        if twin != variant.name and variant.name in generated:
            duplicates[variant.name] = twin
    return duplicates


def _find_twins(target: _Target, variants: Sequence[Variant]) -> Iterator[str]:
    """Yields the faults of variants that become the same network on the body."""
    first: dict[str, str] = {}
    for variant in variants:
        twin = first.setdefault(str(variant.network.architecture()), variant.name)
        if twin != variant.name:
            yield (
                f"{target.place(variant.name)}: is the same network as {twin!r} on the body "
                f"{target.body_name}; remove one"
            )


def _find_missing(target: _Target, duplicates: Mapping[str, str]) -> Iterator[str]:
    """Yields the faults of a baseline and of claims that mention a duplicate."""
    experiment = target.experiment
    named = {(("baseline",), experiment.baseline)} | {
        (("claims", str(index)), name)
        for index, claim in enumerate(experiment.claims)
        for _, name in claim.list_names()
    }
    for keys, name in sorted(named):
        if name in duplicates:
            place = target.config.place("experiments", target.name, *keys)
            yield f"{place}: {name!r} is the same network as {duplicates[name]!r}; name that one"
