"""A table of four variants, one of them without a finished trial, for tests of its renderings."""

import numpy as np
import pandas as pd

from ablations.statistics import Evidence, Judgement, Look, Path, Question
from ablations.tables import Table, columns
from ablations.tables.columns import Column

HOSTILE = """<b>&"it's" 100%_{^}~\\$--#|"""
"""A name with special characters of every format."""


def make_rows() -> pd.DataFrame:
    """Makes the baseline with three seeds, and variants with three seeds, one and none."""
    nan = float("nan")
    rows = pd.DataFrame(
        [
            ("base", 2, 20.79, 27.5, 55_474, 3, 3.48, 0.19, 0.08, 0.0, nan, None),
            (HOSTILE, 3, 20.97, 27.5, 60_178, 3, 4.13, 0.36, 0.14, 0.65, 0.56, "undecided"),
            ("one seed", 1, nan, nan, 59_842, 1, 3.15, nan, nan, -0.33, nan, None),
            ("no trial", 4, 21.18, 28.1, 59_842, 0, nan, nan, nan, nan, nan, None),
        ],
        columns=[
            "variant",
            "dilation",
            "paper_top1_error",
            "paper_params_m",
            "trained_params",
            "n",
            "top1_error",
            "top1_error_half_width",
            "top1_error_std",
            "difference",
            "difference_half_width",
            "verdict",
        ],
    )
    return rows.set_index("variant")


COLUMNS = (
    Column(key="variant", value=lambda row: row.name, heading="variant", compact="variant"),
    Column(key="dilation", value=lambda row: row.settings["dilation"], heading="D", format="{:g}"),
    *(c.fill(recipe="quick", baseline="base") for c in columns.COLUMNS if c.key in make_rows()),
)
"""Columns of the rows, from the registry."""


def make_table(**changes: object) -> Table:
    """Makes a table of the rows with a claim and notes."""
    fields = {
        "title": "an_experiment, recipe quick",
        "question": "Which & why?",
        "rows": make_rows(),
        "baseline": "base",
        "columns": COLUMNS,
        "claims": (
            Judgement(
                name="a claim",
                word="undecided",
                scope="quick: digits, tiny, n=3",
                p_corrected=0.4,
                parts=(
                    Evidence(
                        statement="base better than one seed",
                        n=1,
                        difference=-0.33,
                        half_width=0.5,
                        p_for=0.4,
                        p_against=1.0,
                    ),
                ),
            ),
        ),
        "texts": {("difference", "base"): "baseline"},
        "path": Path(
            question=Question(
                looks=(3,), baseline="base", variants=("base", "one seed"), margin=0.5
            ),
            looks=(Look(n=3, family=1, differences={}, verdicts={}, claims=()),),
            seeds={},
            needed={},
        ),
        "notes": ("Trials: 7 of 12 finished, 5 failed.", "Margin of ±0.5 points – 95 %."),
    }
    return Table(**(fields | changes))  # type: ignore[arg-type]


def make_curves(rows: pd.DataFrame, *, epochs: int = 3) -> pd.DataFrame:
    """Makes curves of all finished trials; seeds are one point apart, so bands are known."""
    return pd.DataFrame(
        [
            {
                "variant": variant,
                "seed": seed,
                "epoch": epoch,
                "train_loss": 2.0 / (epoch + 1),
                "top1_error": 50.0 / (epoch + 1) + seed,
            }
            for variant, n in rows["n"].items()
            for seed in range(n)
            for epoch in range(epochs)
        ],
        columns=["variant", "seed", "epoch", "train_loss", "top1_error"],
    ).astype({"train_loss": float, "top1_error": float})


def make_many_rows(count: int) -> pd.DataFrame:
    """Makes a number of variants with long names and scattered results."""
    generator = np.random.default_rng(0)
    names = [f"ShuffleNetV2 1.0x, reimplemented with SE, number {i}" for i in range(count)]
    rows = pd.DataFrame(
        {
            "n": 3,
            "top1_error": generator.normal(5, 1, count),
            "top1_error_half_width": 0.5,
            "top1_error_std": 0.2,
            "paper_top1_error": generator.normal(21, 1, count),
            "paper_params_m": generator.uniform(20, 50, count),
            "trained_params": generator.integers(40_000, 90_000, count),
            "difference": generator.normal(0, 1, count),
            "difference_half_width": 0.5,
            "verdict": "better, within the margin",
        },
        index=pd.Index(names, name="variant"),
    )
    rows.loc[names[0], ["difference", "difference_half_width", "verdict"]] = [0.0, np.nan, None]
    return rows
