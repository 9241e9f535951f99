"""A study -> the comparison table, as data and as text."""

from ablations.tables.attention import (
    list_attention_claims,
    list_attention_notes,
    render_attention_markdown,
    render_interventions_csv,
    render_units_csv,
)
from ablations.tables.comparison import PRINTED_ERRORS
from ablations.tables.latex import render_latex
from ablations.tables.synthesis import (
    Entry,
    OpenStudy,
    TestedClaim,
    collect_claims,
    compare_recipes,
    list_open,
)
from ablations.tables.table import Table, build_table
from ablations.tables.texts import (
    CompactTable,
    format_cells,
    format_compact,
    list_claims,
    list_items,
    render_csv,
    render_grid,
    render_markdown,
    render_summary,
)
from ablations.tables.trials import list_curves, list_environments, list_trials

__all__ = [
    "PRINTED_ERRORS",
    "CompactTable",
    "Entry",
    "OpenStudy",
    "Table",
    "TestedClaim",
    "build_table",
    "collect_claims",
    "compare_recipes",
    "format_cells",
    "format_compact",
    "list_attention_claims",
    "list_attention_notes",
    "list_claims",
    "list_curves",
    "list_environments",
    "list_items",
    "list_open",
    "list_trials",
    "render_attention_markdown",
    "render_csv",
    "render_grid",
    "render_interventions_csv",
    "render_latex",
    "render_markdown",
    "render_summary",
    "render_units_csv",
]
