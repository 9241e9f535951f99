"""Running is reconciling: what was asked is held against what is known; the rest is trained."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType

from ablations.backends import (
    Backend,
    EpochDone,
    Event,
    Job,
    Observer,
    TrialFailed,
    check_gpus,
    run_job,
)
from ablations.complexity.budget import check_budget
from ablations.complexity.scales import count_scales
from ablations.config import PAPER_BODY, Config, Recipe, alter_recipe
from ablations.data.catalogue import DATASETS, Dataset
from ablations.data.identification import identify_dataset
from ablations.errors import InputError
from ablations.files import check_writable
from ablations.ledger import Failure, Findings, Ledger
from ablations.matrix import Variant, build_matrix
from ablations.plan import Plan, PlannedTrial, State, TrialSpec, build_specs
from ablations.study.study import StudiedDataset
from ablations.trial.environment import find_commit
from ablations.trial.records import EpochRecord, TrialRecord
from ablations.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the command line asks for, besides the experiments' names."""

    recipe_name: str = "quick"
    """Name of the recipe."""

    settings: Mapping[str, str]
    """Recipe fields that are changed, as texts."""

    seeds: tuple[int, ...] | None = None
    """Seeds instead of the recipe's."""

    only: tuple[str, ...] = ()
    """Patterns of the variants to run; all if empty."""

    exclude: tuple[str, ...] = ()
    """Patterns of the variants to leave out."""


def draw_plan(
    config: Config,
    experiment: str,
    selection: Selection,
    ledger: Ledger | None,
    *,
    data_dir: Path,
    known: StudiedDataset | None = None,
) -> Plan:
    """The trials that are asked for, each with what the ledger knows of it.

    The user's datasets in `data_dir` need not be there.

    Args:
        config: What experiments.yaml says.
        experiment: Name of the experiment.
        selection: What is asked for.
        ledger: What is known; None if nothing is.
        data_dir: The user's datasets.
        known: What stands for a dataset without a pinned checksum in earlier results, to be used
            instead of what is in `data_dir`.

    Raises:
        InputError: If a name or a setting is wrong, or a variant cannot be built.
    """
    recipe, recipe_name = _choose_recipe(config, selection)
    dataset = _choose_dataset(DATASETS[recipe.dataset], data_dir, known)
    matrix = build_matrix(config, experiment, body_name=recipe.body, dataset=dataset)
    skipped = _choose_skipped(matrix.variants, selection)
    trials = tuple(
        PlannedTrial(
            variant=variant,
            spec=spec,
            state="skipped" if variant.name in skipped else "to run",
            reason=skipped.get(variant.name, ""),
        )
        for variant, spec in build_specs(matrix.variants, recipe, dataset)
    )
    plan = Plan(
        experiment=experiment,
        recipe_name=recipe_name,
        recipe=recipe,
        matrix=matrix,
        trials=trials,
        changes=_describe_changes(selection),
        is_narrowed=bool(selection.seeds or selection.only or selection.exclude),
    )
    return refresh(plan, ledger) if ledger else plan


def refresh(
    plan: Plan, ledger: Ledger, exported: Mapping[str, TrialRecord] = MappingProxyType({})
) -> Plan:
    """The same plan with what the ledger knows now.

    Args:
        plan: What is asked.
        ledger: What is known.
        exported: Records that are known from elsewhere; the ledger's own come first.
    """
    findings = ledger.examine({trial.spec.key for trial in plan.trials})
    findings = Findings(
        records={**exported, **findings.records},
        failures=findings.failures,
        corrupt={key: why for key, why in findings.corrupt.items() if key not in exported},
    )
    trials = tuple(
        trial
        if trial.state == "skipped"
        else replace(
            trial,
            state=_state_of(trial.spec.key, findings),
            reason=_reason_for(trial.spec.key, findings),
        )
        for trial in plan.trials
    )
    return replace(plan, trials=trials)


class Recorder:
    """Gathers the records of running trials, and keeps each trial in the ledger when it ends.

    Args:
        specs: The trials that run.
        ledger: Where they are kept.
        on_end: Called with each record that was kept.
    """

    def __init__(
        self,
        specs: Iterable[TrialSpec],
        ledger: Ledger,
        *,
        on_end: Callable[[TrialRecord], None],
    ) -> None:
        self._specs = {spec.key: spec for spec in specs}
        self._epochs: dict[str, dict[int, EpochRecord]] = {key: {} for key in self._specs}
        self._ended: set[str] = set()
        self._ledger = ledger
        self._on_end = on_end

    def observe(self, event: Event) -> None:
        """Takes what a backend reports."""
        if event.key in self._ended:
            return  # a worker that died after its last epoch tells it again
        if isinstance(event, TrialFailed):
            self._ledger.add_failure(
                Failure(key=event.key, reason=event.reason, details=event.details)
            )
        elif isinstance(event, EpochDone):
            epochs = self._epochs[event.key]
            epochs[event.record.epoch] = event.record
            if event.record.is_last:
                record = TrialRecord(
                    key=event.key,
                    facts=dict(self._specs[event.key].facts),
                    epochs=tuple(epochs[number] for number in sorted(epochs)),
                    environment=event.environment,
                    finished_at=time.time(),
                )
                self._ledger.add(record)
                self._ended.add(event.key)
                self._on_end(record)


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


