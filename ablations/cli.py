"""The command line: wires the other modules together, and is the only one that prints."""

import json
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table as RichTable

from ablations.complexity import count_complexities
from ablations.config import Config, PaperTable, find_config, read_config, read_paper
from ablations.durations import format_duration
from ablations.errors import AblationError, IncompleteError, InputError, InterruptedRunError
from ablations.ledger import Ledger
from ablations.plan import Plan, PlannedTrial, State
from ablations.reconcile import (
    Backend,
    Places,
    Selection,
    check_machine,
    compare,
    count_scales,
    draw_plan,
    estimate_seconds,
    find_missing,
    refresh,
    train,
)
from ablations.records import TrialRecord
from ablations.report import write_results
from ablations.tables import Scales, Table, format_cells, list_claims, list_trials
from ablations.tracking import Mirror, choose_uri
from ablations.verification import Check, check_tables, list_networks

app = typer.Typer(
    name="ablations",
    help="Tells whether a part of a network earns its place.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Where nothing tells the width (a file, a pipe), tables are not squeezed into 80 columns.
WIDE = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 180
stdout = Console(highlight=False, width=WIDE)
stderr = Console(stderr=True, highlight=False)

Names = Annotated[list[str], typer.Argument(help="Experiments, by name.", metavar="NAME...")]
SomeNames = Annotated[
    list[str] | None, typer.Argument(help="Experiments; all if none.", metavar="[NAME...]")
]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="File of experiments; else ./experiments.yaml, else our own."),
]
RunsDir = Annotated[Path, typer.Option(help="Working state: ledger, MLflow, checkpoints.")]
ResultsDir = Annotated[Path, typer.Option(help="Where whole tables are written.")]
DataDir = Annotated[Path, typer.Option(help="Where your datasets are.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="How networks are trained.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's field.")
]
Seeds = Annotated[
    str | None, typer.Option(metavar="LIST", help="Seeds instead of the recipe's: 0,2 or 0-4.")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Only variants of such a name.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="No variants of such a name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow store; 'off' for none. Else MLFLOW_TRACKING_URI, else a file."),
]


@app.command()
def run(
    names: Names,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    backend: Annotated[
        Literal["ray", "local"], typer.Option(help="Side by side with Ray, or in this process.")
    ] = "ray",
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="Share of a GPU a trial; else one if there is any.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="New attempts of a trial that failed.")] = 1,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing dataset.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and stop.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Train what is missing of experiments, then print their tables."""
    experiments, plans, ledger = _draw_plans(
        names, config, runs_dir, _select(recipe, settings, seeds, only, exclude)
    )
    places = Places(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)
    if dry_run:
        _print_plans(experiments, plans, places, ledger, as_json=as_json)
        return
    chosen = Backend(
        name=backend, gpus_per_trial=gpus_per_trial, retries=retries, download=download
    )
    missing = find_missing(plans)
    if missing:
        check_machine(missing, places, chosen)
    uri = choose_uri(tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), runs_dir)
    with ledger.writing():
        scales = {plan.experiment: count_scales(experiments, plan, places) for plan in plans}
        mirror = Mirror(uri, runs_dir=runs_dir)
        try:
            if missing:
                _train(missing, plans, scales, ledger, places, chosen, mirror)
            else:
                stderr.print("nothing to train")
        except KeyboardInterrupt:
            mirror.close()
            done = len(missing) - len(find_missing(refresh(plan, ledger) for plan in plans))
            raise InterruptedRunError(
                f"interrupted: {done} of {len(missing)} trials are finished and kept. "
                "The same command goes on from there."
            ) from None
        plans = [refresh(plan, ledger) for plan in plans]
        reports = [
            _report(experiments, plan, scales[plan.experiment], ledger, places, mirror)
            for plan in plans
        ]
        trouble = mirror.close()
    _print_tables(plans, reports, as_json=as_json)
    if trouble:
        stderr.print(f"MLflow: {trouble} The ledger has everything; run again to send it.")
    failed = sum(plan.count()["failed"] for plan in plans)
    if failed:
        raise IncompleteError(
            f"{failed} trial(s) failed; `ablations status {' '.join(names)}` says why. "
            "The same command tries them again."
        )


