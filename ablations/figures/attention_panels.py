"""Drawings of attention: by depth, object size, class and kernel; interventions; examples."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from ablations.figures import style
from ablations.figures.charts import Chart
from ablations.figures.forests import draw_interval, find_mark

_DIFFERENCE = "largest − smallest kernel"

_STEPS: tuple[dict[str, Any], ...] = (
    {"color": style.BLACK, "ls": "-", "marker": "o"},
    {"color": style.BLUE, "ls": "--", "marker": "s"},
    {"color": style.ORANGE, "ls": ":", "marker": "^"},
)
"""Styles of the enlargements."""

_ROLES: dict[str, dict[str, Any]] = {
    "trained": {"color": style.BLUE, "ls": "-"},
    "untrained": {"color": style.BLACK, "ls": "--"},
    "shuffled labels": {"color": style.ORANGE, "ls": ":"},
}
"""Styles of the networks."""

_FILLS = (style.GREEN, style.BLUE, style.ORANGE, style.GREY, style.BLACK)
"""Colours of kernels, from the smallest."""

_COLUMNS = 4
"""Panels per row."""


def draw_depth(chart: Chart) -> Figure:
    """Draws one panel per variant, with a line per enlargement over the units."""
    data = chart.data
    variants = list(dict.fromkeys(data["variant"]))
    rows = -(-len(variants) // _COLUMNS)
    columns = -(-len(variants) // rows)
    figure = Figure((style.WIDTH, 3.2 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(variants) :]:
        axes.set_visible(False)
    for axes, variant in zip(grid.flat, variants, strict=False):
        own = data[data["variant"] == variant]
        units = list(dict.fromkeys(own["unit"]))
        axes.axhline(0, color="#9A9A9A", lw=0.9)
        for step, (_, line) in enumerate(own.groupby("enlargement")):
            axes.errorbar(
                np.arange(len(units)) + 0.06 * (step - 1),
                line["mean"],
                yerr=_hide_unknown(line["half_width"]),
                capsize=3,
                markersize=4,
                **_STEPS[step % len(_STEPS)],
            )
        axes.set_xticks(range(len(units)), units, rotation=45 if len(units) > 6 else 0)
        axes.margins(x=0.1)
        axes.set_title(style.name_variant(variant, False, width=26), loc="left", fontsize=8.5)
    figure.supylabel(_DIFFERENCE, fontsize=8.5)
    handles = [
        Line2D([], [], label=f"enlarged {value:g}x", **_STEPS[step % len(_STEPS)])
        for step, value in enumerate(sorted(set(data["enlargement"])))
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def draw_sizes(chart: Chart) -> Figure:
    """Draws one row per variant and one panel per unit, with a line per kind of network."""
    data = chart.data
    figure, panels = _make_grid(data, height=1.9)
    for axes, own in panels:
        axes.axhline(0, color="#9A9A9A", lw=0.9)
        texts = {}
        for role, line in own.groupby("role", sort=False):
            look = _ROLES[str(role)]
            half_width = line["half_width"].fillna(0)
            low, high = line["mean"] - half_width, line["mean"] + half_width
            axes.fill_between(line["object_size"], low, high, color=look["color"], alpha=0.18, lw=0)
            axes.plot(line["object_size"], line["mean"], **look)
            correlation = line["correlation"].iloc[0]
            known = "" if pd.isna(correlation) else f"{correlation:+.2f}"
            texts[role] = f"r = {known}" if role == "trained" else f"{role} {known}"
        trained = texts.pop("trained", "")
        title = f"{axes.get_title(loc='left')}, {trained}\n{', '.join(texts.values())}"
        axes.set_title(title, loc="left", fontsize=7.5)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supxlabel("side of the object (pixels)", fontsize=9.5)
    figure.supylabel(_DIFFERENCE, fontsize=8.5)
    handles = [
        Line2D([], [], label=role, **look)
        for role, look in _ROLES.items()
        if role in set(data["role"])
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def draw_interventions(chart: Chart) -> Figure:
    """Draws zero, the margin, and the interval of each variant and intervention."""
    data = chart.data
    names = [f"{row.variant}: {row.intervention}" for row in data.itertuples()]
    figure = Figure(
        (style.WIDTH, 1.0 + 1.6 * style.LINE_HEIGHT * max(len(names), 2)), layout="constrained"
    )
    axes = figure.subplots()
    margin = data["margin_points"].iloc[0]
    style.label_rows(axes, names)
    axes.axvspan(-margin, margin, facecolor="#DCE6EC", edgecolor="#B9C7D0", hatch="////", lw=0)
    axes.axvline(0, color=style.BLACK, lw=0.9)
    axes.set_xscale("symlog", linthresh=1)
    for place, row in enumerate(data.to_dict("records")):
        verdict = row["verdict"] or "no verdict"
        marker, color = find_mark(verdict)
        interval = (row["difference_points"], row["half_width_points"])
        draw_interval(axes, place, interval, marker=marker, color=color)
        style.write_beside(axes, place, f"{row['top1_error_percent']:.1f} %, {verdict}")
    axes.set_xlim(right=100)
    axes.xaxis.set_major_locator(FixedLocator([-100, -10, -1, 0, 1, 10, 100]))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("difference of top-1 error from the intact network (points)")
    axes.set_title("worse →", loc="right", **style.TITLES)
    return figure


def draw_classes(chart: Chart) -> Figure:
    """Draws one row per variant and one panel per unit, with a point per class."""
    figure, panels = _make_grid(chart.data, height=2.2)
    for axes, own in panels:
        values = own[["not_enlarged", "enlarged"]].to_numpy()
        ends = [values.min(), values.max()]
        axes.plot(ends, ends, color="#9A9A9A", lw=0.9)
        axes.plot(own["not_enlarged"], own["enlarged"], "o", color=style.BLUE, markersize=4)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    figure.supxlabel(f"{_DIFFERENCE}, not enlarged", fontsize=8.5)
    figure.supylabel("enlarged", fontsize=8.5)
    return figure


def draw_shares(chart: Chart) -> Figure:
    """Draws one row per variant and one panel per unit, with the kernels' shares stacked."""
    data = chart.data
    extents = sorted(set(data["extent"]))
    colors = {extent: _FILLS[place % len(_FILLS)] for place, extent in enumerate(extents)}
    figure, panels = _make_grid(data, height=2.0)
    for axes, own in panels:
        table = own.pivot(index="object_size", columns="extent", values="share")
        axes.stackplot(
            table.index, table.T, colors=[colors[extent] for extent in table], alpha=0.75
        )
        axes.set_ylim(0, 1)
        axes.set_xlim(table.index.min(), table.index.max())
    figure.supxlabel("side of the object (pixels)", fontsize=9.5)
    figure.supylabel("share of attention", fontsize=9.5)
    handles = [Patch(color=colors[e], alpha=0.75, label=f"{e}x{e}") for e in extents]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    return figure


