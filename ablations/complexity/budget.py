"""Whether variants cost about as much as the one that their experiment's budget names."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Budget, Config
from ablations.errors import InputError
from ablations.formatting import format_cost, format_share


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far a variant's cost is from the budget's measure."""

    variant: str
    """The variant."""

    cost: int
    """What it costs: multiply-adds or parameters of the network that is trained."""

    share: float
    """How much more than the measure that is, as a share of it; negative if less."""

    is_free: bool
    """Whether the budget lets it cost what it likes."""

    is_within: bool
    """Whether it is within the tolerance."""


def measure_distances(budget: Budget, scales: Mapping[str, Scales]) -> tuple[Distance, ...]:
    """The distance of every variant's trained network from the measure."""
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
    """Makes sure that the variants that are asked for meet the experiment's budget, if any.

    Args:
        config: Where the experiment stands.
        experiment: Its name.
        scales: Complexities of all its variants.
        asked: Names of the variants that will be compared.

    Raises:
        InputError: With every one of them that does not.
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
    """The multiply-adds (`macs`) or the parameters (`params`)."""
    return complexity.macs if match == "macs" else complexity.params