@app.command()
def plan(
    names: Names,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Print every trial of experiments: its state, complexity and time; train nothing."""
    experiments, plans, ledger = _draw_plans(
        names, config, runs_dir, _select(recipe, settings, seeds, only, exclude)
    )
    places = Places(runs_dir=runs_dir, results_dir=Path("results"), data_dir=Path("data"))
    _print_plans(experiments, plans, places, ledger, as_json=as_json)


@app.command(name="list")
def list_experiments(as_json: AsJson = False, config: ConfigPath = None) -> None:
    """List experiments, recipes and bodies."""
    found = _read(config)
    if as_json:
        _print_json(
            {
                "experiments": {n: e.model_dump() for n, e in found.experiments.items()},
                "recipes": {n: r.model_dump() for n, r in found.recipes.items()},
                "bodies": {n: asdict(b) for n, b in found.bodies.items()},
            }
        )
        return
    table = _make_table("experiment", "variants", "question")
    for name, experiment in found.experiments.items():
        table.add_row(name, str(len(experiment.variants)), experiment.question)
    stdout.print(table)
    table = _make_table("recipe", "dataset", "body", "epochs", "seeds")
    for name, recipe in found.recipes.items():
        seeds = ", ".join(map(str, recipe.seeds))
        table.add_row(name, recipe.dataset, recipe.body, str(recipe.epochs), seeds)
    stdout.print(table)
    table = _make_table("body", "input", "depths", "widths", "divisor")
    for name, body in found.bodies.items():
        side = f"{body.input_size}x{body.input_size}"
        depths, widths = (" ".join(map(str, v)) for v in (body.depths, body.mid_widths))
        table.add_row(name, side, depths, widths, str(body.divisor))
    stdout.print(table)


@app.command()
def status(
    names: SomeNames = None,
    recipe: Annotated[str | None, typer.Option(help="One recipe; all if none.")] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Print what is done of each experiment, and why trials failed."""
    found = _read(config)
    ledger = Ledger(runs_dir)
    plans = [
        draw_plan(found, name, Selection(recipe_name=recipe_name, settings={}), ledger)
        for name in names or found.experiments
        for recipe_name in ([recipe] if recipe else found.recipes)
    ]
    if as_json:
        _print_json([_describe_plan(plan) for plan in plans])
        return
    states: tuple[State, ...] = ("finished", "diverged", "failed", "to run")
    table = _make_table("experiment", "recipe", *states)
    for plan in plans:
        count = plan.count()
        table.add_row(plan.experiment, plan.recipe_name, *(str(count[s]) for s in states))
    stdout.print(table)
    for plan in plans:
        for trial in plan.trials:
            if trial.reason:
                stdout.print(
                    f"{trial.spec.key} ({plan.recipe_name}, {trial.variant.name}, seed "
                    f"{trial.spec.seed}): {trial.state}, {trial.reason}",
                    markup=False,
                    soft_wrap=True,
                )


@app.command()
def verify(
    table: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only tables whose key holds NAME.")
    ] = None,
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Hold every complexity that the papers print against our count of the network."""
    known = read_paper()
    tables = {k: t for k, t in known.items() if not table or any(name in k for name in table)}
    if not tables:
        raise InputError(f"--table must be part of one of {', '.join(known)}, got {table}.")
    counted = count_complexities(
        list_networks(tables), cache_file=runs_dir / Places.COMPLEXITY_NAME
    )
    checks = list(check_tables(tables, counted))
    totals = Counter(check.verdict for check in checks)
    if as_json:
        _print_json({"totals": totals, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(tables, checks)
        parts = ", ".join(f"{number} {verdict}" for verdict, number in totals.items())
        stdout.print(f"{len(checks)} cells: {parts}.")
    if totals["DIFFERS"]:
        raise IncompleteError(f"{totals['DIFFERS']} cell(s) differ from the papers without reason.")


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
    runs_dir: RunsDir = Path("runs"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Open MLflow's user interface on the store of the runs."""
    uri = choose_uri(tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), runs_dir)
    if uri.startswith(("http:", "https:")):
        stdout.print(f"MLflow's user interface is at {uri}")
        return
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise InputError(f"{uri} must be a store with runs, got no such file. Run something first.")
    stderr.print(f"MLflow's user interface will be at http://127.0.0.1:{port} (Ctrl-C ends it)")
    serve = ["ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *serve, "--workers", "1"])


def main() -> NoReturn:
    """Entry point of `ablations`."""
    _start(app)


def main_run() -> NoReturn:
    """Entry point of `run-ablation`, the same as `ablations run`."""
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name="run-ablation")(run)
    _start(single)


