"""What is asked for -> plans: the trials of experiments, each with what is known of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ablations.config import PAPER_BODY, Config, Recipe, alter_recipe, replace_seeds
from ablations.errors import InputError, MisfitError
from ablations.ledger import Findings, Ledger
from ablations.matrix import Variant, build_matrix
from ablations.plans import PROCEDURE, Plan, PlannedTrial, State, TrialSpec, build_specs
from ablations.reconcile.datasets import choose_dataset, recall_dataset
from ablations.study import StudiedDataset
from ablations.workspace import Workspace

MOST_TRIALS = 100_000
"""Most trials of a plan."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One of several equal parts of all trials, for machines that do not know of each other.

    A trial's identity decides its part, so parts do not overlap, whatever has been trained.

    Examples:
        >>> [Shard(number=number, count=2).holds("00000000000f") for number in (1, 2)]
        [False, True]
    """

    number: int
    """Which part, from 1."""

    count: int
    """Number of parts."""

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(
                f"--shard must be I/N with 1 <= I <= N, such as 2/8, got {self}. Number the parts "
                "from 1."
            )

    def holds(self, key: str) -> bool:
        """Whether a trial belongs to this part."""
        return int(key, 16) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is asked for, besides the names of experiments."""

    recipe_name: str = "quick"
    """Name of the recipe."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Changes to fields of the recipe; texts are read as YAML."""

    seeds: tuple[int, ...] | None = None
    """Seeds in place of the recipe's."""

    only: tuple[str, ...] = ()
    """Patterns of the variants to run; all if empty."""

    exclude: tuple[str, ...] = ()
    """Patterns of the variants to leave out."""

    shard: Shard | None = None
    """Part of the trials to run; all if None."""

    until_decided: bool = False
    """Whether to ask for look after look until every row and claim is decided."""

    retry_failed: bool = False
    """Whether to run only the trials that have failed."""

    @property
    def changes(self) -> tuple[str, ...]:
        """How it narrows or alters the declared experiment, as command-line options."""
        options = [f"--set {key}={value}" for key, value in self.settings.items()]
        if self.seeds is not None:
            options.append(f"--seeds {','.join(map(str, self.seeds))}")
        if self.shard is not None:
            options.append(f"--shard {self.shard}")
        options += [f"--only '{pattern}'" for pattern in self.only]
        return (*options, *(f"--exclude '{pattern}'" for pattern in self.exclude))


@dataclass(frozen=True, kw_only=True)
class Target:
    """One experiment on one recipe, and where its results are kept."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe."""

    folder: Path
    """Folder of its results; it need not exist."""


def draw_plan(
    config: Config,
    experiment: str,
    selection: Selection,
    *,
    workspace: Workspace,
    known: StudiedDataset | None = None,
    procedure: int = PROCEDURE,
) -> Plan:
    """The trials asked for; nothing is known of them yet.

    Args:
        config: The content of experiments.yaml.
        experiment: Name of the experiment.
        selection: What is asked for.
        workspace: Where the user's datasets are, which need not be there, and the prepared ones. A
            dataset of the user's own is prepared unless it is already: its images are part of the
            trials' identity.
        known: A dataset without a pinned checksum, from earlier results; it takes the place of what
            is on this machine.
        procedure: Procedure of the trials; an older one only to read them.

    Raises:
        InputError: If a name or a setting is wrong, a variant cannot be built, or a dataset of the
            user's own cannot be loaded.
    """
    recipe = _choose_recipe(config, selection)
    dataset = choose_dataset(
        recipe.dataset,
        folder=config.folder,
        workspace=workspace,
        known=known,
        place=find_place(config, selection, "dataset"),
    )
    matrix = build_matrix(config, experiment, body_name=recipe.body, dataset=dataset)
    if (number := len(matrix.variants) * len(recipe.seeds)) > MOST_TRIALS:
        raise InputError(
            f"{config.place('experiments', experiment)}: a plan may have {MOST_TRIALS:,} trials, "
            f"got {len(matrix.variants)} variants x {len(recipe.seeds)} seeds = {number:,}"
        )
    skipped = _choose_skipped(matrix.variants, selection)
    _check_replica_batches(
        [variant for variant in matrix.variants if variant.name not in skipped],
        recipe,
        place=config.place("recipes", selection.recipe_name),
    )
    trials = tuple(
        _plan_trial(variant, spec, skipped.get(variant.name), selection.shard)
        for variant, spec in build_specs(matrix.variants, recipe, dataset, procedure=procedure)
    )
    return Plan(
        experiment=experiment,
        recipe_name=_name_recipe(selection, selection.settings),
        trained_as=_name_recipe(selection, selection.settings.keys() - {"looks"}),
        recipe=recipe,
        matrix=matrix,
        trials=trials,
        changes=selection.changes,
        is_narrowed=bool(selection.seeds or selection.only or selection.exclude or selection.shard),
    )


