"""A whole run, in order: plan, check, train what is missing, gather, write, send to MLflow."""

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from ablations.backends import Event, Job, Observer, check_gpus, run_job
from ablations.complexity import Scales
from ablations.config import Config
from ablations.errors import InterruptedRunError
from ablations.files import check_writable, write_changed
from ablations.ledger import Findings, Ledger
from ablations.plans import Plan, PlannedTrial
from ablations.reconcile.outcome import Outcome
from ablations.reconcile.plans import Selection, find_missing, list_keys, mark_plan
from ablations.reconcile.recorder import Recorder, set_aside_damaged
from ablations.reconcile.results import update_index
from ablations.reconcile.studies import gather_study, read_earlier, recall_benchmark
from ablations.reconcile.survey import Settings, count_all, forecast_survey, survey
from ablations.report import render_report
from ablations.speed import Benchmark, Speed, identify_variants
from ablations.study import Study
from ablations.tables import build_table
from ablations.tracking import Mirror
from ablations.trial import TrialRecord
from ablations.trial.environment import find_commit
from ablations.workspace import Workspace

logger = logging.getLogger(__name__)

Show = Callable[[Sequence[PlannedTrial]], AbstractContextManager[Observer]]
"""Shows the progress of trials: given those that will run, a context whose value observes them."""


def run_experiments(
    config: Config,
    names: Sequence[str],
    selection: Selection,
    *,
    settings: Settings,
    show: Show = lambda _: nullcontext(lambda _: None),
) -> list[Outcome]:
    """Trains what is missing of experiments, then writes and returns what is known of each.

    Args:
        config: The content of experiments.yaml.
        names: The experiments; trials that they share are trained once.
        selection: Recipe, changes to it, seeds, variants.
        settings: Where and how.
        show: Shows progress.

    Raises:
        InputError: If what is asked for is not possible; nothing has been written then.
        MachineError: If the machine lacks a GPU, a dataset, or a folder to write into.
        IncompleteError: If existing results were edited or damaged.
        InterruptedRunError: If the user stopped the run; finished trials are kept.
    """
    workspace = settings.workspace
    ledger = Ledger(workspace.runs_dir)
    surveyed = survey(config, names, selection, ledger=ledger, settings=settings)
    if settings.max_hours is not None:
        forecast_survey(config, surveyed, settings)
    missing = find_missing(surveyed.plans)
    earlier = [read_earlier(plan, workspace, surveyed.findings) for plan in surveyed.plans]
    benchmarks = [
        recall_benchmark(plan, workspace, known)
        for plan, known in zip(surveyed.plans, earlier, strict=True)
    ]
    if missing:
        _check_machine(missing.values(), settings)
    with ledger.writing(), _sending(settings) as mirror:
        scales = count_all(config, surveyed.plans, workspace)
        send = _make_sender(mirror, surveyed.plans, scales, benchmarks)
        _train(missing, surveyed.findings, ledger, settings=settings, send=send, show=show)
        findings = ledger.examine(list_keys(surveyed.plans))
        plans = [mark_plan(plan, findings) for plan in surveyed.plans]
        studies = [
            gather_study(
                config,
                plan,
                findings,
                scales=own,
                looks=_look(plan, ledger),
                earlier=known,
                benchmark=benchmark,
            )
            for plan, own, known, benchmark in zip(plans, scales, earlier, benchmarks, strict=True)
        ]
        outcomes = [
            _publish(plan, study, mirror, workspace)
            for plan, study in zip(plans, studies, strict=True)
        ]
    if any(o.written and o.folder.is_relative_to(workspace.results_dir) for o in outcomes):
        update_index(config, workspace, outcomes)
    return [
        replace(outcome, view=mirror.find_view(plan.experiment, plan.recipe_name))
        for plan, outcome in zip(plans, outcomes, strict=True)
    ]


