"""`ablations bench`: speed and memory of every variant on this machine."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.choices import DeviceKind, Scale
from ablations.cli.display import (
    add_row,
    make_table,
    print_heading,
    print_json,
    print_line,
    print_table,
    stderr,
)
from ablations.cli.options import (
    AsJson,
    ConfigPath,
    DataDir,
    Exclude,
    Only,
    RecipeName,
    RunsDir,
    Settings,
    complete_experiment,
    load_config,
    make_selection,
)

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from ablations.reconcile.benchmarks import Benched
    from ablations.speed import Quantity


UNSTEADY = 0.25
"""Deviation of a round from the median, as a share of it, above which the machine was not idle."""


def bench(
    name: Annotated[
        str,
        typer.Argument(
            help="Experiment.", metavar="EXPERIMENT", autocompletion=complete_experiment
        ),
    ],
    scale: Annotated[
        Scale, typer.Option(help="Measure the networks at the paper's scale, or the trained ones.")
    ] = "paper",
    device: Annotated[
        DeviceKind | None, typer.Option(help="Where to measure (default: a GPU if available).")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=2, help="Images per batch (default: by device and network)."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds in which every variant is measured once.")
    ] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads on the processor (default: all cores).")
    ] = None,
    recipe: RecipeName = "quick",
    settings: Settings = None,
    only: Only = None,
    exclude: Exclude = None,
    as_json: AsJson = False,
    config: ConfigPath = None,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Measure throughput, latency and memory of every variant on this machine."""
    # Late: help and completion do without them.
    from ablations.reconcile.benchmarks import BenchSettings, bench_experiment
    from ablations.workspace import Workspace

    benched = bench_experiment(
        load_config(config),
        name,
        make_selection(recipe, settings, None, only, exclude),
        settings=BenchSettings(
            scale=scale, device=device, batch_size=batch_size, rounds=rounds, threads=threads
        ),
        workspace=Workspace(runs_dir=runs_dir, data_dir=data_dir),
        show=show_steps,
    )
    if as_json:
        print_json(_describe(benched))
    else:
        _print_benched(benched)


@contextmanager
def show_steps(total: int, *, label: str = "measuring") -> Iterator[Callable[[], object]]:
    """A bar with the time left, in a terminal only."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bars = Progress(
        TextColumn(label),
        BarColumn(bar_width=20),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=not stderr.is_interactive,
    )
    with bars:
        task = bars.add_task("", total=total)
        yield lambda: bars.advance(task)


def _print_benched(benched: "Benched") -> None:
    from ablations.speed import describe_agreement

    benchmark = benched.benchmark
    conditions, environment = benchmark.conditions, benchmark.environment
    table = make_table(
        *("variant", "GFLOPs", "params M", "training images/s", "inference images/s"),
        *("latency ms", "memory MB"),
    )
    for name, speed in benched.speeds.items():
        complexity = benched.scales[name].at(conditions.scale)
        add_row(
            table,
            name,
            f"{complexity.macs / 1e9:.4g}",
            f"{complexity.params / 1e6:.4g}",
            _show(speed.train_images_per_second),
            _show(speed.test_images_per_second),
            _show(speed.latency_ms),
            f"{speed.memory_mb:,.0f}",
        )
    print_heading(benched.plan.experiment, f": speed {benchmark.describe()}")
    print_table(table)
    print_line(
        f"Batch size {conditions.batch_size}, latency with 1. Medians of {conditions.rounds} "
        f"rounds, with their range in brackets. torch {environment.torch}."
    )
    print_line(describe_agreement(benched.agreement, variants=len(benched.speeds)))
    deviation = max(speed.deviation for speed in benched.speeds.values())
    if deviation > UNSTEADY:
        print_line(
            f"Rounds deviate by up to {deviation:.0%} from their median: the machine was not idle. "
            "Close other programs and measure again."
        )
    print_line(f"Kept in {benched.file}.")
    if not benched.plan.changes:
        print_line(f"`ablations report {benched.plan.experiment}` adds it to the tables.")


def _show(quantity: "Quantity") -> str:
    """The median with the range over rounds in brackets."""
    median, least, greatest = map(_show_number, astuple(quantity))
    return f"{median} ({least}–{greatest})"


def _show_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _describe(benched: "Benched") -> dict[str, Any]:
    benchmark = benched.benchmark
    scale = benchmark.conditions.scale
    return {
        "experiment": benched.plan.experiment,
        "conditions": asdict(benchmark.conditions),
        "environment": asdict(benchmark.environment),
        "measured_at": benchmark.measured_at,
        "file": str(benched.file),
        "agreement": None if math.isnan(benched.agreement) else benched.agreement,
        "variants": {
            name: {"complexity": asdict(benched.scales[name].at(scale)), **asdict(speed)}
            for name, speed in benched.speeds.items()
        },
    }
