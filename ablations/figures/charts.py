"""A table's rows and its trials' curves -> exactly what each figure plots; no drawing here."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from ablations.study import Study
from ablations.tables import Table, list_curves

Name = Literal["errors", "cost", "curves", "differences"]

DECIMALS = 6
"""What is plotted is rounded, so that another machine's last digit makes no figure stale."""

PAPER_PANEL = "paper, as printed"
"""The panel of the papers' numbers, which share no axis with ours."""

CURVES = {"top1_error": "top1_error_percent", "train_loss": "train_loss_nats"}
"""Columns of the trials' curves that are drawn, with what they are called in a chart."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One figure, but for its drawing."""

    name: Name
    """Stem of its files; says how it is drawn."""

    caption: str
    """What is shown, what bars and bands are, and of how many seeds."""

    data: pd.DataFrame
    """All that is plotted and nothing else, in long form, units in the columns' names."""

    @property
    def digest(self) -> str:
        """SHA-256 of the data: two charts of one name with the same digest show the same."""
        text = str(self.data.to_csv(index=False, lineterminator="\n"))
        return hashlib.sha256(text.encode()).hexdigest()


def list_charts(study: Study, table: Table) -> tuple[Chart, ...]:
    """The figures of a study; one that has nothing to plot is left out."""
    definition = study.definition
    return build_charts(
        table.rows,
        list_curves(study),
        baseline=definition.baseline,
        recipe_name=definition.recipe_name,
        margin=definition.margin,
        only_printed=definition.only_printed,
    )


def build_charts(
    rows: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    baseline: str,
    recipe_name: str,
    margin: float,
    only_printed: Collection[str] = (),
) -> tuple[Chart, ...]:
    """The figures of a table; one that has nothing to plot is left out.

    Args:
        rows: One row per variant, as in `Table.rows`; the papers' columns may be absent.
        curves: One row per epoch of each trial, as from `list_curves`.
        baseline: The variant that the others are compared with.
        recipe_name: How the trials were trained; the title of their panel.
        margin: Points of error below which a difference does not matter.
        only_printed: Rows that are not trained; they appear in the papers' panels only.
    """
    ours = f"recipe {recipe_name}"
    trained = rows.drop(index=list(only_printed))
    charts = (
        _chart_errors(trained, rows, baseline=baseline, panel=ours),
        _chart_differences(trained, baseline=baseline, margin=margin),
        _chart_cost(trained, rows, baseline=baseline, panel=ours),
        _chart_curves(curves, list(trained.index), baseline=baseline),
    )
    return tuple(chart for chart in charts if chart is not None)


def _chart_errors(
    rows: pd.DataFrame, all_rows: pd.DataFrame, *, baseline: str, panel: str
) -> Chart | None:
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
        {"top1_error_percent": _column(all_rows, "paper_top1_error")},
        baseline=baseline,
        panel=PAPER_PANEL,
    ).dropna(subset="top1_error_percent")
    if measured["top1_error_percent"].isna().all() and printed.empty:
        return None
    return Chart(
        name="errors",
        caption=(
            f"Top-1 error on the test images, {panel}: mean over seeds after the last epoch; bars "
            f"are 95 % t-intervals over retraining, {_say_seeds(rows['n'])}. Lower is better."
            + (_PAPER_APART if len(printed) else "")
        ),
        data=_stack(measured, printed),
    )


def _chart_differences(rows: pd.DataFrame, *, baseline: str, margin: float) -> Chart | None:
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
            f"{_say_seeds(rows['n'])}; bars are 95 % intervals of one row, not corrected over the "
            f"table. Shaded: the margin of ±{margin:g} points. Verdicts are corrected over the "
            "table."
        ),
        data=data,
    )


def _chart_cost(
    rows: pd.DataFrame, all_rows: pd.DataFrame, *, baseline: str, panel: str
) -> Chart | None:
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
            "params_millions": _column(all_rows, "paper_params_m"),
            "top1_error_percent": _column(all_rows, "paper_top1_error"),
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
            "Top-1 error against the parameters of the network that was trained, "
            f"{panel}: mean over seeds with its 95 % t-interval, {_say_seeds(rows['n'])}. "
            "Lower and further left is better." + (_PAPER_APART if has_paper else "")
        ),
        data=data.reset_index(drop=True),
    )


_PAPER_APART = (
    " The paper's printed numbers are of its own training and stand in a panel of their own, with "
    "axes of their own."
)
"""Ends a caption where the paper has a panel."""


def _chart_curves(curves: pd.DataFrame, variants: list[str], *, baseline: str) -> Chart | None:
    known = curves.replace([np.inf, -np.inf], np.nan).dropna(subset=list(CURVES))
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
            "Test error and training loss after each epoch: mean over seeds, band from the least "
            f"to the greatest seed, {_say_seeds(data['n'])}. Dashed, in every panel: the mean of "
            f"{baseline}."
        ),
        data=data[[*columns, "mean", "least", "greatest"]].round(DECIMALS).reset_index(drop=True),
    )


def _tidy(columns: dict[str, pd.Series], *, baseline: str, panel: str = "") -> pd.DataFrame:
    """One row a variant, led by its panel, its name, and whether it is the baseline."""
    frame = pd.DataFrame(columns).round(DECIMALS).rename_axis("variant").reset_index()
    frame.insert(1, "is_baseline", frame["variant"] == baseline)
    if panel:
        frame.insert(0, "panel", panel)
    return frame


def _stack(measured: pd.DataFrame, printed: pd.DataFrame) -> pd.DataFrame:
    """Both panels' rows in one frame; what is not known of a printed row is NaN."""
    stacked = pd.concat([measured, printed.reindex(columns=measured.columns)], ignore_index=True)
    return stacked.astype({"n": "Int64"})


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    """A column that may be absent, as numbers."""
    return rows[name].astype(float) if name in rows else pd.Series(np.nan, rows.index)


def _say_seeds(counts: pd.Series) -> str:
    """How many seeds there are, as a range where they differ.

    >>> _say_seeds(pd.Series([3, 3])), _say_seeds(pd.Series([3, 0]))
    ('n = 3', 'n = 0 to 3')
    """
    least, most = int(counts.min()), int(counts.max())
    return f"n = {most}" if least == most else f"n = {least} to {most}"
