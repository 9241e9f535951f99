"""The budget of an experiment: whether its variants are about as complex as one of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Budget, Config
from ablations.errors import InputError
from ablations.formatting import format_cost, format_share


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Distance of a variant from its experiment's budget."""

    variant: str
    """Name of the variant."""

    cost: int
    """Multiply-adds or parameters of the trained network."""

    share: float
    """Relative difference from the reference variant; negative if smaller."""

    is_free: bool
    """Whether the budget exempts the variant."""

    is_within: bool
    """Whether the variant is within the tolerance."""


def measure_distances(budget: Budget, scales: Mapping[str, Scales]) -> tuple[Distance, ...]:
    """Measures the distance of every variant from the reference variant."""
    measure = get_cost(scales[budget.to].trained, budget.match)
    distances = []
    for name, own in scales.items():
        cost = get_cost(own.trained, budget.match)
        share = cost / measure - 1
        distances.append(
            Distance(
                variant=name,
                cost=cost,
                share=share,
                is_free=name in budget.free,
                is_within=abs(cost - measure) <= budget.tolerance * measure,
            )
        )
    return tuple(distances)


def check_budget(
    config: Config, experiment: str, scales: Mapping[str, Scales], *, asked: Collection[str]
) -> None:
    """Checks that the variants asked for are within the experiment's budget, if it has one.

    Args:
        config: Configuration that holds the experiment.
        experiment: Name of the experiment.
        scales: Complexities of all its variants.
        asked: Names of the variants that will be compared.

    Raises:
        InputError: With every variant that is not.
    """
    budget = config.experiment(experiment).budget
    if budget is None:
        return
    keys = ("experiments", experiment, "variants")
    measure = format_cost(get_cost(scales[budget.to].trained, budget.match), budget.match)
    faults = [
        f"{config.place(*keys, found.variant)}: must cost within "
        f"{100 * budget.tolerance:g}% of {budget.to} ({measure}), got {format_share(found.share)}; "
        "change its widths (see `ablations match`), or name it in budget.free."
        for found in measure_distances(budget, scales)
        if found.variant in asked and not (found.is_within or found.is_free)
    ]
    if faults:
        raise InputError("\n".join(faults))


def get_cost(complexity: Complexity, match: str) -> int:
    """Multiply-adds (`macs`) or parameters (`params`)."""
    return complexity.macs if match == "macs" else complexity.params
