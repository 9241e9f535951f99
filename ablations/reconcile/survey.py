"""What a run would do: plans compared with the ledger, and an estimate. Nothing is trained."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING

from ablations.backends import Backend, is_concurrent
from ablations.complexity import (
    Distance,
    Scales,
    check_budget,
    count_scales,
    measure_distances,
)
from ablations.config import Config
from ablations.data import forget_datasets
from ablations.errors import InputError
from ablations.estimate import (
    Estimate,
    check_hours,
    estimate_plan,
    find_share,
    merge_estimates,
)
from ablations.formatting import format_duration, format_size
from ablations.ledger import Findings, Ledger
from ablations.plans import Plan
from ablations.reconcile.plans import (
    Selection,
    draw_plan,
    find_place,
    keep_failed,
    limit_plan,
    list_keys,
    mark_plan,
)
from ablations.tracking import OFF
from ablations.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from ablations.statistics import Price


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a run is carried out; no number depends on it."""

    workspace: Workspace = Workspace()
    """Where everything is."""

    backend: Backend = Backend()
    """What runs the trials."""

    tracking_uri: str = OFF
    """The MLflow store."""

    download: bool = False
    """Whether a missing dataset may be downloaded."""

    reuse_results: bool = False
    """Whether trials whose records are in the results count as trained."""

    max_hours: float | None = None
    """Most hours of cores, or of GPUs, that the trials may take; None for any number."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Plans of the experiments that were asked for, and what the ledger knew before the run."""

    drawn: tuple[Plan, ...]
    """One per experiment, with the trials of all looks, each with its state."""

    plans: tuple[Plan, ...]
    """The same with the trials that are asked for: those of one look."""

    findings: Findings
    """Records, failures and damaged records of the plans' trials."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A plan, with the complexity of its variants and what its trials will take."""

    plan: Plan
    """The trials, each with its state."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    distances: Mapping[str, Distance]
    """Distance from the experiment's budget by variant; empty without a budget."""

    estimate: Estimate
    """Hours and disk of the trials to run."""

    price: "Price | None" = None
    """What all further looks take; None unless the plan asks for them."""

    @property
    def seconds_by_variant(self) -> dict[str, float]:
        """Estimated duration of a trial, by variant, of those with trials to run."""
        names = {trial.spec.key: trial.variant.name for trial in self.plan.trials}
        return {names[key]: trial.seconds for key, trial in self.estimate.trials.items()}

    @cached_property
    def trials(self) -> "pd.DataFrame":
        """One row per trial: id, variant, seed, state, complexity, estimated seconds."""
        import pandas as pd  # slow to import, and the command line does not need it

        rows = [
            {
                "trial": trial.spec.key,
                "variant": trial.variant.name,
                "seed": trial.spec.seed,
                "state": trial.state,
                "reason": trial.reason,
                "params": self.scales[trial.variant.name].trained.params,
                "macs": self.scales[trial.variant.name].trained.macs,
                "seconds": estimated.seconds if estimated else None,
            }
            for trial in self.plan.trials
            for estimated in (self.estimate.trials.get(trial.spec.key),)
        ]
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{number} {state}" for state, number in self.plan.count().items())
        total = (
            f"{format_duration(self.estimate.wall_seconds)}, "
            f"{format_size(self.estimate.disk_bytes)} of disk"
        )
        title = f"{self.plan.experiment}, recipe {self.plan.recipe_name}: {counts}; {total}"
        return f"<h4>{escape(title)}</h4>{self.trials.to_html(index=False)}"


def survey(
    config: Config,
    names: Sequence[str],
    selection: Selection,
    *,
    ledger: Ledger,
    settings: Settings,
) -> Survey:
    """Plans experiments and compares the plans with the ledger; trains and changes nothing.

    Raises:
        InputError: If a name or setting is wrong, a variant cannot be built or exceeds a budget,
            the dataset does not fill a batch, or only failed trials are asked for and nothing is
            known of any.
        IncompleteError: If results to reuse were edited or damaged.
    """
    workspace = settings.workspace
    forget_datasets()  # a notebook plans again after a dataset was put in place
    drawn = [draw_plan(config, name, selection, workspace=workspace) for name in names]
    _check_batches(config, drawn, selection)
    _check_budgets(config, drawn, workspace)
    if settings.reuse_results:
        # Loads pandas, which other plans do without.
        from ablations.reconcile.studies import read_records

        ledger.recall(read_records(drawn, workspace, recipes=[selection.recipe_name]))
    surveyed = compare_plans(config, drawn, ledger, until_decided=selection.until_decided)
    return _keep_failed(surveyed) if selection.retry_failed else surveyed


def _keep_failed(surveyed: Survey) -> Survey:
    """The survey in which only the trials that have failed are still to run.

    A plan whose other trials have ended keeps those of its later looks: it is not narrowed.

    Raises:
        InputError: If nothing is known of a plan's trials.
    """
    plans = tuple(map(keep_failed, surveyed.plans))
    for plan in plans:
        if all(trial.state == "skipped" for trial in plan.trials):
            raise InputError(
                f"--retry-failed needs trials of {plan.experiment} that have failed or ended, got "
                "none. Omit it to run them."
            )
    drawn = tuple(
        keep_failed(whole) if plan.changes != asked.changes else whole
        for whole, plan, asked in zip(surveyed.drawn, plans, surveyed.plans, strict=True)
    )
    return replace(surveyed, drawn=drawn, plans=plans)


