"""The command line: wires the other modules together, and is the only one that prints."""

from ablations.cli import sync  # noqa: F401 - its command registers itself
from ablations.cli.entry import main, main_run

__all__ = ["main", "main_run"]
