"""`ablations evaluate`: errors of published weights on your copy of ImageNet."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.choices import DeviceKind, Precision
from ablations.cli.bench import show_steps
from ablations.cli.display import (
    add_row,
    make_table,
    print_json,
    print_line,
    print_message,
    print_table,
    stderr,
)
from ablations.cli.options import AsJson, DataDir, RunsDir, complete_network
from ablations.errors import InputError

if TYPE_CHECKING:  # loaded when a command runs: help and completion do without them
    from ablations.reconcile.evaluations import Evaluated


def evaluate(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Networks, each with its checkpoint; that of a single one may be --weights.",
            metavar="NETWORK[=FILE]...",
            autocompletion=complete_network,
        ),
    ],
    weights: Annotated[Path | None, typer.Option(help="Checkpoint of a single network.")] = None,
    device: Annotated[
        DeviceKind | None, typer.Option(help="Where networks run (default: a GPU if available).")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Numbers that networks compute with.")
    ] = "fp32",
    loader_workers: Annotated[
        int, typer.Option(min=0, max=1024, help="Processes that decode images.")
    ] = min(4, os.cpu_count() or 1),
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Measure the errors of published weights on the val/ folder of your copy of ImageNet."""
    # Late: help and completion do without them.
    from ablations.reconcile.evaluations import EvaluationSettings, evaluate_weights
    from ablations.workspace import Workspace

    evaluated = evaluate_weights(
        _pair(networks, weights),
        settings=EvaluationSettings(
            workspace=Workspace(runs_dir=runs_dir, data_dir=data_dir),
            device=device,
            precision=precision,
            loader_workers=loader_workers,
            show=_show_batches,
        ),
    )
    if as_json:
        print_json([_describe(own) for own in evaluated])
    else:
        _print_evaluated(evaluated)


def _pair(networks: Sequence[str], weights: Path | None) -> list[tuple[str, Path]]:
    """Networks with their checkpoints.

    >>> _pair(["sknet50"], Path("a.pth")) == _pair(["sknet50=a.pth"], None)
    True

    Raises:
        InputError: If a network has no checkpoint, or two.
    """
    parts = [text.partition("=") for text in networks]
    if weights is not None:
        if len(parts) > 1 or parts[0][1]:
            raise InputError(
                f"--weights needs one NETWORK, got {', '.join(networks)}. Write NETWORK=FILE for "
                "each network instead."
            )
        return [(parts[0][0], weights)]
    if missing := [name for name, _, file in parts if not file]:
        raise InputError(
            f"{missing[0]} needs a checkpoint, got none. Write {missing[0]}=FILE, or pass "
            "--weights FILE for a single network."
        )
    return [(name, Path(file)) for name, _, file in parts]


@contextmanager
def _show_batches(total: int) -> Iterator[Callable[[], object]]:
    """A bar with the time left; outside of a terminal, a line at every tenth of the way."""
    started, done = time.monotonic(), 0

    def count() -> None:
        nonlocal done
        done += 1
        advance()
        is_tenth = 10 * done // total > 10 * (done - 1) // total
        if is_tenth and not stderr.is_interactive:
            print_message(_describe_progress(done, total, seconds=time.monotonic() - started))

    with show_steps(total, label="evaluating") as advance:
        yield count


def _describe_progress(done: int, total: int, *, seconds: float) -> str:
    """How far an evaluation is.

    >>> _describe_progress(30, 120, seconds=60)
    '30 of 120 batches evaluated, about 3 min 0 s left'
    """
    from ablations.formatting import format_duration  # late: options do without it

    left = format_duration(seconds / done * (total - done))
    return f"{done} of {total} batches evaluated, about {left} left"


def _print_evaluated(evaluated: "Sequence[Evaluated]") -> None:
    sizes = [own.image_size for own in evaluated[0].evaluation.errors]
    headings = [f"top-{k} error %\nat {size}" for size in sizes for k in (1, 5)]
    table = make_table("network", "checkpoint", *headings)
    for own in evaluated:
        evaluation = own.evaluation
        errors = [evaluation.compute_error(m, size) for size in sizes for m in ("top1", "top5")]
        shown = (f"{error:.2f}" for error in errors)
        add_row(table, evaluation.network, evaluation.checkpoint.file, *shown)
    print_table(table)
    print_line(f"{evaluated[0].evaluation.describe()}.")
    print_line(f"Kept in {', '.join(str(own.file) for own in evaluated)}.")
    if all(own.is_published for own in evaluated):
        print_line("`ablations report --all` adds them to the tables that have these networks.")
    else:
        print_line("Tables do not show them: the networks there have 1000 classes.")


def _describe(own: "Evaluated") -> dict[str, Any]:
    evaluation = own.evaluation
    return {
        **asdict(evaluation),
        "errors": [
            {
                **asdict(errors),
                "top1_error": evaluation.compute_error("top1", errors.image_size),
                "top5_error": evaluation.compute_error("top5", errors.image_size),
            }
            for errors in evaluation.errors
        ],
        "file": str(own.file),
    }
