"""The key of a trial depends on facts, and on nothing else."""

import csv
import json
from dataclasses import replace
from typing import Any

import pytest
from conftest import ROOT

from ablations.config import Recipe, read_config
from ablations.config.schema import LATER_FIELDS
from ablations.data import DATASETS
from ablations.errors import InputError
from ablations.matrix import Matrix, Variant, build_matrix
from ablations.plans import Plan, PlannedTrial, TrialSpec, build_specs, make_key
from ablations.reconcile.plans import Selection, Shard, draw_plan
from ablations.workspace import Workspace

PUBLISHED = sorted(path.parents[1].name for path in ROOT.glob("results/*/quick/trials.csv"))
"""Experiments with results on the recipe `quick`."""


def test_key_is_stable() -> None:
    """A change here orphans every finished trial: say so in CHANGELOG.md."""
    facts = {"seed": 0, "network": {"depths": [1, 2]}, "recipe": {"learning_rate": 0.1}}

    assert make_key(facts) == "90f54108cc1f"


def test_key_of_a_trial_is_stable(spec: TrialSpec) -> None:
    """A change here orphans every finished trial: say so in CHANGELOG.md."""
    assert spec.key == "d0c5204da64d"


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"recipe": {"epochs": 3}},
        {"recipe": {"precision": "bf16"}},
        {"recipe": {"flip": False}},
        {"recipe": {"replicas": 2}},
        {"dataset": {"checksum": "0" * 64}},
        {"network": {"num_classes": 11}},
    ],
)
def test_facts_are_part_of_the_key(spec: TrialSpec, change: dict) -> None:
    """Everything that results depend on changes the key."""
    [(part, value)] = change.items()
    if part == "recipe":
        value = spec.recipe.model_copy(update=value)
    elif part != "seed":
        value = replace(getattr(spec, part), **value)

    assert replace(spec, **{part: value}).key != spec.key


@pytest.mark.parametrize(
    "change",
    [
        {"crop_fill": "mean"},
        {"crop_scale": 0.25},
        {"rotation": 10.0},
        {"pixel_jitter": 20.0},
    ],
)
def test_later_fields_of_a_recipe_count_only_when_they_are_set(
    spec: TrialSpec, change: dict
) -> None:
    """Trials from before these fields existed keep their keys."""
    changed = replace(spec, recipe=spec.recipe.model_copy(update=change))

    assert spec.recipe.facts.keys().isdisjoint(LATER_FIELDS)
    assert changed.recipe.facts == {**spec.recipe.facts, **change}
    assert changed.key != spec.key


def test_replicas_and_their_normalisation_are_part_of_the_key(spec: TrialSpec) -> None:
    """Replicas compute other statistics; one process has neither choice, and keeps its key."""
    both = replace(spec, recipe=spec.recipe.model_copy(update={"replicas": 2}))
    changes = {"replicas": 2, "batch_norm": "synchronised"}
    synchronised = replace(spec, recipe=spec.recipe.model_copy(update=changes))

    assert [own.facts["replicas"] for own in (spec, both, synchronised)] == [1, 2, 2]
    assert spec.recipe.facts == both.recipe.facts
    assert synchronised.recipe.facts == {**spec.recipe.facts, "batch_norm": "synchronised"}
    assert len({own.key for own in (spec, both, synchronised)}) == 3


def test_procedure_is_part_of_the_key(spec: TrialSpec) -> None:
    """Trials of an older procedure are not reused."""
    assert replace(spec, procedure=spec.procedure - 1).key != spec.key


def test_specs_of_several_seeds_equal_those_built_alone(spec: TrialSpec, recipe: Recipe) -> None:
    """What they share is described once, but facts and keys are those of each spec."""
    variant = Variant(name="a", settings={}, network=spec.network, paper_network=spec.network)

    specs = [own for _, own in build_specs([variant], recipe, spec.dataset)]

    alone = [replace(spec, seed=seed) for seed in recipe.seeds]
    assert specs == alone
    assert [own.key for own in specs] == [own.key for own in alone]