def _check_replica_batches(variants: Sequence[Variant], recipe: Recipe, *, place: str) -> None:
    """Raises InputError if a replica gets a single image, and a network cannot train on one."""
    if recipe.replica_batch_size > 1:
        return
    names = [variant.name for variant in variants if variant.network.normalises_descriptors]
    if names:
        raise InputError(
            f"{place}: batch_size must be at least 2 for each replica, since {names[0]!r} "
            f"normalises descriptors of whole images over the batch, got {recipe.batch_size} for "
            f"{recipe.replicas}. Pass --set batch_size=N."
        )


def _plan_trial(
    variant: Variant, spec: TrialSpec, skipped: str | None, shard: Shard | None
) -> PlannedTrial:
    """A trial that is to run, or skipped with the reason."""
    if skipped is None and shard is not None and not shard.holds(spec.key):
        skipped = f"not in shard {shard}"
    state: State = "to run" if skipped is None else "skipped"
    return PlannedTrial(variant=variant, spec=spec, state=state, reason=skipped or "")


def find_place(config: Config, selection: Selection, field_name: str) -> str:
    """Where a field of the recipe is set, for messages."""
    if field_name in selection.settings:
        return f"--set {field_name}"
    return config.place("recipes", selection.recipe_name, field_name)


def mark_plan(plan: Plan, findings: Findings) -> Plan:
    """The same plan with what is known of its trials."""
    trials = tuple(
        trial
        if trial.state == "skipped"
        else replace(
            trial,
            state=_find_state(trial.spec.key, findings),
            reason=_find_reason(trial.spec.key, findings),
        )
        for trial in plan.trials
    )
    return replace(plan, trials=trials)


def keep_failed(plan: Plan) -> Plan:
    """The plan in which only the trials that have failed are still to run.

    If that leaves trials out, the plan is a narrowed one.
    """
    if all(trial.state != "to run" for trial in plan.trials):
        return plan
    trials = tuple(
        replace(trial, state="skipped", reason="has not failed (--retry-failed)")
        if trial.state == "to run"
        else trial
        for trial in plan.trials
    )
    return replace(plan, trials=trials, changes=(*plan.changes, "--retry-failed"), is_narrowed=True)


def limit_plan(plan: Plan, seeds: Mapping[str, int]) -> Plan:
    """The plan with the first seeds of each variant."""
    order = {seed: place for place, seed in enumerate(plan.recipe.seeds)}
    trials = tuple(t for t in plan.trials if order[t.spec.seed] < seeds[t.variant.name])
    return replace(plan, trials=trials)


def list_begun(plan: Plan) -> Plan:
    """The plan with the trials of the first look, and those of later looks that have ended."""
    first = set(plan.recipe.seeds[: plan.recipe.planned_looks[0]])
    trials = tuple(t for t in plan.trials if t.spec.seed in first or t.state != "to run")
    return replace(plan, trials=trials)


def list_keys(plans: Iterable[Plan]) -> set[str]:
    """The keys of all trials of the plans."""
    return {trial.spec.key for plan in plans for trial in plan.trials}


def find_missing(plans: Iterable[Plan]) -> dict[str, PlannedTrial]:
    """The trials to run, by key; one that several experiments share appears once."""
    return {trial.spec.key: trial for plan in plans for trial in plan.to_run}


def list_targets(
    config: Config, workspace: Workspace, *, names: Sequence[str] = (), recipe: str | None = None
) -> list[Target]:
    """Every experiment on every recipe, or those that are named.

    Raises:
        InputError: If there is no such experiment or recipe.
    """
    recipes = list(config.recipes) if recipe is None else [recipe]
    for name in recipes:
        config.recipe(name)
    return [
        Target(
            experiment=name, recipe_name=own, folder=workspace.find_results(name, recipe_name=own)
        )
        for name in names or config.experiments
        if config.experiment(name)
        for own in recipes
    ]


