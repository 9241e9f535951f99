"""`ablations run` and `run-ablation`: trains what is missing, then prints the tables."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.choices import BackendName
from ablations.cli.display import (
    add_row,
    make_table,
    print_heading,
    print_json,
    print_line,
    print_message,
    print_table,
    stderr,
    stdout,
)
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    Exclude,
    Looks,
    MaxHours,
    Names,
    Only,
    RecipeName,
    ResultsDir,
    RetryFailed,
    ReuseResults,
    RunsDir,
    Seeds,
    Settings,
    ShardOption,
    TrackingUri,
    UntilDecided,
    find_uri,
    load_config,
    make_selection,
    parse_gpus,
)
from ablations.cli.plan import print_forecasts
from ablations.errors import IncompleteError

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from rich.table import Table as RichTable

    from ablations.reconcile.outcome import Outcome
    from ablations.study import Study
    from ablations.tables import Table


def run(
    names: Names,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    looks: Looks = None,
    shard: ShardOption = None,
    until_decided: UntilDecided = False,
    retry_failed: RetryFailed = False,
    reuse_results: ReuseResults = False,
    only: Only = None,
    exclude: Exclude = None,
    backend: Annotated[
        BackendName,
        typer.Option(help="Run trials concurrently with Ray, or one by one in this process."),
    ] = "ray",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Ray cluster (default: RAY_ADDRESS, or this machine alone)."
        ),
    ] = None,
    gpus_per_trial: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="GPUs per trial; with Ray possibly a share, or 'auto': as many trials on a GPU as "
            "fit (default: one, or one for each replica, if available).",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="Attempts after a trial's first failure.")
    ] = 1,
    trial_hours: Annotated[
        float | None,
        typer.Option(
            min=1e-3,
            max=1e6,
            help="Most hours that a trial may take (default: 20 times its estimate, at least 0.5).",
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download a missing dataset.")
    ] = False,
    loader_workers: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Processes per replica that decode a folder of images."),
    ] = min(4, os.cpu_count() or 1),
    max_hours: MaxHours = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Print every column of the table.")] = False,
    notes: Annotated[
        bool, typer.Option("--notes", help="Print every note below the table.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Train what is missing of experiments, then print their tables."""
    # Late: help and completion do without them.
    from ablations.backends import Backend
    from ablations.cli.progress import show_progress
    from ablations.reconcile.survey import Settings as RunSettings
    from ablations.reconcile.survey import forecast_experiments
    from ablations.workspace import Workspace

    experiments = load_config(config)
    selection = make_selection(
        recipe,
        settings,
        seeds,
        only,
        exclude,
        looks=looks,
        shard=shard,
        until_decided=until_decided,
        retry_failed=retry_failed,
    )
    chosen = RunSettings(
        workspace=Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir),
        backend=Backend(
            name=backend,
            address=address,
            gpus_per_trial=parse_gpus(gpus_per_trial),
            packs_gpus=gpus_per_trial == "auto",
            retries=retries,
            trial_hours=trial_hours,
            loader_workers=loader_workers,
        ),
        tracking_uri=find_uri(tracking_uri, runs_dir),
        download=download,
        reuse_results=reuse_results,
        max_hours=max_hours,
    )
    if dry_run:
        forecasts = forecast_experiments(experiments, names, selection, settings=chosen)
        print_forecasts(forecasts, as_json=as_json)
        return
    from ablations.reconcile.run import (
        run_experiments,
    )  # loads pandas, which a dry run does without

    outcomes = run_experiments(
        experiments,
        names,
        selection,
        settings=chosen,
        show=partial(show_progress, console=stderr),
        on_look=lambda looked: None if as_json else _print_look(looked),
    )
    _print_outcomes(outcomes, wide=wide, notes=notes, as_json=as_json)
    _check_complete([outcome.study for outcome in outcomes])


def _check_complete(studies: "Sequence[Study]") -> None:
    """Makes sure that every trial has finished.

    Raises:
        IncompleteError: If one failed or diverged.
    """
    lines = []
    if failed := sum(study.count()["failed"] for study in studies):
        lines.append(
            f"{failed} trial{'s' if failed > 1 else ''} failed; the table's notes say why. "
            "The same command tries again, with --retry-failed only these."
        )
    if diverged := sum(study.count()["diverged"] for study in studies):
        lines.append(
            f"{diverged} trial{'s' if diverged > 1 else ''} diverged, which is final; the table's "
            "notes say in which epoch."
        )
    if lines:
        raise IncompleteError("\n".join(lines))


def _print_outcomes(
    outcomes: "Sequence[Outcome]", *, wide: bool, notes: bool, as_json: bool
) -> None:
    from ablations.reconcile.outcome import describe_outcome

    if as_json:
        print_json([describe_outcome(outcome) for outcome in outcomes])
    for outcome in outcomes:
        changed = f"written: {', '.join(outcome.written)}" if outcome.written else "unchanged"
        print_message(f"{outcome.folder}: {changed}")
        if not as_json:
            _print_table(outcome.comparison, wide=wide, notes=notes)
            for line in _suggest_next(outcome):
                print_line(line)