def test_trials_to_run_are_ordered_by_seed(spec: TrialSpec, recipe: Recipe) -> None:
    """In the order of the recipe, so that a table fills evenly."""
    recipe = recipe.model_copy(update={"seeds": (5, 3)})
    variants = [
        Variant(name=name, settings={}, network=spec.network, paper_network=spec.network)
        for name in "ab"
    ]
    trials = tuple(
        PlannedTrial(variant=variant, spec=own, state="to run")
        for variant, own in build_specs(variants, recipe, spec.dataset)
    )
    matrix = Matrix(variants=tuple(variants), raw=2)
    plan = Plan(experiment="x", recipe_name="quick", recipe=recipe, matrix=matrix, trials=trials)

    order = [(trial.variant.name, trial.spec.seed) for trial in plan.to_run]
    assert order == [("a", 5), ("b", 5), ("a", 3), ("b", 3)]
    assert plan.count()["to run"] == 4


@pytest.mark.parametrize("experiment", PUBLISHED)
def test_keys_of_published_trials_are_stable(experiment: str) -> None:
    """Settings that networks and recipes gained later do not count at their defaults."""
    folder = ROOT / "results" / experiment / "quick"
    rows = csv.DictReader((folder / "trials.csv").read_text(encoding="utf-8").splitlines())
    published = {(row["variant"], row["seed"]): row["trial"] for row in rows}
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))["facts"]
    config = read_config(ROOT / "experiments.yaml")
    recipe = config.recipe("quick")
    dataset = DATASETS[recipe.dataset]
    matrix = build_matrix(config, experiment, body_name=recipe.body, dataset=dataset)

    specs = build_specs(matrix.variants, recipe, dataset, procedure=facts["procedure"])

    keys = {(variant.name, str(spec.seed)): spec.key for variant, spec in specs}
    assert published.items() <= keys.items()


def test_labels_are_not_part_of_the_key(spec: TrialSpec, recipe: Recipe) -> None:
    """Nor are other seeds of the recipe, the name of the body, or the dataset's constants."""
    renamed = recipe.model_copy(update={"seeds": (7, 8), "body": "wee"})
    same = replace(spec, recipe=renamed, dataset=replace(spec.dataset, mean=(0.1,)))

    assert same.key == spec.key


def test_equal_networks_have_the_same_key(spec: TrialSpec) -> None:
    """A ratio below the floor does not change the network."""
    operator = replace(spec.network.operator, reduction=64)
    same = replace(spec, network=replace(spec.network, operator=operator))

    assert same.key == spec.key


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 4, "replicas": 4}])
def test_replicas_with_a_single_image_are_refused(settings: dict[str, int]) -> None:
    """An SK unit normalises its descriptor over the batch, which one value does not define."""
    config, workspace = read_config(ROOT / "experiments.yaml"), Workspace()

    def draw(**narrowed: Any) -> Plan:
        selection = Selection(settings=settings, **narrowed)
        return draw_plan(config, "attention_vs_summation", selection, workspace=workspace)

    with pytest.raises(InputError, match=r"recipes.quick: batch_size must be at least 2 for each"):
        draw()
    assert draw(only=("*sum*",)).to_run


def test_shards_divide_the_trials() -> None:
    """Each trial belongs to exactly one of them, so machines need not know of each other."""
    config = read_config(ROOT / "experiments.yaml")
    plans = [
        draw_plan(
            config,
            "kernel_combination",
            Selection(shard=Shard(number=number, count=4)),
            workspace=Workspace(),
        )
        for number in (1, 2, 3, 4)
    ]

    asked = [{t.spec.key for t in plan.trials if t.state == "to run"} for plan in plans]

    assert sum(map(len, asked)) == len(set.union(*asked)) == len(plans[0].trials)
    assert min(map(len, asked)) > len(plans[0].trials) / 8
    assert plans[1].changes == ("--shard 2/4",)
