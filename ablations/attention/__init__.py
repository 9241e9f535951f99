"""Attention of networks to their kernels: records and analysis (no torch); recording them."""

from ablations.attention.analysis import (
    CHANGE_MARGIN,
    CORRELATION_MARGIN,
    Analysis,
    InterventionResult,
    UnitResult,
    analyse_recording,
    compute_by_size,
)
from ablations.attention.export import RECORDS, read_recording, render_recording
from ablations.attention.records import (
    ENLARGEMENTS,
    INTERVENTIONS,
    Example,
    Intervention,
    NetworkRecord,
    Recording,
    Role,
    UnitRecord,
    find_ends,
    find_middle,
    find_stage,
)

__all__ = [
    "CHANGE_MARGIN",
    "CORRELATION_MARGIN",
    "ENLARGEMENTS",
    "INTERVENTIONS",
    "RECORDS",
    "Analysis",
    "Example",
    "Intervention",
    "InterventionResult",
    "NetworkRecord",
    "Recording",
    "Role",
    "UnitRecord",
    "UnitResult",
    "analyse_recording",
    "compute_by_size",
    "find_ends",
    "find_middle",
    "find_stage",
    "read_recording",
    "render_recording",
]
