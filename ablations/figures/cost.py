"""Error against parameters, as in Fig. 2 of the SKNet paper, or latency; with labelled points."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from ablations.figures import style
from ablations.figures.charts import Chart


def draw_cost(chart: Chart) -> Figure:
    """Draws error against parameters."""
    return _draw(chart.data, x="params_millions", label="parameters (millions)")


def draw_latency(chart: Chart) -> Figure:
    """Draws error against measured latency."""
    return _draw(chart.data, x="latency_ms", label="latency of one image (ms)")


def _draw(data: pd.DataFrame, *, x: str, label: str) -> Figure:
    """Draws one panel below the other; a line joins each point with its name at the right."""
    panels = list(dict.fromkeys(data["panel"]))
    most = max(int((data["panel"] == panel).sum()) for panel in panels)
    names = map(style.name_variant, data["variant"], data["is_baseline"])
    line = style.LINE_HEIGHT * (style.count_lines(names) + 0.25)  # inches
    height = max(2.2, line * most)
    figure = Figure((style.WIDTH, len(panels) * (height + 0.8)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        _draw_panel(axes, data[data["panel"] == panel], x=x, gap=line / height)
        axes.set_title(panel, loc="left", **style.TITLES)
        axes.set_xlabel(label)
        axes.set_ylabel("top-1 error (%)")
    return figure


def spread_labels(places: Sequence[float], *, gap: float) -> list[float]:
    """Moves places in [0, 1] as little as possible, so that they are at least `gap` apart.

    >>> [round(place, 2) for place in spread_labels([0.5, 0.5, 0.02], gap=0.1)]
    [0.45, 0.55, 0.02]
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(places))
    spread = np.empty(len(places))
    spread[order] = isotonic_regression(np.asarray(places)[order] - steps).x
    spread[order] = spread[order].clip(0, max(0, 1 - gap * (len(places) - 1))) + steps
    return [float(place) for place in spread]


def _draw_panel(axes: Axes, data: pd.DataFrame, *, x: str, gap: float) -> None:
    half_widths = data["half_width_points"].fillna(0)
    lowest = (data["top1_error_percent"] - half_widths).min()
    highest = (data["top1_error_percent"] + half_widths).max()
    room = 0.06 * (highest - lowest) or 0.5
    axes.set_ylim(lowest - room, highest + room)
    axes.margins(x=0.06)
    wished = (data["top1_error_percent"] - lowest + room) / (highest - lowest + 2 * room)
    heights = spread_labels(list(wished), gap=gap)
    for height, row in zip(heights, data.to_dict("records"), strict=True):
        point = (row[x], row["top1_error_percent"])
        is_baseline = row["is_baseline"]
        axes.errorbar(
            *point,
            yerr=None if pd.isna(row["half_width_points"]) else row["half_width_points"],
            fmt="D" if is_baseline else "o",
            color=style.BLACK if is_baseline else style.BLUE,
            markersize=6,
            capsize=3,
            elinewidth=1,
        )
        axes.annotate(
            style.name_variant(row["variant"], is_baseline),
            point,
            (1.03, height),
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#8A8A8A",
                "lw": 0.6,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )
