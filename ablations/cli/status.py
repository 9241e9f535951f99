"""`ablations status`: what is done of each experiment, and why trials failed."""

from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.display import add_row, make_table, print_json, print_line, print_table
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    ResultsDir,
    RunsDir,
    SomeNames,
    SomeRecipe,
    load_config,
)
from ablations.cli.plan import describe_plan


def status(
    names: SomeNames = None,
    recipe: SomeRecipe = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Check the checksums of all weights, too.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Show how far each experiment is, and why trials failed."""
    # Late: help and completion do without them.
    from ablations.ledger import Ledger
    from ablations.plans import State
    from ablations.reconcile.plans import list_marked_plans
    from ablations.workspace import Workspace

    plans = list_marked_plans(
        load_config(config),
        Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir),
        Ledger(runs_dir),
        names=names or (),
        recipe=recipe,
        deep=deep,
    )
    if as_json:
        print_json([describe_plan(plan) for plan in plans])
        return
    states: tuple[State, ...] = ("finished", "diverged", "failed", "to run")
    table = make_table("experiment", "recipe", *states)
    for plan in plans:
        count = plan.count()
        add_row(table, plan.experiment, plan.recipe_name, *(str(count[s]) for s in states))
    print_table(table)
    for plan in plans:
        for trial in plan.trials:
            if trial.reason:
                print_line(
                    f"{trial.spec.key} ({plan.recipe_name}, {trial.variant.name}, seed "
                    f"{trial.spec.seed}): {trial.state}, {trial.reason}"
                )
