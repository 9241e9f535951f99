"""results/ regenerated from ledger and records, and checked against them and the configuration."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from ablations.config import Config, read_paper
from ablations.errors import IncompleteError, MisfitError
from ablations.evaluations import read_evaluations
from ablations.files import write_changed
from ablations.ledger import Findings, Ledger
from ablations.plans import PROCEDURE, Plan
from ablations.reconcile.outcome import Outcome
from ablations.reconcile.plans import (
    Selection,
    Target,
    draw_plan,
    iterate_plans,
    list_begun,
    list_keys,
    list_targets,
    mark_plan,
)
from ablations.reconcile.studies import (
    find_scales,
    gather_study,
    read_earlier,
    read_records,
    recall_benchmark,
)
from ablations.report import (
    check_blocks,
    check_index,
    check_report,
    list_foreign,
    read_study,
    render_report,
    write_blocks,
    write_index,
)
from ablations.study import Definition, Study, build_definition, is_exported, read_export
from ablations.tables import Table, build_table
from ablations.trial import TrialRecord
from ablations.workspace import Workspace


def regenerate_results(
    config: Config, workspace: Workspace, *, names: Sequence[str] = (), recipe: str | None = None
) -> list[Outcome]:
    """Rewrites the results of those experiments and recipes that have any, or are complete.

    An experiment without results is complete if the ledger has every one of its trials: some alone
    may have been trained for another experiment that shares them.

    Raises:
        InputError: If there is no such experiment or recipe, or a variant cannot be built.
        IncompleteError: If results were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    ledger = Ledger(workspace.runs_dir)
    targets = [
        target
        for target in list_targets(config, workspace, names=names, recipe=recipe)
        if is_exported(target.folder) or ledger.has_records
    ]
    plans = dict(iterate_plans(config, targets, workspace=workspace))
    others = read_records(plans.values(), workspace)
    findings = ledger.examine(list_keys(plans.values()))
    return [
        _regenerate(config, target, plan, findings, ledger, workspace, others=others)
        for target, plan in plans.items()
        if is_exported(target.folder) or _is_complete(mark_plan(plan, findings))
    ]


def write_overviews(
    config: Config, workspace: Workspace, outcomes: Sequence[Outcome] = ()
) -> list[Path]:
    """Updates the index of all results, and the tables in the README beside them.

    Takes, returns and raises what `update_index` does.
    """
    index = update_index(config, workspace, outcomes)
    return [*index, *write_blocks(workspace.results_dir)]


