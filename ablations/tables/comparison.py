"""Plan and records -> what the statistics say of every row."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablations.plan import Plan, PlannedTrial
from ablations.records import TrialRecord
from ablations.statistics import (
    Difference,
    Disagreement,
    Verdict,
    compare_two_networks,
    compare_with_baseline,
    decide,
    estimate_image_error,
)

BOOTSTRAP_SEED = 0
"""Each row draws its images anew from it, so that a row's figure depends on no other row."""

Outcomes = Mapping[int, NDArray[np.bool_]]
"""Whether each test image is right, by seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the statistics say of the rows of a plan; rows of which nothing is known are absent."""

    baseline: str
    """The variant that the others are compared with."""

    margin: float
    """Points of error below which a difference does not matter."""

    family: int
    """Number of rows, besides the baseline, that the experiment declares."""

    errors: pd.DataFrame
    """Top-1 errors (%), a row for each seed and a column for each variant."""

    broken: frozenset[str]
    """Variants with a failed or diverged seed."""

    differences: Mapping[str, Difference]
    """From the baseline."""

    verdicts: Mapping[str, Verdict]
    """Of rows with more than one seed."""

    image_errors: Mapping[str, float]
    """Standard errors of the differences over test images, in points."""

    disagreements: Mapping[str, Disagreement]
    """Of rows with one seed: the two networks held together, image by image."""

    test_images: int
    """Number of test images; 0 if nothing is known of them."""


def compare_variants(
    plan: Plan, records: Mapping[str, TrialRecord], *, baseline: str, margin: float
) -> Comparison:
    """Compares the variants of a plan with the baseline.

    Args:
        plan: What was asked.
        records: All known records of the experiment's declared trials, by key.
        baseline: The variant that the others are compared with.
        margin: Points of error below which a difference does not matter.
    """
    errors = tabulate_errors(plan, records)
    family = len(plan.variants) - 1
    broken = frozenset(t.variant.name for t in plan.trials if _is_broken(t, records))
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
    outcomes = _collect_outcomes(plan, records)
    pairs = {name: _pair(outcomes, name, baseline) for name in differences}
    return Comparison(
        baseline=baseline,
        margin=margin,
        family=family,
        errors=errors,
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
    )


def tabulate_errors(plan: Plan, records: Mapping[str, TrialRecord]) -> pd.DataFrame:
    """Top-1 errors (%), a row for each seed and a column for each variant, NaN where unknown.

    A diverged trial has no error.
    """
    frame = pd.DataFrame(
        index=list(plan.recipe.seeds), columns=[v.name for v in plan.variants], dtype=float
    )
    for trial, record in _list_finished(plan, records):
        frame.loc[trial.spec.seed, trial.variant.name] = record.last.top1_error
    return frame.dropna(axis="columns", how="all")


def _list_finished(
    plan: Plan, records: Mapping[str, TrialRecord]
) -> list[tuple[PlannedTrial, TrialRecord]]:
    pairs = [(t, records[t.spec.key]) for t in plan.trials if t.spec.key in records]
    return [(trial, record) for trial, record in pairs if record.state == "finished"]


def _collect_outcomes(plan: Plan, records: Mapping[str, TrialRecord]) -> Mapping[str, Outcomes]:
    outcomes: dict[str, dict[int, NDArray[np.bool_]]] = {v.name: {} for v in plan.variants}
    for trial, record in _list_finished(plan, records):
        outcomes[trial.variant.name][trial.spec.seed] = np.array(record.last.correct, bool)
    return outcomes


def _pair(
    outcomes: Mapping[str, Outcomes], row: str, baseline: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outcomes of two variants with the seeds that both have, seeds x images."""
    seeds = [seed for seed in outcomes[row] if seed in outcomes[baseline]]
    return (
        np.stack([outcomes[row][seed] for seed in seeds]),
        np.stack([outcomes[baseline][seed] for seed in seeds]),
    )


def _is_broken(trial: PlannedTrial, records: Mapping[str, TrialRecord]) -> bool:
    """Whether a trial failed or diverged, be it asked for or not."""
    record = records.get(trial.spec.key)
    return trial.state == "failed" or (record is not None and record.state == "diverged")
