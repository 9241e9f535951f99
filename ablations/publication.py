"""Ledger and earlier results -> `results/`, and whether it still is what they and the YAML give."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ablations.config import Config, read_paper
from ablations.errors import IncompleteError
from ablations.export import is_exported, read_export
from ablations.files import write_changed
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.reconcile import Places, Selection, count_scales, draw_plan, refresh
from ablations.report import (
    check_report,
    fill_blocks,
    list_blocks,
    render_block,
    render_index,
    write_report,
)
from ablations.study import Definition, Scales, Study, build_definition, build_study

INDEX = "README.md"
"""Name of the index in the folder of results, and of the page beside it that shows tables."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A study and where it was written."""

    study: Study
    """The study."""

    folder: Path
    """Its folder."""

    changed: list[str]
    """Names of the files that are not as they were; empty if all was written already."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One experiment on one recipe, and where its results are kept."""

    experiment: str
    """Name of the experiment."""

    recipe_name: str
    """Name of the recipe."""

    folder: Path
    """Folder of its results, which need not be there."""


def publish(study: Study, places: Places) -> Publication:
    """Writes a study where it belongs: a whole one into the results, another under `runs/`.

    Raises:
        MachineError: If the folder cannot be written.
    """
    folder = choose_folder(study.experiment, study.recipe_name, study.changes, places)
    return Publication(study=study, folder=folder, changed=write_report(study, folder))


def choose_folder(
    experiment: str, recipe_name: str, changes: Sequence[str], places: Places
) -> Path:
    """Where a study belongs; one that was narrowed or altered leaves the results alone."""
    if not changes:
        return places.results_dir / experiment / recipe_name
    label = re.sub(r"[^\w.=,+-]+", "_", recipe_name)
    return places.runs_dir / "tables" / experiment / label


def read_earlier(plan: Plan, places: Places) -> Study | None:
    """The study that a whole plan's results hold already; None if there is none.

    Raises:
        IncompleteError: If its files were edited or damaged.
        MachineError: If a file cannot be read.
    """
    folder = choose_folder(plan.experiment, plan.recipe_name, plan.changes, places)
    return read_export(folder) if not plan.changes and is_exported(folder) else None


def gather_study(
    config: Config,
    plan: Plan,
    ledger: Ledger,
    *,
    scales: Mapping[str, Scales],
    earlier: Study | None,
) -> Study:
    """All that is known of a plan: what the ledger has, and what earlier results have besides."""
    keys = {trial.spec.key for trial in plan.trials}
    exported = {
        trial.key: trial.record
        for trial in (earlier.trials if earlier else ())
        if trial.record is not None and trial.key in keys
    }
    looks = [*(earlier.looks if earlier else ())]
    looks += map(tuple, ledger.list_looks(plan.experiment, plan.recipe_name))
    return build_study(
        config.experiment(plan.experiment),
        refresh(plan, ledger, exported),
        {**exported, **ledger.examine(keys).records},
        scales=scales,
        paper=read_paper(),
        looks=tuple(dict.fromkeys(looks)),
    )


def list_targets(
    config: Config,
    ledger: Ledger | None,
    places: Places,
    *,
    names: Sequence[str],
    recipe: str | None,
) -> list[Target]:
    """The experiments on those recipes of which anything is known.

    Args:
        config: What experiments.yaml says.
        ledger: Finished trials count as known; None if only results do.
        places: Where everything is.
        names: Experiments; all if empty.
        recipe: One recipe; all if None.

    Raises:
        InputError: If a name stands for nothing.
    """
    recipes = [recipe] if recipe else list(config.recipes)
    for name in recipes:
        config.recipe(name)
    targets = [
        Target(experiment=name, recipe_name=own, folder=places.results_dir / name / own)
        for name in names or config.experiments
        if config.experiment(name)
        for own in recipes
    ]
    return [t for t in targets if t.folder.is_dir() or _is_known(config, t, ledger, places)]


def report(config: Config, target: Target, ledger: Ledger, places: Places) -> Publication:
    """Writes one target's results anew, from the ledger and from those that are there.

    Complexities are taken over where the networks are the same; else they are counted.

    Raises:
        InputError: If a variant cannot be built.
        IncompleteError: If the results that are there were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    earlier = read_export(target.folder) if is_exported(target.folder) else None
    plan = _draw(config, target, ledger, places, earlier)
    definition = build_definition(config.experiment(target.experiment), plan, read_paper())
    scales = _recall_scales(definition, earlier) or count_scales(config, plan, places)
    return publish(gather_study(config, plan, ledger, scales=scales, earlier=earlier), places)


def publish_index(config: Config, places: Places) -> list[Path]:
    """Writes the index of all results; returns it if it changed.

    Raises:
        IncompleteError: If the files of a study were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    content = render_index(_read_studies(config, places)).encode()
    return [places.results_dir / n for n in write_changed({INDEX: content}, places.results_dir)]


def publish_blocks(places: Places) -> list[Path]:
    """Makes the tables anew in the README beside the results; returns it if it changed.

    Raises:
        MachineError: If it cannot be written.
    """
    page = places.results_dir.absolute().parent / INDEX
    if not page.is_file():
        return []
    text = fill_blocks(page.read_text(encoding="utf-8"), lambda path: _find_body(page, path))
    return [page.parent / name for name in write_changed({page.name: text.encode()}, page.parent)]


