"""One row per variant or statement: errors and differences with their intervals."""

from collections.abc import Hashable, Sequence
from textwrap import fill, shorten
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ablations.figures import style
from ablations.figures.charts import Chart

_MARKS = {
    "better": ("<", style.BLUE),
    "worse": (">", style.ORANGE),
    "equivalent": ("s", style.GREEN),
    "supported": ("o", style.BLUE),
    "contradicted": ("X", style.ORANGE),
}
"""Marker and colour by the first word of a verdict; all others are open circles."""

Place = tuple[str, str]
"""Claim and statement of a row; a heading has no statement, that of an experiment no claim."""

_STATEMENT_WIDTH = 48
"""Maximum number of characters per line of a statement."""

_HEADING_WIDTH = 96
"""Maximum number of characters of a claim above its statements."""


def draw_errors(chart: Chart) -> Figure:
    """Draws our errors at the left and the paper's at the right, each with an axis of its own."""
    data = chart.data
    panels = list(dict.fromkeys(data["panel"]))
    variants = data.drop_duplicates("variant")
    names = _name_rows(variants)
    figure = _make_figure(names)
    widths = [2.2, 1.3][: len(panels)]
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False, width_ratios=widths)
    places = {name: place for place, name in enumerate(variants["variant"])}
    style.label_rows(grid[0, 0], names)
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_title(panel, loc="left", **style.TITLES)
        axes.set_xlabel("top-1 error (%)")
        axes.tick_params(axis="y", labelleft=axes is grid[0, 0])
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        style.shade_baseline(axes, list(variants["is_baseline"]))
        for row in data[data["panel"] == panel].to_dict("records"):
            _draw_error(axes, places[row["variant"]], row)
    return figure


def draw_differences(chart: Chart) -> Figure:
    """Draws zero, the margin, and each row's interval with its verdict."""
    data = chart.data
    names = _name_rows(data)
    figure = _make_figure(names)
    axes = figure.subplots()
    margin = data["margin_points"].iloc[0]
    style.label_rows(axes, names)
    style.shade_baseline(axes, list(data["is_baseline"]))
    axes.axvspan(-margin, margin, facecolor="#DCE6EC", edgecolor="#B9C7D0", hatch="////", lw=0)
    axes.axvline(0, color=style.BLACK, lw=0.9)
    for place, row in enumerate(data.to_dict("records")):
        _draw_difference(axes, place, row)
    base = data.loc[data["is_baseline"], "variant"]
    origin = f" from {base.iloc[0]}" if len(base) else ""
    axes.set_xlabel(f"difference of top-1 error{origin} (points)")
    reach = (data["difference_points"].abs() + data["half_width_points"].fillna(0)).max()
    axes.set_xlim(-1.08 * max(reach, margin), 1.08 * max(reach, margin))
    axes.set_title("← better", loc="left", **style.TITLES)
    axes.set_title(f"shaded: margin of ±{margin:g} points", **style.TITLES)
    axes.set_title("worse →", loc="right", **style.TITLES)
    return figure


def draw_statements(chart: Chart) -> Figure:
    """Draws one panel per experiment and recipe, and one row per statement below its claim."""
    data = chart.data
    recipes = list(dict.fromkeys(data["recipe"]))
    groups = {
        str(name): _arrange_statements(own) for name, own in data.groupby("experiment", sort=False)
    }
    names = {name: _name_statements(name, rows) for name, rows in groups.items()}
    lines = [sum(text.count("\n") + 1 for text in own) for own in names.values()]
    height = 0.8 + style.LINE_HEIGHT * sum(1.2 * number + 1.5 for number in lines)
    figure = Figure((style.WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.12, hspace=0.02))
    grid = figure.subplots(
        *(len(groups), len(recipes)), sharey="row", squeeze=False, height_ratios=lines
    )
    for panels, (experiment, rows) in zip(grid, groups.items(), strict=True):
        _label_statements(panels[0], rows, names[experiment])
        for axes, recipe in zip(panels, recipes, strict=True):
            is_own = (data["experiment"] == experiment) & (data["recipe"] == recipe)
            _draw_statements(axes, rows, data[is_own])
            axes.tick_params(axis="y", length=0, labelleft=axes is panels[0])
    for axes, recipe in zip(grid[0], recipes, strict=True):
        axes.set_title(recipe, loc="left", **style.TITLES)
    figure.supxlabel("difference of top-1 error (points)", fontsize=style.SETTINGS["font.size"])
    _explain_marks(figure)
    return figure


def _arrange_statements(data: pd.DataFrame) -> list[Place]:
    """The rows of an experiment.

    A claim of a single statement needs no heading; such claims come first.
    """
    keys = data[["claim", "statement"]].drop_duplicates().itertuples(index=False, name=None)
    claims: dict[str, list[Place]] = {}
    for claim, statement in keys:
        claims.setdefault(claim, []).append((claim, statement))
    rows = [("", ""), *(own[0] for own in claims.values() if len(own) == 1)]
    for claim, own in claims.items():
        rows += [(claim, ""), *own] if len(own) > 1 else []
    return rows