def update_index(
    config: Config, workspace: Workspace, outcomes: Sequence[Outcome] = ()
) -> list[Path]:
    """Updates the index of all results.

    Args:
        config: The content of experiments.yaml.
        workspace: Where the results are.
        outcomes: Studies whose tables were built already.

    Returns:
        The files that changed.

    Raises:
        InputError: If another page has the index's name.
        IncompleteError: If the files of a study were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    return write_index(_list_entries(config, workspace, outcomes), workspace.results_dir)


def check_results(
    config: Config, workspace: Workspace, *, names: Sequence[str] = (), recipe: str | None = None
) -> list[str]:
    """What is wrong with the results, one line each: edited, out of date, missing, foreign.

    Reads the results, experiments.yaml and paper.yaml, but not the ledger; writes nothing.

    Raises:
        InputError: If there is no such experiment or recipe, or a variant cannot be built.
        MachineError: If a file cannot be read.
    """
    targets = list_targets(config, workspace, names=names, recipe=recipe)
    present = [target for target in targets if target.folder.is_dir()]
    absent = set(names) - {target.experiment for target in present}
    findings = [
        *(finding for target in present for finding in _check_target(config, target, workspace)),
        *(
            f"{workspace.results_dir / name}: missing; `ablations report {name}` writes it"
            for name in sorted(absent)
        ),
        *([] if names else find_foreign(config, workspace)),
    ]
    if not names and not workspace.results_dir.is_dir():
        findings.append(f"{workspace.results_dir}: no such folder; pass another --results-dir")
    try:
        findings += check_index(_list_entries(config, workspace), workspace.results_dir)
    except IncompleteError as error:
        findings.append(str(error))
    return list(dict.fromkeys([*findings, *check_blocks(workspace.results_dir)]))


def list_older(
    config: Config, workspace: Workspace, *, names: Sequence[str] = (), recipe: str | None = None
) -> list[Path]:
    """Folders whose trials are of an older procedure, which is no fault.

    Raises:
        InputError: If there is no such experiment or recipe.
    """
    older = []
    for target in list_targets(config, workspace, names=names, recipe=recipe):
        with suppress(IncompleteError):  # `check_results` reports it
            if is_exported(target.folder):
                procedure = read_export(target.folder).definition.procedure
                older += [target.folder] if procedure != PROCEDURE else []
    return older


def find_foreign(config: Config, workspace: Workspace) -> list[str]:
    """What lies among the results and belongs to no experiment and recipe, one line each."""
    return list(
        list_foreign(workspace.results_dir, dict.fromkeys(config.experiments, config.recipes))
    )


def _regenerate(
    config: Config,
    target: Target,
    plan: Plan,
    findings: Findings,
    ledger: Ledger,
    workspace: Workspace,
    *,
    others: Mapping[str, TrialRecord],
) -> Outcome:
    earlier = read_export(target.folder) if is_exported(target.folder) else None
    if _has_finished(plan, findings):
        earlier = read_earlier(plan, workspace, findings)
    else:
        plan = _redraw(config, target, plan, workspace, earlier)
    study = gather_study(
        config,
        plan,
        findings,
        scales=find_scales(config, plan, workspace, earlier=earlier),
        looks=map(tuple, ledger.list_looks(target.experiment, target.recipe_name)),
        earlier=earlier,
        others=others,
        benchmark=recall_benchmark(plan, workspace, earlier),
        evaluations=read_evaluations(workspace.evaluations_dir),
    )
    table = build_table(study)
    changed = write_changed(render_report(study, table, target.folder), target.folder)
    return Outcome(study=study, comparison=table, folder=target.folder, written=tuple(changed))


def _redraw(
    config: Config, target: Target, plan: Plan, workspace: Workspace, earlier: Study | None
) -> Plan:
    """The plan by the procedure and on the dataset of the results, if there are any."""
    if earlier is None:
        return plan
    return draw_plan(
        config,
        target.experiment,
        Selection(recipe_name=target.recipe_name),
        workspace=workspace,
        known=earlier.definition.dataset,
        procedure=earlier.definition.procedure,
    )


def _has_finished(plan: Plan, findings: Findings) -> bool:
    return any(trial.spec.key in findings.records for trial in plan.trials)


def _is_complete(plan: Plan) -> bool:
    return not list_begun(plan).to_run


def _list_entries(
    config: Config, workspace: Workspace, outcomes: Sequence[Outcome] = ()
) -> list[tuple[Study, Table]]:
    """All studies in the results with their tables, in the order of the configuration."""
    built = {outcome.folder: (outcome.study, outcome.comparison) for outcome in outcomes}
    folders = [t.folder for t in list_targets(config, workspace) if is_exported(t.folder)]
    return [built[folder] if folder in built else read_study(folder) for folder in folders]


def _check_target(config: Config, target: Target, workspace: Workspace) -> Iterator[str]:
    yield from check_report(target.folder)
    try:
        earlier = read_export(target.folder)
    except IncompleteError:
        return  # reported above
    selection = Selection(recipe_name=target.recipe_name)
    known = earlier.definition.dataset
    try:
        plan = draw_plan(
            config,
            target.experiment,
            selection,
            workspace=workspace,
            known=known,
            procedure=earlier.definition.procedure,
        )
    except MisfitError as error:
        yield f"{target.folder}: {error}"
        return
    definition = build_definition(config.experiment(target.experiment), plan, read_paper())
    differing = [
        field.name
        for field in fields(Definition)
        if getattr(definition, field.name) != getattr(earlier.definition, field.name)
    ]
    if not differing:
        return
    yield (
        f"{target.folder}: out of date, {config.path} or paper.yaml now differs in: "
        f"{', '.join(differing)}; run `ablations report {target.experiment}`"
    )
    keys = {trial.key for trial in earlier.trials}
    asked = list_begun(plan).trials  # nothing is known of the trials: those of the first look
    if missing := sum(trial.spec.key not in keys for trial in asked):
        yield (
            f"{target.folder}: {missing} of {len(asked)} trials are missing; train them with "
            f"`run-ablation {target.experiment} --recipe {target.recipe_name}`"
        )
