"""A whole run, in order: plan, check, train what is missing, gather, write, send to MLflow."""

import logging
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property

from ablations.backends import Event, Job, Observer, check_gpus, claim_trial, run_job
from ablations.complexity import Scales
from ablations.config import Config
from ablations.errors import InterruptedRunError
from ablations.estimate import merge_estimates
from ablations.evaluations import read_evaluations
from ablations.files import check_folder, check_writable, write_changed
from ablations.ledger import Findings, Ledger
from ablations.plans import Plan, PlannedTrial
from ablations.reconcile.limits import limit_trials
from ablations.reconcile.looks import count_seeds, record_look
from ablations.reconcile.outcome import Outcome
from ablations.reconcile.plans import Selection, find_missing, limit_plan, list_keys, mark_plan
from ablations.reconcile.recorder import Recorder, set_aside_damaged
from ablations.reconcile.results import update_index
from ablations.reconcile.studies import gather_study, read_earlier, recall_benchmark
from ablations.reconcile.survey import (
    Settings,
    Survey,
    compare_plans,
    count_all,
    forecast_survey,
    settle_gpus,
    survey,
)
from ablations.report import render_report
from ablations.speed import Benchmark, Speed, identify_variants
from ablations.study import Study
from ablations.tables import build_table
from ablations.tracking import Mirror
from ablations.trial import TrialRecord
from ablations.trial.environment import find_commit
from ablations.workspace import Workspace

