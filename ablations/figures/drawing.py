"""Draws charts; the only modules that know matplotlib are this one and those it draws with."""

from collections.abc import Callable

from matplotlib.figure import Figure

from ablations.figures.charts import Chart, Name
from ablations.figures.cost import draw_cost
from ablations.figures.curves import draw_curves
from ablations.figures.forests import draw_differences, draw_errors
from ablations.figures.style import use_style

__all__ = ["draw_chart", "use_style"]

_DRAW: dict[Name, Callable[[Chart], Figure]] = {
    "errors": draw_errors,
    "differences": draw_differences,
    "cost": draw_cost,
    "curves": draw_curves,
}


def draw_chart(chart: Chart) -> Figure:
    """The chart drawn by the function of its name."""
    with use_style():
        return _DRAW[chart.name](chart)
