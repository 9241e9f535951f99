"""The command line: options -> one call -> printed text; the only package that prints."""

from ablations.cli.app import main, main_run

__all__ = ["main", "main_run"]