def iterate_plans(
    config: Config, targets: Sequence[Target], *, workspace: Workspace
) -> Iterator[tuple[Target, Plan]]:
    """Yields the targets with their plans, except those whose images do not fit their networks.

    Raises:
        InputError: If a variant cannot be built, the images of the only target do not fit, or a
            dataset of the user's own cannot be loaded and has no results.
    """
    for target in targets:
        selection = Selection(recipe_name=target.recipe_name)
        with nullcontext() if len(targets) == 1 else suppress(MisfitError):
            yield (
                target,
                draw_plan(
                    config,
                    target.experiment,
                    selection,
                    workspace=workspace,
                    known=recall_dataset(
                        config.recipe(target.recipe_name).dataset,
                        target.folder,
                        folder=config.folder,
                        workspace=workspace,
                    ),
                ),
            )


def list_marked_plans(
    config: Config,
    workspace: Workspace,
    ledger: Ledger,
    *,
    names: Sequence[str] = (),
    recipe: str | None = None,
    deep: bool = False,
) -> list[Plan]:
    """The plans of experiments on recipes, with what the ledger knows of their trials.

    Trials of later looks are listed if they have ended.

    Args:
        config: The content of experiments.yaml.
        workspace: Where everything is.
        ledger: What is known of trials.
        names: Experiments; all if empty.
        recipe: One recipe; all if None.
        deep: Whether to check the checksums of weights too.

    Raises:
        InputError: If there is no such experiment or recipe, or a variant cannot be built.
    """
    targets = list_targets(config, workspace, names=names, recipe=recipe)
    plans = [plan for _, plan in iterate_plans(config, targets, workspace=workspace)]
    findings = ledger.examine(list_keys(plans), deep=deep)
    return [list_begun(mark_plan(plan, findings)) for plan in plans]


def _choose_recipe(config: Config, selection: Selection) -> Recipe:
    """The recipe with what was changed in it."""
    recipe = alter_recipe(config.recipe(selection.recipe_name), selection.settings)
    if recipe.body not in {*config.bodies, PAPER_BODY}:
        raise InputError(
            f"--set body: must be one of {', '.join(sorted(config.bodies))}, got {recipe.body!r}"
        )
    if selection.seeds is not None:
        if replaced := sorted({"looks", "seeds"} & selection.settings.keys()):
            raise InputError(
                f"--seeds and --set {replaced[0]} exclude each other, got both. Pass one of them."
            )
        recipe = replace_seeds(recipe, selection.seeds)
    if selection.until_decided and len(recipe.planned_looks) == 1:
        seeds = "" if selection.seeds is None else " with --seeds"
        raise InputError(
            f"--until-decided needs several looks, but recipe {selection.recipe_name}{seeds} plans "
            "none after the first. Pass --looks, such as 3,5,8, or omit --until-decided."
        )
    return recipe


def _name_recipe(selection: Selection, keys: Iterable[str]) -> str:
    """Name of the recipe with the changes to these fields."""
    altered = (f"{key}={selection.settings[key]}" for key in sorted(keys))
    return " ".join([selection.recipe_name, *altered])


def _choose_skipped(variants: Sequence[Variant], selection: Selection) -> dict[str, str]:
    """Variants that are not asked for, with the reason."""
    skipped = {}
    for variant in variants:
        if selection.only and not _matches(variant.name, selection.only):
            skipped[variant.name] = "not among --only"
        elif _matches(variant.name, selection.exclude):
            skipped[variant.name] = "among --exclude"
    if len(skipped) == len(variants):
        names = ", ".join(f"'{variant.name}'" for variant in variants)
        raise InputError(f"--only and --exclude must leave a variant, got none of {names}.")
    return skipped


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _find_state(key: str, findings: Findings) -> State:
    if key in findings.records:
        return findings.records[key].state
    return "failed" if key in findings.failures else "to run"


def _find_reason(key: str, findings: Findings) -> str:
    if key in findings.corrupt:
        return f"its record is damaged ({findings.corrupt[key]})"
    if key in findings.failures:
        return findings.failures[key].reason
    if key in findings.records and findings.records[key].state == "diverged":
        return f"the loss became NaN or infinite in epoch {len(findings.records[key].epochs)}"
    return ""
