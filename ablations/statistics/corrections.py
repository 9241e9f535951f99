"""The correction for testing several hypotheses at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Correct(Protocol):
    """Corrects p-values along the last axis; NaN stays NaN and counts as an untested hypothesis."""

    def __call__(self, p_values: ArrayLike, *, family: int) -> NDArray[np.float64]:
        """Returns p-values that can be compared with the level of the whole family."""


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A procedure that keeps the chance of any false rejection in a family below its level."""

    name: str
    """Name, as tables and pages print it."""

    correct: Correct
    """Corrects the p-values of a family."""

    smallest_share: Callable[[int], float]
    """Share of the level that is left for the hardest of a number of hypotheses."""


def correct_by_holm(p_values: ArrayLike, *, family: int) -> NDArray[np.float64]:
    """Holm's step-down correction.

    >>> correct_by_holm([0.01, 0.04, 0.03], family=3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # NaN comes last
    factors = family - np.arange(p.shape[-1])
    stepped = np.minimum(1.0, np.take_along_axis(p, order, axis=-1) * factors)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.maximum.accumulate(stepped, axis=-1), axis=-1)
    return corrected


CORRECTION = Correction(
    name="Holm", correct=correct_by_holm, smallest_share=lambda family: 1 / family
)
"""The correction of rows and claims."""