def _print_look(outcomes: "Sequence[Outcome]") -> None:
    """The rows of each table at one of several looks, and what is open."""
    for outcome in outcomes:
        table = outcome.comparison
        print_heading(table.title, f": look at n = {table.path.n}")
        print_table(fill_compact(table))
        if table.path.needed:
            print_line(f"{_describe_open(table)}; training continues.")


def _describe_open(table: "Table") -> str:
    """How many rows and claims are undecided."""
    rows, claims = len(table.path.open_rows), len(table.path.open_claims)
    parts = [
        f"{number} {word}{'s' if number > 1 else ''}"
        for number, word in ((rows, "row"), (claims, "claim"))
        if number
    ]
    return f"{' and '.join(parts)} {'is' if rows + claims == 1 else 'are'} undecided"


def _print_table(table: "Table", *, wide: bool, notes: bool) -> None:
    """The comparison with its claims and notes; in short unless `wide` and `notes` ask for all."""
    print_heading(table.title, f": {table.question}")
    for shown in _lay_out(table) if wide else [fill_compact(table)]:
        print_table(shown)
    for claim in table.claims:
        print_line(f"Claim: {claim.name}: {claim.verdict}")
    for note in table.notes if notes else table.brief_notes:
        print_line(f"- {note}")


def fill_compact(table: "Table") -> "RichTable":
    """The compact table, for a terminal."""
    from ablations.tables import format_compact

    compact = format_compact(table)
    shown = make_table(*compact.headings)
    for cells in compact.rows:
        add_row(shown, *cells)
    return shown


def _lay_out(table: "Table") -> "list[RichTable]":
    """Every column in one piece, or if that is too wide, the papers' above what was measured."""
    whole = _fill(table, list(table.headings))
    unbounded = stdout.options.update(max_width=1000)
    if stdout.measure(whole, options=unbounded).maximum <= stdout.width:
        return [whole]
    groups = {key: text.partition(":")[0] for key, text in table.headings.items()}
    settings = [key for key, text in table.headings.items() if ":" not in text]
    printed = [key for key, group in groups.items() if group.startswith(("paper", "ours"))]
    measured = [key for key in table.headings if key not in settings + printed]
    return [_fill(table, settings + printed), _fill(table, settings + measured)]


def _fill(table: "Table", keys: list[str]) -> "RichTable":
    from ablations.tables import format_cells

    shown = make_table(*("\n".join(wrap(table.headings[key], 11)) for key in keys))
    positions = [list(table.headings).index(key) for key in keys]
    for cells in format_cells(table):
        add_row(shown, *(cells[position] for position in positions))
    return shown


def _suggest_next(outcome: "Outcome") -> list[str]:
    """What to do next, with its price: seeds for what is undecided, and the link of the runs."""
    lines = []
    is_declared = not outcome.study.changes
    if is_declared and outcome.comparison.path.needed:
        lines.append(_suggest_looks(outcome))
    elif is_declared and outcome.comparison.seeds_needed:
        lines.append(_suggest_seeds(outcome))
    if outcome.view:
        start = "`ablations ui`, then " if "://127.0.0.1:" in outcome.view else ""
        lines.append(f"Runs in MLflow: {start}{outcome.view}")
    return lines


def _suggest_looks(outcome: "Outcome") -> str:
    """How to decide what is undecided, and what that takes: the next look at least, or all."""
    from ablations.reconcile.looks import count_further

    path = outcome.comparison.path
    fewest, most = count_further(path)
    return (
        f"{_describe_open(outcome.comparison)}: `{_name_command(outcome)} --until-decided` adds up "
        f"to {path.question.looks[-1] - path.n} seeds to them, {_price(outcome, fewest)} to "
        f"{_price(outcome, most)} of one core or GPU."
    )


def _suggest_seeds(outcome: "Outcome") -> str:
    """How many more seeds the undecided rows need, and what those would take."""
    from ablations.statistics import MOST_SEEDS

    definition = outcome.study.definition
    if definition.looks:
        return f"{len(outcome.comparison.path.open_rows)} rows are undecided after all looks."
    needed = [n.if_difference_holds for n in outcome.comparison.seeds_needed.values()]
    rows = f"{len(needed)} row{'s are' if len(needed) > 1 else ' is'} undecided"
    if any(number is None for number in needed):
        return f"{rows}; some would need more than {MOST_SEEDS} seeds."
    seeds = max(number for number in needed if number is not None)
    trials = (seeds - len(definition.seeds)) * len(definition.rows)
    return (
        f"{rows}: `{_name_command(outcome)} --seeds 0-{seeds - 1}` adds {trials} trials, "
        f"{_price(outcome, trials)} of one core or GPU."
    )


def _name_command(outcome: "Outcome") -> str:
    definition = outcome.study.definition
    options = "" if definition.recipe_name == "quick" else f" --recipe {definition.recipe_name}"
    return f"run-ablation {definition.experiment}{options}"


def _price(outcome: "Outcome", trials: int) -> str:
    """Time that a number of trials takes, at the mean of the finished ones."""
    from ablations.formatting import format_duration

    seconds = [record.device_seconds for _, record in outcome.study.list_finished()]
    return format_duration(trials * sum(seconds) / max(1, len(seconds)))
