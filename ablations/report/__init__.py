"""What a reader sees of studies: derived texts, their folder, the index, blocks of the README."""

from ablations.report.blocks import fill_blocks, list_blocks, render_block
from ablations.report.deriving import derive, list_study_charts
from ablations.report.folder import check_report, render_report
from ablations.report.index import count_words, render_index

__all__ = [
    "check_report",
    "count_words",
    "derive",
    "fill_blocks",
    "list_blocks",
    "list_study_charts",
    "render_block",
    "render_index",
    "render_report",
]
