"""A study -> the statistics of all its variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablations.statistics import (
    Agreement,
    Difference,
    Disagreement,
    Path,
    Question,
    Sample,
    SeedsNeeded,
    Verdict,
    compare_two_networks,
    estimate_image_error,
    follow_looks,
    is_exploratory,
    measure_agreement,
    select_seeds,
)
from ablations.study import StudiedTrial, Study

BOOTSTRAP_SEED = 0
"""Seed of every bootstrap, so that none depends on another."""

PRINTED_ERRORS: Mapping[str, str] = {
    "top1_error": "ImageNet top-1 error",
    "cifar10_error": "CIFAR-10 error",
    "cifar100_error": "CIFAR-100 error",
}
"""Printed cells that measured errors are compared with, in words."""

Further = Literal["top1_error_320", "top5_error"]
"""An error of a record's last epoch besides the top-1 error."""

Outcomes = Mapping[int, NDArray[np.bool_]]
"""Whether each test image is classified correctly, by seed."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Statistics of a study's variants; mappings leave out variants without results."""

    path: Path
    """The looks at the table, with differences, verdicts and claims."""

    exploratory: bool
    """Whether the table was looked at more often than planned."""

    errors: pd.DataFrame
    """Top-1 errors (%), one row per seed and one column per variant; those of a decided row are of
    the seeds that decided it."""

    further: Mapping[Further, pd.DataFrame]
    """Other errors, in the same form."""

    broken: frozenset[str]
    """Variants with a failed or diverged seed."""

    image_errors: Mapping[str, float]
    """Standard errors of the differences over test images, in points."""

    disagreements: Mapping[str, Disagreement]
    """McNemar's test against the baseline, for variants with one seed."""

    test_images: int
    """Number of test images; 0 if no outcomes are known."""

    agreement: Agreement | None
    """Agreement of `errors` with the ranking that papers printed; None with too few of them."""

    @property
    def baseline(self) -> str:
        """The variant that the others are compared with."""
        return self.path.question.baseline

    @property
    def margin(self) -> float:
        """Points of error below which a difference does not matter."""
        return self.path.question.margin

    @property
    def family(self) -> int:
        """Number of rows that the experiment declares, without the baseline."""
        return self.path.question.family

    @property
    def differences(self) -> Mapping[str, Difference]:
        """Differences from the baseline."""
        return self.path.differences

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """Verdicts on variants with more than one seed."""
        return self.path.verdicts

    @property
    def seeds_needed(self) -> dict[str, SeedsNeeded]:
        """Numbers of seeds that would decide the undecided variants."""
        verdicts = self.verdicts.items()
        return {name: v.seeds_needed for name, v in verdicts if v.seeds_needed is not None}


def compare_variants(study: Study) -> Comparison:
    """Compares the variants of a study with its baseline, look after look."""
    definition = study.definition
    exploratory = is_exploratory(definition.seeds, study.looks, planned=definition.looks)
    sample = build_sample(study)
    path = follow_looks(build_question(study, exploratory=exploratory), sample)
    shown = sample.select(path.shown_seeds)
    differences, baseline = path.differences, definition.baseline
    errors = shown.errors.dropna(axis="columns", how="all")
    outcomes = _collect_outcomes(study, path.shown_seeds)
    pairs = {name: _pair(outcomes, name, baseline) for name in differences}
    return Comparison(
        path=path,
        exploratory=exploratory,
        errors=errors,
        further={m: _tabulate_shown(study, m, path) for m in get_args(Further)},
        broken=sample.select(path.seeds).list_broken(),
        image_errors={
            name: estimate_image_error(*pair, np.random.default_rng(BOOTSTRAP_SEED))
            for name, pair in pairs.items()
        },
        disagreements={
            name: compare_two_networks(row[0], other[0])
            for name, (row, other) in pairs.items()
            if len(row) == 1
        },
        test_images=max((row.shape[1] for row, _ in pairs.values()), default=0),
        agreement=_compare_with_papers(study, errors),
    )


