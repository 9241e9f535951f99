"""All studies together: each claim on each recipe, what is open and its price, the rankings."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.plans import make_key
from ablations.statistics import (
    Agreement,
    Judgement,
    Price,
    Sample,
    compare_rankings,
    price_looks,
)
from ablations.study import Study
from ablations.tables.comparison import BOOTSTRAP_SEED, build_sample
from ablations.tables.table import Table

Entry = tuple[Study, Table]
"""A study with its table."""


@dataclass(frozen=True, kw_only=True)
class TestedClaim:
    """A claim of an experiment with its verdicts."""

    experiment: str
    """Name of the experiment."""

    name: str
    """The claim in words."""

    judgements: Mapping[str, Judgement]
    """The verdicts by name of the recipe."""

    datasets: tuple[str, ...]
    """The datasets of these recipes, each once."""

    exploratory: frozenset[str] = frozenset()
    """The recipes whose tables were looked at more often than planned."""

    @property
    def words(self) -> frozenset[str]:
        """The different verdicts."""
        return frozenset(judgement.word for judgement in self.judgements.values())

    def name_verdict(self, recipe: str) -> str:
        """The verdict on a recipe in words, marked if it is exploratory."""
        word = self.judgements[recipe].word
        return f"{word} (exploratory)" if recipe in self.exploratory else word


@dataclass(frozen=True, kw_only=True)
class OpenStudy:
    """A study with undecided rows or claims, and what deciding them takes."""

    study: Study
    """The study."""

    rows: int
    """Number of undecided rows."""

    claims: int
    """Number of undecided claims."""

    next_look: int | None
    """Number of seeds of the next look; None if all planned looks were taken."""

    price: Price
    """Seconds of one core or GPU, if a trial takes as long as the recorded ones did."""


@dataclass(frozen=True, kw_only=True)
class RecipePair:
    """How far two recipes rank the variants of one experiment equally."""

    experiment: str
    """Name of the experiment."""

    recipe: str
    """Name of the first recipe; the agreement's reference is the second one."""

    agreement: Agreement
    """The agreement of their rankings."""


def collect_claims(entries: Sequence[Entry]) -> list[TestedClaim]:
    """Collects the claims of all studies, in the order of the experiments."""
    found: dict[tuple[str, str], list[tuple[Study, Table, Judgement]]] = {}
    for study, table in entries:
        for judgement in table.claims:
            place = study.definition.experiment, judgement.name
            found.setdefault(place, []).append((study, table, judgement))
    return [
        TestedClaim(
            experiment=experiment,
            name=name,
            judgements={study.definition.recipe_name: judged for study, _, judged in tested},
            datasets=tuple(dict.fromkeys(s.definition.dataset.name for s, _, _ in tested)),
            exploratory=frozenset(s.definition.recipe_name for s, t, _ in tested if t.exploratory),
        )
        for (experiment, name), tested in found.items()
    ]


def list_open(entries: Sequence[Entry]) -> list[OpenStudy]:
    """Lists the studies in which something is undecided, with the price of their further looks.

    Trials that another study has finished cost nothing.
    """
    finished = {trial.key for study, _ in entries for trial, _ in study.list_finished()}
    return [
        OpenStudy(
            study=study,
            rows=len(path.open_rows),
            claims=len(path.open_claims),
            next_look=max(path.needed.values()) if path.needed else None,
            price=price_looks(path, _leave_out(study, finished), time_trials(study), simulations=0),
        )
        for study, table in entries
        for path in (table.path,)
        if path.open_rows or path.open_claims
    ]


def _leave_out(study: Study, finished: Set[str]) -> Sample:
    """What is known of a study's trials, those of these keys counted as run."""
    sample = build_sample(study)
    pending = sample.pending.copy()
    facts = {trial.variant: record.facts for trial, record in study.list_finished()}
    for variant, own in facts.items():
        for seed in study.definition.seeds:
            if make_key({**own, "seed": seed}) in finished:
                pending.loc[seed, variant] = False
    return replace(sample, pending=pending)


def time_trials(study: Study) -> dict[str, float]:
    """Mean seconds of a core or GPU that a recorded trial took, by variant."""
    times = [(trial.variant, record.device_seconds) for trial, record in study.list_finished()]
    names = dict.fromkeys(name for name, _ in times)
    return {name: float(np.mean([s for other, s in times if other == name])) for name in names}


def compare_recipes(entries: Sequence[Entry]) -> Iterator[RecipePair]:
    """Compares the rankings of each two recipes of an experiment, unless they share few rows."""
    for (study, table), (other, others) in combinations(entries, 2):
        if study.definition.experiment != other.definition.experiment:
            continue
        agreement = compare_rankings(
            _tabulate_shown(study, table),
            _tabulate_shown(other, others),
            reference=other.definition.recipe_name,
            generator=np.random.default_rng(BOOTSTRAP_SEED),
        )
        if agreement:
            yield RecipePair(
                experiment=study.definition.experiment,
                recipe=study.definition.recipe_name,
                agreement=agreement,
            )


def _tabulate_shown(study: Study, table: Table) -> pd.DataFrame:
    """Top-1 errors (%) of the seeds whose mean the table shows."""
    return build_sample(study).select(table.path.shown_seeds).errors
