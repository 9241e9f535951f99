"""Everything known of one experiment on one recipe, from which all results are derived.

A study consists of plain values rather than networks, so that it can be read from files on a
machine that has neither the ledger nor PyTorch.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ablations.complexity.scales import Scales
from ablations.config import Claim, Column, Experiment, PaperRow, PaperTable, Provenance, plan_looks
from ablations.data import Dataset
from ablations.evaluations import Evaluation, select_evaluations
from ablations.files import hash_value
from ablations.matrix import Variant
from ablations.plans import Plan, State, make_key
from ablations.speed import Benchmark, Speed, identify_network
from ablations.trial.records import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table of a paper that printed cells come from."""

    key: str
    """Key in paper.yaml."""

    source: str
    """Paper and table."""

    recipe: str
    """How the printed errors were obtained."""

    provenance: Provenance
    """Where the numbers were read, unless a cell says otherwise."""


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """What the papers printed for one row."""

    name: str
    """Name of the row."""

    cells: PaperRow
    """Its cells from all tables; those of an earlier table take precedence."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant as plain values, readable without torch."""

    name: str
    """Name of the variant."""

    settings: Mapping[str, Any]
    """Cells of the table's setting columns, in the paper's terms."""

    facts: Mapping[str, Any]
    """Facts that determine the identity of its trials, except the seed."""

    as_built: str
    """The parts that experiments.yaml gives in the body's own numbers, as text."""

    paper_network: str
    """Hash of the variant's network at the paper's scale and of the size of its images."""


@dataclass(frozen=True, kw_only=True)
class StudiedDataset:
    """The dataset, as far as it is known without reading it."""

    name: str
    """Name in experiments.yaml."""

    identity: str
    """Identity of the images, which is part of the identity of a trial."""

    is_pinned: bool
    """Whether the identity is the checksum of the images, equal on every machine."""

    found: str | None
    """SHA-256 of the machine's copy, for a dataset without a pinned checksum."""

    num_classes: int
    """Number of labels."""

    train_size: int
    """Number of training images."""

    test_size: int
    """Number of test images."""

    channels: int | None = None
    """Channels of an image of a dataset of the user's own; None for others."""

    image_size: int | None = None
    """Side in pixels of an image of a dataset of the user's own; None for others."""

    @property
    def as_own(self) -> Dataset:
        """A dataset of the user's own, to plan with on a machine that has not loaded it."""
        return Dataset(
            name=self.name,
            channels=self.channels or 1,
            image_size=self.image_size or 1,
            num_classes=self.num_classes,
            train_size=self.train_size,
            test_size=self.test_size,
            mean=(),
            std=(),
            checksum=self.identity,
        )


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What was asked: an experiment on a recipe, before anything is trained."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with the changes to it."""

    question: str
    """The experiment's question."""

    expect: str
    """The expectation stated before anything ran."""

    baseline: str
    """The variant that the others are compared with."""

    margin: float
    """Points of error below which a difference does not matter."""

    claims: tuple[Claim, ...]
    """Statements of papers that the trials are compared with."""

    columns: tuple[Column, ...]
    """Setting columns of the table, in order."""

    sources: tuple[Source, ...]
    """The papers' tables, in order."""

    printed: tuple[PrintedRow, ...]
    """Rows with printed cells in the papers' order, of variants and of others."""

    rows: tuple[Row, ...]
    """All variants, in the file's order."""

    recipe: Mapping[str, Any]
    """Fields of the recipe as plain values."""

    seeds: tuple[int, ...]
    """Seeds; every variant is trained once per seed."""

    body: str
    """Name of the body that the variants are built on."""

    dataset: StudiedDataset
    """Dataset that the variants are trained on."""

    looks: tuple[int, ...] = ()
    """Numbers of seeds of the planned looks; empty if there is only one, at all seeds."""

    @property
    def planned_looks(self) -> tuple[int, ...]:
        """The looks that the table takes."""
        return plan_looks(self.looks, self.seeds)

    @property
    def procedure(self) -> int:
        """How the code trained the trials, see `ablations.plans.PROCEDURE`."""
        return int(self.rows[0].facts["procedure"])

    @cached_property
    def printed_cells(self) -> Mapping[str, PaperRow]:
        """Printed cells by the name of the row."""
        return {row.name: row.cells for row in self.printed}

    @cached_property
    def only_printed(self) -> tuple[str, ...]:
        """Printed rows that are not variants, so nothing of them is measured."""
        declared = {row.name for row in self.rows}
        return tuple(row.name for row in self.printed if row.name not in declared)

    @cached_property
    def matrix_hash(self) -> str:
        """SHA-256 of everything that is trained: baseline, networks, recipe, seeds, dataset."""
        facts = {
            "baseline": self.baseline,
            "variants": [[row.name, row.facts["network"]] for row in self.rows],
            "recipe": {k: v for k, v in self.recipe.items() if k not in ("seeds", "body")},
            "seeds": self.seeds,
            "dataset": self.dataset.identity,
        }
        return hash_value(facts)

    def list_names(self) -> list[str]:
        """Names of all rows in the variants' order.

        A row that is only printed follows the row that is above it in the paper.
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
    """A trial of the definition, whether it was asked for or not."""

    key: str
    """Identity of the trial."""

    variant: str
    """Variant that it belongs to."""

    seed: int
    """Seed of the trial."""

    state: State
    """State; `skipped` if it was not asked for."""

    reason: str = ""
    """Why it is skipped, failed or diverged."""

    record: TrialRecord | None = None
    """Record of the trial if there is one, also of a skipped trial."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything known of one experiment on one recipe."""

    definition: Definition
    """What was asked, before anything was trained."""

    scales: Mapping[str, Scales]
    """Complexities by variant."""

    trials: tuple[StudiedTrial, ...]
    """All trials of the definition, by variant, then by seed."""

    looks: tuple[tuple[int, ...], ...] = ()
    """Seeds of all looks at this table, in order; too many make it exploratory."""

    changes: tuple[str, ...] = ()
    """How the run was narrowed or altered on the command line; empty for the declared one."""

    is_narrowed: bool = False
    """Whether only some seeds or variants were chosen."""

    benchmark: Benchmark | None = None
    """Measured speeds; None if there are none."""

    evaluations: tuple[Evaluation, ...] = ()
    """Published weights of the variants' networks at the paper's scale, one per network."""

    @cached_property
    def published(self) -> Mapping[str, Evaluation]:
        """Published weights by variant."""
        known = {own.identity: own for own in self.evaluations}
        identities = {row.name: row.paper_network for row in self.definition.rows}
        return {name: known[own] for name, own in identities.items() if own in known}

    @cached_property
    def speeds(self) -> Mapping[str, Speed]:
        """Measured speeds by variant; empty without a benchmark."""
        if self.benchmark is None:
            return {}
        scale, size = self.benchmark.conditions.scale, self.benchmark.conditions.image_size
        return self.benchmark.select(
            {
                row.name: row.paper_network
                if scale == "paper"
                else make_key({"network": row.facts["network"], "input_size": size})
                for row in self.definition.rows
            }
        )

    @property
    def shown(self) -> frozenset[str]:
        """Variants that were asked for."""
        return frozenset(trial.variant for trial in self.trials if trial.state != "skipped")

    def count(self) -> Mapping[State, int]:
        """Number of trials in each state; they add up to what was asked."""
        states: tuple[State, ...] = ("finished", "diverged", "failed", "to run", "skipped")
        return {state: sum(t.state == state for t in self.trials) for state in states}

    def list_finished(self) -> list[tuple[StudiedTrial, TrialRecord]]:
        """Finished trials with their records, asked for or not."""
        pairs = [(trial, trial.record) for trial in self.trials]
        return [(t, record) for t, record in pairs if record and record.state == "finished"]


