"""What a table is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ablations.statistics.claims import Judgement


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

    texts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Cells, by column and row, that are not shown by their column's rule: printed ones have the
    digits that they have in the paper."""

    only_printed: tuple[str, ...] = ()
    """Rows that stand there for their printed cells alone; nobody trains them."""
