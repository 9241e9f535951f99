"""The data of every figure, and the registry of figures; nothing is drawn here.

Adding a figure takes one entry of `FIGURES` and the two functions that it names.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.study import Study
from ablations.tables import Table, list_curves

DECIMALS = 6
"""Decimals of plotted numbers; further ones may depend on the machine."""

PAPER_PANEL = "paper, as printed"
"""Panel of the papers' numbers, which have axes of their own."""

CURVES = {"top1_error": "top1_error_percent", "train_loss": "train_loss_nats"}
"""Plotted columns of the learning curves, and their names in a chart."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure before it is drawn."""

    name: str
    """Key in `FIGURES`, and the stem of its files."""

    caption: str
    """What is shown, what bars and bands mean, and over how many seeds."""

    data: pd.DataFrame
    """All plotted values and nothing else, in long form, with units in the column names."""

    @property
    def digest(self) -> str:
        """SHA-256 of the data; charts with equal names and digests show the same."""
        text = str(self.data.to_csv(index=False, lineterminator="\n"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Results:
    """The results that figures are made of."""

    rows: pd.DataFrame
    """One row per variant, as in `Table.rows`; the papers' columns may be absent."""

    curves: pd.DataFrame
    """One row per epoch of each trial, as from `list_curves`."""

    baseline: str
    """The variant that the others are compared with."""

    recipe_name: str
    """Name of the recipe."""

    margin: float
    """Points of error below which a difference does not matter."""

    only_printed: Collection[str] = ()
    """Rows that are not trained; they appear only in the papers' panels."""

    @property
    def trained(self) -> pd.DataFrame:
        """Rows of variants that are trained."""
        return self.rows.drop(index=list(self.only_printed))

    @property
    def panel(self) -> str:
        """Title of the panel of our numbers."""
        return f"recipe {self.recipe_name}"


@dataclass(frozen=True, kw_only=True)
class FigureKind:
    """A kind of figure."""

    build: Callable[[Results], Chart | None]
    """Builds the chart; None if there is nothing to plot."""

    drawing: str
    """Module and function that draws the chart; resolved late, because matplotlib is slow to
    import."""


def list_charts(study: Study, table: Table) -> tuple[Chart, ...]:
    """Builds all charts of a study that have something to plot."""
    definition = study.definition
    return build_charts(
        Results(
            rows=table.rows,
            curves=list_curves(study),
            baseline=definition.baseline,
            recipe_name=definition.recipe_name,
            margin=definition.margin,
            only_printed=definition.only_printed,
        )
    )


def build_charts(results: Results) -> tuple[Chart, ...]:
    """Builds all charts of some results that have something to plot."""
    charts = (kind.build(results) for kind in FIGURES.values())
    return tuple(chart for chart in charts if chart is not None)


def _chart_errors(results: Results) -> Chart | None:
    rows, baseline = results.trained, results.baseline
    measured = _tidy(
        {
            "n": rows["n"],
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=baseline,
        panel=results.panel,
    )
    printed = _tidy(
        {"top1_error_percent": _column(results.rows, "paper_top1_error")},
        baseline=baseline,
        panel=PAPER_PANEL,
    ).dropna(subset="top1_error_percent")
    if measured["top1_error_percent"].isna().all() and printed.empty:
        return None
    return Chart(
        name="errors",
        caption=(
            f"Top-1 error on the test images, {results.panel}: mean over seeds after the last "
            f"epoch. Bars: 95 % t-intervals for retraining, {_describe_seeds(rows['n'])}. Lower is "
            "better." + (_PAPER_APART if len(printed) else "")
        ),
        data=_stack(measured, printed),
    )


def _chart_differences(results: Results) -> Chart | None:
    rows, baseline, margin = results.trained, results.baseline, results.margin
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
    return Chart(
        name="differences",
        caption=(
            f"Difference of top-1 error from {baseline}, paired by seed, "
            f"{_describe_seeds(rows['n'])}. Bars: 95 % intervals of single rows, not corrected "
            f"over the table; verdicts are. Shaded: the margin of ±{margin:g} points."
        ),
        data=data,
    )


def _chart_cost(results: Results) -> Chart | None:
    rows, baseline = results.trained, results.baseline
    measured = _tidy(
        {
            "n": rows["n"],
            "params_millions": rows["trained_params"] / 1e6,
            "top1_error_percent": rows["top1_error"],
            "half_width_points": rows["top1_error_half_width"],
        },
        baseline=baseline,
        panel=results.panel,
    )
    printed = _tidy(
        {
            "params_millions": _column(results.rows, "paper_params_m"),
            "top1_error_percent": _column(results.rows, "paper_top1_error"),
        },
        baseline=baseline,
        panel=PAPER_PANEL,
    )
    data = _stack(measured, printed).dropna(subset=["params_millions", "top1_error_percent"])
    if data.empty:
        return None
    has_paper = bool((data["panel"] == PAPER_PANEL).any())
    return Chart(
        name="cost",
        caption=(
            f"Top-1 error against the parameters of the trained network, {results.panel}: mean "
            f"over seeds with its 95 % t-interval, {_describe_seeds(rows['n'])}. Lower and further "
            "left is better." + (_PAPER_APART if has_paper else "")
        ),
        data=data.reset_index(drop=True),
    )


_PAPER_APART = (
    " The paper's numbers come from its own training and have a panel with separate axes."
)
"""End of a caption if the paper has a panel."""


def _chart_curves(results: Results) -> Chart | None:
    variants, baseline = list(results.trained.index), results.baseline
    known = results.curves.replace([np.inf, -np.inf], np.nan).dropna(subset=list(CURVES))
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
    return Chart(
        name="curves",
        caption=(
            "Test error and training loss after each epoch: mean over seeds, and a band from the "
            f"smallest to the largest value, {_describe_seeds(data['n'])}. Dashed, in every panel: "
            f"mean of {baseline}."
        ),
        data=data[[*columns, "mean", "least", "greatest"]].round(DECIMALS).reset_index(drop=True),
    )


def _tidy(columns: dict[str, pd.Series], *, baseline: str, panel: str = "") -> pd.DataFrame:
    """One row per variant, led by its panel, its name, and whether it is the baseline."""
    frame = pd.DataFrame(columns).round(DECIMALS).rename_axis("variant").reset_index()
    frame.insert(1, "is_baseline", frame["variant"] == baseline)
    if panel:
        frame.insert(0, "panel", panel)
    return frame


def _stack(measured: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """The rows of both panels in one frame, NaN where printed rows lack a column."""
    stacked = pd.concat([measured, printed.reindex(columns=measured.columns)], ignore_index=True)
    return stacked.astype({"n": "Int64"})


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    """A column as numbers, NaN if it is absent."""
    return rows[name].astype(float) if name in rows else pd.Series(np.nan, rows.index)


def _describe_seeds(counts: pd.Series) -> str:
    """Describes the number of seeds, as a range if rows differ.

    >>> _describe_seeds(pd.Series([3, 3])), _describe_seeds(pd.Series([3, 0]))
    ('n = 3', 'n = 0 to 3')
    """
    least, most = int(counts.min()), int(counts.max())
    return f"n = {most}" if least == most else f"n = {least} to {most}"


FIGURES: Mapping[str, FigureKind] = {
    "errors": FigureKind(build=_chart_errors, drawing="ablations.figures.forests:draw_errors"),
    "differences": FigureKind(
        build=_chart_differences, drawing="ablations.figures.forests:draw_differences"
    ),
    "cost": FigureKind(build=_chart_cost, drawing="ablations.figures.cost:draw_cost"),
    "curves": FigureKind(build=_chart_curves, drawing="ablations.figures.curves:draw_curves"),
}
"""All figures by name, in the order of a report."""