def _name_statements(experiment: str, rows: Sequence[Place]) -> list[str]:
    """The labels of rows; a claim's heading is written across the panels instead."""
    texts = [statement or ("" if claim else experiment) for claim, statement in rows]
    return [fill(text, _STATEMENT_WIDTH) for text in texts]


def _label_statements(axes: Axes, rows: Sequence[Place], names: Sequence[str]) -> None:
    """Labels the rows of the first panel, whose headings lie above the other panels."""
    style.label_rows(axes, names)
    axes.set_zorder(1)
    labels = axes.get_yticklabels()
    for place, (label, (claim, statement)) in enumerate(zip(labels, rows, strict=True)):
        label.set(fontsize=8.5, fontweight="normal" if claim else "bold")
        if claim and not statement:
            _write_heading(axes, place, claim)


def _draw_statements(axes: Axes, rows: Sequence[Place], data: pd.DataFrame) -> None:
    """Draws one panel; without a known difference it stays empty."""
    axes.spines["left"].set_visible(False)
    known = data.dropna(subset="difference_points")
    if known.empty:
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
        axes.grid(visible=False)
        return
    axes.axvline(0, color=style.BLACK, lw=0.9)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for row in known.to_dict("records"):
        interval = row["difference_points"], row["half_width_points"]
        marker, color = find_mark(row["verdict"])
        place = rows.index((row["claim"], row["statement"]))
        draw_interval(axes, place, interval, marker=marker, color=color)


def _write_heading(axes: Axes, place: int, claim: str) -> None:
    """Writes a claim across all panels, whose row is empty."""
    axes.text(
        *(0.0, place, shorten(claim, _HEADING_WIDTH, placeholder=" …")),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=8.5,
        fontstyle="italic",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        in_layout=False,
    )


def _explain_marks(figure: Figure) -> None:
    """A legend of the verdicts on claims, above the panels."""
    handles = [
        Line2D([], [], ls="", marker=marker, color=color, markerfacecolor=fill_color, label=word)
        for word in ("supported", "contradicted", "undecided")
        for marker, color in (find_mark(word),)
        for fill_color in ("white" if color == style.GREY else color,)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))


def _name_rows(variants: pd.DataFrame) -> list[str]:
    pairs = zip(variants["variant"], variants["is_baseline"], strict=True)
    return [style.name_variant(name, is_baseline) for name, is_baseline in pairs]


def _make_figure(names: list[str]) -> Figure:
    row_height = style.LINE_HEIGHT * (0.85 + style.count_lines(names))
    return Figure((style.WIDTH, 1.0 + row_height * max(len(names), 2)), layout="constrained")


def _draw_error(axes: Axes, place: int, row: dict[Hashable, Any]) -> None:
    value, half_width = row["top1_error_percent"], row["half_width_points"]
    if pd.isna(value):
        style.write_beside(axes, place, "no finished trial", color=style.GREY)
        return
    marker, color = ("D", style.BLACK) if row["is_baseline"] else ("o", style.BLUE)
    draw_interval(axes, place, (value, half_width), marker=marker, color=color)
    known = "" if pd.isna(half_width) else f" ± {half_width:.2f}"
    style.write_beside(axes, place, f"{value:.2f}{known}")


def _draw_difference(axes: Axes, place: int, row: dict[Hashable, Any]) -> None:
    value = row["difference_points"]
    if row["is_baseline"]:
        draw_interval(axes, place, (value, float("nan")), marker="D", color=style.BLACK)
        return
    if pd.isna(value):
        style.write_beside(axes, place, "no common seed", color=style.GREY)
        return
    verdict = row["verdict"] or "no verdict"
    marker, color = find_mark(verdict)
    draw_interval(axes, place, (value, row["half_width_points"]), marker=marker, color=color)
    style.write_beside(axes, place, verdict)


def find_mark(verdict: str) -> tuple[str, str]:
    """Marker and colour of a verdict."""
    return _MARKS.get(verdict.split(",")[0], ("o", style.GREY))


def draw_interval(
    axes: Axes, place: int, interval: tuple[float, float], *, marker: str, color: str
) -> None:
    """Draws a value with its interval; open if its spread or its sign is unknown."""
    value, half_width = interval
    is_open = color == style.GREY or pd.isna(half_width)
    axes.errorbar(
        value,
        place,
        xerr=None if pd.isna(half_width) else half_width,
        fmt=marker,
        color=color,
        markerfacecolor="white" if is_open else color,
        markersize=6,
        capsize=3,
        clip_on=False,
    )