def _start(program: Callable[[], Any]) -> NoReturn:
    """Runs a program; what the user can act on becomes one message and an exit code."""
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=stderr, show_time=False, show_path=False)],
    )
    try:
        program()
    except AblationError as error:
        stderr.print(str(error), markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        stderr.print("interrupted")
        sys.exit(InterruptedRunError.exit_code)
    sys.exit(0)


def _read(path: Path | None) -> Config:
    return read_config(find_config(path, working_dir=Path.cwd()))


def _draw_plans(
    names: list[str], config: Path | None, runs_dir: Path, selection: Selection
) -> tuple[Config, list[Plan], Ledger]:
    found = _read(config)
    ledger = Ledger(runs_dir)
    return found, [draw_plan(found, name, selection, ledger) for name in names], ledger


def _select(
    recipe: str,
    settings: list[str] | None,
    seeds: str | None,
    only: list[str] | None,
    exclude: list[str] | None,
) -> Selection:
    return Selection(
        recipe_name=recipe,
        settings=_parse_settings(settings or []),
        seeds=None if seeds is None else parse_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
    )


def _parse_settings(settings: list[str]) -> dict[str, str]:
    parsed = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise InputError(f"--set must be key=value, got {setting!r}.")
        parsed[key.strip()] = value.strip()
    return parsed


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a list of seeds.

    >>> parse_seeds("0,2-4")
    (0, 2, 3, 4)

    Raises:
        InputError: If the text is no such list, or a seed stands twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, sign, last = part.strip().partition("-")
        if not first.isdecimal() or (sign and not last.isdecimal()):
            raise InputError(f"--seeds must be a list like 0,2 or 0-4, got {text!r}.")
        seeds += range(int(first), int(last if sign else first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds must name each seed once, got {text!r}.")
    return tuple(seeds)


def _train(
    missing: Mapping[str, PlannedTrial],
    plans: list[Plan],
    scales: Mapping[str, Mapping[str, Scales]],
    ledger: Ledger,
    places: Places,
    backend: Backend,
    mirror: Mirror,
) -> None:
    from ablations.progress import Progress  # loads torch

    def send(record: TrialRecord) -> None:
        _send_records(plans, {record.key: record}, scales, mirror)

    with Progress(list(missing.values()), stderr) as progress:
        train(missing, ledger, places, backend, observe=progress.observe, on_end=send)


def _send_records(
    plans: list[Plan],
    records: Mapping[str, TrialRecord],
    scales: Mapping[str, Mapping[str, Scales]],
    mirror: Mirror,
) -> None:
    for plan in plans:
        for trial in plan.trials:
            if trial.spec.key in records and trial.state != "skipped":
                own = scales[plan.experiment][trial.variant.name]
                mirror.send_trial(plan, trial, records[trial.spec.key], own)


def _report(
    config: Config,
    plan: Plan,
    scales: Mapping[str, Scales],
    ledger: Ledger,
    places: Places,
    mirror: Mirror,
) -> Table:
    """Writes a plan's table where it belongs, and sends it to MLflow if it is a whole one."""
    ledger.add_look(plan.experiment, plan.recipe_name, plan.recipe.seeds)
    table, records = compare(config, plan, ledger, scales=scales)
    _send_records([plan], records, {plan.experiment: scales}, mirror)
    if plan.changes:
        label = re.sub(r"[^\w.=,+-]+", "_", plan.recipe_name)
        folder = places.runs_dir / "tables" / plan.experiment / label
    else:
        folder = places.results_dir / plan.experiment / plan.recipe_name
    write_results(table, list_trials(plan, records), folder)
    if not plan.is_narrowed:
        mirror.send_table(plan, table)
    stderr.print(f"written: {folder}/table.md, table.csv, trials.csv", soft_wrap=True)
    return table


def _print_tables(plans: list[Plan], tables: list[Table], *, as_json: bool) -> None:
    if as_json:
        _print_json(
            [
                {
                    **_describe_plan(plan),
                    "rows": _list_rows(table),
                    "claims": [asdict(c) | {"verdict": c.verdict} for c in table.claims],
                    "notes": table.notes,
                }
                for plan, table in zip(plans, tables, strict=True)
            ]
        )
        return
    for table in tables:
        stdout.print(f"\n[bold]{table.title}[/bold]: {table.question}\n", soft_wrap=True)
        for shown in _lay_out(table):
            stdout.print(shown)
        for claim in list_claims(table):
            stdout.print(f"Claim: {claim}", markup=False, soft_wrap=True)
        for note in table.notes:
            stdout.print(f"- {note}", markup=False, soft_wrap=True)


def _lay_out(table: Table) -> list[RichTable]:
    """The table in one piece, or what was printed and what was measured one below the other."""
    whole = _fill(table, list(table.headings))
    unbounded = stdout.options.update(max_width=1000)
    if stdout.measure(whole, options=unbounded).maximum <= stdout.width:
        return [whole]
    groups = {key: text.partition(":")[0] for key, text in table.headings.items()}
    settings = [key for key, text in table.headings.items() if ":" not in text]
    printed = [key for key, group in groups.items() if group.startswith(("paper", "ours"))]
    measured = [key for key in table.headings if key not in settings + printed]
    return [_fill(table, settings + printed), _fill(table, settings + measured)]


def _fill(table: Table, keys: list[str]) -> RichTable:
    filled = _make_table(*("\n".join(wrap(table.headings[key], 11)) for key in keys))
    positions = [list(table.headings).index(key) for key in keys]
    for cells in format_cells(table):
        filled.add_row(*(cells[position] for position in positions))
    return filled


def _print_checks(tables: Mapping[str, PaperTable], checks: list[Check]) -> None:
    for key, table in tables.items():
        stdout.print(f"\n[bold]{key}[/bold]: {table.source} ({table.provenance})\n", soft_wrap=True)
        shown = _make_table("row", "cell", "printed", "ours", "difference", "verdict", "reason")
        for check in checks:
            if check.table == key:
                cells = (check.printed, check.ours or "–", check.difference or "")
                shown.add_row(check.row, check.column, *cells, check.verdict, check.reason)
        stdout.print(shown)


def _print_plans(
    config: Config, plans: list[Plan], places: Places, ledger: Ledger, *, as_json: bool
) -> None:
    reports = []
    for plan in plans:
        scales = count_scales(config, plan, places)
        seconds = estimate_seconds(plan, scales, ledger)
        if as_json:
            reports.append(_describe_plan(plan, scales, seconds))
        else:
            _print_plan(plan, scales, seconds)
    if as_json:
        _print_json(reports)


def _print_plan(plan: Plan, scales: Mapping[str, Scales], seconds: Mapping[str, float]) -> None:
    table = _make_table(
        "trial", "variant", "seed", "state", "params", "MFLOPs", "paper GFLOPs", "time"
    )
    for trial in plan.trials:
        own = scales[trial.variant.name]
        key = trial.spec.key
        table.add_row(
            key,
            trial.variant.name,
            str(trial.spec.seed),
            f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
            f"{own.trained.params:,}",
            f"{own.trained.macs / 1e6:.3f}",
            f"{own.paper.macs / 1e9:.2f}",
            format_duration(seconds[key]) if key in seconds else "",
        )
    stdout.print(f"\n[bold]{plan.experiment}[/bold], recipe {plan.recipe_name}\n")
    stdout.print(table)
    total, cores = sum(seconds.values()), os.cpu_count() or 1
    parts = ", ".join(f"{number} {state}" for state, number in plan.count().items() if number)
    stdout.print(f"{len(plan.trials)} trials asked: {parts}.")
    if seconds:
        side_by_side = total / min(cores, len(seconds))
        stdout.print(
            f"Estimate: {format_duration(total)} of one core of a CPU, about "
            f"{format_duration(side_by_side)} on the {cores} cores of this machine.",
            soft_wrap=True,
        )


def _describe_plan(
    plan: Plan,
    scales: Mapping[str, Scales] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A plan as plain values, with complexities and estimates where they are known."""
    trials = []
    for trial in plan.trials:
        described: dict[str, Any] = {
            "trial": trial.spec.key,
            "variant": trial.variant.name,
            "seed": trial.spec.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if scales:
            described["trained"] = asdict(scales[trial.variant.name].trained)
            described["paper_scale"] = asdict(scales[trial.variant.name].paper)
        if seconds and trial.spec.key in seconds:
            described["estimated_core_seconds"] = round(seconds[trial.spec.key], 1)
        trials.append(described)
    return {
        "experiment": plan.experiment,
        "recipe": plan.recipe_name,
        "changes": plan.changes,
        "count": plan.count(),
        "trials": trials,
    }


def _list_rows(table: Table) -> list[dict[str, Any]]:
    """The table's numbers; JSON has no NaN, so what is unknown is null."""
    rows: list[dict[str, Any]] = json.loads(table.rows.reset_index().to_json(orient="records"))
    return rows


def _make_table(*headings: str) -> RichTable:
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in headings:
        table.add_column(heading, overflow="fold", min_width=max(map(len, heading.split("\n"))))
    return table


def _print_json(content: Any) -> None:
    stdout.print_json(json.dumps(content))
