"""The trials of an experiment: variants times seeds, each with its identity and state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ablations.config import Recipe
from ablations.data.catalogue import Dataset
from ablations.files import hash_value
from ablations.matrix import Matrix, Variant
from sknet.spec import NetworkSpec

PROCEDURE = 1
"""Incremented with every change of code that changes results, so old trials are not reused."""

State = Literal["finished", "diverged", "failed", "to run", "skipped"]
"""State of a trial; a diverged one is not run again, a failed one is."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything that the results of a trial depend on."""

    network: NetworkSpec
    """Network to train."""

    recipe: Recipe
    """Recipe; its `seeds` and `body` are ignored in favour of `seed` and `network`."""

    dataset: Dataset
    """Dataset to train on."""

    seed: int
    """Seed of all random numbers."""

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The spec as plain values, without labels."""
        return {
            "procedure": PROCEDURE,
            "network": self.network.architecture(),
            "recipe": self.recipe.model_dump(mode="json", exclude={"seeds", "body"}),
            "dataset": {"name": self.dataset.name, "checksum": self.dataset.identity},
            "seed": self.seed,
            "replicas": 1,
        }

    @cached_property
    def key(self) -> str:
        """Name of the trial on disk and in MLflow, stable across restarts and machines."""
        return make_key(self.facts)


def make_key(facts: Mapping[str, Any]) -> str:
    """The first 12 hexadecimal digits of the facts' hash."""
    return hash_value(facts)[:12]


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial and its state."""

    variant: Variant
    """Variant that is trained."""

    spec: TrialSpec
    """Spec of the trial."""

    state: State
    """State of the trial."""

    reason: str = ""
    """Why it was skipped or failed; else empty."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trials of one experiment on one recipe, ordered by variant, then by seed."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with any changes made to it."""

    recipe: Recipe
    """The recipe."""

    matrix: Matrix
    """The variants of the experiment, and those that were left out."""

    trials: tuple[PlannedTrial, ...]
    """The requested trials."""

    changes: tuple[str, ...] = ()
    """How the plan was narrowed or altered on the command line; empty if it was not."""

    is_narrowed: bool = False
    """Whether only some seeds or variants were requested, so that the table is incomplete."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All variants of the experiment."""
        return self.matrix.variants

    @property
    def to_run(self) -> list[TrialSpec]:
        """Specs of the trials to run, seed by seed so that the table fills evenly."""
        specs = [trial.spec for trial in self.trials if trial.state in ("to run", "failed")]
        order = {seed: position for position, seed in enumerate(self.recipe.seeds)}
        return sorted(specs, key=lambda spec: order[spec.seed])

    def count(self) -> Mapping[State, int]:
        """Number of trials in each state; they add up to the requested ones."""
        states: tuple[State, ...] = ("finished", "diverged", "failed", "to run", "skipped")
        return {state: sum(t.state == state for t in self.trials) for state in states}


def build_specs(
    variants: Sequence[Variant], recipe: Recipe, dataset: Dataset
) -> list[tuple[Variant, TrialSpec]]:
    """Every variant with every seed, ordered by variant, then by seed."""
    return [
        (variant, TrialSpec(network=variant.network, recipe=recipe, dataset=dataset, seed=seed))
        for variant in variants
        for seed in recipe.seeds
    ]