def check_results(
    config: Config, places: Places, *, names: Sequence[str], recipe: str | None
) -> list[str]:
    """What is wrong with the results, a line each: edited, stale, missing, foreign.

    Looks at the results, experiments.yaml and paper.yaml alone, not at the ledger, and writes
    nothing.

    Raises:
        InputError: If a name stands for nothing, or a variant cannot be built.
        MachineError: If a file cannot be read.
    """
    targets = list_targets(config, None, places, names=names, recipe=recipe)
    findings = [f for target in targets for f in _check_target(config, target, places)]
    absent = set(names) - {target.experiment for target in targets}
    findings += [
        f"{places.results_dir / name}: missing; `ablations report {name}` writes it"
        for name in sorted(absent)
    ]
    if not names:
        findings += list_foreign(config, places)
    findings += _check_index(config, places)
    findings += _check_blocks(places)
    return list(dict.fromkeys(findings))


def list_foreign(config: Config, places: Places) -> list[str]:
    """What lies in the results and belongs to no experiment or recipe, a line each."""
    if not places.results_dir.is_dir():
        return []
    return list(_list_foreign(config, places.results_dir))


def _list_foreign(config: Config, results_dir: Path) -> Iterator[str]:
    for path in sorted(results_dir.iterdir()):
        if path.name in config.experiments and path.is_dir():
            for own in sorted(path.iterdir()):
                if own.name not in config.recipes or not own.is_dir():
                    yield f"{own}: belongs to no recipe of {config.path}; remove it"
        elif path.name != INDEX:
            yield f"{path}: belongs to no experiment of {config.path}; remove it"


def _is_known(config: Config, target: Target, ledger: Ledger | None, places: Places) -> bool:
    """Whether the ledger has a trial of the target that has ended."""
    if ledger is None or not ledger.has_records:
        return False
    count = _draw(config, target, ledger, places, None).count()
    return count["finished"] + count["diverged"] > 0


def _draw(
    config: Config, target: Target, ledger: Ledger | None, places: Places, earlier: Study | None
) -> Plan:
    """The target's plan; a dataset that is known only where it was used is that of the results."""
    selection = Selection(recipe_name=target.recipe_name, settings={})
    name, data_dir = target.experiment, places.data_dir
    plan = draw_plan(config, name, selection, ledger, data_dir=data_dir)
    if earlier is None or plan.count()["finished"]:
        return plan
    known = earlier.dataset
    return draw_plan(config, name, selection, ledger, data_dir=data_dir, known=known)


def _recall_scales(definition: Definition, earlier: Study | None) -> Mapping[str, Scales]:
    """The complexities of earlier results, if they are of the same networks; else none."""
    if earlier is None or earlier.matrix_hash != definition.matrix_hash:
        return {}
    networks, others = (
        {row.name: row.paper_network for row in rows} for rows in (definition.rows, earlier.rows)
    )
    return earlier.scales if networks == others else {}


def _read_studies(config: Config, places: Places) -> list[Study]:
    targets = list_targets(config, None, places, names=(), recipe=None)
    return [read_export(target.folder) for target in targets if is_exported(target.folder)]


def _find_body(page: Path, path: str) -> str | None:
    file = page.parent / path
    return render_block(file.read_text(encoding="utf-8")) if file.is_file() else None


def _check_target(config: Config, target: Target, places: Places) -> Iterator[str]:
    yield from check_report(target.folder)
    try:
        earlier = read_export(target.folder)
    except IncompleteError:
        return  # told above
    experiment = config.experiment(target.experiment)
    plan = _draw(config, target, None, places, earlier)
    definition = build_definition(experiment, plan, read_paper())
    differing = [
        field.name
        for field in fields(Definition)
        if getattr(definition, field.name) != getattr(earlier, field.name)
    ]
    if not differing:
        return
    yield (
        f"{target.folder}: stale, {config.path} or paper.yaml says otherwise of: "
        f"{', '.join(differing)}; run `ablations report {target.experiment}`"
    )
    keys = {trial.key for trial in earlier.trials}
    if missing := sum(trial.spec.key not in keys for trial in plan.trials):
        yield (
            f"{target.folder}: {missing} of {len(plan.trials)} trials are missing; train them with "
            f"`run-ablation {target.experiment} --recipe {target.recipe_name}`"
        )


def _check_index(config: Config, places: Places) -> list[str]:
    index = places.results_dir / INDEX
    try:
        studies = _read_studies(config, places)
    except IncompleteError as error:
        return [str(error)]
    if not studies and not index.exists():
        return []
    if not index.is_file():
        return [f"{index}: missing; `ablations report --all` writes it"]
    if index.read_bytes() != render_index(studies).encode():
        return [f"{index}: edited or stale; `ablations report --all` writes it anew"]
    return []


def _check_blocks(places: Places) -> Iterator[str]:
    page = places.results_dir.absolute().parent / INDEX
    if not page.is_file():
        return
    for path, body in list_blocks(page.read_text(encoding="utf-8")).items():
        expected = _find_body(page, path)
        if expected is None:
            yield f"{page}: shows {path}, which is missing"
        elif body != expected:
            yield f"{page}: its table is not that of {path}; run `ablations report --all`"
