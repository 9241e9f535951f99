"""Differences, verdicts, claims, image noise, agreement: the procedure of docs/statistics.md."""

from ablations.statistics.agreement import Agreement, measure_agreement
from ablations.statistics.claims import Evidence, Judgement, judge_claims
from ablations.statistics.corrections import CORRECTION, Correction
from ablations.statistics.differences import (
    CONFIDENCE,
    SIGNIFICANCE,
    Difference,
    Mean,
    Spread,
    compare_rows,
    compare_with_baseline,
    fit_additive_model,
    measure_spread,
    summarise,
)
from ablations.statistics.images import Disagreement, compare_two_networks, estimate_image_error
from ablations.statistics.verdicts import (
    FEWEST_SEEDS,
    MOST_SEEDS,
    SeedsNeeded,
    Verdict,
    count_seeds_needed,
    decide,
    is_exploratory,
)

__all__ = [
    "CONFIDENCE",
    "CORRECTION",
    "FEWEST_SEEDS",
    "MOST_SEEDS",
    "SIGNIFICANCE",
    "Agreement",
    "Correction",
    "Difference",
    "Disagreement",
    "Evidence",
    "Judgement",
    "Mean",
    "SeedsNeeded",
    "Spread",
    "Verdict",
    "compare_rows",
    "compare_two_networks",
    "compare_with_baseline",
    "count_seeds_needed",
    "decide",
    "estimate_image_error",
    "fit_additive_model",
    "is_exploratory",
    "judge_claims",
    "measure_agreement",
    "measure_spread",
    "summarise",
]
