"""`ablations plan`: every trial of experiments, with its state, complexity and time."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.cli.display import print_heading, print_json, print_line, print_rows
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    Exclude,
    Looks,
    MaxHours,
    Names,
    Only,
    RecipeName,
    ResultsDir,
    ReuseResults,
    RunsDir,
    Seeds,
    Settings,
    ShardOption,
    UntilDecided,
    load_config,
    make_selection,
)

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from ablations.estimate import Estimate
    from ablations.matrix import Matrix
    from ablations.plans import Plan, PlannedTrial
    from ablations.reconcile.survey import Forecast
    from ablations.statistics import Price


def plan(
    names: Names,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    looks: Looks = None,
    shard: ShardOption = None,
    until_decided: UntilDecided = False,
    reuse_results: ReuseResults = False,
    only: Only = None,
    exclude: Exclude = None,
    max_hours: MaxHours = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Show every trial: its state, complexity and estimated time. Trains nothing."""
    from ablations.reconcile import survey
    from ablations.workspace import Workspace

    forecasts = survey.forecast_experiments(
        load_config(config),
        names,
        make_selection(
            recipe,
            settings,
            seeds,
            only,
            exclude,
            looks=looks,
            shard=shard,
            until_decided=until_decided,
        ),
        settings=survey.Settings(
            workspace=Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir),
            reuse_results=reuse_results,
            max_hours=max_hours,
        ),
    )
    print_forecasts(forecasts, as_json=as_json)


def print_forecasts(forecasts: "Sequence[Forecast]", *, as_json: bool) -> None:
    """Every trial with its state, complexity and time, and the estimate of all."""
    from ablations.estimate import merge_estimates

    if as_json:
        print_json([describe_plan(forecast.plan, forecast) for forecast in forecasts])
        return
    for forecast in forecasts:
        _print_forecast(forecast)
    if sum(bool(forecast.estimate.trials) for forecast in forecasts) > 1:
        print_heading("All together", ", shared trials counted once")
        _print_estimate(merge_estimates([forecast.estimate for forecast in forecasts]))


def describe_plan(plan: "Plan", forecast: "Forecast | None" = None) -> dict[str, Any]:
    """A plan as plain values, with its complexities and estimate if they are given."""
    matrix = plan.matrix
    return {
        "experiment": plan.experiment,
        "recipe": plan.recipe_name,
        "changes": plan.changes,
        "count": plan.count(),
        "matrix": {
            "raw": matrix.raw,
            "excluded": matrix.excluded,
            "duplicates": matrix.duplicates,
            "final": [variant.name for variant in plan.variants],
        },
        **({"estimate": _describe_estimate(forecast.estimate)} if forecast else {}),
        **({"until_decided": asdict(forecast.price)} if forecast and forecast.price else {}),
        "trials": [
            {
                "trial": trial.spec.key,
                "variant": trial.variant.name,
                "seed": trial.spec.seed,
                "state": trial.state,
                "reason": trial.reason,
                **(
                    _describe_trial(forecast, trial.spec.key, trial.variant.name)
                    if forecast
                    else {}
                ),
            }
            for trial in plan.trials
        ],
    }


def _describe_trial(forecast: "Forecast", key: str, variant: str) -> dict[str, Any]:
    scales = forecast.scales[variant]
    described: dict[str, Any] = {
        "trained": asdict(scales.trained),
        "paper_scale": asdict(scales.paper),
    }
    if distance := forecast.distances.get(variant):
        described["budget"] = asdict(distance)
    if estimate := forecast.estimate.trials.get(key):
        described["estimate"] = asdict(estimate)
    return described


def _describe_estimate(estimate: "Estimate") -> dict[str, Any]:
    return {
        "device": asdict(estimate.device) if estimate.device else None,
        "hours": estimate.hours,
        "wall_seconds": estimate.wall_seconds,
        "side_by_side": estimate.side_by_side,
        "basis": estimate.basis,
        "disk_bytes": {
            "records": estimate.record_bytes,
            "checkpoints": estimate.checkpoint_bytes,
            "datasets": estimate.datasets,
            "total": estimate.disk_bytes,
        },
    }


def _print_forecast(forecast: "Forecast") -> None:
    plan = forecast.plan
    headings = ["trial", "variant", "seed", "state", "params", "MFLOPs", "paper GFLOPs", "time"]
    if forecast.distances:
        headings.append("from the budget")
    print_heading(plan.experiment, f", recipe {plan.recipe_name}")
    print_rows(headings, [_show_trial(forecast, trial) for trial in plan.trials])
    print_line(_show_matrix(plan.matrix))
    parts = ", ".join(f"{number} {state}" for state, number in plan.count().items() if number)
    print_line(f"Trials: {len(plan.trials)} ({parts}).")
    _print_estimate(forecast.estimate)
    if forecast.price is not None:
        print_line(_show_price(forecast.price))


def _show_price(price: "Price") -> str:
    from ablations.formatting import format_duration

    expected = (
        "unknown before the first look"
        if price.expected is None
        else format_duration(price.expected)
    )
    return (
        f"Until decided: {format_duration(price.best)} of one core or GPU at best, expected "
        f"{expected}, {format_duration(price.worst)} at worst."
    )


def _show_trial(forecast: "Forecast", trial: "PlannedTrial") -> tuple[str, ...]:
    from ablations.formatting import format_duration

    scales = forecast.scales[trial.variant.name]
    estimate = forecast.estimate.trials.get(trial.spec.key)
    return (
        trial.spec.key,
        trial.variant.name,
        str(trial.spec.seed),
        f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
        f"{scales.trained.params:,}",
        f"{scales.trained.macs / 1e6:.3f}",
        f"{scales.paper.macs / 1e9:.2f}",
        format_duration(estimate.seconds) if estimate else "",
        *_show_distance(forecast, trial.variant.name),
    )


def _show_matrix(matrix: "Matrix") -> str:
    """How many variants were declared, excluded, duplicates, and are left."""
    excluded, duplicates = matrix.excluded, matrix.duplicates
    left_out = "; ".join([*excluded, *duplicates])
    return (
        f"Variants: {matrix.raw} declared, {len(excluded)} excluded, {len(duplicates)} "
        f"duplicate{'' if len(duplicates) == 1 else 's'}, {len(matrix.variants)} left"
        + (f"; left out: {left_out}." if left_out else ".")
    )


def _show_distance(forecast: "Forecast", variant: str) -> list[str]:
    """The cell of the budget's column, if there is one."""
    from ablations.formatting import format_share

    if variant not in forecast.distances:
        return []
    distance = forecast.distances[variant]
    return [format_share(distance.share) + (" (free)" if distance.is_free else "")]


def _print_estimate(estimate: "Estimate") -> None:
    from ablations.formatting import format_duration, format_size

    if estimate.device is None:
        return
    count, unit = estimate.device.count, estimate.device.unit
    where = f"on the {count} {unit}{'s' if count > 1 else ''} of this machine"
    print_line(
        f"Time: {format_duration(estimate.seconds)} of one {unit}, about "
        f"{format_duration(estimate.wall_seconds)} "
        f"{where if estimate.side_by_side > 1 else 'one after the other'}; "
        f"{'; '.join(estimate.basis)}."
    )
    parts = [
        f"records {format_size(estimate.record_bytes)}",
        f"checkpoints during the run {format_size(estimate.checkpoint_bytes)}",
        *(f"dataset {name} {format_size(size)}" for name, size in estimate.datasets.items()),
    ]
    print_line(f"Disk: {format_size(estimate.disk_bytes)} ({', '.join(parts)}).")
