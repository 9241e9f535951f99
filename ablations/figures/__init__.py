"""A study and its table -> figures: their data, drawings, and files."""

from ablations.figures.charts import Chart, Results, build_charts, list_charts
from ablations.figures.drawings import State, check_svg, draw, render_png, render_svg
from ablations.figures.svg import parse_svg

__all__ = [
    "Chart",
    "Results",
    "State",
    "build_charts",
    "check_svg",
    "draw",
    "list_charts",
    "parse_svg",
    "render_png",
    "render_svg",
]
