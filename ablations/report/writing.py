"""Studies -> their folders, the index, and the tables in the README."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.complexity.scales import count_scales
from ablations.config import Config, read_paper
from ablations.errors import InputError
from ablations.files import write_changed
from ablations.ledger import Ledger
from ablations.plan import Plan
from ablations.reconcile.gathering import (
    Target,
    draw_target,
    gather_study,
    read_studies,
    recall_scales,
)
from ablations.report import fill_blocks, render_block, render_index, render_report
from ablations.study.export import is_exported, read_export
from ablations.study.study import Study, build_definition
from ablations.workspace import Workspace

INDEX = "README.md"
"""Name of the index in the folder of results, and of the page beside it that shows tables."""


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A study and where it was written."""

    study: Study
    """The study."""

    folder: Path
    """Its folder."""

    files: Mapping[str, bytes]
    """All its files by name."""

    changed: list[str]
    """Names of the files that are not as they were; empty if all was written already."""


def publish(study: Study, workspace: Workspace) -> Publication:
    """Writes a study where it belongs: a whole one into the results, another under `runs/`.

    Raises:
        MachineError: If the folder cannot be written.
    """
    folder = choose_folder(
        study.definition.experiment, study.definition.recipe_name, study.changes, workspace
    )
    files = render_report(study, folder)
    return Publication(
        study=study, folder=folder, files=files, changed=write_changed(files, folder)
    )


def choose_folder(
    experiment: str, recipe_name: str, changes: Sequence[str], workspace: Workspace
) -> Path:
    """Where a study belongs; one that was narrowed or altered leaves the results alone."""
    if not changes:
        return workspace.results_dir / experiment / recipe_name
    label = re.sub(r"[^\w.=,+-]+", "_", recipe_name)
    return workspace.runs_dir / "tables" / experiment / label


def read_earlier(plan: Plan, workspace: Workspace) -> Study | None:
    """The study that a whole plan's results hold already; None if there is none.

    Raises:
        IncompleteError: If its files were edited or damaged.
        MachineError: If a file cannot be read.
    """
    folder = choose_folder(plan.experiment, plan.recipe_name, plan.changes, workspace)
    return read_export(folder) if not plan.changes and is_exported(folder) else None


def publish_target(
    config: Config, target: Target, ledger: Ledger, workspace: Workspace
) -> Publication:
    """Writes one target's results anew, from the ledger and from those that are there.

    Complexities are taken over where the networks are the same; else they are counted.

    Raises:
        InputError: If a variant cannot be built.
        IncompleteError: If the results that are there were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    earlier = read_export(target.folder) if is_exported(target.folder) else None
    plan = draw_target(config, target, ledger, workspace, earlier)
    definition = build_definition(config.experiment(target.experiment), plan, read_paper())
    scales = recall_scales(definition, earlier) or count_scales(
        config, plan, cache_file=workspace.complexity_file
    )
    return publish(gather_study(config, plan, ledger, scales=scales, earlier=earlier), workspace)


def publish_index(config: Config, workspace: Workspace) -> list[Path]:
    """Writes the index of all results; returns it if it changed.

    Raises:
        InputError: If another page has its name.
        IncompleteError: If the files of a study were edited or damaged.
        MachineError: If a file cannot be read or written.
    """
    content = render_index(read_studies(config, workspace)).encode()
    index = workspace.results_dir / INDEX
    if index.is_file() and index.read_bytes().splitlines()[:1] != content.splitlines()[:1]:
        raise InputError(f"{index} must be the index of results, got another page; move it away.")
    return [
        workspace.results_dir / n for n in write_changed({INDEX: content}, workspace.results_dir)
    ]


def publish_blocks(workspace: Workspace) -> list[Path]:
    """Makes the tables anew in the README beside the results; returns it if it changed.

    Raises:
        MachineError: If it cannot be written.
    """
    page = workspace.results_dir.parent / INDEX
    if not page.is_file():
        return []
    text = fill_blocks(page.read_text(encoding="utf-8"), lambda path: find_body(page, path))
    return [page.parent / name for name in write_changed({page.name: text.encode()}, page.parent)]


def find_body(page: Path, path: str) -> str | None:
    """What a page shows of the table at `path`, relative to it; None if there is no such file."""
    file = page.parent / path
    return render_block(file.read_text(encoding="utf-8")) if file.is_file() else None