def draw_fields(chart: Chart) -> Figure:
    """Draws one row per variant, and one map per stage and enlargement."""
    data = chart.data
    variants = list(dict.fromkeys(data["variant"]))
    columns = list(dict.fromkeys(zip(data["unit"], data["enlargement"], strict=True)))
    figure = Figure((style.WIDTH, 1.35 * len(variants) + 0.4), layout="constrained")
    grid = figure.subplots(len(variants), len(columns), squeeze=False)
    for row, variant in zip(grid, variants, strict=True):
        for axes, (unit, enlargement) in zip(row, columns, strict=True):
            is_own = (data["unit"] == unit) & (data["enlargement"] == enlargement)
            own = data[is_own & (data["variant"] == variant)]
            axes.set_axis_off()
            if own.empty:
                continue
            _draw_picture(axes, own)
            radius = own["radius_pixels"].iloc[0]
            axes.set_title(f"{unit} at {enlargement:g}x: {radius:.1f}", loc="left", fontsize=7.5)
        row[0].set_title(
            f"{style.name_variant(variant, False, width=26)}\n{row[0].get_title(loc='left')}",
            loc="left",
            fontsize=7.5,
        )
    return figure


def draw_montage(chart: Chart) -> Figure:
    """Draws one row per image: its pictures, the difference by unit, attention by channel."""
    data = chart.data
    images = list(dict.fromkeys(data["image"]))
    steps = sorted(set(data["enlargement"]))
    widths = [1.0] * len(steps) + [1.9, 2.4]
    figure = Figure((style.WIDTH, 1.75 * len(images) + 0.5), layout="constrained")
    grid = figure.subplots(len(images), len(widths), squeeze=False, width_ratios=widths)
    for panels, image in zip(grid, images, strict=True):
        own = data[data["image"] == image]
        for axes, step in zip(panels, steps, strict=False):
            _draw_picture(axes, own[(own["enlargement"] == step) & (own["kind"] == "picture")])
            axes.set_title(f"{step:g}x", loc="left", fontsize=8)
        panels[0].set_title(f"{image}\n{steps[0]:g}x", loc="left", fontsize=8)
        for axes, (kind, part) in zip(panels[len(steps) :], _split_kinds(own), strict=True):
            _draw_lines(axes, part, is_difference=kind == "difference")
            axes.set_title("by unit" if kind == "difference" else kind, loc="left", fontsize=8)
    handles = [
        Line2D([], [], label=f"enlarged {value:g}x", **_STEPS[step % len(_STEPS)])
        for step, value in enumerate(steps)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=3)
    return figure


