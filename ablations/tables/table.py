"""A study -> its comparison table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd
from pandas.api.types import is_numeric_dtype

from ablations.statistics import Agreement, Judgement, Path, SeedsNeeded
from ablations.study import Study
from ablations.tables.columns import Column, Row, list_columns
from ablations.tables.comparison import compare_variants
from ablations.tables.notes import collect_brief_notes, collect_notes


@dataclass(frozen=True, kw_only=True)
class Table:
    """Comparison of an experiment's variants, ready to be printed or written."""

    title: str
    """Experiment and recipe."""

    question: str
    """The experiment's question."""

    baseline: str
    """The row that the others are compared with."""

    columns: tuple[Column, ...]
    """Columns in order, led by the names of the rows."""

    rows: pd.DataFrame
    """One row per variant in the paper's order, indexed by its name; one column per other column of
    `columns`."""

    claims: tuple[Judgement, ...]
    """Verdicts on the experiment's claims."""

    path: Path
    """The looks at the table, and what the next one needs."""

    notes: tuple[str, ...]
    """Everything that is printed below the table: trials, method, sources."""

    brief_notes: tuple[str, ...] = ()
    """The notes of the compact form."""

    texts: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Cells that do not follow from their value, by column and row: printed ones have the paper's
    digits."""

    seeds_needed: Mapping[str, SeedsNeeded] = field(default_factory=dict)
    """Numbers of seeds that would decide the undecided rows."""

    only_printed: tuple[str, ...] = ()
    """Rows that papers print and that are not trained."""

    agreement: Agreement | None = None
    """Agreement with the ranking that papers printed; None with too few printed errors."""

    exploratory: bool = False
    """Whether the table was looked at more often than planned."""

    @property
    def shown(self) -> tuple[Column, ...]:
        """Columns that are printed; the others are in table.csv only."""
        return tuple(column for column in self.columns if column.heading)

    @property
    def numeric(self) -> frozenset[str]:
        """Keys of the columns that hold numbers."""
        return frozenset(str(key) for key in self.rows if is_numeric_dtype(self.rows[key]))

    @property
    def headings(self) -> dict[str, str]:
        """Headings of the printed columns by key, each with its group before a colon."""
        return {column.key: column.title for column in self.shown}


def build_table(study: Study) -> Table:
    """Compares the variants of a study; rows that were not selected are left out."""
    definition = study.definition
    comparison = compare_variants(study)
    mark = ", exploratory" if comparison.exploratory else ""
    selected = study.shown.union(definition.only_printed)
    rows = [
        Row(name=name, study=study, comparison=comparison)
        for name in definition.list_names()
        if name in selected
    ]
    columns = list_columns(rows, definition)
    return Table(
        title=f"{definition.experiment}, recipe {definition.recipe_name}{mark}",
        question=definition.question,
        baseline=definition.baseline,
        columns=columns,
        rows=_build_frame(rows, columns),
        claims=comparison.path.claims,
        path=comparison.path,
        notes=tuple(collect_notes(study, comparison)),
        brief_notes=tuple(collect_brief_notes(study, comparison)),
        texts={
            (column.key, row.name): text
            for column in columns
            for row in rows
            if (text := column.text(row)) is not None
        },
        seeds_needed=comparison.seeds_needed,
        only_printed=definition.only_printed,
        agreement=comparison.agreement,
        exploratory=comparison.exploratory,
    )


def _build_frame(rows: Sequence[Row], columns: Sequence[Column]) -> pd.DataFrame:
    """Evaluates every column for every row; whole numbers stay whole where a setting is unknown."""
    values = {
        column.key: pd.Series([column.value(row) for row in rows], dtype=object).infer_objects()
        for column in columns
    }
    return pd.DataFrame(values).set_index("variant")
