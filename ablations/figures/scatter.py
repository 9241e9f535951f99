"""Error against parameters, as in Fig. 2 of the SKNet paper, latency, or printed error."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.figures import style
from ablations.figures.charts import Chart
from ablations.figures.labels import NEAREST, place_labels

MIN_HEIGHT, NAME_HEIGHT = 3.6, 0.26
"""Least height of a panel, and height per name, in inches."""


def draw_cost(chart: Chart) -> Figure:
    """Draws error against parameters."""
    return _draw(chart.data, x="params_millions", label="parameters (millions)")


def draw_latency(chart: Chart) -> Figure:
    """Draws error against measured latency."""
    return _draw(chart.data, x="latency_ms", label="latency of one image (ms)")


def draw_agreement(chart: Chart) -> Figure:
    """Draws measured error against printed error."""
    return _draw(chart.data, x="printed_error_percent", label="error printed in the paper (%)")


def _draw(data: pd.DataFrame, *, x: str, label: str) -> Figure:
    """Draws one panel below the other, with each name near its point."""
    panels = {name: panel.to_dict("records") for name, panel in data.groupby("panel", sort=False)}
    height = max(MIN_HEIGHT, NAME_HEIGHT * max(map(len, panels.values())))
    figure = Figure((style.WIDTH, height * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, (name, rows) in zip(all_axes, panels.items(), strict=True):
        axes.set_title(str(name), loc="left", **style.TITLES)
        axes.set_xlabel(label)
        axes.set_ylabel("top-1 error (%)")
        axes.margins(0.12, 0.08)
        for row in rows:
            _draw_point(axes, row, x=x)
    figure.draw_without_rendering()  # computes the layout, which names inside do not change
    for axes, rows in zip(all_axes, panels.values(), strict=True):
        axes.autoscale(enable=False)
        _name_points(axes, rows, x=x)
    return figure


def _name_points(axes: Axes, rows: Sequence[dict[Hashable, Any]], *, x: str) -> None:
    """Writes names where nothing else is drawn; a line leads from a point to a distant name."""
    names = [style.name_variant(row["variant"], row["is_baseline"]) for row in rows]
    places = np.array([(row[x], row["top1_error_percent"]) for row in rows])
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
