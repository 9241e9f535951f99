"""The notebook runs as it is, and its committed outputs come from its code."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def read(path: Path) -> Any:
    """A notebook; an invalid one raises."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def list_code(notebook: Any) -> list[Any]:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_output_is_committed() -> None:
    """A reader sees the results without running anything; the imports alone have none."""
    cells = list_code(read(NOTEBOOK))

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(cell.outputs for cell in cells[1:])
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.data}
    assert {"text/html", "image/svg+xml"} <= kinds


def test_outputs_do_not_depend_on_the_machine() -> None:
    """No path, no message, no timing: a run elsewhere changes only what was measured."""
    text = NOTEBOOK.read_text(encoding="utf-8")
    outputs = [output for cell in list_code(read(NOTEBOOK)) for output in cell.outputs]

    assert {output.output_type for output in outputs} == {"execute_result"}
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    """From a folder without any runs, with the script that writes the committed outputs."""
    folder = tmp_path / "examples"
    folder.mkdir()
    shutil.copy(NOTEBOOK, folder)
    (tmp_path / "results").symlink_to(ROOT / "results")
    written = tmp_path / "written.ipynb"
    script = ROOT / "examples" / "refresh_notebook.py"

    subprocess.run(
        [sys.executable, script, "--notebook", folder / NOTEBOOK.name, "--output", written],
        check=True,
    )

    def list_sources(path: Path) -> list[tuple[str, bool]]:
        return [(cell.source, bool(cell.outputs)) for cell in list_code(read(path))]

    assert list_sources(written) == list_sources(NOTEBOOK)