logger = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""Time between two looks at what another run has trained."""

Show = Callable[[Sequence[PlannedTrial]], AbstractContextManager[Observer]]
"""Shows the progress of trials: given those that will run, a context whose value observes them."""


def run_experiments(
    config: Config,
    names: Sequence[str],
    selection: Selection,
    *,
    settings: Settings,
    show: Show = lambda _: nullcontext(lambda _: None),
    on_look: Callable[[Sequence[Outcome]], None] = lambda _: None,
) -> list[Outcome]:
    """Trains what is missing of experiments, then writes and returns what is known of each.

    A run takes one look at each table; until everything is decided if the selection says so.

    Args:
        config: The content of experiments.yaml.
        names: The experiments; trials that they share are trained once.
        selection: Recipe, changes to it, seeds, variants.
        settings: Where and how.
        show: Shows progress.
        on_look: Takes the outcomes of every look but the last.

    Raises:
        InputError: If what is asked for is not possible; nothing has been written then.
        MachineError: If the machine lacks a GPU, a dataset, or a folder to write into.
        IncompleteError: If existing results were edited or damaged.
        InterruptedRunError: If the user stopped the run; finished trials are kept.
    """
    workspace = settings.workspace
    ledger = Ledger(workspace.runs_dir)
    surveyed = survey(config, names, selection, ledger=ledger, settings=settings)
    settings = settle_gpus(surveyed, settings)
    if settings.max_hours is not None:
        forecast_survey(config, surveyed, settings)
    run = _Run(config, surveyed.drawn, ledger, settings=settings, findings=surveyed.findings)
    check_folder(workspace.results_dir, flag="--results-dir")
    if missing := find_missing(surveyed.plans):
        _check_machine(missing.values(), settings)
    ledger.prepare()
    with _sending(settings) as mirror:
        outcomes = run.take_look(surveyed, mirror, show)
        while selection.until_decided and (following := run.find_next()):
            on_look(outcomes)
            outcomes = run.take_look(following, mirror, show)
    return [
        replace(outcome, view=mirror.find_view(plan.experiment, plan.recipe_name))
        for plan, outcome in zip(surveyed.drawn, outcomes, strict=True)
    ]


class _Run:
    """One run of some plans, look by look.

    Args:
        config: The content of experiments.yaml.
        drawn: The plans with the trials of all looks.
        ledger: Where the records are.
        settings: Where and how.
        findings: What the ledger knew before the run.
    """

    def __init__(
        self,
        config: Config,
        drawn: Sequence[Plan],
        ledger: Ledger,
        *,
        settings: Settings,
        findings: Findings,
    ) -> None:
        workspace = settings.workspace
        self._config = config
        self._drawn = drawn
        self._ledger = ledger
        self._settings = settings
        self._earlier = [read_earlier(plan, workspace, findings) for plan in drawn]
        self._benchmarks = [
            recall_benchmark(plan, workspace, known)
            for plan, known in zip(drawn, self._earlier, strict=True)
        ]
        self._evaluations = read_evaluations(workspace.evaluations_dir)
        self._attempted: set[str] = set()
        self._hours = 0.0

    @cached_property
    def _scales(self) -> list[Mapping[str, Scales]]:
        """Complexities by variant, one mapping per plan."""
        return count_all(self._config, self._drawn, self._settings.workspace)

    def take_look(self, surveyed: Survey, mirror: Mirror, show: Show) -> list[Outcome]:
        """Trains what a look asks for, then publishes the tables."""
        missing = self._find_missing(surveyed)
        send = _make_sender(mirror, surveyed.plans, self._scales, self._benchmarks)
        _train(
            missing,
            surveyed.findings,
            self._ledger,
            settings=self._settings,
            limits=limit_trials(self._config, surveyed, self._settings) if missing else {},
            send=send,
            show=show,
        )
        self._attempted |= missing.keys()
        findings = self._ledger.examine(list_keys(self._drawn))
        trained = (findings.records[key] for key in missing if key in findings.records)
        self._hours += sum(record.device_seconds for record in trained) / 3600
        outcomes = [
            self._publish(plan, findings, mirror, scales=scales, earlier=known, benchmark=speeds)
            for plan, scales, known, speeds in zip(
                self._drawn, self._scales, self._earlier, self._benchmarks, strict=True
            )
        ]
        workspace = self._settings.workspace
        if any(o.written and o.folder.is_relative_to(workspace.results_dir) for o in outcomes):
            update_index(self._config, workspace, outcomes)
        return outcomes

    def find_next(self) -> Survey | None:
        """What the next look asks for; None if all is decided or the hours are used up."""
        surveyed = compare_plans(
            self._config,
            self._drawn,
            self._ledger,
            until_decided=True,
            attempted=self._attempted,
        )
        if not self._find_missing(surveyed):
            return None
        limit = self._settings.max_hours
        if limit is not None:
            forecasts = forecast_survey(
                self._config, surveyed, replace(self._settings, max_hours=None)
            )
            hours = merge_estimates([forecast.estimate for forecast in forecasts]).hours
            if self._hours + hours > limit:
                logger.warning(
                    "stopped before the next look: it would take %.3g core or GPU hours, and %.3g "
                    "of --max-hours are left.",
                    hours,
                    max(0.0, limit - self._hours),
                )
                return None
        return surveyed

    def _find_missing(self, surveyed: Survey) -> dict[str, PlannedTrial]:
        missing = find_missing(surveyed.plans)
        return {key: trial for key, trial in missing.items() if key not in self._attempted}

    def _publish(
        self,
        plan: Plan,
        findings: Findings,
        mirror: Mirror,
        *,
        scales: Mapping[str, Scales],
        earlier: Study | None,
        benchmark: Benchmark | None,
    ) -> Outcome:
        study = gather_study(
            self._config,
            mark_plan(plan, findings),
            findings,
            scales=scales,
            looks=(),
            earlier=earlier,
            benchmark=benchmark,
            evaluations=self._evaluations,
        )
        study = record_look(study, plan, self._ledger)
        limited = limit_plan(mark_plan(plan, findings), count_seeds(study))
        return _publish(limited, study, mirror, self._settings.workspace)


def _check_machine(missing: Collection[PlannedTrial], settings: Settings) -> None:
    """Makes sure that the machine has what the trials need, and prepares their datasets.

    Raises:
        MachineError: If it lacks a GPU, a dataset or a folder to write into; nothing has been
            written then.
    """
    from ablations.data.arrays import prepare_data  # loads torch, which other runs do without

    workspace = settings.workspace
    check_gpus(settings.backend, replicas=max(t.spec.recipe.replicas for t in missing))
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
    limits: Mapping[str, float],
    send: Callable[[TrialRecord], None],
    show: Show,
) -> None:
    """Trains the missing trials; each is recorded, then sent, when it ends."""
    damaged = {key: why for key, why in before.corrupt.items() if key in missing}
    set_aside_damaged(ledger, damaged)
    recorder = Recorder(missing.values(), ledger, on_end=send)
    try:
        with show(list(missing.values())) as watch:
            todo = dict(missing)
            while todo:
                job = _build_job(todo.values(), settings, limits)
                run_job(job, _observe_both(recorder.observe, watch))
                todo = {key: missing[key] for key in _await_others(recorder, job.workspace)}
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted: {recorder.ended} of {len(missing)} trials are finished and kept. "
            "The same command resumes."
        ) from None


def _await_others(recorder: Recorder, workspace: Workspace) -> Collection[str]:
    """Waits for other runs that train some of the trials.

    Returns:
        Trials that a run gave up without recording them; none if all have ended.
    """
    taken = recorder.taken
    if any(not (workspace.trials_dir / key).exists() for key in taken):
        logger.warning("waiting for another run, which trains some of the trials.")
    while taken:
        taken -= {key for key in taken if (workspace.trials_dir / key).exists()}
        given_up = {key for key in taken if _is_free(key, workspace)}
        taken -= given_up
        if given_up:
            return given_up
        time.sleep(POLL_SECONDS)
    return ()


def _is_free(key: str, workspace: Workspace) -> bool:
    """Whether no process trains a trial, and it has no record."""
    claim = claim_trial(key, workspace)
    if claim is not None:
        claim.release()
    return claim is not None


def _build_job(
    trials: Collection[PlannedTrial], settings: Settings, limits: Mapping[str, float]
) -> Job:
    return Job(
        specs=tuple(trial.spec for trial in trials),
        workspace=settings.workspace.resolve(),
        backend=settings.backend,
        commit=find_commit(),
        import_paths=tuple(sys.path),
        limits=limits,
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
