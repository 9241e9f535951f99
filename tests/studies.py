"""Studies for tests: three variants with two seeds, and their records."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Experiment, Explanation, PaperRow, PaperTable, Recipe, VariantSettings
from ablations.data.catalogue import Dataset
from ablations.evaluations import Evaluation
from ablations.matrix import Matrix, Variant
from ablations.plans import Plan, PlannedTrial, State, build_specs
from ablations.study.study import Study, build_study
from ablations.trial.records import Environment, EpochRecord, TrialRecord
from sknet.spec import Branch, NetworkSpec, SelectiveKernel

COMPLEXITY = Complexity(
    params=1_234_567,
    running_statistics=100,
    macs=2_345_000_000,
    rescaling_macs=5,
    fvcore_total=3,
    uncounted=(),
)
PAPER = PaperTable(
    source="A paper, Table 1",
    recipe="ImageNet",
    provenance="printed",
    rows={
        "base": PaperRow(
            top1_error=Decimal("20.79"), params_m=Decimal("27.5"), gflops=Decimal("4.47")
        ),
        "other": PaperRow(
            top1_error=Decimal("20.80"),
            params_m=Decimal("1.3"),
            explained={"params_m": Explanation(ours=Decimal("1.2"), reason="counted differently")},
        ),
    },
)


def make_variant(name: str, dilation: int) -> Variant:
    """Makes a variant whose second kernel has this dilation."""
    network = NetworkSpec(operator=SelectiveKernel(branches=(Branch(), Branch(3, dilation))))
    return Variant(
        name=name, settings={"dilation": dilation}, network=network, paper_network=network
    )


VARIANTS = tuple(make_variant(name, d) for d, name in enumerate(("base", "other", "extra"), 1))
MATRIX = Matrix(variants=VARIANTS, raw=len(VARIANTS))


def make_plan(recipe: Recipe, dataset: Dataset, *, states: dict[str, State] | None = None) -> Plan:
    """Plans three variants with two seeds; all finished unless `states` says otherwise."""
    trials = tuple(
        PlannedTrial(
            variant=variant,
            spec=spec,
            state=(states or {}).get(variant.name, "finished"),
            reason="a reason" if variant.name in (states or {}) else "",
        )
        for variant, spec in build_specs(VARIANTS, recipe, dataset)
    )
    return Plan(experiment="e", recipe_name="quick", recipe=recipe, matrix=MATRIX, trials=trials)


def make_records(plan: Plan, *, diverged: tuple[str, ...] = ()) -> dict[str, TrialRecord]:
    """Makes records with errors of 4 and 5 for the baseline's seeds, then 3 and 5, and 2 and 5.

    They can be exported and read back: they have all epochs, and outcomes that fit the error.
    """
    records = {}
    for trial in plan.trials:
        position = [variant.name for variant in plan.variants].index(trial.variant.name)
        error = 5.0 if trial.spec.seed else 4.0 - position
        epoch = EpochRecord(
            epoch=plan.recipe.epochs - 1,
            is_last=True,
            diverged=trial.variant.name in diverged,
            learning_rate=0.1,
            train_loss=1.0,
            top1_error=error,
            top5_error=0.0,
            correct=bytes(image >= error for image in range(100)),
            train_seconds=1.0,
            test_seconds=1.0,
            images_per_second=1.0,
            peak_memory_mb=1.0,
        )
        records[trial.spec.key] = TrialRecord(
            key=trial.spec.key,
            facts=dict(trial.spec.facts),
            epochs=(*make_earlier_epochs(epoch), epoch),
            environment=Environment(
                device="CPU x",
                python="3",
                torch="2",
                package="0",
                platform="Linux",
                commit="0123456789abcdef",
                dirty=True,
            ),
            finished_at=0.0,
        )
    return records


def make_earlier_epochs(last: EpochRecord) -> list[EpochRecord]:
    """The epochs before the last one, which took no time."""
    first = replace(
        last, is_last=False, diverged=False, correct=None, train_seconds=0.0, test_seconds=0.0
    )
    return [replace(first, epoch=number) for number in range(last.epoch)]


def make_study(
    plan: Plan,
    records: dict[str, TrialRecord],
    *,
    paper: tuple[PaperTable, ...] = (PAPER,),
    complexity: Complexity = COMPLEXITY,
    looks: tuple[tuple[int, ...], ...] = (),
    evaluations: tuple[Evaluation, ...] = (),
    **settings: Any,
) -> Study:
    """Makes a study of the three variants, with further settings of the experiment."""
    tables = {f"t{position}": table for position, table in enumerate(paper)}
    experiment = Experiment(
        question="Which?",
        expect="None.",
        baseline="base",
        paper_table=tuple(tables),
        variants={variant.name: VariantSettings() for variant in VARIANTS},
        **{"columns": ("dilation",), **settings},
    )
    scales = {v.name: Scales(paper=complexity, trained=complexity) for v in VARIANTS}
    return build_study(
        experiment,
        plan,
        records,
        scales=scales,
        paper=tables,
        looks=looks,
        evaluations=evaluations,
    )


def make_clear_records(plan: Plan) -> dict[str, TrialRecord]:
    """Makes records in which `other` is 2 points better than the baseline, `extra` equally good."""
    noise = np.random.default_rng(0).normal(0, 0.05, len(plan.trials))
    records = make_records(plan)
    for trial, jitter in zip(plan.trials, noise, strict=True):
        shift = {"base": 0.0, "other": -2.0, "extra": 0.0}[trial.variant.name]
        record = records[trial.spec.key]
        outcomes = bytes((i + trial.spec.seed) % (3 + (shift < -1)) > 0 for i in range(40))
        epoch = replace(record.last, top1_error=5.0 + shift + jitter, correct=outcomes)
        records[trial.spec.key] = replace(record, epochs=(epoch,))
    return records