def build_definition(
    experiment: Experiment, plan: Plan, paper: Mapping[str, PaperTable]
) -> Definition:
    """Describes what was asked as plain values.

    Args:
        experiment: As experiments.yaml declares it.
        plan: Plan of the experiment on a recipe.
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
        recipe=_make_plain(
            {
                **plan.recipe.facts,
                **({"replicas": plan.recipe.replicas} if plan.recipe.replicas > 1 else {}),
                "body": plan.recipe.body,
                "seeds": plan.recipe.seeds,
            }
        ),
        seeds=plan.recipe.seeds,
        body=plan.recipe.body,
        dataset=_describe_dataset(plan),
        looks=plan.recipe.looks,
    )


def build_study(
    experiment: Experiment,
    plan: Plan,
    records: Mapping[str, TrialRecord],
    *,
    scales: Mapping[str, Scales],
    paper: Mapping[str, PaperTable],
    looks: Sequence[Sequence[int]] = (),
    benchmark: Benchmark | None = None,
    evaluations: Iterable[Evaluation] = (),
) -> Study:
    """Combines what was asked with everything known of it.

    Args:
        experiment: As experiments.yaml declares it.
        plan: Plan of the experiment on a recipe.
        records: Known records of the plan's trials by key, also of variants that were not asked
            for, since they belong to the family.
        scales: Complexities by variant.
        paper: The papers' tables, by key.
        looks: Seeds of all looks at this table, in order.
        benchmark: Measured speeds of the variants, if there are any.
        evaluations: Known evaluations of published weights, of whatever networks; a study has those
            of its variants if papers print errors on ImageNet beside which they can stand.
    """
    definition = build_definition(experiment, plan, paper)
    is_printed = any(row.cells.top1_error is not None for row in definition.printed)
    identities = [row.paper_network for row in definition.rows if is_printed]
    return Study(
        definition=definition,
        scales={row.name: scales[row.name] for row in definition.rows},
        trials=tuple(describe_trials(plan, definition, records)),
        looks=tuple(tuple(look) for look in looks),
        changes=plan.changes,
        is_narrowed=plan.is_narrowed,
        benchmark=benchmark,
        evaluations=select_evaluations(evaluations, identities),
    )


def merge_tables(tables: Iterable[PaperTable]) -> dict[str, PaperRow]:
    """Merges the rows of several tables; earlier tables take precedence, cell by cell."""
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
        paper_network=identify_network(
            variant.paper_network, variant.paper_network.body.input_size
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
        channels=dataset.channels if dataset.is_own else None,
        image_size=dataset.image_size if dataset.is_own else None,
    )


def describe_trials(
    plan: Plan, definition: Definition, records: Mapping[str, TrialRecord]
) -> Iterator[StudiedTrial]:
    """Describes the trials of a plan as plain values, with their records."""
    facts = {row.name: row.facts for row in definition.rows}
    for trial in plan.trials:
        spec, name = trial.spec, trial.variant.name
        record = records.get(spec.key)
        yield StudiedTrial(
            key=spec.key,
            variant=name,
            seed=spec.seed,
            state=trial.state,
            reason=trial.reason,
            record=record and replace(record, facts={**facts[name], "seed": spec.seed}),
        )


def _make_plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts values to what JSON gives back: lists for tuples, sorted keys."""
    plain: dict[str, Any] = json.loads(json.dumps(values, sort_keys=True))
    return plain
