"""Differences, verdicts, claims, image noise, agreement: the procedure of docs/statistics.md."""

from ablations.statistics.agreement import Agreement, compare_rankings, measure_agreement
from ablations.statistics.claims import Evidence, Judgement, judge_claims, judge_evidence
from ablations.statistics.corrections import CORRECTION, Correction
from ablations.statistics.differences import (
    SIGNIFICANCE,
    Difference,
    Mean,
    Spread,
    compare_rows,
    compare_with_baseline,
    fit_additive_model,
    measure_effect,
    measure_spread,
    summarise,
)
from ablations.statistics.images import Disagreement, compare_two_networks, estimate_image_error
from ablations.statistics.looks import (
    Look,
    Path,
    Question,
    Sample,
    find_level,
    follow_looks,
    list_active,
    select_seeds,
)
from ablations.statistics.prices import Price, price_looks
from ablations.statistics.verdicts import (
    MOST_SEEDS,
    SeedsNeeded,
    Verdict,
    count_seeds_needed,
    decide,
    is_exploratory,
)

__all__ = [
    "CORRECTION",
    "MOST_SEEDS",
    "SIGNIFICANCE",
    "Agreement",
    "Correction",
    "Difference",
    "Disagreement",
    "Evidence",
    "Judgement",
    "Look",
    "Mean",
    "Path",
    "Price",
    "Question",
    "Sample",
    "SeedsNeeded",
    "Spread",
    "Verdict",
    "compare_rankings",
    "compare_rows",
    "compare_two_networks",
    "compare_with_baseline",
    "count_seeds_needed",
    "decide",
    "estimate_image_error",
    "find_level",
    "fit_additive_model",
    "follow_looks",
    "is_exploratory",
    "judge_claims",
    "judge_evidence",
    "list_active",
    "measure_agreement",
    "measure_effect",
    "measure_spread",
    "price_looks",
    "select_seeds",
    "summarise",
]
