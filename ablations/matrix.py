"""The variants of an experiment -> the networks that they stand for, on a body."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablations.config import Column, Config, OperatorSettings
from ablations.datasets import Dataset
from ablations.errors import InputError
from sknet.spec import Body, NetworkSpec, SelectiveKernel


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


def build_variants(
    config: Config, experiment_name: str, *, body_name: str, dataset: Dataset
) -> tuple[Variant, ...]:
    """All variants of an experiment on a body, in the file's order.

    Raises:
        InputError: With every variant that cannot be built on the body or at the paper's scale,
            and every two that become the same network there.
    """
    experiment = config.experiment(experiment_name)
    paper_body = config.bodies[experiment.paper_body]
    variants, faults = [], []
    for name, settings in experiment.variants.items():
        place = config.place("experiments", experiment_name, "variants", name)
        try:
            operator = merge_settings(experiment.base, settings)
            variants.append(
                Variant(
                    name=name,
                    settings={key: describe_setting(operator, key) for key in experiment.columns},
                    network=_place_on(
                        config.bodies[body_name], body_name, operator, dataset=dataset
                    ),
                    paper_network=_place_on(paper_body, experiment.paper_body, operator),
                )
            )
        except ValueError as error:
            faults.append(f"{place}: {error}")
    faults += _find_twins(config, experiment_name, variants, body_name)
    if faults:
        raise InputError("\n".join(faults))
    return tuple(variants)


def merge_settings(base: OperatorSettings, changes: OperatorSettings) -> SelectiveKernel:
    """The operator that `changes` makes of `base`, at the paper's scale.

    Raises:
        ValueError: If the operator is impossible.
    """
    chosen: dict[str, Any] = {}
    for settings in (base, changes):
        chosen |= {key: getattr(settings, key) for key in settings.model_fields_set}
    return replace(SelectiveKernel(), **chosen)


def describe_setting(operator: SelectiveKernel, column: Column) -> str | int:
    """What a table's column shows of an operator.

    >>> describe_setting(SelectiveKernel(), "resulting_kernel")
    '5x5'
    """
    last = operator.branches[-1]
    values: dict[Column, str | int] = {
        "kernel": f"{last.kernel}x{last.kernel}",
        "dilation": last.dilation,
        "groups": "depthwise" if last.groups is None else last.groups,
        "resulting_kernel": f"{last.extent}x{last.extent}",
        "kernels": " + ".join(f"{branch.extent}x{branch.extent}" for branch in operator.branches),
        "attention": "SK" if operator.attention == "softmax" else "-",
        "reduction": operator.reduction,
        "L": operator.min_width,
    }
    return values[column]


def _place_on(
    body: Body, body_name: str, operator: SelectiveKernel, *, dataset: Dataset | None = None
) -> NetworkSpec:
    """The operator in a body; its classifier is the dataset's, or ImageNet's if None."""
    try:
        scaled = operator.scaled_down(body.divisor)
        if dataset is None:
            return NetworkSpec(body=body, operator=scaled)
        return NetworkSpec(
            body=body,
            operator=scaled,
            in_channels=dataset.channels,
            num_classes=dataset.num_classes,
        )
    except ValueError as error:
        raise ValueError(f"cannot be built on the body {body_name}: {error}") from None


def _find_twins(
    config: Config, experiment_name: str, variants: list[Variant], body_name: str
) -> list[str]:
    first: dict[str, str] = {}
    faults = []
    for variant in variants:
        twin = first.setdefault(str(variant.network.architecture()), variant.name)
        if twin != variant.name:
            place = config.place("experiments", experiment_name, "variants", variant.name)
            faults.append(
                f"{place}: must be a network of its own on the body {body_name}, "
                f"got the same as {twin!r}; remove one"
            )
    return faults