def compare_plans(
    config: Config,
    drawn: Sequence[Plan],
    ledger: Ledger,
    *,
    until_decided: bool,
    attempted: Set[str] = frozenset(),
) -> Survey:
    """Compares plans with the ledger, and limits them to the trials of one look.

    Args:
        config: The content of experiments.yaml.
        drawn: The plans with the trials of all looks.
        ledger: What is known of the trials.
        until_decided: Whether to ask for the next look if the last one has been taken.
        attempted: Keys of trials that this run has trained; they are not trained again.
    """
    findings = ledger.examine(list_keys(drawn))
    marked = tuple(mark_plan(plan, findings) for plan in drawn)
    limited = (
        limit_plan(
            plan,
            _find_seeds(config, plan, findings, until_decided=until_decided, attempted=attempted),
        )
        for plan in marked
    )
    return Survey(drawn=marked, plans=tuple(limited), findings=findings)


def _find_seeds(
    config: Config,
    plan: Plan,
    findings: Findings,
    *,
    until_decided: bool,
    attempted: Set[str],
) -> Mapping[str, int]:
    """Number of seeds of each variant that are asked for."""
    looks, seeds = plan.recipe.planned_looks, plan.recipe.seeds
    first = {variant.name: looks[0] for variant in plan.variants}
    later = set(seeds[looks[0] :])
    is_begun = any(t.spec.seed in later and t.state != "to run" for t in plan.trials)
    waiting = {trial.spec.key for trial in limit_plan(plan, first).to_run}
    if not later or not (until_decided or is_begun) or waiting - attempted:
        return first
    # Loads pandas, which other plans do without.
    from ablations.reconcile.looks import follow_study, outline_study

    path = follow_study(outline_study(config, plan, findings))
    return path.needed if until_decided and path.needed else path.seeds


def forecast_experiments(
    config: Config, names: Sequence[str], selection: Selection, *, settings: Settings
) -> list[Forecast]:
    """What a run would do: each trial with its state, complexity and estimated time.

    Raises:
        InputError: As `survey`; and if the trials would take more than `max_hours`.
    """
    ledger = Ledger(settings.workspace.runs_dir)
    surveyed = survey(config, names, selection, ledger=ledger, settings=settings)
    settings = settle_gpus(surveyed, settings)
    forecasts = forecast_survey(config, surveyed, settings)
    if not selection.until_decided:
        return forecasts
    from ablations.reconcile.looks import price_plan  # loads pandas, which other plans do without

    return [
        replace(
            forecast,
            price=price_plan(config, drawn, surveyed.findings, forecast.seconds_by_variant),
        )
        for drawn, forecast in zip(surveyed.drawn, forecasts, strict=True)
    ]


def settle_gpus(surveyed: Survey, settings: Settings) -> Settings:
    """The settings with the share of a GPU that trials need, if the run is to choose it.

    Raises:
        InputError: If trials are to share GPUs, but run one after the other.
        MachineError: If a cluster is to train, and its GPUs cannot be measured here.
    """
    backend = settings.backend
    if not is_concurrent(backend) and (backend.packs_gpus or (backend.gpus_per_trial or 0) % 1):
        asked = "auto" if backend.packs_gpus else f"{backend.gpus_per_trial:g}"
        raise InputError(
            f"--gpus-per-trial {asked} shares a GPU among trials, which needs --backend ray, got "
            f"{backend.name}. Omit one of them."
        )
    trials = [trial for plan in surveyed.drawn for trial in plan.trials]
    has_replicas = any(trial.spec.recipe.replicas > 1 for trial in trials)  # each has a whole GPU
    if has_replicas or not backend.packs_gpus:
        return settings
    share = find_share(trials, surveyed.findings.records, is_remote=backend.cluster is not None)
    return replace(settings, backend=replace(backend, gpus_per_trial=share))


def forecast_survey(config: Config, surveyed: Survey, settings: Settings) -> list[Forecast]:
    """The plans with their estimates, which must be within the hours that are allowed."""
    forecasts = []
    counted = count_all(config, surveyed.plans, settings.workspace)
    for plan, scales in zip(surveyed.plans, counted, strict=True):
        experiment = config.experiment(plan.experiment)
        distances = measure_distances(experiment.budget, scales) if experiment.budget else ()
        estimate = estimate_plan(
            plan,
            scales,
            surveyed.findings.records,
            baseline=experiment.baseline,
            backend=settings.backend,
            workspace=settings.workspace,
        )
        forecasts.append(
            Forecast(
                plan=plan,
                scales=scales,
                distances={distance.variant: distance for distance in distances},
                estimate=estimate,
            )
        )
    if settings.max_hours is not None:
        total = merge_estimates([forecast.estimate for forecast in forecasts])
        check_hours(total, settings.max_hours)
    return forecasts


def count_all(
    config: Config, plans: Sequence[Plan], workspace: Workspace
) -> list[Mapping[str, Scales]]:
    """Complexities by variant, one mapping per plan."""
    return [count_scales(config, plan, cache_file=workspace.complexity_file) for plan in plans]


def _check_batches(config: Config, plans: Sequence[Plan], selection: Selection) -> None:
    """Makes sure that the training images fill a batch; what does not fill one is left out."""
    for spec in (plan.trials[0].spec for plan in plans):
        if spec.recipe.batch_size > spec.dataset.train_size:
            raise InputError(
                f"{find_place(config, selection, 'batch_size')}: must be at most "
                f"{spec.dataset.train_size}, the number of training images of {spec.dataset.name}, "
                f"got {spec.recipe.batch_size}"
            )


def _check_budgets(config: Config, plans: Sequence[Plan], workspace: Workspace) -> None:
    """Makes sure that every variant asked for is within its experiment's budget, if it has one."""
    limited = [plan for plan in plans if config.experiment(plan.experiment).budget is not None]
    faults = []
    for plan, scales in zip(limited, count_all(config, limited, workspace), strict=True):
        asked = {trial.variant.name for trial in plan.trials if trial.state != "skipped"}
        try:
            check_budget(config, plan.experiment, scales, asked=asked)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
