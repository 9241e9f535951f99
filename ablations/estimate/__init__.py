"""Estimates of a plan on this machine: hours of its cores or GPUs, and disk space."""

from ablations.estimate.estimate import (
    Estimate,
    TrialEstimate,
    check_hours,
    estimate_plan,
    merge_estimates,
)
from ablations.estimate.packing import find_share

__all__ = [
    "Estimate",
    "TrialEstimate",
    "check_hours",
    "estimate_plan",
    "find_share",
    "merge_estimates",
]
