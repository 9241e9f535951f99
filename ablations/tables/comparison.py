"""A study -> the statistics of all its variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablations.statistics import (
    Agreement,
    Difference,
    Disagreement,
    SeedsNeeded,
    Verdict,
    compare_two_networks,
    compare_with_baseline,
    decide,
    estimate_image_error,
    measure_agreement,
)
from ablations.study import StudiedTrial, Study

BOOTSTRAP_SEED = 0
"""Seed of every bootstrap, so that none depends on another."""

PRINTED_ERRORS: Mapping[str, str] = {
    "top1_error": "ImageNet top-1 error",
    "cifar10_error": "CIFAR-10 error",
    "cifar100_error": "CIFAR-100 error",
}
"""Printed cells that measured errors are compared with, in words."""

Further = Literal["top1_error_320", "top5_error"]
"""An error of a record's last epoch besides the top-1 error."""

Outcomes = Mapping[int, NDArray[np.bool_]]
"""Whether each test image is classified correctly, by seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Statistics of a study's variants; mappings leave out variants without results."""

    baseline: str
    """The variant that the others are compared with."""

    margin: float
    """Points of error below which a difference does not matter."""

    family: int
    """Number of rows that the experiment declares, without the baseline."""

    errors: pd.DataFrame
    """Top-1 errors (%), one row per seed and one column per variant."""

    further: Mapping[Further, pd.DataFrame]
    """Other errors, in the same form."""

    broken: frozenset[str]
    """Variants with a failed or diverged seed."""

    differences: Mapping[str, Difference]
    """Differences from the baseline."""

    verdicts: Mapping[str, Verdict]
    """Verdicts on variants with more than one seed."""

    image_errors: Mapping[str, float]
    """Standard errors of the differences over test images, in points."""

    disagreements: Mapping[str, Disagreement]
    """McNemar's test against the baseline, for variants with one seed."""

    test_images: int
    """Number of test images; 0 if no outcomes are known."""

    agreement: Agreement | None
    """Agreement with the ranking that papers printed; None with too few printed errors."""

    @property
    def seeds_needed(self) -> dict[str, SeedsNeeded]:
        """Numbers of seeds that would decide the undecided variants."""
        verdicts = self.verdicts.items()
        return {name: v.seeds_needed for name, v in verdicts if v.seeds_needed is not None}


def compare_variants(study: Study) -> Comparison:
    """Compares the variants of a study with its baseline."""
    baseline, margin = study.definition.baseline, study.definition.margin
    errors = tabulate(study, "top1_error")
    family = len(study.definition.rows) - 1
    broken = frozenset(trial.variant for trial in study.trials if _is_broken(trial))
    differences = compare_with_baseline(errors, baseline, family=family)
    judged = {
        name: decide(
            difference,
            margin=margin,
            family=family,
            is_row_broken=name in broken,
            is_baseline_broken=baseline in broken,
        )
        for name, difference in differences.items()
    }
    outcomes = _collect_outcomes(study)
    pairs = {name: _pair(outcomes, name, baseline) for name in differences}
    return Comparison(
        baseline=baseline,
        margin=margin,
        family=family,
        errors=errors,
        further={m: tabulate(study, m) for m in get_args(Further)},
        broken=broken,
        differences=differences,
        verdicts={name: verdict for name, verdict in judged.items() if verdict is not None},
        image_errors={
            name: estimate_image_error(*pair, np.random.default_rng(BOOTSTRAP_SEED))
            for name, pair in pairs.items()
        },
        disagreements={
            name: compare_two_networks(row[0], other[0])
            for name, (row, other) in pairs.items()
            if len(row) == 1
        },
        test_images=max((row.shape[1] for row, _ in pairs.values()), default=0),
        agreement=_compare_with_papers(study, errors),
    )


def _compare_with_papers(study: Study, errors: pd.DataFrame) -> Agreement | None:
    """Compares with printed errors: on the recipe's dataset, else on ImageNet, else on CIFAR-10."""
    own = f"{study.definition.dataset.name}_error"
    for cell in (own, "top1_error", "cifar10_error"):
        printed = {
            row.name: float(getattr(row.cells, cell))
            for row in study.definition.printed
            if cell in PRINTED_ERRORS and getattr(row.cells, cell) is not None
        }
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        if found := measure_agreement(errors, printed, cell=cell, generator=generator):
            return found
    return None


def tabulate(study: Study, measure: Literal["top1_error"] | Further) -> pd.DataFrame:
    """Tabulates errors (%), one row per seed and one column per variant, NaN where unknown.

    A diverged trial has no error.
    """
    names = [row.name for row in study.definition.rows]
    cells: dict[str, dict[int, float | None]] = {name: {} for name in names}
    for trial, record in study.list_finished():
        cells[trial.variant][trial.seed] = getattr(record.last, measure)
    frame = pd.DataFrame(cells, index=list(study.definition.seeds), columns=names, dtype=float)
    return frame.dropna(axis="columns", how="all")


def _collect_outcomes(study: Study) -> Mapping[str, Outcomes]:
    outcomes: dict[str, dict[int, NDArray[np.bool_]]] = {
        row.name: {} for row in study.definition.rows
    }
    for trial, record in study.list_finished():
        outcomes[trial.variant][trial.seed] = np.frombuffer(record.last.correct or b"", bool)
    return outcomes


def _pair(
    outcomes: Mapping[str, Outcomes], row: str, baseline: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outcomes of two variants for the seeds that both have, seeds x images."""
    seeds = [seed for seed in outcomes[row] if seed in outcomes[baseline]]
    return (
        np.stack([outcomes[row][seed] for seed in seeds]),
        np.stack([outcomes[baseline][seed] for seed in seeds]),
    )


def _is_broken(trial: StudiedTrial) -> bool:
    """Whether a trial failed or diverged, selected or not."""
    diverged = trial.record is not None and trial.record.state == "diverged"
    return trial.state == "failed" or diverged
