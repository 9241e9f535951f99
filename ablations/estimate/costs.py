"""What a plan costs: its variants, held against the budget, and its trials, on this machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ablations.backends import Backend, is_concurrent
from ablations.complexity.budget import Distance, check_budget, measure_distances
from ablations.complexity.scales import Scales, count_scales
from ablations.config import Config
from ablations.errors import InputError
from ablations.estimate import (
    Device,
    Price,
    Timing,
    find_device,
    find_throughput,
    merge_prices,
    price_trials,
    time_trials,
)
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the variants of a plan cost, and what its trials to run will take of this machine."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    distances: Mapping[str, Distance]
    """Distances from the budget's measure by variant; empty if there is no budget."""

    price: Price
    """Hours and disk."""


def check_budgets(config: Config, plans: Iterable[Plan], workspace: Workspace) -> None:
    """Makes sure that every variant that is asked for meets its experiment's budget.

    Raises:
        InputError: With all that do not.
    """
    faults = []
    for plan in plans:
        if config.experiment(plan.experiment).budget is None:
            continue  # nothing is counted then
        asked = {trial.variant.name for trial in plan.trials if trial.state != "skipped"}
        scales = count_scales(config, plan, cache_file=workspace.complexity_file)
        try:
            check_budget(config, plan.experiment, scales, asked=asked)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))


def estimate_costs(
    config: Config, plan: Plan, ledger: Ledger, *, workspace: Workspace, backend: Backend
) -> Costs:
    """What a plan costs; this machine's throughput is measured if nothing tells it yet.

    If there is nothing to train, nothing is measured, and the price is empty.
    """
    experiment = config.experiment(plan.experiment)
    scales = count_scales(config, plan, cache_file=workspace.complexity_file)
    distances = measure_distances(experiment.budget, scales) if experiment.budget else ()
    price = merge_prices([])
    if plan.to_run:
        device = find_device(workspace.throughput_file, use_gpu=backend.gpus_per_trial != 0)
        price = price_trials(
            plan,
            {name: own.trained for name, own in scales.items()},
            _time(
                plan,
                scales,
                ledger,
                baseline=experiment.baseline,
                device=device,
                workspace=workspace,
            ),
            device=device,
            side_by_side=_count_side_by_side(device, backend),
            cache_dir=workspace.cache_dir,
        )
    return Costs(
        scales=scales,
        distances={distance.variant: distance for distance in distances},
        price=price,
    )


def _time(
    plan: Plan,
    scales: Mapping[str, Scales],
    ledger: Ledger,
    *,
    baseline: str,
    device: Device,
    workspace: Workspace,
) -> Timing:
    """How long the plan's trials take, measured on the baseline if none has finished."""
    macs = {name: own.trained.macs for name, own in scales.items()}
    measured = next(trial.spec for trial in plan.trials if trial.variant.name == baseline)
    return time_trials(
        plan,
        macs,
        ledger.examine({trial.spec.key for trial in plan.trials}).records,
        device,
        measure=lambda: find_throughput(
            measured, device, macs=macs[baseline], cache_file=workspace.throughput_file
        ),
    )


def _count_side_by_side(device: Device, backend: Backend) -> int:
    """Trials at once: one a core, or as many as their shares of the GPUs allow."""
    if not is_concurrent(backend):
        return 1
    share = (backend.gpus_per_trial or 1) if device.kind == "cuda" else 1
    return max(1, int(device.count / share))
