"""The folder of one study: four exported files, and the texts that are derived from them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ablations.errors import IncompleteError
from ablations.report.deriving import derive
from ablations.study.export import EXPORTED, PROVENANCE, is_exported, read_export, render_export
from ablations.study.study import Study


def render_report(study: Study, folder: Path) -> dict[str, bytes]:
    """All files of a study by name; drawings in `folder` are kept where they show its data."""
    drawn = {path.name: path.read_text("utf-8", "replace") for path in folder.glob("*.svg")}
    derived = {name: text.encode() for name, text in derive(study, drawn).items()}
    return {**render_export(study), **derived}


def check_report(folder: Path) -> list[str]:
    """What is wrong with a folder, by its exported files alone; a line each, none if all is well.

    Raises:
        MachineError: If a file cannot be read.
    """
    if not is_exported(folder):
        return [f"{folder / PROVENANCE}: missing, without it nothing can be derived; run it anew"]
    try:
        study = read_export(folder)
    except IncompleteError as error:
        return [str(error)]
    return list(_compare(folder, render_report(study, folder)))


def _compare(folder: Path, expected: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in expected.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: missing"
        elif path.read_bytes() != content:
            origin = "its own records" if name in EXPORTED else "the exported files"
            yield f"{path}: edited or stale, not what {origin} give"
    for path in sorted(folder.iterdir()):
        if path.name not in expected:
            yield f"{path}: does not belong there; remove it"
