"""A study -> the comparison table, as data and as text."""

from ablations.complexity.scales import Scales
from ablations.tables.building import build_table
from ablations.tables.comparison import tabulate
from ablations.tables.latex import render_latex
from ablations.tables.listing import list_curves, list_environments, list_trials
from ablations.tables.rendering import format_cells, list_claims, render_csv, render_markdown
from ablations.tables.table import Table

__all__ = [
    "Scales",
    "Table",
    "build_table",
    "format_cells",
    "list_claims",
    "list_curves",
    "list_environments",
    "list_trials",
    "render_csv",
    "render_latex",
    "render_markdown",
    "tabulate",
]
