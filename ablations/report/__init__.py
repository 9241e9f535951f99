"""Studies -> results/: their folders, the index, README blocks; and whether they are up to date."""

from ablations.report.attention import render_attention
from ablations.report.files import check_report, derive, read_study, render_report
from ablations.report.index import count_words, render_index
from ablations.report.results import (
    check_blocks,
    check_index,
    list_foreign,
    write_blocks,
    write_index,
)

__all__ = [
    "check_blocks",
    "check_index",
    "check_report",
    "count_words",
    "derive",
    "list_foreign",
    "read_study",
    "render_attention",
    "render_index",
    "render_report",
    "write_blocks",
    "write_index",
]
