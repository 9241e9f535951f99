"""Ledger and earlier results -> `results/`, and whether it still is what they and the YAML give."""

from ablations.publication.checking import check_results, list_foreign
from ablations.publication.gathering import Target, gather_study, list_targets
from ablations.publication.sending import send_study
from ablations.publication.writing import (
    Publication,
    publish,
    publish_blocks,
    publish_index,
    publish_target,
    read_earlier,
)

__all__ = [
    "Publication",
    "Target",
    "check_results",
    "gather_study",
    "list_foreign",
    "list_targets",
    "publish",
    "publish_blocks",
    "publish_index",
    "publish_target",
    "read_earlier",
    "send_study",
]
