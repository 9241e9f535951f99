"""Plans: the trials of an experiment, each with its identity and state."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

from ablations.config import Recipe
from ablations.data.catalogue import Dataset
from ablations.files import hash_value
from ablations.matrix import Matrix, Variant
from sknet.spec import NetworkSpec

PROCEDURE = 2
"""Increased with every change of code that changes results, so that old trials are not reused."""

State = Literal["finished", "diverged", "failed", "to run", "skipped"]
"""State of a trial; a diverged one is complete, a failed one is tried again."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """Everything that a trial's numbers depend on."""

    network: NetworkSpec
    """Network to train."""

    recipe: Recipe
    """Training recipe; its seeds and body do not count beyond `seed` and `network`."""

    dataset: Dataset
    """Dataset to train on."""

    seed: int
    """Seed of all random numbers."""

    procedure: int = PROCEDURE
    """How the code trains; older trials are only read."""

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """The spec as plain values, without display names."""
        return {**self._shared_facts, "seed": self.seed}

    @cached_property
    def _shared_facts(self) -> Mapping[str, Any]:
        """The facts that do not depend on the seed."""
        return {
            "procedure": self.procedure,
            "network": self.network.architecture(),
            "recipe": self.recipe.facts,
            "dataset": {"name": self.dataset.name, "checksum": self.dataset.identity},
            "replicas": self.recipe.replicas,
        }

    @cached_property
    def key(self) -> str:
        """Name of the trial on disk and in MLflow, stable across restarts and machines."""
        return make_key(self.facts)

    def with_seed(self, seed: int) -> "TrialSpec":
        """The same trial with another seed; facts that both share are described only once."""
        other = replace(self, seed=seed)
        vars(other)["_shared_facts"] = self._shared_facts  # as if it had been computed
        return other


def make_key(facts: Mapping[str, Any]) -> str:
    """The first 12 hexadecimal digits of the facts' hash."""
    return hash_value(facts)[:12]


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """A trial with its state."""

    variant: Variant
    """Variant that it belongs to."""

    spec: TrialSpec
    """Everything that its numbers depend on."""

    state: State
    """State of the trial."""

    reason: str = ""
    """Why it is skipped, failed or diverged."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The trials of one experiment on one recipe, by variant, then by seed."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe, with the changes to it."""

    recipe: Recipe
    """The recipe."""

    matrix: Matrix
    """The variants that the experiment declares, and those that were left out."""

    trials: tuple[PlannedTrial, ...]
    """All trials that were asked for."""

    trained_as: str = ""
    """Name of the recipe with the changes that its trials depend on: not those of looks."""

    changes: tuple[str, ...] = ()
    """How the run was narrowed or altered on the command line; empty for the declared one."""

    is_narrowed: bool = False
    """Whether only some seeds or variants were chosen."""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """All variants that the experiment declares."""
        return self.matrix.variants

    @cached_property
    def to_run(self) -> tuple[PlannedTrial, ...]:
        """Trials that must be trained, seed by seed so that a table fills evenly."""
        waiting = [trial for trial in self.trials if trial.state in ("to run", "failed")]
        order = {seed: position for position, seed in enumerate(self.recipe.seeds)}
        return tuple(sorted(waiting, key=lambda trial: order[trial.spec.seed]))

    def count(self) -> Mapping[State, int]:
        """Number of trials in each state; they add up to what was asked."""
        counted = Counter(trial.state for trial in self.trials)
        return {state: counted[state] for state in get_args(State)}


def build_specs(
    variants: Sequence[Variant], recipe: Recipe, dataset: Dataset, *, procedure: int = PROCEDURE
) -> list[tuple[Variant, TrialSpec]]:
    """Combines every variant with every seed, by variant, then by seed."""
    first = recipe.seeds[0]
    specs = [
        (
            variant,
            TrialSpec(
                network=variant.network,
                recipe=recipe,
                dataset=dataset,
                seed=first,
                procedure=procedure,
            ),
        )
        for variant in variants
    ]
    return [(variant, spec.with_seed(seed)) for variant, spec in specs for seed in recipe.seeds]
