"""The programs `ablations` and `run-ablation`; expected failures become a message and a code."""

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from ablations.cli.attention import attention
from ablations.cli.bench import bench
from ablations.cli.display import stderr
from ablations.cli.list import list_experiments
from ablations.cli.match import match
from ablations.cli.plan import plan
from ablations.cli.report import report
from ablations.cli.run import run
from ablations.cli.status import status
from ablations.cli.sync import sync
from ablations.cli.ui import ui
from ablations.cli.verify import verify
from ablations.errors import AblationError, InterruptedRunError

COMMANDS: dict[str, Callable[..., None]] = {
    "list": list_experiments,
    "plan": plan,
    "run": run,
    "status": status,
    "report": report,
    "ui": ui,
    "sync": sync,
    "verify": verify,
    "match": match,
    "bench": bench,
    "attention": attention,
}
"""In the order in which they are used, which is that of `--help`.

Their modules import only what their options need: what does the work is imported when a command is
called, so that help and completion are fast.
"""


app = typer.Typer(
    name="ablations",
    help="Find out whether a part of a network earns its place.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> NoReturn:
    """Entry point of `ablations`."""
    _start(app)


def main_run() -> NoReturn:
    """Entry point of `run-ablation`, the same as `ablations run`."""
    single = typer.Typer(pretty_exceptions_enable=False)
    single.command(name="run-ablation")(run)
    _start(single)


class _Printer(logging.Handler):
    """Prints warnings above the progress bars, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record."""
        stderr.print(self.format(record), soft_wrap=True)


def _start(program: Callable[[], Any]) -> NoReturn:
    gc.set_threshold(100_000)  # thousands of records live to the end; default: a sixth of the time
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[_Printer()],
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
