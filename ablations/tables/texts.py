"""A table as texts: cells, compact cells, Markdown and CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ablations.escapes import escape_formula, escape_markdown
from ablations.tables.columns import NAN, UNKNOWN, Column
from ablations.tables.table import Table

DIGITS = 10
"""Digits of derived numbers that do not depend on the machine and the libraries."""


@dataclass(frozen=True, kw_only=True)
class CompactTable:
    """The columns of a table that fit into a terminal."""

    headings: tuple[str, ...]
    """One short heading per column."""

    rows: tuple[tuple[str, ...], ...]
    """One tuple of cells per row."""


def format_cells(table: Table) -> list[list[str]]:
    """Formats the printed columns: one list per row, in the order of the headings."""
    return _format(table, table.shown)


def format_compact(table: Table) -> CompactTable:
    """Formats the columns that have a compact heading; those without any value are dropped."""
    columns = [column for column in table.columns if column.compact]
    cells = zip(*_format(table, columns), strict=True)
    known = [(c, texts) for c, texts in zip(columns, cells, strict=True) if {*texts} != {UNKNOWN}]
    shortened = (
        [_shorten(text, column, n) for text, n in zip(texts, _count(table, column), strict=True)]
        for column, texts in known
    )
    return CompactTable(
        headings=tuple(column.compact for column, _ in known),
        rows=tuple(zip(*shortened, strict=True)),
    )


def list_claims(table: Table) -> list[str]:
    """Lists the claims with verdict and scope, one line per claim."""
    return [f"{claim.name}: {claim.verdict}" for claim in table.claims]


def render_markdown(table: Table) -> str:
    """Renders the table as Markdown, below its question and above its claims and notes."""
    lines = [f"# {escape_markdown(table.title)}", "", escape_markdown(table.question), ""]
    rows = (map(escape_markdown, cells) for cells in format_cells(table))
    lines += render_grid(table.headings.values(), rows)
    if table.claims:
        lines += ["", "Claims:", "", *list_items(list_claims(table))]
        lines += ["", "Notes:"]
    lines += ["", *list_items(table.notes)]
    return "\n".join(lines) + "\n"


def render_summary(table: Table) -> str:
    """Renders the compact columns, claims and notes as Markdown, for pages that quote results."""
    compact = format_compact(table)
    cells = [map(escape_markdown, row) for row in compact.rows]
    grid = render_grid(compact.headings, cells)
    lines = [f"# {escape_markdown(table.title)}", "", escape_markdown(table.question), "", *grid]
    if table.claims:
        lines += ["", *list_items(list_claims(table))]
    return "\n".join([*lines, "", escape_markdown(" ".join(table.brief_notes))]) + "\n"


def list_items(texts: Iterable[str]) -> list[str]:
    """Renders the lines of a Markdown list."""
    return [f"- {escape_markdown(text)}" for text in texts]


def render_grid(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Renders the lines of a Markdown table, whose cells are Markdown."""
    first = list(headings)
    return [_join(cells) for cells in (first, ["---"] * len(first), *rows)]


def render_csv(table: Table) -> str:
    """Renders all columns as CSV, with the digits that are the same on every machine."""
    rows = table.rows.rename(index=escape_formula)
    for key, column in rows.items():
        if not is_numeric_dtype(column):
            rows[key] = [escape_formula(v) if isinstance(v, str) else v for v in column]
    return str(rows.to_csv(lineterminator="\n", float_format=f"%.{DIGITS}g"))


def _join(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    rows = table.rows.reset_index().to_dict("records")
    return [[_format_cell(column, row, table.texts) for column in columns] for row in rows]


def _format_cell(
    column: Column, row: Mapping[Any, Any], texts: Mapping[tuple[str, str], str]
) -> str:
    """A value, followed by the half width of its interval if it has one."""
    if (text := texts.get((column.key, row["variant"]))) is not None:
        return text
    value = row[column.key]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return UNKNOWN
    half_width = row.get(f"{column.key}_half_width", NAN)
    interval = "" if pd.isna(half_width) else f" ± {_settle(half_width):.2f}"
    return column.format.format(_settle(value)) + interval


def _count(table: Table, column: Column) -> Iterable[float]:
    """The number of seeds that the compact form adds to each cell of a column; NaN for none."""
    return table.rows[column.count] if column.count in table.rows else [NAN] * len(table.rows)


def _shorten(text: str, column: Column, n: float) -> str:
    for long, short in column.abbreviations.items():
        text = text.replace(long, short)
    return text if pd.isna(n) else f"{text}, n={n:.0f}"


def _settle(value: Any) -> float:
    """Drops the last digits, so that a half is rounded to the same side on every machine."""
    return round(float(value), DIGITS)
