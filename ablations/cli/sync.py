"""The command that sends to MLflow what the ledger has."""

import os
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.commands import app
from ablations.cli.display import stdout
from ablations.cli.options import ConfigPath, DataDir, RunsDir, SomeNames, TrackingUri
from ablations.complexity.scales import count_scales
from ablations.config import Config, find_config, read_config
from ablations.errors import InputError, MachineError, MisfitError
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.reconcile.gathering import gather_study
from ablations.reconcile.reconcile import Selection, draw_plan
from ablations.report import render_report
from ablations.tracking import OFF, Mirror, choose_uri
from ablations.tracking.sending import send_study
from ablations.workspace import Workspace


@app.command()
def sync(
    names: SomeNames = None,
    recipe: Annotated[
        str | None, typer.Option(help="One recipe; all that have records if none.")
    ] = None,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = Path("data"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Send to MLflow what the ledger has and the store has not; train nothing."""
    uri = choose_uri(tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), runs_dir)
    if uri == OFF:
        raise InputError(
            "--tracking-uri must name a store to send to, got 'off'. "
            "Pass its address, or none for a file in --runs-dir."
        )
    workspace = Workspace(runs_dir=runs_dir, results_dir=Path("results"), data_dir=data_dir)
    found = read_config(find_config(config, working_dir=Path.cwd()))
    ledger = Ledger(runs_dir)
    plans = list(_find_plans(found, names, recipe, ledger, workspace))
    if not plans:
        stdout.print(f"nothing to send: {runs_dir} has no record of what was asked")
        return
    with ledger.writing():
        mirror = Mirror(uri, runs_dir=runs_dir, trusts_memory=False)
        for plan in plans:
            _send(found, plan, ledger, workspace, mirror)
        trouble = mirror.close()
    if trouble:
        raise MachineError(f"MLflow: {trouble} The same command goes on from there.")
    for plan in plans:
        count = plan.count()
        done = count["finished"] + count["diverged"]
        stdout.print(
            f"{plan.experiment}, recipe {plan.recipe_name}: "
            f"{done} of {len(plan.trials)} trials and their table are in MLflow"
        )
    stdout.print(f"store: {uri}", markup=False, soft_wrap=True)


def _find_plans(
    config: Config,
    names: list[str] | None,
    recipe: str | None,
    ledger: Ledger,
    workspace: Workspace,
) -> Iterator[Plan]:
    """The plans of which the ledger has a record."""
    for name in names or config.experiments:
        for recipe_name in [recipe] if recipe else config.recipes:
            selection = Selection(recipe_name=recipe_name, settings={})
            with nullcontext() if names and recipe else suppress(MisfitError):
                plan = draw_plan(config, name, selection, ledger, data_dir=workspace.data_dir)
                if plan.count()["finished"] + plan.count()["diverged"]:
                    yield plan


def _send(config: Config, plan: Plan, ledger: Ledger, workspace: Workspace, mirror: Mirror) -> None:
    """Sends a plan's records and table; whoever opens MLflow looks at the table."""
    ledger.add_look(plan.experiment, plan.recipe_name, plan.recipe.seeds)
    scales = count_scales(config, plan, cache_file=workspace.complexity_file)
    study = gather_study(config, plan, ledger, scales=scales, earlier=None)
    folder = workspace.results_dir / plan.experiment / plan.recipe_name
    send_study(plan, study, render_report(study, folder), mirror)
