"""The differences from the baseline look after look: one small panel per row."""

from math import ceil

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.figures import style
from ablations.figures.charts import Chart

_COLUMNS = 4
"""Panels per row of the figure."""


def draw_looks(chart: Chart) -> Figure:
    """Draws each row's difference with its interval and the boundary at every look it was open."""
    data = chart.data
    names = list(dict.fromkeys(data["variant"]))
    titles = [style.name_variant(name, False, width=26) for name in names]
    rows = ceil(len(names) / _COLUMNS)
    height = 1.3 + style.LINE_HEIGHT * style.count_lines(titles)
    figure = Figure((style.WIDTH, rows * height + 0.5), layout="constrained")
    grid = figure.subplots(
        rows, ceil(len(names) / rows), sharex=True, squeeze=False
    )  # rows far from zero would flatten the others on a common scale
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name, title in zip(grid.flat, names, titles, strict=False):
        _draw_path(axes, data[data["variant"] == name], title)
    figure.supxlabel("n, seeds", fontsize=9.5)
    figure.supylabel("difference of top-1 error (points)", fontsize=9.5)
    return figure


def _draw_path(axes: Axes, path: pd.DataFrame, title: str) -> None:
    margin = path["margin_points"].iloc[0]
    n, difference = path["n"], path["difference_points"]
    verdict = str(path["verdict"].iloc[-1]) or "no verdict"
    color = style.GREY if verdict == "undecided" else style.BLUE
    axes.axhspan(-margin, margin, facecolor="#DCE6EC", edgecolor="#B9C7D0", hatch="////", lw=0)
    axes.axhline(0, color=style.BLACK, lw=0.9)
    for sign in (-1, 1):
        axes.plot(n, sign * path["boundary_points"], "--", color=style.ORANGE, marker="_", lw=1)
    axes.errorbar(n, difference, yerr=path["half_width_points"], fmt="o-", color=color, capsize=3)
    axes.set_title(f"{title}\n{verdict} at n = {n.iloc[-1]}", loc="left", fontsize=8.5)
    axes.set_xticks(sorted(set(n)))
    axes.margins(x=0.25)
