"""Means, differences, verdicts and image noise; the procedure of docs/statistics.md."""

from ablations.statistics.differences import (
    CONFIDENCE,
    SIGNIFICANCE,
    Difference,
    Mean,
    Spread,
    compare_rows,
    compare_with_baseline,
    correct_by_holm,
    measure_spread,
    residual_mean_square,
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
    "FEWEST_SEEDS",
    "MOST_SEEDS",
    "SIGNIFICANCE",
    "Difference",
    "Disagreement",
    "Mean",
    "SeedsNeeded",
    "Spread",
    "Verdict",
    "compare_rows",
    "compare_two_networks",
    "compare_with_baseline",
    "correct_by_holm",
    "count_seeds_needed",
    "decide",
    "estimate_image_error",
    "is_exploratory",
    "measure_spread",
    "residual_mean_square",
    "summarise",
]
