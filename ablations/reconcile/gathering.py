"""Ledger and earlier results -> all that is known of an experiment on a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.complexity.scales import Scales
from ablations.config import Config, read_paper
from ablations.errors import MisfitError
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.reconcile.reconcile import Selection, draw_plan, refresh
from ablations.study.export import is_exported, read_export
from ablations.study.study import Definition, StudiedTrial, Study, build_study
from ablations.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class Target:
    """One experiment on one recipe, and where its results are kept."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe."""

    folder: Path
    """Folder of its results, which need not be there."""


def list_targets(
    config: Config,
    ledger: Ledger | None,
    workspace: Workspace,
    *,
    names: Sequence[str] = (),
    recipe: str | None = None,
) -> list[Target]:
    """The experiments on those recipes that have results, or whose trials have all ended.

    Args:
        config: What experiments.yaml says.
        ledger: Says which trials have ended; None if only results count.
        workspace: Where everything is.
        names: Experiments; all if empty.
        recipe: One recipe; all if None.

    Raises:
        InputError: If a name stands for nothing.
    """
    targets = list_all(config, workspace, names, recipe)
    return [t for t in targets if is_exported(t.folder) or _is_whole(config, t, ledger, workspace)]


def list_all(
    config: Config, workspace: Workspace, names: Sequence[str], recipe: str | None
) -> list[Target]:
    """The experiments on those recipes, whether anything is known of them or not.

    Raises:
        InputError: If a name stands for nothing.
    """
    recipes = [recipe] if recipe else list(config.recipes)
    for name in recipes:
        config.recipe(name)
    return [
        Target(experiment=name, recipe_name=own, folder=workspace.results_dir / name / own)
        for name in names or config.experiments
        if config.experiment(name)
        for own in recipes
    ]


def draw_target(
    config: Config,
    target: Target,
    ledger: Ledger | None,
    workspace: Workspace,
    earlier: Study | None,
) -> Plan:
    """The target's plan; a dataset that is known only where it was used is that of the results."""
    selection = Selection(recipe_name=target.recipe_name, settings={})
    name, data_dir = target.experiment, workspace.data_dir
    plan = draw_plan(config, name, selection, ledger, data_dir=data_dir)
    if earlier is None or plan.count()["finished"]:
        return plan
    known = earlier.definition.dataset
    return draw_plan(config, name, selection, ledger, data_dir=data_dir, known=known)


def gather_study(
    config: Config,
    plan: Plan,
    ledger: Ledger,
    *,
    scales: Mapping[str, Scales],
    earlier: Study | None,
) -> Study:
    """All that is known of a plan: what the ledger has, and what earlier results have besides."""
    keys = {trial.spec.key for trial in plan.trials}
    exported = {
        trial.key: trial.record
        for trial in (earlier.trials if earlier else ())
        if trial.record is not None and trial.key in keys
    }
    looks = [*(earlier.looks if earlier else ())]
    looks += map(tuple, ledger.list_looks(plan.experiment, plan.recipe_name))
    failed = {t.key: t for t in (earlier.trials if earlier else ()) if t.state == "failed"}
    return build_study(
        config.experiment(plan.experiment),
        _recall_failures(refresh(plan, ledger, exported), failed),
        {**exported, **ledger.examine(keys).records},
        scales=scales,
        paper=read_paper(),
        looks=tuple(dict.fromkeys(looks)),
    )


def recall_scales(definition: Definition, earlier: Study | None) -> Mapping[str, Scales]:
    """The complexities of earlier results, if they hold every network; else none."""
    if earlier is None or earlier.definition.dataset.name != definition.dataset.name:
        return {}
    known = {row.name: (row.facts["network"], row.paper_network) for row in earlier.definition.rows}
    if any(known.get(r.name) != (r.facts["network"], r.paper_network) for r in definition.rows):
        return {}
    return earlier.scales


def read_studies(config: Config, workspace: Workspace) -> list[Study]:
    """All studies in the results, in the file's order.

    Raises:
        IncompleteError: If the files of one were edited or damaged.
        MachineError: If a file cannot be read.
    """
    targets = list_targets(config, None, workspace)
    return [read_export(target.folder) for target in targets if is_exported(target.folder)]


def _is_whole(config: Config, target: Target, ledger: Ledger | None, workspace: Workspace) -> bool:
    """Whether every trial of the target has ended, by the ledger.

    Experiments share trials: some of them alone are no sign that anybody asked this question.
    """
    if ledger is None or not ledger.has_records:
        return False
    try:
        count = draw_target(config, target, ledger, workspace, None).count()
    except MisfitError:
        return False
    return count["to run"] + count["failed"] == 0


def _recall_failures(plan: Plan, failed: Mapping[str, StudiedTrial]) -> Plan:
    """The plan with the failures of earlier results, where the ledger knows nothing."""
    trials = tuple(
        replace(trial, state="failed", reason=failed[trial.spec.key].reason)
        if trial.state == "to run" and trial.spec.key in failed
        else trial
        for trial in plan.trials
    )
    return replace(plan, trials=trials)
