"""Everything known about one experiment on one recipe; all reports are derived from it.

A study consists of plain values without networks, so it can be exported to files and read back
without the ledger and without PyTorch.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ablations.complexity.scales import Scales
from ablations.config import Claim, Column, Experiment, PaperRow, PaperTable, Provenance
from ablations.matrix import Variant
from ablations.plans import Plan, PlannedTrial, State, make_key
from ablations.trial.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of a paper, the source of printed cells."""

    key: str
    """Its key in paper.yaml."""

    source: str
    """Paper and table."""

    recipe: str
    """How the networks behind the printed errors were trained."""

    provenance: Provenance
    """Where the numbers were read."""


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """Printed cells of one row."""

    name: str
    """Name of the row."""

    cells: PaperRow
    """Cells from all tables that contain the row; earlier tables take precedence."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant as the experiment declares it."""

    name: str
    """Name of the variant."""

    settings: Mapping[str, Any]
    """Settings that the table shows, in the paper's terms."""

    facts: Mapping[str, Any]
    """Facts that identify its trials, without the seed."""

    as_built: str
    """Description of the built network, if experiments.yaml gives the body's own numbers."""

    paper_network: str
    """Key of the variant's network and image size at the paper's scale."""


@dataclass(frozen=True, kw_only=True)
class StudiedDataset:
    """What is known about a dataset without reading it."""

    name: str
    """Name in experiments.yaml."""

    identity: str
    """The dataset's part of a trial's identity."""

    is_pinned: bool
    """Whether the identity is a checksum of the images, equal on every machine."""

    found: str | None
    """SHA-256 of the files found on the machine, for a dataset without a checksum."""

    num_classes: int
    """Number of labels."""

    train_size: int
    """Number of training images."""

    test_size: int
    """Number of test images."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """An experiment on a recipe, before anything is trained."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with changes to it."""

    question: str
    """The question that the table answers."""

    expect: str
    """What was expected before the experiment was run."""

    baseline: str
    """The variant that the others are compared with."""

    margin: float
    """Points of error below which a difference does not matter."""

    claims: tuple[Claim, ...]
    """Claims to be tested."""

    columns: tuple[Column, ...]
    """Keys of the settings that the table shows, in order."""

    sources: tuple[Source, ...]
    """The papers' tables, in order."""

    printed: tuple[PrintedRow, ...]
    """Rows with printed cells in the papers' order, with or without a variant."""

    rows: tuple[Row, ...]
    """All variants, in the order of experiments.yaml."""

    recipe: Mapping[str, Any]
    """The recipe as plain values, without its name."""

    seeds: tuple[int, ...]
    """Seeds; every variant is trained once per seed."""

    body: str
    """Name of the body that the variants are built on."""

    dataset: StudiedDataset
    """The dataset that variants are trained on."""

    @cached_property
    def printed_cells(self) -> Mapping[str, PaperRow]:
        """Printed cells by row."""
        return {row.name: row.cells for row in self.printed}

    @cached_property
    def only_printed(self) -> tuple[str, ...]:
        """Printed rows without a variant."""
        declared = {row.name for row in self.rows}
        return tuple(row.name for row in self.printed if row.name not in declared)

    @cached_property
    def matrix_hash(self) -> str:
        """SHA-256 of baseline, networks, recipe, seeds and dataset."""
        facts = {
            "baseline": self.baseline,
            "variants": [[row.name, row.facts["network"]] for row in self.rows],
            "recipe": {k: v for k, v in self.recipe.items() if k not in ("seeds", "body")},
            "seeds": self.seeds,
            "dataset": self.dataset.identity,
        }
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def list_names(self) -> list[str]:
        """Lists the names of all rows in the order of the variants.

        A row that is only printed comes after the row above it in the paper.
        """
        names = [row.name for row in self.rows]
        above: str | None = None
        for printed in self.printed:
            if printed.name not in names:
                names.insert(names.index(above) + 1 if above else 0, printed.name)
            above = printed.name
        return names