def _draw_picture(axes: Axes, pixels: pd.DataFrame) -> None:
    side = round(len(pixels) ** 0.5)
    levels = pixels["value"].to_numpy().reshape(side, side)
    axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def _split_kinds(data: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for kind in dict.fromkeys(data["kind"]):
        if kind != "picture":
            yield str(kind), data[data["kind"] == kind]


def _draw_lines(axes: Axes, data: pd.DataFrame, *, is_difference: bool) -> None:
    for step, (_, line) in enumerate(data.groupby("enlargement")):
        look = _STEPS[step % len(_STEPS)]
        marker = look["marker"] if is_difference else ""
        axes.plot(range(len(line)), line["value"], **{**look, "marker": marker}, markersize=3, lw=1)
    if is_difference:
        units = list(dict.fromkeys(data["place"]))
        axes.axhline(0, color="#9A9A9A", lw=0.9)
        axes.set_xticks(range(len(units)), units, rotation=45 if len(units) > 4 else 0)
    else:
        axes.set_xlabel("channel", fontsize=8)
    axes.tick_params(labelsize=7.5)


def _make_grid(
    data: pd.DataFrame, *, height: float
) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A row of panels per variant, one per unit, with the data of each."""
    variants = list(dict.fromkeys(data["variant"]))
    units = {v: list(dict.fromkeys(data.loc[data["variant"] == v, "unit"])) for v in variants}
    most = max(map(len, units.values()))
    figure = Figure((style.WIDTH, height * len(variants) + 0.6), layout="constrained")
    grid = figure.subplots(len(variants), most, squeeze=False)
    panels = []
    for row, variant in zip(grid, variants, strict=True):
        for axes in row[len(units[variant]) :]:
            axes.set_visible(False)
        for axes, unit in zip(row, units[variant], strict=False):
            axes.set_title(f"{variant}: {unit}", loc="left", fontsize=8)
            axes.tick_params(labelsize=7.5)
            own = data[(data["variant"] == variant) & (data["unit"] == unit)]
            panels.append((axes, own))
    return figure, panels


def _hide_unknown(half_widths: pd.Series) -> Sequence[float] | None:
    return None if half_widths.isna().all() else list(half_widths)