def find_missing(plans: Iterable[Plan]) -> dict[str, PlannedTrial]:
    """The trials to run, by key: one that several experiments share stands there once."""
    return {
        trial.spec.key: trial
        for plan in plans
        for spec in plan.to_run
        for trial in plan.trials
        if trial.spec.key == spec.key
    }


def check_machine(
    missing: Mapping[str, PlannedTrial],
    workspace: Workspace,
    backend: Backend,
    *,
    download: bool = False,
) -> None:
    """Makes sure that the machine has what the trials need, and prepares their datasets.

    Raises:
        MachineError: If it lacks a GPU, a dataset or a folder to write into; nothing has been
            written then.
    """
    from ablations.data.arrays import prepare_data  # loads torch

    check_gpus(backend)
    check_writable(workspace.runs_dir, flag="--runs-dir")
    check_writable(workspace.results_dir, flag="--results-dir")
    datasets = {trial.spec.dataset.identity: trial.spec.dataset for trial in missing.values()}
    for dataset in datasets.values():
        prepare_data(
            dataset,
            data_dir=workspace.data_dir,
            cache_dir=workspace.cache_dir,
            download=download,
        )


def train(
    missing: Mapping[str, PlannedTrial],
    ledger: Ledger,
    workspace: Workspace,
    backend: Backend,
    *,
    observe: Observer,
    on_end: Callable[[TrialRecord], None],
) -> None:
    """Trains the trials and keeps what they measured; call it as the ledger's writer.

    Args:
        missing: What to train, by key, in the order to start it.
        ledger: Where to keep it; damaged records of these trials are set aside.
        workspace: Where everything is.
        backend: What trains.
        observe: Told of every event, after the ledger.
        on_end: Called with each record that was kept.

    Raises:
        MachineError: If the cluster lacks a GPU.
        KeyboardInterrupt: If the user stopped it; what has ended is kept.
    """
    for key, reason in ledger.examine(missing).corrupt.items():
        kept = ledger.set_aside(key)
        logger.warning("trial %s: its record is corrupt (%s); kept as %s", key, reason, kept)
    specs = tuple(trial.spec for trial in missing.values())
    recorder = Recorder(specs, ledger, on_end=on_end)

    def record_and_observe(event: Event) -> None:
        recorder.observe(event)
        observe(event)

    job = Job(
        specs=specs,
        cache_dir=workspace.cache_dir.resolve(),
        checkpoint_dir=(workspace.runs_dir / "checkpoints").resolve(),
        backend=backend,
        commit=find_commit(),
        import_paths=tuple(sys.path),
    )
    run_job(job, record_and_observe)


def _choose_recipe(config: Config, selection: Selection) -> tuple[Recipe, str]:
    recipe = alter_recipe(config.recipe(selection.recipe_name), selection.settings)
    if recipe.body not in {*config.bodies, PAPER_BODY}:
        raise InputError(
            f"--set body: must be one of {', '.join(sorted(config.bodies))}, got {recipe.body!r}"
        )
    altered = " ".join(f"{key}={text}" for key, text in sorted(selection.settings.items()))
    if selection.seeds is not None:
        recipe = recipe.model_copy(update={"seeds": selection.seeds})
    return recipe, f"{selection.recipe_name} {altered}".strip()


def _choose_dataset(dataset: Dataset, data_dir: Path, known: StudiedDataset | None) -> Dataset:
    if known is None or dataset.checksum is not None or known.name != dataset.name:
        return identify_dataset(dataset, data_dir)
    return replace(
        dataset,
        num_classes=known.num_classes,
        train_size=known.train_size,
        test_size=known.test_size,
        found=known.found,
    )


def _choose_skipped(variants: tuple[Variant, ...], selection: Selection) -> dict[str, str]:
    """Variants that are not asked for, with the reason."""
    skipped = {}
    for variant in variants:
        if selection.only and not _matches(variant.name, selection.only):
            skipped[variant.name] = "not among --only"
        elif _matches(variant.name, selection.exclude):
            skipped[variant.name] = "among --exclude"
    if len(skipped) == len(variants):
        names = ", ".join(f"'{variant.name}'" for variant in variants)
        raise InputError(f"--only and --exclude must leave a variant, got none of {names}.")
    return skipped


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _state_of(key: str, findings: Findings) -> State:
    if key in findings.records:
        return findings.records[key].state
    return "failed" if key in findings.failures else "to run"


def _reason_for(key: str, findings: Findings) -> str:
    if key in findings.corrupt:
        return f"its record is corrupt ({findings.corrupt[key]})"
    if key in findings.failures:
        return findings.failures[key].reason
    if key in findings.records and findings.records[key].state == "diverged":
        return f"its loss was no finite number in epoch {len(findings.records[key].epochs)}"
    return ""


def _describe_changes(selection: Selection) -> tuple[str, ...]:
    changes = [f"--set {key}={text}" for key, text in selection.settings.items()]
    if selection.seeds is not None:
        changes.append(f"--seeds {','.join(map(str, selection.seeds))}")
    changes += [f"--only '{pattern}'" for pattern in selection.only]
    changes += [f"--exclude '{pattern}'" for pattern in selection.exclude]
    return tuple(changes)
