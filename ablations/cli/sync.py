"""`ablations sync`: uploads what MLflow is missing."""

from pathlib import Path

from ablations.cli.display import print_line
from ablations.cli.options import (
    ConfigPath,
    DataDir,
    ResultsDir,
    RunsDir,
    SomeNames,
    SomeRecipe,
    TrackingUri,
    find_uri,
    load_config,
)


def sync(
    names: SomeNames = None,
    recipe: SomeRecipe = None,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Upload to MLflow whatever it is missing. Trains nothing."""
    # Late: help and completion do without them.
    from ablations.reconcile.sync import sync_experiments
    from ablations.workspace import Workspace

    uri = find_uri(tracking_uri, runs_dir)
    plans = sync_experiments(
        load_config(config),
        Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir),
        uri=uri,
        names=names or (),
        recipe=recipe,
    )
    if not plans:
        print_line(f"nothing to upload: {runs_dir} has no record of these experiments")
        return
    for plan in plans:
        count = plan.count()
        done = count["finished"] + count["diverged"]
        print_line(
            f"{plan.experiment}, recipe {plan.recipe_name}: "
            f"{done} of {len(plan.trials)} trials and their table are in MLflow"
        )
    print_line(f"store: {uri}")
