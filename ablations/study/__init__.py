"""One experiment on one recipe as plain values, and as the four files that hold them."""

from ablations.study.export import EXPORTED, PROVENANCE, is_exported, read_export, render_export
from ablations.study.study import (
    Definition,
    PrintedRow,
    Row,
    Source,
    StudiedDataset,
    StudiedTrial,
    Study,
    build_definition,
    build_study,
    describe_trials,
)

__all__ = [
    "EXPORTED",
    "PROVENANCE",
    "Definition",
    "PrintedRow",
    "Row",
    "Source",
    "StudiedDataset",
    "StudiedTrial",
    "Study",
    "build_definition",
    "build_study",
    "describe_trials",
    "is_exported",
    "read_export",
    "render_export",
]