def _check_machine(missing: Collection[PlannedTrial], settings: Settings) -> None:
    """Makes sure that the machine has what the trials need, and prepares their datasets.

    Raises:
        MachineError: If it lacks a GPU, a dataset or a folder to write into; nothing has been
            written then.
    """
    from ablations.data.arrays import prepare_data  # loads torch, which other runs do without

    workspace = settings.workspace
    check_gpus(settings.backend)
    check_writable(workspace.runs_dir, flag="--runs-dir")
    check_writable(workspace.results_dir, flag="--results-dir")
    for dataset in {trial.spec.dataset.identity: trial.spec.dataset for trial in missing}.values():
        prepare_data(
            dataset,
            data_dir=workspace.data_dir,
            cache_dir=workspace.cache_dir,
            download=settings.download,
        )


def _make_sender(
    mirror: Mirror,
    plans: Sequence[Plan],
    scales: Sequence[Mapping[str, Scales]],
    benchmarks: Sequence[Benchmark | None],
) -> Callable[[TrialRecord], None]:
    """A function that sends a record to the experiment of every plan that has its trial."""
    places: dict[str, list[tuple[Plan, PlannedTrial, Scales, Speed | None]]] = {}
    for plan, own, known in zip(plans, scales, benchmarks, strict=True):
        speeds = known.select(identify_variants(plan, known.conditions)) if known else {}
        for trial in plan.trials:
            if trial.state != "skipped":
                name = trial.variant.name
                place = plan, trial, own[name], speeds.get(name)
                places.setdefault(trial.spec.key, []).append(place)

    def send(record: TrialRecord) -> None:
        for plan, trial, own, speed in places.get(record.key, ()):
            mirror.send_trial(plan, trial, record, own, speed)

    return send


def _train(
    missing: Mapping[str, PlannedTrial],
    before: Findings,
    ledger: Ledger,
    *,
    settings: Settings,
    send: Callable[[TrialRecord], None],
    show: Show,
) -> None:
    """Trains the missing trials; each is recorded, then sent, when it ends."""
    damaged = {key: why for key, why in before.corrupt.items() if key in missing}
    set_aside_damaged(ledger, damaged)
    recorder = Recorder(missing.values(), ledger, on_end=send)
    try:
        with show(list(missing.values())) as watch:
            if missing:
                job = _build_job(missing.values(), settings)
                run_job(job, _observe_both(recorder.observe, watch))
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted: {recorder.ended} of {len(missing)} trials are finished and kept. "
            "The same command resumes."
        ) from None


def _build_job(trials: Collection[PlannedTrial], settings: Settings) -> Job:
    return Job(
        specs=tuple(trial.spec for trial in trials),
        cache_dir=settings.workspace.cache_dir.resolve(),
        checkpoint_dir=settings.workspace.checkpoint_dir.resolve(),
        backend=settings.backend,
        commit=find_commit(),
        import_paths=tuple(sys.path),
    )


def _observe_both(first: Observer, second: Observer) -> Observer:
    """An observer that hands each event to both, in order."""

    def observe(event: Event) -> None:
        first(event)
        second(event)

    return observe


@contextmanager
def _sending(settings: Settings) -> Iterator[Mirror]:
    """A mirror that is flushed at the end, whatever happens; a store that fails is no error."""
    mirror = Mirror(settings.tracking_uri, workspace=settings.workspace)
    try:
        yield mirror
    finally:
        if problem := mirror.close():
            logger.warning("MLflow: %s The ledger is complete; a later run sends it.", problem)


def _look(plan: Plan, ledger: Ledger) -> list[list[int]]:
    """Records that the table is looked at, and returns the seeds of all looks at it."""
    ledger.add_look(plan.experiment, plan.recipe_name, plan.recipe.seeds)
    return ledger.list_looks(plan.experiment, plan.recipe_name)


def _publish(plan: Plan, study: Study, mirror: Mirror, workspace: Workspace) -> Outcome:
    """Writes a study's folder, and queues what MLflow is missing."""
    table = build_table(study)
    folder = workspace.find_results(
        plan.experiment, recipe_name=plan.recipe_name, changes=plan.changes
    )
    files = render_report(study, table, folder)
    changed = write_changed(files, folder)
    mirror.send_study(plan, study, table, files)
    return Outcome(study=study, comparison=table, folder=folder, written=tuple(changed))
