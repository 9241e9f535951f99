"""The files of a study's folder: its exported records, and everything derived from them.

A further kind of file is added in `derive`, and only there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ablations.errors import IncompleteError
from ablations.figures import Chart, check_svg, list_charts, render_svg
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


def render_report(study: Study, table: Table, folder: Path) -> dict[str, bytes]:
    """Renders all files of a study by name; drawings in `folder` that show its data are kept."""
    drawn = {path.name: path.read_text("utf-8", "replace") for path in folder.glob("*.svg")}
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
        study = read_export(folder)
    except IncompleteError as error:
        return [str(error)]
    return list(_compare(folder, render_report(study, build_table(study), folder)))


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
