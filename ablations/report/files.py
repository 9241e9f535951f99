"""The files of a study's folder: its exported records, and everything derived from them.

A further kind of file is added in `derive`, and only there.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from ablations.attention import ATTENTION, RECORDS
from ablations.errors import AblationError, IncompleteError
from ablations.figures import Chart, keep_or_draw, list_charts, read_drawing
from ablations.report.attention import (
    AttentionFiles,
    find_misfit,
    read_attention,
    render_attention,
)
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
    """Renders all files of a study by name; drawings in `folder` that show its data are kept.

    If the folder holds a recording of attention to the study's networks, its files are rendered
    with it. One of other trials is left alone, and left to `check_report`.

    Raises:
        IncompleteError: If the recording was edited or damaged.
        MachineError: If it cannot be read.
    """
    drawn = {path.name: read_drawing(path) for path in folder.glob("*.svg")}
    attention = _render_attention(study, folder)
    derived = {name: text.encode() for name, text in derive(study, table, drawn, attention).items()}
    recorded = attention.contents if attention else {}
    return {
        **render_export(study),
        **derived,
        **{f"{ATTENTION}/{name}": content for name, content in recorded.items()},
    }


def _render_attention(study: Study, folder: Path) -> AttentionFiles | None:
    recording = read_attention(folder)
    if recording is None or find_misfit(recording, study):
        return None
    return render_attention(recording, folder / ATTENTION)


def derive(
    study: Study,
    table: Table,
    drawn: Mapping[str, str] = MappingProxyType({}),
    attention: AttentionFiles | None = None,
) -> dict[str, str]:
    """Derives files by name; equal studies give equal texts on every machine.

    Args:
        study: The study.
        table: Its table.
        drawn: Existing drawings by file name. One that shows the study's data is kept, since
            another version of matplotlib would write other bytes.
        attention: The recording of the study's networks, which the report shows.
    """
    charts = list_charts(study, table)
    drawings = {f"{c.name}.svg": keep_or_draw(c, drawn.get(f"{c.name}.svg", "")) for c in charts}
    return {
        "table.md": render_markdown(table),
        "table.csv": render_csv(table),
        "table.tex": render_latex(table),
        "summary.md": render_summary(table),
        **drawings,
        "report.html": _render_page(
            study, table, charts, list(drawings.values()), attention=attention
        ),
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
            recording = read_attention(folder)
            misfit = find_misfit(recording, study) if recording else ""
            complaints = [f"{folder / ATTENTION}: {misfit}"] if misfit else []
            return [*complaints, *_compare(folder, render_report(study, table, folder))]
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


def _compare(folder: Path, expected: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in expected.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: missing"
        elif path.read_bytes() != content:
            is_record = name in (*EXPORTED, f"{ATTENTION}/{RECORDS}")
            origin = "its own records" if is_record else "the exported files"
            yield f"{path}: edited or out of date, differs from what {origin} give"
    for path in _list_foreign(folder, expected, prefix=""):
        yield f"{path}: does not belong there; remove it"


def _list_foreign(folder: Path, expected: Mapping[str, bytes], *, prefix: str) -> Iterator[Path]:
    """Yields whatever lies in a folder, and in the folders that are expected there, but is not."""
    for path in sorted(folder.iterdir()):
        name = f"{prefix}{path.name}"
        if path.is_dir() and any(other.startswith(f"{name}/") for other in expected):
            yield from _list_foreign(path, expected, prefix=f"{name}/")
        elif name not in expected:
            yield path


def _render_page(
    study: Study,
    table: Table,
    charts: Sequence[Chart],
    drawings: Sequence[str],
    *,
    attention: AttentionFiles | None,
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
            attention=attention,
        )
    )
