"""Variants x seeds -> trials with identity; what is done, and what is to do."""

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
"""Goes up by one with every change of code that changes results, so old trials are not reused."""

State = Literal["finished", "diverged", "failed", "to run", "skipped"]
"""What is known of a trial; a diverged one is done, a failed one is tried again."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """All that a trial's numbers depend on."""

    network: NetworkSpec
    """What is trained."""

    recipe: Recipe
    """How; of its seeds only `seed` counts, and of its body only what `network` holds."""

    dataset: Dataset
    """On what."""

    seed: int
    """Source of all randomness."""

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
    """A trial and what is known of it."""

    variant: Variant
    """The row of the table that it belongs to."""

    spec: TrialSpec
    """What it depends on."""

    state: State
    """Whether it is done."""

    reason: str = ""
    """Why it is skipped or failed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trials of one experiment with one recipe, variants in order, seeds within them."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with what was changed in it."""

    recipe: Recipe
    """The recipe."""

    matrix: Matrix
    """All rows that the experiment declares, and how they came about."""

    trials: tuple[PlannedTrial, ...]
    """All trials that were asked for."""
    changes: tuple[str, ...] = ()
    """How the run was narrowed or altered on the command line; empty for the declared one."""

    is_narrowed: bool = False
    """Whether seeds or variants were chosen, so that the table is not the recipe's whole one."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All rows that the experiment declares."""
        return self.matrix.variants

    @property
    def to_run(self) -> list[PlannedTrial]:
        """What must be trained, seed by seed so that a table fills evenly."""
        waiting = [trial for trial in self.trials if trial.state in ("to run", "failed")]
        return sorted(waiting, key=lambda trial: self.recipe.seeds.index(trial.spec.seed))

    def count(self) -> Mapping[State, int]:
        """Number of trials in each state; they add up to what was asked."""
        states: tuple[State, ...] = ("finished", "diverged", "failed", "to run", "skipped")
        return {state: sum(t.state == state for t in self.trials) for state in states}


def build_specs(
    variants: Sequence[Variant], recipe: Recipe, dataset: Dataset
) -> list[tuple[Variant, TrialSpec]]:
    """Every variant with every seed, variants in order and seeds within them."""
    return [
        (variant, TrialSpec(network=variant.network, recipe=recipe, dataset=dataset, seed=seed))
        for variant in variants
        for seed in recipe.seeds
    ]
