"""Claims -> the differences behind each of their statements, on each recipe."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.figures.charts import DECIMALS, Chart
from ablations.tables import TestedClaim


def build_statement_chart(claims: Sequence[TestedClaim]) -> Chart | None:
    """The chart of all statements of claims; None without any difference."""
    rows = [
        {
            "experiment": claim.experiment,
            "claim": claim.name,
            "statement": part.statement,
            "recipe": recipe,
            "verdict": judgement.word,
            "n": part.n,
            "difference_points": np.nan if part.difference is None else part.difference,
            "half_width_points": np.nan if part.half_width is None else part.half_width,
        }
        for claim in claims
        for recipe, judgement in claim.judgements.items()
        for part in judgement.parts
    ]
    data = pd.DataFrame(rows)
    if data.empty or data["difference_points"].isna().all():
        return None
    data = data.round(DECIMALS)
    return Chart(
        name="findings",
        caption=(
            "Differences of top-1 error behind each statement of these claims, with their "
            "intervals; each panel has an axis of its own. Further left is better for the variant "
            "that is named first. The mark shows the verdict on the claim under whose name the "
            "statement stands."
        ),
        data=data.reset_index(drop=True),
        draw="ablations.figures.forests:draw_statements",
    )
