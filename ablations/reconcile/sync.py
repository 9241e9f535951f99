"""Uploads to MLflow whatever it is missing of what the ledger knows; trains nothing."""

from collections.abc import Sequence

from ablations.complexity import count_scales
from ablations.config import Config
from ablations.errors import InputError, MachineError
from ablations.evaluations import read_evaluations
from ablations.ledger import Ledger
from ablations.plans import Plan
from ablations.reconcile.looks import count_seeds, record_look
from ablations.reconcile.plans import (
    Selection,
    draw_plan,
    limit_plan,
    list_keys,
    list_marked_plans,
)
from ablations.reconcile.studies import gather_study, read_earlier, recall_benchmark
from ablations.report import render_report
from ablations.tables import build_table
from ablations.tracking import OFF, Mirror
from ablations.workspace import Workspace


def sync_experiments(
    config: Config,
    workspace: Workspace,
    *,
    uri: str,
    names: Sequence[str] = (),
    recipe: str | None = None,
) -> list[Plan]:
    """Compares everything in the store with the ledger, and uploads what is missing or outdated.

    Args:
        config: The content of experiments.yaml.
        workspace: Where the ledger and the results are.
        uri: The MLflow store.
        names: Experiments; all if empty.
        recipe: One recipe; all if None.

    Returns:
        The plans with a finished or diverged trial, all of which are in the store now.

    Raises:
        InputError: If a name is wrong, or tracking is off.
        MachineError: If the store does not answer.
    """
    if uri == OFF:
        raise InputError(
            "--tracking-uri must name a store to upload to, got 'off'. "
            "Pass its address, or leave it out for a file in --runs-dir."
        )
    ledger = Ledger(workspace.runs_dir)
    marked = list_marked_plans(config, workspace, ledger, names=names, recipe=recipe)
    plans = [plan for plan in marked if plan.count()["finished"] + plan.count()["diverged"]]
    if not plans:
        return []
    ledger.prepare()
    mirror = Mirror(uri, workspace=workspace, trusts_memory=False)
    for plan in plans:
        _upload(config, plan, ledger, workspace, mirror)
    problem = mirror.close()
    if problem:
        raise MachineError(f"MLflow: {problem} The same command resumes.")
    return plans


def _upload(
    config: Config, plan: Plan, ledger: Ledger, workspace: Workspace, mirror: Mirror
) -> None:
    """Queues a plan's records, also those in the results, and its table.

    Whoever opens MLflow looks at the table.
    """
    selection = Selection(recipe_name=plan.recipe_name)
    plan = draw_plan(config, plan.experiment, selection, workspace=workspace)  # with all looks
    findings = ledger.examine(list_keys([plan]))
    earlier = read_earlier(plan, workspace, findings)
    study = gather_study(
        config,
        plan,
        findings,
        scales=count_scales(config, plan, cache_file=workspace.complexity_file),
        looks=(),
        earlier=earlier,
        benchmark=recall_benchmark(plan, workspace, earlier),
        evaluations=read_evaluations(workspace.evaluations_dir),
    )
    study = record_look(study, plan, ledger)
    table = build_table(study)
    folder = workspace.find_results(plan.experiment, recipe_name=plan.recipe_name)
    mirror.send_study(
        limit_plan(plan, count_seeds(study)), study, table, render_report(study, table, folder)
    )
