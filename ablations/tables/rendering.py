"""A table as texts: cells, Markdown, CSV."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from ablations.tables.table import Table

DIGITS = 10
"""Digits of derived numbers that do not depend on the machine and the libraries."""


def format_cells(table: Table) -> list[list[str]]:
    """The table's body as texts, a list for each variant, in the order of the headings.

    An interval stands behind its value; the columns that hold half widths are not shown apart.
    """
    return [
        [
            table.texts.get((key, str(variant))) or _format_cell(key, row, str(variant))
            for key in table.headings
        ]
        for variant, row in table.rows.iterrows()
    ]


def list_claims(table: Table) -> list[str]:
    """The claims with verdict and scope, a line each."""
    return [f"{claim.name}: {claim.verdict}" for claim in table.claims]


def render_markdown(table: Table) -> str:
    """The table as Markdown, with its question above, its claims and notes below."""
    headings = [heading.replace(": ", ": ") for heading in table.headings.values()]
    lines = [f"# {table.title}", "", table.question, ""]
    lines += [_join(headings), _join(["---"] * len(headings))]
    lines += [_join(cells) for cells in format_cells(table)]
    if table.claims:
        lines += ["", "Claims:", "", *(f"- {claim}" for claim in list_claims(table))]
        lines += ["", "Notes:"]
    lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def render_csv(table: Table) -> str:
    """The numbers behind the table, to ten digits: another machine may differ in the last."""
    return str(table.rows.to_csv(lineterminator="\n", float_format=f"%.{DIGITS}g"))


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _format_cell(key: str, row: pd.Series, variant: str) -> str:
    if key == "variant":
        return variant
    value = row[key]
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    formats: dict[str, Callable[[Any], str]] = {
        "paper_scale_params_m": "{:.2f}".format,
        "paper_scale_gflops": "{:.2f}".format,
        "paper_scale_mflops": "{:.2f}".format,
        "trained_params": "{:,.0f}".format,
        "trained_mflops": "{:.3f}".format,
        "top1_error": "{:.2f}".format,
        "top1_error_std": "{:.2f}".format,
        "top1_error_320": "{:.2f}".format,
        "top5_error": "{:.2f}".format,
        "difference": "{:+.2f}".format,
    }
    text = formats.get(key, "{:.0f}".format)(_settle(value))
    half_width = row.get(f"{key}_half_width", float("nan"))
    return text if pd.isna(half_width) else f"{text} ± {_settle(half_width):.2f}"


def _settle(value: Any) -> float:
    """Without the last digits, so that a half is rounded to the same side on every machine."""
    return round(float(value), DIGITS)
