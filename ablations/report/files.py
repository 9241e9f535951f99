"""The files of a study's folder: its exported records, and everything derived from them.

A further kind of file is added in `derive`, and only there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ablations.errors import AblationError, IncompleteError
from ablations.figures import Chart, check_svg, list_charts, render_svg
from ablations.files import read_regular
from ablations.report.html import Page, render_html
from ablations.study import EXPORTED, PROVENANCE, Study, is_exported, read_export, render_export
from ablations.tables import (
    Table,
    build_table,
    list_environments,
    list_trials,
    render_csv,
    render_latex,
    render_markdown,
    render_summary,
)

LARGEST_DRAWING = 2**24
"""Most bytes of a drawing."""


def render_report(study: Study, table: Table, folder: Path) -> dict[str, bytes]:
    """Renders all files of a study by name; drawings in `folder` that show its data are kept."""
    drawn = {path.name: _read_drawing(path) for path in folder.glob("*.svg")}
    derived = {name: text.encode() for name, text in derive(study, table, drawn).items()}
    return {**render_export(study), **derived}


def derive(
    study: Study, table: Table, drawn: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Derives files by name; equal studies give equal texts on every machine.

    Args:
        study: The study.
        table: Its table.
        drawn: Existing drawings by file name. One that shows the study's data is kept, since
            another version of matplotlib would write other bytes.
    """
    charts = list_charts(study, table)
    drawings = {f"{c.name}.svg": _keep_or_draw(c, drawn.get(f"{c.name}.svg", "")) for c in charts}
    return {
        "table.md": render_markdown(table),
        "table.csv": render_csv(table),
        "table.tex": render_latex(table),
        "summary.md": render_summary(table),
        **drawings,
        "report.html": _render_page(study, table, charts, list(drawings.values())),
    }


def check_report(folder: Path) -> list[str]:
    """Checks a folder against its own exported files; returns one line per finding.

    Raises:
        MachineError: If a file cannot be read.
    """
    if not is_exported(folder):
        return [f"{folder / PROVENANCE}: missing, nothing can be derived without it; run again"]
    try:
        study, table = read_study(folder)
        with _blaming(folder):
            return list(_compare(folder, render_report(study, table, folder)))
    except IncompleteError as error:
        return [str(error)]


def read_study(folder: Path) -> tuple[Study, Table]:
    """Reads a study, and derives its table.

    Raises:
        IncompleteError: If its files were edited or damaged, or contradict each other.
        MachineError: If a file cannot be read.
    """
    study = read_export(folder)
    with _blaming(folder):
        return study, build_table(study)


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Says of whatever is raised that the files of a folder are the cause."""
    try:
        yield
    except AblationError:
        raise
    except Exception as error:
        raise IncompleteError(
            f"{folder}: nothing can be derived from its files, which contradict each other: "
            f"{type(error).__name__}: {error}. Restore them from version control."
        ) from error


def _read_drawing(path: Path) -> str:
    """A drawing; empty if it is none, so that it is drawn again."""
    try:
        return read_regular(path, most=LARGEST_DRAWING).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _compare(folder: Path, expected: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in expected.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: missing"
        elif path.read_bytes() != content:
            origin = "its own records" if name in EXPORTED else "the exported files"
            yield f"{path}: edited or out of date, differs from what {origin} give"
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            yield f"{path}: does not belong there; remove it"


def _keep_or_draw(chart: Chart, drawing: str) -> str:
    return drawing if check_svg(drawing, chart) == "current" else render_svg(chart)


def _render_page(
    study: Study, table: Table, charts: Sequence[Chart], drawings: Sequence[str]
) -> str:
    captions = [chart.caption for chart in charts]
    return render_html(
        Page(
            table=table,
            expect=study.definition.expect,
            charts=list(zip(captions, drawings, strict=True)),
            trials=list_trials(study),
            environments=list_environments(study),
            recipe=study.definition.recipe,
        )
    )
