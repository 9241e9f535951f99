"""Writes tables and the list of their trials into a folder."""

from pathlib import Path

import pandas as pd

from ablations.errors import MachineError
from ablations.files import write_atomically
from ablations.tables import Table, render_csv, render_markdown


def write_results(table: Table, trials: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes table.md, table.csv and trials.csv, each whole or not at all.

    Raises:
        MachineError: If the folder cannot be written.
    """
    contents = {
        "table.md": render_markdown(table),
        "table.csv": render_csv(table),
        "trials.csv": str(trials.to_csv(index=False, lineterminator="\n")),
    }
    try:
        for name, content in contents.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise MachineError(
            f"{folder} must be a writable folder, got {error.strerror}. Pass another --results-dir."
        ) from error
    return [folder / name for name in contents]
