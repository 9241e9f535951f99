"""Runs notebook.ipynb and keeps its outputs, without what differs between machines and runs.

`python examples/refresh_notebook.py` rewrites the notebook; with `--output PATH`, it is left alone.
"""

import argparse
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")
TIMEOUT = 1800
"""Most seconds that a cell may take."""


def execute(path: Path) -> nbformat.NotebookNode:
    """Runs a notebook in its folder, with a new kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell raises.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    return client.execute()


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without messages, random ids, and the version of Python."""
    notebook.metadata.pop("language_info", None)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Runs the notebook beside this file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    notebook = strip(execute(arguments.notebook))
    nbformat.write(notebook, arguments.output or arguments.notebook)


if __name__ == "__main__":
    main()
