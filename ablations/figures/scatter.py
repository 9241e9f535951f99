"""Error against parameters, as in Fig. 2 of the SKNet paper, latency, or printed error."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from ablations.figures import style
from ablations.figures.charts import Chart
from ablations.figures.labels import NEAREST, place_labels


def draw_cost(chart: Chart) -> Figure:
    """Draws error against parameters."""
    return _draw(chart.data, x="params_millions", label="parameters (millions)")


def draw_latency(chart: Chart) -> Figure:
    """Draws error against measured latency."""
    return _draw(chart.data, x="latency_ms", label="latency of one image (ms)")


def draw_agreement(chart: Chart) -> Figure:
    """Draws measured error against printed error, with each name near its point."""
    data = chart.data
    figure = Figure((style.WIDTH, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set_title(data["panel"].iloc[0], loc="left", **style.TITLES)
    axes.set_xlabel("error printed in the paper (%)")
    axes.set_ylabel("top-1 error (%)")
    axes.margins(0.12, 0.08)
    rows = data.to_dict("records")
    for row in rows:
        _draw_point(axes, row, x="printed_error_percent")
    figure.draw_without_rendering()  # computes the layout, which names inside do not change
    axes.autoscale(enable=False)
    _name_points(axes, rows)
    return figure


def _name_points(axes: Axes, rows: Sequence[dict[Hashable, Any]]) -> None:
    """Writes names where nothing else is drawn; a line leads from a point to a distant name."""
    names = [style.name_variant(row["variant"], row["is_baseline"]) for row in rows]
    places = np.array([(row["printed_error_percent"], row["top1_error_percent"]) for row in rows])
    reach = np.nan_to_num([row["half_width_points"] for row in rows])
    centres, tops, bottoms = (
        axes.transData.transform(places + np.outer(side * reach, (0, 1))) for side in (0, 1, -1)
    )
    labels = [axes.text(0, 0, name, va="center", ha="center") for name in names]
    boxes = place_labels(
        np.hstack([centres - 5, centres + 5]),
        np.hstack([bottoms - 4, tops + 4]),
        [(extent.width, extent.height) for extent in (text.get_window_extent() for text in labels)],
        area=np.array([axes.bbox.extents]),
    )
    for label, box, centre in zip(labels, boxes, centres, strict=True):
        end = np.clip(centre, box[:2], box[2:])
        middle, *line = axes.transData.inverted().transform([(box[:2] + box[2:]) / 2, centre, end])
        label.set_position((middle[0], middle[1]))
        if np.abs(end - centre).max() > NEAREST + 1:
            axes.plot(*np.transpose(line), color="#8A8A8A", lw=0.6, zorder=1)


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
        _draw_point(axes, row, x=x)
        axes.annotate(
            style.name_variant(row["variant"], row["is_baseline"]),
            (row[x], row["top1_error_percent"]),
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


def _draw_point(axes: Axes, row: dict[Hashable, Any], *, x: str) -> None:
    """Draws a variant's error with its interval."""
    is_baseline = row["is_baseline"]
    axes.errorbar(
        row[x],
        row["top1_error_percent"],
        yerr=None if pd.isna(row["half_width_points"]) else row["half_width_points"],
        fmt="D" if is_baseline else "o",
        color=style.BLACK if is_baseline else style.BLUE,
        markersize=6,
        capsize=3,
        elinewidth=1,
    )
