"""`ablations attention`: do trained networks look with larger kernels at larger objects?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.choices import DeviceKind
from ablations.cli.bench import show_steps
from ablations.cli.display import print_json, print_line
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    Exclude,
    Only,
    RecipeName,
    ResultsDir,
    RunsDir,
    Seeds,
    complete_experiment,
    load_config,
    make_selection,
)
from ablations.errors import InputError

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from ablations.reconcile.attention import Attended


def attention(
    name: Annotated[
        str,
        typer.Argument(
            help="Experiment whose trained networks are recorded, or file of a checkpoint.",
            metavar="EXPERIMENT|CHECKPOINT",
            autocompletion=complete_experiment,
        ),
    ],
    network: Annotated[
        str | None, typer.Option(help="Network of the checkpoint, such as sknet50.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset whose test images a checkpoint is shown (default: imagenet)."),
    ] = None,
    device: Annotated[
        DeviceKind | None, typer.Option(help="Where networks run (default: a GPU if available).")
    ] = None,
    recipe: RecipeName = "quick",
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Record which kernels networks attend to, and what becomes of them without a choice."""
    # Late: help and completion do without them.
    from ablations.reconcile.attention import (
        RecordSettings,
        record_checkpoint,
        record_experiment,
    )
    from ablations.workspace import Workspace

    workspace = Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)
    settings = RecordSettings(workspace=workspace, device=device, show=show_steps)
    if network is not None:
        if seeds is not None or only or exclude:
            raise InputError(
                "--seeds, --only and --exclude choose trials of an experiment, but --network names "
                "that of a checkpoint. Omit them, or --network."
            )
        attended = record_checkpoint(
            Path(name), network=network, dataset=dataset or "imagenet", settings=settings
        )
    elif Path(name).is_file():
        raise InputError(f"{name} is a file; pass the name of its network as --network.")
    elif dataset is not None:
        raise InputError(
            "--dataset needs a checkpoint and its --network, got an experiment, whose recipe names "
            "the dataset. Omit it."
        )
    else:
        selection = make_selection(recipe, None, seeds, only, exclude)
        attended = record_experiment(load_config(config), name, selection, settings=settings)
    if as_json:
        print_json(_describe(attended))
    else:
        _print_attended(attended)


def _print_attended(attended: "Attended") -> None:
    table = (attended.folder / "table.md").read_text(encoding="utf-8")
    print_line(table.rstrip("\n"))
    print_line(f"\nKept in {attended.folder}.")


def _describe(attended: "Attended") -> dict[str, Any]:
    analysis = attended.analysis
    recording = analysis.recording
    return {
        "experiment": recording.experiment,
        "recipe": recording.recipe_name,
        "folder": str(attended.folder),
        "written": list(attended.written),
        "skipped": dict(recording.skipped),
        "units": [
            {
                "variant": unit.variant,
                "unit": unit.unit,
                "n": unit.difference.n,
                "difference": unit.difference.mean,
                "changes": [change.mean for change in unit.changes],
                "correlations": {role: own.mean for role, own in unit.correlations.items()},
            }
            for unit in analysis.units
        ],
        "interventions": [
            {
                "variant": result.variant,
                "intervention": result.intervention,
                "n": result.error.n,
                "top1_error": result.error.mean,
                "difference": result.difference.mean,
                "verdict": result.verdict.text if result.verdict else None,
            }
            for result in analysis.interventions
        ],
        "claims": [{"claim": claim.name, "verdict": claim.verdict} for claim in analysis.claims],
    }
