"""What is asked for -> plans: the trials of experiments, each with what is known of it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ablations.config import PAPER_BODY, Config, Recipe, alter_recipe, replace_seeds
from ablations.data import DATASETS, Dataset, identify_dataset
from ablations.errors import InputError, MisfitError
from ablations.ledger import Findings, Ledger
from ablations.matrix import Variant, build_matrix
from ablations.plans import PROCEDURE, Plan, PlannedTrial, State, build_specs
from ablations.study import StudiedDataset
from ablations.workspace import Workspace

MOST_TRIALS = 100_000
"""Most trials of a plan."""


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

    until_decided: bool = False
    """Whether to ask for look after look until every row and claim is decided."""

    @property
    def changes(self) -> tuple[str, ...]:
        """How it narrows or alters the declared experiment, as command-line options."""
        options = [f"--set {key}={value}" for key, value in self.settings.items()]
        if self.seeds is not None:
            options.append(f"--seeds {','.join(map(str, self.seeds))}")
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
    data_dir: Path,
    known: StudiedDataset | None = None,
    procedure: int = PROCEDURE,
) -> Plan:
    """The trials asked for; nothing is known of them yet.

    Args:
        config: The content of experiments.yaml.
        experiment: Name of the experiment.
        selection: What is asked for.
        data_dir: The user's datasets, which need not be there.
        known: Identity of a dataset without a pinned checksum, from earlier results; it takes the
            place of what is in `data_dir`.
        procedure: Procedure of the trials; an older one only to read them.

    Raises:
        InputError: If a name or a setting is wrong, or a variant cannot be built.
    """
    recipe = _choose_recipe(config, selection)
    dataset = _choose_dataset(DATASETS[recipe.dataset], data_dir, known)
    matrix = build_matrix(config, experiment, body_name=recipe.body, dataset=dataset)
    if (number := len(matrix.variants) * len(recipe.seeds)) > MOST_TRIALS:
        raise InputError(
            f"{config.place('experiments', experiment)}: a plan may have {MOST_TRIALS:,} trials, "
            f"got {len(matrix.variants)} variants x {len(recipe.seeds)} seeds = {number:,}"
        )
    skipped = _choose_skipped(matrix.variants, selection)
    trials = tuple(
        PlannedTrial(
            variant=variant,
            spec=spec,
            state="skipped" if variant.name in skipped else "to run",
            reason=skipped.get(variant.name, ""),
        )
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
        is_narrowed=bool(selection.seeds or selection.only or selection.exclude),
    )


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
    config: Config, targets: Sequence[Target], *, data_dir: Path
) -> Iterator[tuple[Target, Plan]]:
    """Yields the targets with their plans, except those whose images do not fit their networks.

    Raises:
        InputError: If a variant cannot be built, or the images of the only target do not fit.
    """
    for target in targets:
        selection = Selection(recipe_name=target.recipe_name)
        with nullcontext() if len(targets) == 1 else suppress(MisfitError):
            yield target, draw_plan(config, target.experiment, selection, data_dir=data_dir)


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
    plans = [plan for _, plan in iterate_plans(config, targets, data_dir=workspace.data_dir)]
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
        recipe = replace_seeds(recipe, selection.seeds)
    return recipe


def _name_recipe(selection: Selection, keys: Iterable[str]) -> str:
    """Name of the recipe with the changes to these fields."""
    altered = (f"{key}={selection.settings[key]}" for key in sorted(keys))
    return " ".join([selection.recipe_name, *altered])


def _choose_dataset(dataset: Dataset, data_dir: Path, known: StudiedDataset | None) -> Dataset:
    if known is None or dataset.checksum is not None or known.name != dataset.name:
        return identify_dataset(dataset, data_dir)
    return replace(
        dataset,
        num_classes=known.num_classes,
        train_size=known.train_size,
        test_size=known.test_size,
        found=known.found,
    )


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