@dataclass(frozen=True, kw_only=True)
class StudiedTrial:
    """A trial of a study, selected or not."""

    key: str
    """The trial's identity."""

    variant: str
    """The variant that it trains."""

    seed: int
    """Seed of the trial."""

    state: State
    """State of the trial; skipped if it was not selected."""

    reason: str = ""
    """Why it was skipped, failed or diverged."""

    record: TrialRecord | None = None
    """Its record, if there is one, even if the trial was skipped."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything known about one experiment on one recipe."""

    definition: Definition
    """The experiment and the recipe."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    trials: tuple[StudiedTrial, ...]
    """All trials of the definition, ordered by variant, then by seed."""

    looks: tuple[tuple[int, ...], ...] = ()
    """Seeds of all looks at the table, in order; too many looks make it exploratory."""

    changes: tuple[str, ...] = ()
    """How the run was narrowed or altered on the command line; empty if it was not."""

    is_narrowed: bool = False
    """Whether only some seeds or variants were selected."""

    @property
    def shown(self) -> frozenset[str]:
        """Variants that were selected."""
        return frozenset(trial.variant for trial in self.trials if trial.state != "skipped")

    def count(self) -> Mapping[State, int]:
        """Counts the trials by state."""
        states: tuple[State, ...] = ("finished", "diverged", "failed", "to run", "skipped")
        return {state: sum(t.state == state for t in self.trials) for state in states}

    def list_finished(self) -> list[tuple[StudiedTrial, TrialRecord]]:
        """Lists the finished trials with their records, selected or not."""
        pairs = [(trial, trial.record) for trial in self.trials]
        return [(t, record) for t, record in pairs if record and record.state == "finished"]


def build_definition(
    experiment: Experiment, plan: Plan, paper: Mapping[str, PaperTable]
) -> Definition:
    """Builds the definition of an experiment on a recipe.

    Args:
        experiment: The experiment.
        plan: Its plan on a recipe.
        paper: The papers' tables, by key.
    """
    tables = {key: paper[key] for key in experiment.paper_table}
    names = [variant.name for variant in plan.variants]
    facts = {trial.variant.name: trial.spec.facts for trial in plan.trials}
    return Definition(
        experiment=plan.experiment,
        recipe_name=plan.recipe_name,
        question=experiment.question,
        expect=experiment.expect,
        baseline=experiment.baseline,
        margin=experiment.margin,
        claims=experiment.claims,
        columns=experiment.columns,
        sources=tuple(
            Source(key=key, source=t.source, recipe=t.recipe, provenance=t.provenance)
            for key, t in tables.items()
        ),
        printed=tuple(
            PrintedRow(name=name, cells=cells)
            for name, cells in merge_tables(tables.values()).items()
            if name in names or experiment.paper_rows == "all"
        ),
        rows=tuple(_describe_row(variant, facts[variant.name]) for variant in plan.variants),
        recipe=_make_plain(plan.recipe.model_dump(mode="json")),
        seeds=plan.recipe.seeds,
        body=plan.recipe.body,
        dataset=_describe_dataset(plan),
    )


def build_study(
    experiment: Experiment,
    plan: Plan,
    records: Mapping[str, TrialRecord],
    *,
    scales: Mapping[str, Scales],
    paper: Mapping[str, PaperTable],
    looks: Sequence[Sequence[int]] = (),
) -> Study:
    """Builds a study from a plan and the records of its trials.

    Args:
        experiment: The experiment.
        plan: Its plan on a recipe.
        records: Known records of the plan's trials, by key. Records of variants that were not
            selected are included, since they belong to the family.
        scales: Complexities by variant.
        paper: The papers' tables, by key.
        looks: Seeds of all looks at this table, in order.
    """
    definition = build_definition(experiment, plan, paper)
    return Study(
        definition=definition,
        scales={row.name: scales[row.name] for row in definition.rows},
        trials=tuple(_describe_trial(t, records.get(t.spec.key)) for t in plan.trials),
        looks=tuple(tuple(look) for look in looks),
        changes=plan.changes,
        is_narrowed=plan.is_narrowed,
    )


def merge_tables(tables: Iterable[PaperTable]) -> dict[str, PaperRow]:
    """Merges the rows of several tables; later tables fill cells that earlier ones leave empty."""
    merged: dict[str, PaperRow] = {}
    for table in tables:
        for name, row in table.rows.items():
            merged[name] = _fill(merged[name], row) if name in merged else row
    return merged


def _fill(row: PaperRow, other: PaperRow) -> PaperRow:
    """`row` with the cells of `other` that it lacks, their explanations and provenances."""
    about = {"explained", "provenance"}
    new = other.model_fields_set - row.model_fields_set - about
    merged = {
        name: {**getattr(row, name), **{k: v for k, v in getattr(other, name).items() if k in new}}
        for name in about
    }
    return row.model_copy(update={**{key: getattr(other, key) for key in new}, **merged})


def _describe_row(variant: Variant, facts: Mapping[str, Any]) -> Row:
    return Row(
        name=variant.name,
        settings=dict(variant.settings),
        facts=_make_plain({key: value for key, value in facts.items() if key != "seed"}),
        as_built=variant.as_built,
        paper_network=make_key(
            {
                "network": variant.paper_network.architecture(),
                "input_size": variant.paper_network.body.input_size,
            }
        ),
    )


def _describe_dataset(plan: Plan) -> StudiedDataset:
    dataset = plan.trials[0].spec.dataset  # a plan always has trials
    return StudiedDataset(
        name=dataset.name,
        identity=dataset.identity,
        is_pinned=dataset.checksum is not None,
        found=dataset.found,
        num_classes=dataset.num_classes,
        train_size=dataset.train_size,
        test_size=dataset.test_size,
    )


def _describe_trial(trial: PlannedTrial, record: TrialRecord | None) -> StudiedTrial:
    return StudiedTrial(
        key=trial.spec.key,
        variant=trial.variant.name,
        seed=trial.spec.seed,
        state=trial.state,
        reason=trial.reason,
        record=record and replace(record, facts=_make_plain(trial.spec.facts)),
    )


def _make_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values to what they are after writing and reading JSON, with sorted keys."""
    plain: dict[str, Any] = json.loads(json.dumps(values, sort_keys=True))
    return plain
