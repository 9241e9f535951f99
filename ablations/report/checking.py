"""What is wrong with the results: edited, stale, missing, or not theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

from ablations.config import Config, read_paper
from ablations.errors import IncompleteError
from ablations.reconcile.gathering import Target, draw_target, list_all, read_studies
from ablations.report import check_report, list_blocks, render_index
from ablations.report.writing import INDEX, find_body
from ablations.study.export import is_exported, read_export
from ablations.study.study import Definition, build_definition
from ablations.workspace import Workspace


def check_results(
    config: Config, workspace: Workspace, *, names: Sequence[str], recipe: str | None
) -> list[str]:
    """What is wrong with the results, a line each: edited, stale, missing, foreign.

    Looks at the results, experiments.yaml and paper.yaml alone, not at the ledger, and writes
    nothing.

    Raises:
        InputError: If a name stands for nothing, or a variant cannot be built.
        MachineError: If a file cannot be read.
    """
    targets = [t for t in list_all(config, workspace, names, recipe) if t.folder.is_dir()]
    findings = [f for target in targets for f in _check_target(config, target, workspace)]
    absent = set(names) - {target.experiment for target in targets}
    findings += [
        f"{workspace.results_dir / name}: missing; `ablations report {name}` writes it"
        for name in sorted(absent)
    ]
    if not names:
        findings += list_foreign(config, workspace)
    findings += _check_index(config, workspace)
    findings += _check_blocks(workspace)
    return list(dict.fromkeys(findings))


def list_foreign(config: Config, workspace: Workspace) -> list[str]:
    """What lies among the results and belongs to nothing, or holds no records; a line each."""
    if not workspace.results_dir.is_dir():
        return []
    return list(_list_foreign(config, workspace.results_dir))


def _list_foreign(config: Config, results_dir: Path) -> Iterator[str]:
    for path in sorted(results_dir.iterdir()):
        if path.name in config.experiments and path.is_dir():
            for own in sorted(path.iterdir()):
                if own.name not in config.recipes or not own.is_dir():
                    yield f"{own}: belongs to no recipe of {config.path}; remove it"
                elif not is_exported(own):
                    yield from check_report(own)
        elif path.name != INDEX:
            yield f"{path}: belongs to no experiment of {config.path}; remove it"


def _check_target(config: Config, target: Target, workspace: Workspace) -> Iterator[str]:
    yield from check_report(target.folder)
    try:
        earlier = read_export(target.folder)
    except IncompleteError:
        return  # told above
    experiment = config.experiment(target.experiment)
    plan = draw_target(config, target, None, workspace, earlier)
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


def _check_index(config: Config, workspace: Workspace) -> list[str]:
    index = workspace.results_dir / INDEX
    try:
        studies = read_studies(config, workspace)
    except IncompleteError as error:
        return [str(error)]
    if not studies and not index.exists():
        return []
    if not index.is_file():
        return [f"{index}: missing; `ablations report --all` writes it"]
    if index.read_bytes() != render_index(studies).encode():
        return [f"{index}: edited or stale; `ablations report --all` writes it anew"]
    return []


def _check_blocks(workspace: Workspace) -> Iterator[str]:
    page = workspace.results_dir.parent / INDEX
    if not page.is_file():
        return
    for path, body in list_blocks(page.read_text(encoding="utf-8")).items():
        expected = find_body(page, path)
        if expected is None:
            yield f"{page}: shows {path}, which is missing"
        elif body != expected:
            yield f"{page}: its table is not that of {path}; run `ablations report --all`"
