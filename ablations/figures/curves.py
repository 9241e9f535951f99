"""Test error and training loss by epoch: one small panel per variant, with the baseline."""

from math import ceil

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from ablations.figures import style
from ablations.figures.charts import Chart

_COLUMNS = 4
"""Panels per row."""

_LABELS = {
    "top1_error_percent": "top-1 error (%)",
    "train_loss_nats": "training loss (nats)",
}

_WIDE = 5
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def draw_curves(chart: Chart) -> Figure:
    """Draws one block of panels per quantity; all panels of a block share their axes."""
    data = chart.data
    names = data.drop_duplicates("variant")
    titles = [
        style.name_variant(name, is_baseline, width=26)
        for name, is_baseline in zip(names["variant"], names["is_baseline"], strict=True)
    ]
    height = 1.3 + style.LINE_HEIGHT * style.count_lines(titles)
    rows = ceil(len(titles) / _COLUMNS)
    blocks = list(dict.fromkeys(data["quantity"]))
    figure = Figure((style.WIDTH, len(blocks) * (height * rows + 0.5) + 0.3), layout="constrained")
    parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
    for part, quantity in zip(parts, blocks, strict=True):
        _draw_block(part, data[data["quantity"] == quantity], titles)
        part.supylabel(_LABELS[quantity], fontsize=9.5)
        part.supxlabel("epochs trained", fontsize=9.5)
    figure.legend(handles=_list_keys(), loc="outside upper left", ncols=3)
    return figure


def _draw_block(part: SubFigure, data: pd.DataFrame, titles: list[str]) -> None:
    rows = ceil(len(titles) / _COLUMNS)
    columns = ceil(len(titles) / rows)
    grid = part.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    baseline = data[data["is_baseline"]]
    for axes in grid.flat[len(titles) :]:
        axes.set_visible(False)
    variants = dict.fromkeys(data["variant"])
    for place, (axes, title, name) in enumerate(zip(grid.flat, titles, variants, strict=False)):
        axes.set_title(title, loc="left", fontsize=8.5)
        axes.tick_params(
            which="both", left=False, bottom=False, labelsize=8.5
        )  # the grid shows them
        axes.tick_params(labelbottom=place + columns >= len(titles))
        _draw_variant(axes, data[data["variant"] == name], baseline)
    _scale(grid[0, 0], data)


def _draw_variant(axes: Axes, data: pd.DataFrame, baseline: pd.DataFrame) -> None:
    """Draws a variant's curve and the baseline's; for one epoch, a point with a bar and a level."""
    is_baseline = bool(data["is_baseline"].any())
    color = style.BLACK if is_baseline else style.BLUE
    epochs, mean = data["epochs_trained"], data["mean"]
    if len(epochs) == 1:
        reach = [mean - data["least"], data["greatest"] - mean]
        axes.errorbar(epochs, mean, yerr=reach, fmt="o", color=color, capsize=3)
    else:
        axes.fill_between(epochs, data["least"], data["greatest"], color=color, alpha=0.22, lw=0)
        axes.plot(epochs, mean, color=color)
    if is_baseline:
        return
    if len(baseline) == 1:
        axes.axhline(baseline["mean"].iloc[0], ls="--", color=style.BLACK, lw=1)
    else:
        axes.plot(baseline["epochs_trained"], baseline["mean"], "--", color=style.BLACK, lw=1)


def _scale(axes: Axes, data: pd.DataFrame) -> None:
    """Sets whole epochs, and a logarithmic axis for values of a wide range; panels share both."""
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    if data["epochs_trained"].max() == 1:
        axes.set_xlim(0.5, 1.5)
    if 0 < _WIDE * data["least"].min() < data["greatest"].max():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _list_keys() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=style.BLUE, label="mean over seeds"),
        Patch(color=style.BLUE, alpha=0.22, lw=0, label="least to greatest seed"),
        Line2D([], [], color=style.BLACK, ls="--", lw=1, label="baseline's mean"),
    ]
