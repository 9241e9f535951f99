"""All that is known of one experiment on one recipe: what everything a reader sees is derived from.

A study is made of plain values and knows no network, so that it can be exported to files, and read
back where neither the ledger nor PyTorch is at hand.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal

from ablations.complexity.scales import Scales
from ablations.config import Claim, Column, Experiment, PaperRow, PaperTable
from ablations.matrix import Variant
from ablations.plan import Plan, PlannedTrial, State, make_key
from ablations.trial.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Source:
    """A paper's table that printed cells come from."""

    key: str
    """Its key in paper.yaml."""

    source: str
    """Paper and table."""

    recipe: str
    """How the printed errors came about."""

    provenance: Literal["printed", "secondary", "recomputed", "unverified"]
    """Where the numbers were read."""


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """What the papers printed for one row."""

    name: str
    """Name of the row."""

    cells: PaperRow
    """Its cells, of all tables that it stands in; an earlier table's come first."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant, as the experiment declares it."""

    name: str
    """Its name."""

    settings: Mapping[str, Any]
    """What the table shows of it, in the paper's terms."""

    facts: Mapping[str, Any]
    """What the identities of its trials are made of, but for the seed."""

    as_built: str
    """What it is on the body, where experiments.yaml gives that in the body's own numbers."""

    paper_network: str
    """Key of the same variant's network at the paper's scale, and of its images' size."""


@dataclass(frozen=True, kw_only=True)
class StudiedDataset:
    """What is known of the dataset without reading it."""

    name: str
    """Its name in experiments.yaml."""

    identity: str
    """What stands for its images in the identity of a trial."""

    is_pinned: bool
    """Whether the identity is the checksum of its images, the same on every machine."""

    found: str | None
    """SHA-256 of what the machine held, for a dataset that is known only there."""

    num_classes: int
    """Number of labels."""

    train_size: int
    """Number of training images."""

    test_size: int
    """Number of test images."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What is asked: an experiment on a recipe, before anything is trained."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with what was changed in it."""

    question: str
    """What the table answers."""

    expect: str
    """What was expected before it was run."""

    baseline: str
    """The variant that the others are compared with."""

    margin: float
    """Points of error below which a difference does not matter."""

    claims: tuple[Claim, ...]
    """Statements that the trials are held against."""

    columns: tuple[Column, ...]
    """Settings that the table shows, in order."""

    sources: tuple[Source, ...]
    """The papers' tables, in order."""

    printed: tuple[PrintedRow, ...]
    """Rows that are shown with printed cells, in the papers' order; of variants and of others."""

    rows: tuple[Row, ...]
    """All variants, in the file's order."""

    recipe: Mapping[str, Any]
    """The recipe as plain values, its name apart."""

    seeds: tuple[int, ...]
    """One training of every variant for each."""

    body: str
    """Name of the body that the variants are built on."""

    dataset: StudiedDataset
    """What they are trained on."""

    @cached_property
    def printed_cells(self) -> Mapping[str, PaperRow]:
        """Printed cells by the row's name."""
        return {row.name: row.cells for row in self.printed}

    @cached_property
    def only_printed(self) -> tuple[str, ...]:
        """Rows that no variant has: nothing of them is ours."""
        declared = {row.name for row in self.rows}
        return tuple(row.name for row in self.printed if row.name not in declared)

    @cached_property
    def matrix_hash(self) -> str:
        """SHA-256 of all that is trained: baseline, networks, recipe, seeds and dataset."""
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
        """Names of all rows: the variants' order, a row that is only printed after its neighbour.

        The neighbour is the row above it in the paper.
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
    """A trial that was asked for, or that belongs to a row that was not."""

    key: str
    """The trial's identity."""

    variant: str
    """The row that it belongs to."""

    seed: int
    """Its seed."""

    state: State
    """Whether it is done; skipped if it was not asked for."""

    reason: str = ""
    """Why it is skipped, failed or diverged."""

    record: TrialRecord | None = None
    """What it measured, if that is known; of a skipped trial too."""


@dataclass(frozen=True, kw_only=True)
class Study(Definition):
    """All that is known of one experiment on one recipe."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    trials: tuple[StudiedTrial, ...]
    """All trials of the definition, variants in order and seeds within them."""

    looks: tuple[tuple[int, ...], ...] = ()
    """Seeds of all looks at this table, in order; too many make it exploratory."""

    changes: tuple[str, ...] = ()
    """How the run was narrowed or altered on the command line; empty for the declared one."""

    is_narrowed: bool = False
    """Whether seeds or variants were chosen, so that the table is not the recipe's whole one."""

    @property
    def definition(self) -> Definition:
        """What is asked, without what is known."""
        return Definition(**{field.name: getattr(self, field.name) for field in fields(Definition)})

    @property
    def shown(self) -> frozenset[str]:
        """Variants that were asked for."""
        return frozenset(trial.variant for trial in self.trials if trial.state != "skipped")

    def count(self) -> Mapping[State, int]:
        """Number of trials in each state; they add up to what was asked."""
        states: tuple[State, ...] = ("finished", "diverged", "failed", "to run", "skipped")
        return {state: sum(t.state == state for t in self.trials) for state in states}

    def list_finished(self) -> list[tuple[StudiedTrial, TrialRecord]]:
        """Trials that have an error, asked for or not, with what they measured."""
        pairs = [(trial, trial.record) for trial in self.trials]
        return [(t, record) for t, record in pairs if record and record.state == "finished"]


def build_definition(
    experiment: Experiment, plan: Plan, paper: Mapping[str, PaperTable]
) -> Definition:
    """What is asked, as plain values.

    Args:
        experiment: As experiments.yaml declares it.
        plan: Of the experiment on a recipe.
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
    """What is asked, with what is known of it.

    Args:
        experiment: As experiments.yaml declares it.
        plan: Of the experiment on a recipe.
        records: All known records of the plan's trials, by key; of variants that were not asked
            for too, since they belong to the family.
        scales: Complexities by variant.
        paper: The papers' tables, by key.
        looks: Seeds of all looks at this table, in order.
    """
    definition = build_definition(experiment, plan, paper)
    asked = {field.name: getattr(definition, field.name) for field in fields(Definition)}
    return Study(
        **asked,
        scales={row.name: scales[row.name] for row in definition.rows},
        trials=tuple(_describe_trial(t, records.get(t.spec.key)) for t in plan.trials),
        looks=tuple(tuple(look) for look in looks),
        changes=plan.changes,
        is_narrowed=plan.is_narrowed,
    )


def merge_tables(tables: Iterable[PaperTable]) -> dict[str, PaperRow]:
    """The rows of several tables; a later one fills the cells that the earlier leave empty."""
    merged: dict[str, PaperRow] = {}
    for table in tables:
        for name, row in table.rows.items():
            merged[name] = _fill(merged[name], row) if name in merged else row
    return merged


def _fill(row: PaperRow, other: PaperRow) -> PaperRow:
    """`row` with those cells of `other` that it has not, and what explains them."""
    notes = {"explained", "provenance"}  # mappings from cells, merged cell by cell
    cells = other.model_fields_set - row.model_fields_set - notes
    merged = {
        note: {c: value for c, value in getattr(other, note).items() if c in cells}
        | getattr(row, note)
        for note in notes & (row.model_fields_set | other.model_fields_set)
    }
    return row.model_copy(update={c: getattr(other, c) for c in cells} | merged)


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
    dataset = plan.trials[0].spec.dataset  # a plan without trials is refused
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
    """As the values are once they were written and read: lists for tuples, keys sorted."""
    plain: dict[str, Any] = json.loads(json.dumps(values, sort_keys=True))
    return plain
