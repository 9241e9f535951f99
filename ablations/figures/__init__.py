"""Data frames -> figures: what is plotted, how it is drawn, and as what it is written."""

from ablations.figures.charts import Chart, build_charts, list_charts
from ablations.figures.rendering import State, check_svg, draw, render_png, render_svg
from ablations.figures.svg import parse_svg

__all__ = [
    "Chart",
    "State",
    "build_charts",
    "check_svg",
    "draw",
    "list_charts",
    "parse_svg",
    "render_png",
    "render_svg",
]
