"""The report: a table with its figures and trials as one self-contained HTML file."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from ablations.figures import parse_svg
from ablations.report.attention import AttentionFiles
from ablations.statistics.claims import Evidence
from ablations.tables import (
    Table,
    format_cells,
    list_attention_claims,
    list_attention_notes,
)

SHOWN_HASH = 12
"""Number of characters shown of a commit."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Content of a report."""

    table: Table
    """The comparison table, with claims and notes."""

    expect: str
    """The expectation stated before anything ran."""

    charts: Sequence[tuple[str, str]]
    """Caption and SVG of each figure."""

    trials: pd.DataFrame
    """One row per trial, starting with its id, as from `list_trials`."""

    environments: pd.DataFrame
    """One row per combination of device and versions."""

    recipe: Mapping[str, Any]
    """Fields of the training recipe."""

    attention: AttentionFiles | None = None
    """The recording of the networks' attention; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a grid."""

    heading: str
    """Its heading."""

    is_number: bool
    """Whether it is aligned to the right."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table as text."""

    groups: Sequence[tuple[str, int]]
    """Headings over neighbouring columns with the number of columns; empty for none."""

    columns: Sequence[Column]
    """Columns from the left."""

    rows: Sequence[Sequence[str]]
    """Cells by row."""

    marked: frozenset[int] = frozenset()
    """Index of the baseline's row."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result for one variant."""

    variant: str
    """Name of the variant."""

    text: str
    """Difference from the baseline, with its interval."""

    verdict: str
    """Verdict, or the reason why there is none."""


@dataclass(frozen=True, kw_only=True)
class AttentionSection:
    """What a page shows of a recording."""

    first_figure: int
    """Number of the first figure."""

    figures: Sequence[tuple[str, str]]
    """Caption and embedded drawing of each figure."""

    claims: Sequence[str]
    """Claims with their verdicts."""

    notes: Sequence[str]
    """How it was measured."""


def render_html(page: Page) -> str:
    """Renders the report as one file without scripts, fonts or anything to fetch."""
    environment = Environment(
        loader=PackageLoader("ablations.report", package_path=""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    own = page.attention
    attended = [(chart.caption, drawing) for chart, drawing in own.charts] if own else []
    figures = [
        (caption, embed_svg(svg, prefix=f"figure-{number}"))
        for number, (caption, svg) in enumerate([*page.charts, *attended], 1)
    ]
    return environment.get_template("report.html").render(
        table=page.table,
        expect=page.expect,
        findings=list_findings(page.table),
        claims=[(claim, list(map(_describe_part, claim.parts))) for claim in page.table.claims],
        comparison=_grid_table(page.table),
        figures=figures[: len(page.charts)],
        attention=AttentionSection(
            first_figure=len(page.charts) + 1,
            figures=figures[len(page.charts) :],
            claims=list_attention_claims(own.analysis),
            notes=list_attention_notes(own.analysis),
        )
        if own
        else None,
        recipe={name: format_value(value) for name, value in page.recipe.items()},
        environments=_grid_frame(page.environments),
        trials=_grid_frame(page.trials),
    )


def list_findings(table: Table) -> list[Finding]:
    """Lists the trained variants except the baseline, in the table's order."""
    place = list(table.headings).index("difference")
    return [
        _describe_row(str(variant), row, cells[place])
        for (variant, row), cells in zip(table.rows.iterrows(), format_cells(table), strict=True)
        if cells[place] != "baseline" and variant not in table.only_printed
    ]


def embed_svg(svg: str, *, prefix: str) -> str:
    """Renders an SVG file as an element of a page, with a prefix that makes its ids unique.

    The element is labelled by the page's element `PREFIX-caption`.

    Raises:
        ValueError: If it contains anything that a figure does not need, such as a script.

    >>> embed_svg('<svg xmlns="http://www.w3.org/2000/svg"><g id="a"/></svg>', prefix="f")
    '<svg role="img" aria-labelledby="f-caption"><g id="f-a" /></svg>'
    """
    root = parse_svg(svg)
    for element in root.iter():
        for name, value in element.attrib.items():
            element.set(name, _prefix_ids(name, value, prefix))
    root.attrib.update({"role": "img", "aria-labelledby": f"{prefix}-caption"})
    return ElementTree.tostring(root, encoding="unicode").strip()


def format_value(value: Any) -> str:
    """Formats any value for people.

    >>> [format_value(value) for value in (True, None, 4.249999999999998, (0, 1), "x")]
    ['yes', '–', '4.25', '0, 1', 'x']
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {format_value(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(format_value, value)) or "–"
    if value is None or pd.isna(value) or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _describe_row(variant: str, row: pd.Series, difference: str) -> Finding:
    if row["n"] == 0:
        return Finding(variant=variant, text="", verdict="no finished trial")
    verdict = row["verdict"] if isinstance(row["verdict"], str) else "no verdict"
    return Finding(
        variant=variant, text=f"{difference} points, n = {int(row['n'])}", verdict=verdict
    )


def _describe_part(part: Evidence) -> str:
    if part.difference is None:
        return f"{part.statement}: no common seed"
    half_width = "" if part.half_width is None else f" ± {part.half_width:.2f}"
    return f"{part.statement}: {part.difference:+.2f}{half_width} points, n = {part.n}"


def _grid_table(table: Table) -> Grid:
    """The comparison table, with groups of headings."""
    groups = [heading.rpartition(": ")[0] for heading in table.headings.values()]
    numeric = {str(key) for key in table.rows if is_numeric_dtype(table.rows[key])}
    cells = format_cells(table)
    place = list(table.headings).index("difference")
    return Grid(
        groups=[(group, len(list(members))) for group, members in groupby(groups)],
        columns=[
            Column(heading=heading.rpartition(": ")[2], is_number=key in numeric)
            for key, heading in table.headings.items()
        ],
        rows=cells,
        marked=frozenset(i for i, row in enumerate(cells) if row[place] == "baseline"),
    )


def _grid_frame(frame: pd.DataFrame) -> Grid:
    """A data frame as text."""
    return Grid(
        groups=[],
        columns=[
            Column(heading=str(name).replace("_", " "), is_number=_holds_numbers(frame[name]))
            for name in frame
        ],
        rows=[list(_format_row(row)) for row in frame.to_dict("records")],
    )


def _holds_numbers(column: pd.Series) -> bool:
    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _format_row(row: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in row.items():
        text = format_value(value)
        yield text[:SHOWN_HASH] if name == "commit" else text


def _prefix_ids(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return value.replace("url(#", f"url(#{prefix}-")