def build_question(study: Study, *, exploratory: bool = False) -> Question:
    """What the table of a study asks."""
    definition = study.definition
    mark = ", exploratory" if exploratory else ""
    return Question(
        looks=definition.planned_looks,
        baseline=definition.baseline,
        variants=tuple(row.name for row in definition.rows),
        margin=definition.margin,
        claims=definition.claims,
        scope=f"{definition.recipe_name}{mark}: {definition.dataset.name}, {definition.body}",
        skipped=frozenset(trial.variant for trial in study.trials if trial.state == "skipped"),
    )


def build_sample(study: Study) -> Sample:
    """What is known of a study's trials; one that the study lacks may still be run."""
    names = [row.name for row in study.definition.rows]
    seeds = list(study.definition.seeds)
    broken = pd.DataFrame(data=False, index=seeds, columns=names)
    pending = pd.DataFrame(data=True, index=seeds, columns=names)
    for trial in study.trials:
        broken.loc[trial.seed, trial.variant] = _is_broken(trial)
        if trial.state == "skipped":
            pending[trial.variant] = False
        elif trial.state != "to run":
            pending.loc[trial.seed, trial.variant] = False
    return Sample(errors=tabulate(study, "top1_error"), broken=broken, pending=pending)


def _compare_with_papers(study: Study, errors: pd.DataFrame) -> Agreement | None:
    """Compares with printed errors: on the recipe's dataset, else on ImageNet, else on CIFAR-10."""
    own = f"{study.definition.dataset.name}_error"
    for cell in (own, "top1_error", "cifar10_error"):
        printed = {
            row.name: float(getattr(row.cells, cell))
            for row in study.definition.printed
            if cell in PRINTED_ERRORS and getattr(row.cells, cell) is not None
        }
        generator = np.random.default_rng(BOOTSTRAP_SEED)
        if found := measure_agreement(errors, printed, reference=cell, generator=generator):
            return found
    return None


def tabulate(study: Study, measure: Literal["top1_error"] | Further) -> pd.DataFrame:
    """Tabulates errors (%), one row per seed and one column per variant, NaN where unknown.

    A diverged trial has no error.
    """
    names = [row.name for row in study.definition.rows]
    cells: dict[str, dict[int, float | None]] = {name: {} for name in names}
    for trial, record in study.list_finished():
        cells[trial.variant][trial.seed] = getattr(record.last, measure)
    return pd.DataFrame(cells, index=list(study.definition.seeds), columns=names, dtype=float)


def _tabulate_shown(study: Study, measure: Further, path: Path) -> pd.DataFrame:
    """The errors of the seeds that the table shows; variants without any are left out."""
    shown = select_seeds(tabulate(study, measure), path.shown_seeds, otherwise=np.nan)
    return shown.dropna(axis="columns", how="all")


def _collect_outcomes(study: Study, seeds: Mapping[str, int]) -> Mapping[str, Outcomes]:
    """Outcomes of the first seeds of each variant."""
    counted = {name: study.definition.seeds[:number] for name, number in seeds.items()}
    outcomes: dict[str, dict[int, NDArray[np.bool_]]] = {
        row.name: {} for row in study.definition.rows
    }
    for trial, record in study.list_finished():
        if trial.seed in counted[trial.variant]:
            outcomes[trial.variant][trial.seed] = np.frombuffer(record.last.correct or b"", bool)
    return outcomes


def _pair(
    outcomes: Mapping[str, Outcomes], row: str, baseline: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Outcomes of two variants for the seeds that both have, seeds x images."""
    seeds = [seed for seed in outcomes[row] if seed in outcomes[baseline]]
    return (
        np.stack([outcomes[row][seed] for seed in seeds]),
        np.stack([outcomes[baseline][seed] for seed in seeds]),
    )


def _is_broken(trial: StudiedTrial) -> bool:
    """Whether a trial failed or diverged, selected or not."""
    diverged = trial.record is not None and trial.record.state == "diverged"
    return trial.state == "failed" or diverged
