"""What a table is."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ablations.claims import Judgement
from ablations.complexity import Complexity


@dataclass(frozen=True, kw_only=True)
class Table:
    """One experiment's comparison, ready to be printed or written."""

    title: str
    """Experiment and recipe."""

    question: str
    """What the table answers."""

    rows: pd.DataFrame
    """One row a variant, in the paper's order; numbers as they are, units in column names."""

    headings: Mapping[str, str]
    """What a reader sees above each column of `rows`, groups before a colon."""

    claims: tuple[Judgement, ...]
    """What the trials say of the experiment's claims."""

    notes: tuple[str, ...]
    """The foot: what was asked and what became of it, method, footnotes."""


@dataclass(frozen=True, kw_only=True)
class Scales:
    """The two complexities of a variant."""

    paper: Complexity
    """Of the network that the variant names at the paper's scale."""

    trained: Complexity
    """Of the network that is trained."""
