"""All studies together: each claim on each recipe, what is open and its price, the rankings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ablations.statistics import Agreement, Judgement, Price, compare_rankings, price_looks
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

    @property
    def words(self) -> frozenset[str]:
        """The different verdicts."""
        return frozenset(judgement.word for judgement in self.judgements.values())


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
    judged: dict[tuple[str, str], dict[str, Judgement]] = {}
    datasets: dict[tuple[str, str], list[str]] = {}
    for study, table in entries:
        definition = study.definition
        for judgement in table.claims:
            place = definition.experiment, judgement.name
            judged.setdefault(place, {})[definition.recipe_name] = judgement
            datasets.setdefault(place, []).append(definition.dataset.name)
    return [
        TestedClaim(
            experiment=place[0],
            name=place[1],
            judgements=judgements,
            datasets=tuple(dict.fromkeys(datasets[place])),
        )
        for place, judgements in judged.items()
    ]


def list_open(entries: Sequence[Entry]) -> list[OpenStudy]:
    """Lists the studies in which something is undecided, with the price of their further looks."""
    return [
        OpenStudy(
            study=study,
            rows=len(path.open_rows),
            claims=len(path.open_claims),
            next_look=max(path.needed.values()) if path.needed else None,
            price=price_looks(path, build_sample(study), time_trials(study), simulations=0),
        )
        for study, table in entries
        for path in (table.path,)
        if path.open_rows or path.open_claims
    ]


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
            _tabulate_counted(study, table),
            _tabulate_counted(other, others),
            reference=other.definition.recipe_name,
            generator=np.random.default_rng(BOOTSTRAP_SEED),
        )
        if agreement:
            yield RecipePair(
                experiment=study.definition.experiment,
                recipe=study.definition.recipe_name,
                agreement=agreement,
            )


def _tabulate_counted(study: Study, table: Table) -> pd.DataFrame:
    """Top-1 errors (%) of the seeds that count at the last look."""
    return build_sample(study).select(table.path.seeds).errors
