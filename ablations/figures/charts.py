"""A table and its curves -> the exact data of each figure, without drawing.

Adding a figure takes a function that selects its data, one that draws it, and an entry here in
`FIGURES`.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.formatting import format_level
from ablations.statistics import SIGNIFICANCE, Agreement, Look
from ablations.study import Study
from ablations.tables import PRINTED_ERRORS, Table, list_curves

Selected = tuple[str, pd.DataFrame]
"""Caption of a figure, and exactly what it plots."""

DECIMALS = 6
"""Decimals of plotted data, so that last digits that differ between machines change no figure."""

PAPER_PANEL = "paper, as printed"
"""Title of the panel with the papers' numbers, which share no axis with ours."""

CURVES = {"top1_error": "top1_error_percent", "train_loss": "train_loss_nats"}
"""Columns of the trials' curves that are plotted, with their names in a chart."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Everything about one figure except its drawing."""

    name: str
    """Stem of its files."""

    caption: str
    """What the figure shows, the meaning of bars and bands, and the number of seeds."""

    data: pd.DataFrame
    """Exactly what is plotted, in long form, with units in the names of columns."""

    draw: str
    """Function that draws it, as `module:name`; its module loads matplotlib."""

    @property
    def digest(self) -> str:
        """SHA-256 of the data: charts with the same name and digest show the same."""
        text = str(self.data.to_csv(index=False, lineterminator="\n"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What charts are built from."""

    rows: pd.DataFrame
    """One row per variant, as in `Table.rows`; the papers' columns may be absent."""

    curves: pd.DataFrame
    """One row per epoch of each trial, as from `list_curves`."""

    baseline: str
    """The variant that the others are compared with."""

    recipe_name: str
    """How the trials were trained."""

    margin: float
    """Points of error below which a difference does not matter."""

    only_printed: Collection[str] = ()
    """Rows that are not trained; they appear in the papers' panels only."""

    level: float = SIGNIFICANCE
    """Level of the tests; the confidence level of the differences' intervals is 1 minus it."""

    looks: Sequence[Look] = ()
    """The looks at the table; empty unless several were planned."""

    conditions: str = ""
    """How speeds were measured, in words; empty if there are none."""

    agreement: Agreement | None = None
    """Agreement with the ranking that papers printed; None with too few printed errors."""

    @property
    def trained(self) -> pd.DataFrame:
        """The rows that are trained."""
        return self.rows.drop(index=list(self.only_printed))

    @property
    def panel(self) -> str:
        """Title of the panel with our errors."""
        return f"recipe {self.recipe_name}"


def list_charts(study: Study, table: Table) -> tuple[Chart, ...]:
    """The charts of a study; a figure that has nothing to plot is left out."""
    definition = study.definition
    return build_charts(
        Source(
            rows=table.rows,
            curves=list_curves(study),
            baseline=definition.baseline,
            recipe_name=definition.recipe_name,
            margin=definition.margin,
            level=table.path.question.level,
            only_printed=definition.only_printed,
            looks=table.path.looks if len(table.path.question.looks) > 1 else (),
            conditions=study.benchmark.describe() if study.benchmark else "",
            agreement=table.agreement,
        )
    )


def build_charts(source: Source) -> tuple[Chart, ...]:
    """The charts of a table; a figure that has nothing to plot is left out."""
    return tuple(
        Chart(name=name, caption=caption, data=data, draw=figure.draw)
        for name, figure in FIGURES.items()
        if (found := figure.select(source)) is not None
        for caption, data in (found,)
    )


def _select_errors(source: Source) -> Selected | None:
    rows, baseline, panel = source.trained, source.baseline, source.panel
    measured = _tidy(
        {
            "n": rows["n"],
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=baseline,
        panel=panel,
    )
    printed = _tidy(
        {"top1_error_percent": _column(source.rows, "paper_top1_error")},
        baseline=baseline,
        panel=PAPER_PANEL,
    ).dropna(subset="top1_error_percent")
    if measured["top1_error_percent"].isna().all() and printed.empty:
        return None
    caption = (
        f"Top-1 error on the test images, {panel}: mean over seeds after the last epoch; bars "
        f"are 95 % t-intervals over retraining, {_say_seeds(rows['n'])}. Lower is better."
        + (_PAPER_APART if len(printed) else "")
    )
    return caption, _stack(measured, printed)


def _select_differences(source: Source) -> Selected | None:
    rows, baseline, margin = source.trained, source.baseline, source.margin
    data = _tidy(
        {
            "n": rows["n"],
            "difference_points": rows["difference"],
            "half_width_points": rows["difference_half_width"],
            "margin_points": pd.Series(margin, rows.index),
            "verdict": rows["verdict"].astype(object).where(rows["verdict"].notna(), ""),
        },
        baseline=baseline,
    )
    if data.loc[~data["is_baseline"], "difference_points"].isna().all():
        return None
    caption = (
        f"Difference of top-1 error from {baseline}, paired by seed, {_say_seeds(rows['n'])}; bars "
        f"are {format_level(1 - source.level)} intervals of one row, not corrected over the table. "
        f"Shaded: the margin of ±{margin:g} points. Verdicts are corrected over the table."
    )
    return caption, data


def _select_looks(source: Source) -> Selected | None:
    """Every look at which a row was open, with the boundary that the hardest test has to pass."""
    columns = ["variant", "n", "difference_points", "half_width_points", "boundary_points"]
    points = [
        (name, look.n, d.mean, d.half_width, d.find_threshold(look.family))
        for name in source.trained.index
        for look in source.looks
        for d in [look.differences.get(name)]
        if d is not None and d.variance > 0
    ]
    if not points:
        return None
    data = pd.DataFrame(points, columns=columns).round(DECIMALS)
    verdicts = {
        (name, look.n): verdict.text
        for look in source.looks
        for name, verdict in look.verdicts.items()
    }
    places = zip(data["variant"], data["n"], strict=True)
    data = data.assign(
        margin_points=source.margin, verdict=[verdicts.get(place, "") for place in places]
    )
    caption = (
        f"Difference of top-1 error from {source.baseline} at each planned look, up to the look "
        "that decided the row; bars are intervals that hold at all looks together. Dashed: the "
        "difference that the hardest of the tests at that look needs. Shaded: the margin of "
        f"±{source.margin:g} points. Each panel has its own scale."
    )
    return caption, data


def _select_cost(source: Source) -> Selected | None:
    rows, baseline, panel = source.trained, source.baseline, source.panel
    measured = _tidy(
        {
            "n": rows["n"],
            "params_millions": rows["trained_params"] / 1e6,
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=baseline,
        panel=panel,
    )
    printed = _tidy(
        {
            "params_millions": _column(source.rows, "paper_params_m"),
            "top1_error_percent": _column(source.rows, "paper_top1_error"),
        },
        baseline=baseline,
        panel=PAPER_PANEL,
    )
    data = _stack(measured, printed).dropna(subset=["params_millions", "top1_error_percent"])
    if data.empty:
        return None
    has_paper = bool((data["panel"] == PAPER_PANEL).any())
    caption = (
        f"Top-1 error against the parameters of the network that was trained, {panel}: mean over "
        f"seeds with its 95 % t-interval, {_say_seeds(rows['n'])}. Lower and further left is "
        f"better.{_PAPER_APART if has_paper else ''}"
    )
    return caption, data.reset_index(drop=True)


def _select_latency(source: Source) -> Selected | None:
    rows = source.trained
    data = _tidy(
        {
            "n": rows["n"],
            "latency_ms": _column(rows, "latency_ms"),
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=source.baseline,
        panel=source.panel,
    ).dropna(subset=["latency_ms", "top1_error_percent"])
    if data.empty:
        return None
    caption = (
        f"Top-1 error of the trained network, {source.panel}, against the latency of one image, "
        f"measured {source.conditions}: mean error over seeds with its 95 % t-interval, "
        f"{_say_seeds(rows['n'])}; median latency. Lower and further left is better."
    )
    return caption, data.reset_index(drop=True)


def _select_agreement(source: Source) -> Selected | None:
    rows, agreement = source.trained, source.agreement
    if agreement is None:
        return None
    interval = f" ({agreement.interval_text} resampled)" if agreement.interval else ""
    data = _tidy(
        {
            "n": rows["n"],
            "printed_error_percent": _column(rows, f"paper_{agreement.reference}"),
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=source.baseline,
        panel=f"{source.panel}: tau-b = {agreement.tau:z.2f}{interval}",
    ).dropna(subset=["printed_error_percent", "top1_error_percent"])
    if data.empty:
        return None
    caption = (
        f"Top-1 error, {source.panel}, against the {PRINTED_ERRORS[agreement.reference]} that the "
        f"paper prints: mean over seeds with its 95 % t-interval, {_say_seeds(data['n'])}. "
        f"Agreement of the rankings: {agreement}. It describes the recipe and is no verdict on the "
        f"paper."
    )
    return caption, data.reset_index(drop=True)


_PAPER_APART = (
    " The paper's printed numbers come from its own training; they have a panel and axes of their "
    "own."
)
"""End of a caption if the paper has a panel."""


def _select_curves(source: Source) -> Selected | None:
    variants, baseline = list(source.trained.index), source.baseline
    known = source.curves.replace([np.inf, -np.inf], np.nan).dropna(subset=list(CURVES))
    parts = []
    for column, quantity in CURVES.items():
        spread = known.groupby(["variant", "epoch"])[column].agg(["count", "mean", "min", "max"])
        parts.append(spread.reset_index().assign(quantity=quantity))
    data = pd.concat(parts)
    data = data[data["variant"].isin(variants)]
    if data.empty:
        return None
    place = data["variant"].map({name: place for place, name in enumerate(variants)})
    data = data.assign(
        is_baseline=data["variant"] == baseline, epochs_trained=data["epoch"] + 1, place=place
    )
    data = data.sort_values(["quantity", "place", "epoch"], ascending=True)
    data = data.rename(columns={"count": "n", "min": "least", "max": "greatest"})
    columns = ["quantity", "variant", "is_baseline", "epochs_trained", "n"]
    caption = (
        "Test error and training loss after each epoch: mean over seeds, band from the smallest to "
        f"the largest, {_say_seeds(data['n'])}. Dashed, in every panel: the mean of {baseline}."
    )
    plotted = data[[*columns, "mean", "least", "greatest"]].round(DECIMALS)
    return caption, plotted.reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Everything that differs between figures."""

    select: Callable[[Source], Selected | None]
    """Returns the caption and the data to plot, or None if there is nothing to plot."""

    draw: str
    """Function that draws a chart, as `module:name`; its module loads matplotlib."""


FIGURES: Mapping[str, Figure] = {
    "errors": Figure(select=_select_errors, draw="ablations.figures.forests:draw_errors"),
    "differences": Figure(
        select=_select_differences, draw="ablations.figures.forests:draw_differences"
    ),
    "looks": Figure(select=_select_looks, draw="ablations.figures.paths:draw_looks"),
    "cost": Figure(select=_select_cost, draw="ablations.figures.scatter:draw_cost"),
    "latency": Figure(select=_select_latency, draw="ablations.figures.scatter:draw_latency"),
    "agreement": Figure(select=_select_agreement, draw="ablations.figures.scatter:draw_agreement"),
    "curves": Figure(select=_select_curves, draw="ablations.figures.curves:draw_curves"),
}
"""Every figure by the stem of its files, in the order of the report."""


def _tidy(columns: dict[str, pd.Series], *, baseline: str, panel: str = "") -> pd.DataFrame:
    """One row per variant, with its panel, its name, and whether it is the baseline."""
    frame = pd.DataFrame(columns).round(DECIMALS).rename_axis("variant").reset_index()
    frame.insert(1, "is_baseline", frame["variant"] == baseline)
    if panel:
        frame.insert(0, "panel", panel)
    return frame


def _stack(measured: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """The rows of both panels in one frame; values that a printed row lacks are NaN."""
    stacked = pd.concat([measured, printed.reindex(columns=measured.columns)], ignore_index=True)
    return stacked.astype({"n": "Int64"})


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    """A column as numbers; NaN if it is absent."""
    return rows[name].astype(float) if name in rows else pd.Series(np.nan, rows.index)


def _say_seeds(counts: pd.Series) -> str:
    """The number of seeds, or its range.

    >>> _say_seeds(pd.Series([3, 3])), _say_seeds(pd.Series([3, 0]))
    ('n = 3', 'n = 0 to 3')
    """
    least, most = int(counts.min()), int(counts.max())
    return f"n = {most}" if least == most else f"n = {least} to {most}"
