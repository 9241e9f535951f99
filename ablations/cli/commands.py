"""The commands: each wires the other modules together."""

import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ablations.backends import Backend, BackendName
from ablations.cli.display import (
    Costs,
    describe_plan,
    make_table,
    print_checks,
    print_findings,
    print_json,
    print_plans,
    print_publications,
    print_tables,
    stderr,
    stdout,
)
from ablations.cli.match import match
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    Exclude,
    MaxHours,
    Names,
    Only,
    RecipeName,
    ResultsDir,
    RunsDir,
    Seeds,
    Settings,
    SomeNames,
    TrackingUri,
    select,
)
from ablations.complexity.budget import measure_distances
from ablations.complexity.counts import count_complexities
from ablations.complexity.scales import Scales, count_scales
from ablations.complexity.verification import check_tables, list_networks
from ablations.config import Config, find_config, read_config, read_paper
from ablations.errors import IncompleteError, InputError, InterruptedRunError, MisfitError
from ablations.estimate import check_hours, estimate_plan, merge_estimates
from ablations.ledger import Ledger
from ablations.plan import Plan, PlannedTrial, State
from ablations.reconcile.gathering import gather_study, list_targets
from ablations.reconcile.reconcile import (
    Selection,
    check_budgets,
    check_machine,
    draw_plan,
    find_missing,
    refresh,
    train,
)
from ablations.report.checking import check_results, list_foreign
from ablations.report.writing import (
    publish,
    publish_blocks,
    publish_index,
    publish_target,
    read_earlier,
)
from ablations.study.study import Study
from ablations.tables import build_table
from ablations.tracking import Mirror, choose_uri
from ablations.tracking.sending import send_study
from ablations.trial.records import TrialRecord
from ablations.workspace import Workspace

