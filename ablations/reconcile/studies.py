"""Ledger and earlier results -> studies: everything known of an experiment on a recipe."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ablations.complexity import Scales, count_scales
from ablations.config import Config, read_paper
from ablations.evaluations import Evaluation
from ablations.ledger import Findings
from ablations.plans import PROCEDURE, Plan
from ablations.reconcile.looks import limit_study
from ablations.reconcile.plans import mark_plan
from ablations.speed import Benchmark, find_benchmark, read_benchmarks
from ablations.study import (
    Definition,
    Study,
    build_definition,
    build_study,
    is_exported,
    read_export,
)
from ablations.trial import TrialRecord
from ablations.workspace import Workspace


def gather_study(
    config: Config,
    plan: Plan,
    findings: Findings,
    *,
    scales: Mapping[str, Scales],
    looks: Iterable[Sequence[int]],
    earlier: Study | None,
    others: Mapping[str, TrialRecord] = MappingProxyType({}),
    benchmark: Benchmark | None = None,
    evaluations: Iterable[Evaluation] = (),
) -> Study:
    """Everything known of a plan at its last look, from the ledger and from earlier results.

    Args:
        config: The content of experiments.yaml.
        plan: What was asked for, with the trials of all looks.
        findings: What the ledger knows; it takes precedence over earlier results.
        scales: Complexities by variant.
        looks: Seeds of all looks at the table in the ledger, in order.
        earlier: The study in the results; None if there is none.
        others: Records in the results of experiments that share trials with the plan; those of the
            ledger and of the plan's own results take precedence.
        benchmark: Measured speeds of the plan's variants.
        evaluations: Evaluations of published weights on this machine; of a network that earlier
            results have, too, the latest counts.
    """
    known = merge_findings(plan, findings, earlier, others)
    earlier_looks = earlier.looks if earlier else ()
    study = build_study(
        config.experiment(plan.experiment),
        _recall_failures(mark_plan(plan, known), earlier),
        known.records,
        scales=scales,
        paper=read_paper(),
        looks=tuple(dict.fromkeys([*earlier_looks, *map(tuple, looks)])),
        benchmark=benchmark,
        evaluations=[*(earlier.evaluations if earlier else ()), *evaluations],
    )
    return limit_study(study)


def merge_findings(
    plan: Plan, findings: Findings, earlier: Study | None, others: Mapping[str, TrialRecord]
) -> Findings:
    """What the ledger knows of a plan, completed with the records of earlier results."""
    keys = {trial.spec.key for trial in plan.trials}
    exported = {key: record for key, record in others.items() if key in keys} | {
        trial.key: trial.record
        for trial in (earlier.trials if earlier else ())
        if trial.record is not None and trial.key in keys
    }
    return Findings(
        records={**exported, **{k: r for k, r in findings.records.items() if k in keys}},
        failures=findings.failures,
        corrupt={key: why for key, why in findings.corrupt.items() if key not in exported},
    )


def read_earlier(plan: Plan, workspace: Workspace, findings: Findings) -> Study | None:
    """The study that the results already hold of a plan; None if there is none.

    One of an older procedure does not count, since no trial of the plan can be in it.

    Args:
        plan: The plan.
        workspace: Where the results are.
        findings: What the ledger knows; if it has a record of every trial, those of the study are
            not read.

    Raises:
        IncompleteError: If its files were edited or damaged.
        MachineError: If a file cannot be read.
    """
    folder = workspace.find_results(plan.experiment, recipe_name=plan.recipe_name)
    if plan.changes or not is_exported(folder):
        return None
    has_all = all(trial.spec.key in findings.records for trial in plan.trials)
    study = read_export(folder, with_trials=not has_all)
    return study if study.definition.procedure == PROCEDURE else None


def read_records(
    plans: Collection[Plan], workspace: Workspace, *, recipes: Collection[str]
) -> Mapping[str, TrialRecord]:
    """The records that the results hold of the plans' trials, by key.

    Experiments share trials, so those of any experiment count; those of the plans' own take
    precedence.

    Args:
        plans: The plans, which may be narrowed or altered ones.
        workspace: Where the results are.
        recipes: Names of the recipes, without changes, whose results are searched.

    Raises:
        IncompleteError: If the files of a study were edited or damaged.
        MachineError: If a file cannot be read.
    """
    keys = {trial.spec.key for plan in plans for trial in plan.trials}
    own = {plan.experiment for plan in plans}
    folders = [path for name in sorted(recipes) for path in workspace.list_results(name)]
    folders.sort(key=lambda folder: folder.parent.name in own)  # the last one counts
    studies = (read_export(folder) for folder in folders if is_exported(folder))
    return {
        trial.key: trial.record
        for study in studies
        for trial in study.trials
        if trial.record and trial.key in keys
    }


def recall_benchmark(plan: Plan, workspace: Workspace, earlier: Study | None) -> Benchmark | None:
    """The speeds that a table shows: of the benchmarks on this machine and in earlier results.

    Raises:
        MachineError: If a benchmark cannot be read.
    """
    known = [earlier.benchmark] if earlier and earlier.benchmark else []
    return find_benchmark(plan, [*known, *read_benchmarks(workspace.speed_dir)])


def find_scales(
    config: Config, plan: Plan, workspace: Workspace, *, earlier: Study | None
) -> Mapping[str, Scales]:
    """Complexities by variant: those of earlier results if they hold every network, else counted.

    With complete results this needs neither PyTorch nor fvcore.
    """
    definition = build_definition(config.experiment(plan.experiment), plan, read_paper())
    recalled = _recall_scales(definition, earlier)
    return recalled or count_scales(config, plan, cache_file=workspace.complexity_file)


def _recall_scales(definition: Definition, earlier: Study | None) -> Mapping[str, Scales]:
    if earlier is None or earlier.definition.dataset.name != definition.dataset.name:
        return {}
    known = {row.name: (row.facts["network"], row.paper_network) for row in earlier.definition.rows}
    if any(known.get(r.name) != (r.facts["network"], r.paper_network) for r in definition.rows):
        return {}
    return earlier.scales


def _recall_failures(plan: Plan, earlier: Study | None) -> Plan:
    """The plan with the failures of earlier results, where the ledger knows nothing."""
    reasons = {t.key: t.reason for t in (earlier.trials if earlier else ()) if t.state == "failed"}
    trials = tuple(
        replace(trial, state="failed", reason=reasons[trial.spec.key])
        if trial.state == "to run" and trial.spec.key in reasons
        else trial
        for trial in plan.trials
    )
    return replace(plan, trials=trials)
