"""Plan, records and printed cells -> the comparison table, as data and as text."""

from ablations.tables.building import build_table, list_trials
from ablations.tables.comparison import tabulate_errors
from ablations.tables.latex import render_latex
from ablations.tables.rendering import format_cells, list_claims, render_csv, render_markdown
from ablations.tables.table import Scales, Table

__all__ = [
    "Scales",
    "Table",
    "build_table",
    "format_cells",
    "list_claims",
    "list_trials",
    "render_csv",
    "render_latex",
    "render_markdown",
    "tabulate_errors",
]