app = typer.Typer(
    name="ablations",
    help="Tells whether a part of a network earns its place.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(match)


@app.command()
def run(
    names: Names,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    seeds: Seeds = None,
    only: Only = None,
    exclude: Exclude = None,
    backend: Annotated[
        BackendName, typer.Option(help="Side by side with Ray, or in this process.")
    ] = "ray",
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, help="Share of a GPU a trial; else one if there is any.")
    ] = None,
    retries: Annotated[int, typer.Option(min=0, help="New attempts of a trial that failed.")] = 1,
    download: Annotated[bool, typer.Option("--download", help="Fetch a missing dataset.")] = False,
    loader_workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode a folder of images, for each trial.")
    ] = min(4, os.cpu_count() or 1),
    max_hours: MaxHours = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, and stop.")] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
    tracking_uri: TrackingUri = None,
) -> None:
    """Train what is missing of experiments, then print their tables."""
    workspace = Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)
    experiments, plans, ledger = _draw_plans(
        names, config, workspace, select(recipe, settings, seeds, only, exclude)
    )
    chosen = Backend(
        name=backend,
        gpus_per_trial=gpus_per_trial,
        retries=retries,
        loader_workers=loader_workers,
    )
    check_budgets(experiments, plans, workspace)
    if dry_run:
        costs = _estimate(experiments, plans, ledger, workspace, chosen, max_hours)
        print_plans(plans, costs, as_json=as_json)
        return
    _check_hours(experiments, plans, ledger, workspace, chosen, max_hours)
    missing = find_missing(plans)
    earlier = {plan.experiment: read_earlier(plan, workspace) for plan in plans}
    if missing:
        check_machine(missing, workspace, chosen, download=download)
    uri = choose_uri(tracking_uri, os.environ.get("MLFLOW_TRACKING_URI"), runs_dir)
    with ledger.writing():
        scales = {
            plan.experiment: count_scales(experiments, plan, cache_file=workspace.complexity_file)
            for plan in plans
        }
        mirror = Mirror(uri, runs_dir=runs_dir)
        try:
            if missing:
                _train(missing, plans, scales, ledger, workspace, chosen, mirror)
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
        studies = [_gather(experiments, plan, scales, ledger, earlier) for plan in plans]
        written = _publish(plans, studies, workspace, mirror)
        trouble = mirror.close()
    print_tables(plans, [build_table(study) for study in studies], as_json=as_json)
    if any(folder.is_relative_to(results_dir) for folder in written):
        publish_index(experiments, workspace)
    if trouble:
        line = f"MLflow: {trouble} The ledger has everything; run again to send it."
        stderr.print(line, markup=False, soft_wrap=True)
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
    max_hours: MaxHours = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Print every trial of experiments: its state, complexity and time; train nothing."""
    workspace = Workspace(runs_dir=runs_dir, results_dir=Path("results"), data_dir=data_dir)
    experiments, plans, ledger = _draw_plans(
        names, config, workspace, select(recipe, settings, seeds, only, exclude)
    )
    check_budgets(experiments, plans, workspace)
    costs = _estimate(experiments, plans, ledger, workspace, Backend(), max_hours)
    print_plans(plans, costs, as_json=as_json)


@app.command(name="list")
def list_experiments(as_json: AsJson = False, config: ConfigPath = None) -> None:
    """List experiments, recipes and bodies."""
    found = _read(config)
    if as_json:
        print_json(
            {
                "experiments": {n: e.model_dump() for n, e in found.experiments.items()},
                "recipes": {n: r.model_dump() for n, r in found.recipes.items()},
                "bodies": {n: asdict(b) for n, b in found.bodies.items()},
            }
        )
        return
    table = make_table("experiment", "variants", "question")
    for name, experiment in found.experiments.items():
        table.add_row(name, str(len(experiment.expansion.variants)), experiment.question)
    stdout.print(table)
    table = make_table("recipe", "dataset", "body", "epochs", "seeds")
    for name, recipe in found.recipes.items():
        seeds = ", ".join(map(str, recipe.seeds))
        table.add_row(name, recipe.dataset, recipe.body, str(recipe.epochs), seeds)
    stdout.print(table)
    table = make_table("body", "input", "shape", "divisor")
    for name, body in found.bodies.items():
        side = f"{body.input_size}x{body.input_size}"
        table.add_row(name, side, str(body), str(body.divisor))
    stdout.print(table)


@app.command()
def status(
    names: SomeNames = None,
    recipe: Annotated[str | None, typer.Option(help="One recipe; all if none.")] = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Print what is done of each experiment, and why trials failed."""
    found = _read(config)
    ledger = Ledger(runs_dir)
    plans = []
    for name in names or found.experiments:
        for recipe_name in [recipe] if recipe else found.recipes:
            selection = Selection(recipe_name=recipe_name, settings={})
            with nullcontext() if names and recipe else suppress(MisfitError):
                plans.append(draw_plan(found, name, selection, ledger, data_dir=data_dir))
    if as_json:
        print_json([describe_plan(plan) for plan in plans])
        return
    states: tuple[State, ...] = ("finished", "diverged", "failed", "to run")
    table = make_table("experiment", "recipe", *states)
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
def report(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments, by name.", metavar="[NAME...]")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All experiments.")] = False,
    recipe: Annotated[str | None, typer.Option(help="One recipe; else all with results.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say what was edited or is stale.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    results_dir: ResultsDir = Path("results"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Write results anew from the ledger and from the records in them, or check them."""
    if bool(names) == every:
        raise InputError("report needs either names of experiments or --all.")
    workspace = Workspace(runs_dir=runs_dir, results_dir=results_dir, data_dir=data_dir)
    found = _read(config)
    if check:
        findings = check_results(found, workspace, names=names or (), recipe=recipe)
        print_findings(findings, results_dir, as_json=as_json)
        if findings:
            raise IncompleteError("\n".join(findings))
        return
    ledger = Ledger(runs_dir)
    targets = list_targets(found, ledger, workspace, names=names or (), recipe=recipe)
    written = [publish_target(found, target, ledger, workspace) for target in targets]
    others = [*publish_index(found, workspace), *publish_blocks(workspace)] if written else []
    if written or as_json:
        print_publications(written, others, as_json=as_json)
    for line in list_foreign(found, workspace):
        stderr.print(line, markup=False, soft_wrap=True)
    if unknown := [name for name in names or () if name not in {t.experiment for t in targets}]:
        raise IncompleteError(
            f"nothing is known of {', '.join(unknown)}; `run-ablation {' '.join(unknown)}` trains."
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
        list_networks(tables), cache_file=Workspace(runs_dir=runs_dir).complexity_file
    )
    checks = list(check_tables(tables, counted))
    totals = Counter(check.verdict for check in checks)
    if as_json:
        print_json({"totals": totals, "checks": [asdict(check) for check in checks]})
    else:
        print_checks(tables, checks)
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
    stderr.print("Choose 'Model training' there, an experiment, and one of its Views.")
    serve = ["ui", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *serve, "--workers", "1"])


def _read(path: Path | None) -> Config:
    return read_config(find_config(path, working_dir=Path.cwd()))


def _draw_plans(
    names: list[str], config: Path | None, workspace: Workspace, selection: Selection
) -> tuple[Config, list[Plan], Ledger]:
    found = _read(config)
    ledger = Ledger(workspace.runs_dir)
    plans = [
        draw_plan(found, name, selection, ledger, data_dir=workspace.data_dir) for name in names
    ]
    return found, plans, ledger


def _estimate(
    config: Config,
    plans: list[Plan],
    ledger: Ledger,
    workspace: Workspace,
    backend: Backend,
    max_hours: float | None,
) -> list[Costs]:
    """What the plans cost, which must be within the hours that are allowed, if that is limited."""
    costs = []
    for plan in plans:
        experiment = config.experiment(plan.experiment)
        scales = count_scales(config, plan, cache_file=workspace.complexity_file)
        distances = measure_distances(experiment.budget, scales) if experiment.budget else ()
        estimate = estimate_plan(
            plan,
            scales,
            ledger.examine({trial.spec.key for trial in plan.trials}).records,
            baseline=experiment.baseline,
            backend=backend,
            workspace=workspace,
        )
        named = {distance.variant: distance for distance in distances}
        costs.append(Costs(scales=scales, distances=named, price=estimate))
    if max_hours is not None:
        check_hours(merge_estimates([cost.price for cost in costs]), max_hours)
    return costs


def _check_hours(
    config: Config,
    plans: list[Plan],
    ledger: Ledger,
    workspace: Workspace,
    backend: Backend,
    max_hours: float | None,
) -> None:
    """Estimates the run if its hours are limited: a run that is not need not be measured first."""
    if max_hours is not None:
        _estimate(config, plans, ledger, workspace, backend, max_hours)


def _train(
    missing: Mapping[str, PlannedTrial],
    plans: list[Plan],
    scales: Mapping[str, Mapping[str, Scales]],
    ledger: Ledger,
    workspace: Workspace,
    backend: Backend,
    mirror: Mirror,
) -> None:
    from ablations.cli.progress import Progress  # loads torch

    def send(record: TrialRecord) -> None:
        for plan in plans:
            mirror.send_records(plan, {record.key: record}, scales[plan.experiment])

    with Progress(list(missing.values()), stderr) as progress:
        train(missing, ledger, workspace, backend, observe=progress.observe, on_end=send)


def _gather(
    config: Config,
    plan: Plan,
    scales: Mapping[str, Mapping[str, Scales]],
    ledger: Ledger,
    earlier: Mapping[str, Study | None],
) -> Study:
    """What is known of a plan, now that its table is looked at."""
    name = plan.experiment
    ledger.add_look(name, plan.recipe_name, plan.recipe.seeds)
    return gather_study(config, plan, ledger, scales=scales[name], earlier=earlier[name])


def _publish(
    plans: list[Plan], studies: list[Study], workspace: Workspace, mirror: Mirror
) -> list[Path]:
    """Writes studies where they belong and sends them to MLflow; returns folders that changed."""
    changed = []
    for plan, study in zip(plans, studies, strict=True):
        publication = publish(study, workspace)
        send_study(plan, study, publication.files, mirror)
        if publication.changed:
            changed.append(publication.folder)
        names = ", ".join(publication.changed)
        done = f"written: {names}" if names else "as it was"
        stderr.print(f"{publication.folder}: {done}", markup=False, soft_wrap=True)
    return changed
