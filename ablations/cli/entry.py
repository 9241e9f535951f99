"""The programs' entry points: what the user can act on becomes one message and an exit code."""

import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.logging import RichHandler

from ablations.cli.commands import app, run
from ablations.cli.display import stderr
from ablations.errors import AblationError, InterruptedRunError


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
