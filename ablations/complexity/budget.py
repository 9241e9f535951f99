"""Whether the variants of an experiment cost as much as its budget demands."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ablations.choices import Match
from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Budget, Config
from ablations.errors import InputError
from ablations.formatting import format_cost, format_share


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far the cost of a variant is from that of the budget's reference."""

    variant: str
    """Name of the variant."""

    cost: int
    """Multiply-adds or parameters of the trained network."""

    share: float
    """Difference from the reference, relative to it; negative if cheaper."""

    is_free: bool
    """Whether the budget exempts it."""

    is_within: bool
    """Whether it is within the tolerance."""


def measure_distances(budget: Budget, scales: Mapping[str, Scales]) -> tuple[Distance, ...]:
    """The distance of every variant from the budget's reference."""
    reference = get_cost(scales[budget.to].trained, budget.match)
    distances = []
    for name, own in scales.items():
        cost = get_cost(own.trained, budget.match)
        share = cost / reference - 1
        distances.append(
            Distance(
                variant=name,
                cost=cost,
                share=share,
                is_free=name in budget.free,
                is_within=abs(cost - reference) <= budget.tolerance * reference,
            )
        )
    return tuple(distances)


def check_budget(
    config: Config, experiment: str, scales: Mapping[str, Scales], *, asked: Collection[str]
) -> None:
    """Checks that the requested variants meet the experiment's budget, if it has one.

    Args:
        config: Configuration that holds the experiment.
        experiment: Its name.
        scales: Complexities of all variants.
        asked: Names of the requested variants.

    Raises:
        InputError: With every requested variant that does not.
    """
    budget = config.experiment(experiment).budget
    if budget is None:
        return
    keys = ("experiments", experiment, "variants")
    reference = format_cost(get_cost(scales[budget.to].trained, budget.match), budget.match)
    faults = [
        f"{config.place(*keys, found.variant)}: must cost within {100 * budget.tolerance:g}% "
        f"of {budget.to} ({reference}), got {format_share(found.share)}; "
        "change its widths (see `ablations match`), or add it to budget.free."
        for found in measure_distances(budget, scales)
        if found.variant in asked and not (found.is_within or found.is_free)
    ]
    if faults:
        raise InputError("\n".join(faults))


def get_cost(complexity: Complexity, match: Match) -> int:
    """Multiply-adds or parameters."""
    return complexity.macs if match == "macs" else complexity.params
