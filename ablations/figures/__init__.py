"""The figures of a study: what they plot, how they are drawn, and their forms as files."""

from ablations.figures.attention import list_attention_charts
from ablations.figures.charts import Chart, Source, build_charts, list_charts
from ablations.figures.rendering import (
    State,
    check_svg,
    draw,
    keep_or_draw,
    read_drawing,
    render_png,
    render_svg,
)
from ablations.figures.statements import build_statement_chart
from ablations.figures.svg import parse_svg

__all__ = [
    "Chart",
    "Source",
    "State",
    "build_charts",
    "build_statement_chart",
    "check_svg",
    "draw",
    "keep_or_draw",
    "list_attention_charts",
    "list_charts",
    "parse_svg",
    "read_drawing",
    "render_png",
    "render_svg",
]
