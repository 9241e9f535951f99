"""Parameters and multiply-adds of networks: counting, budgets, matching, verification."""

from ablations.complexity.budget import Distance, check_budget, measure_distances
from ablations.complexity.counts import (
    Complexity,
    Sized,
    TorchvisionNetwork,
    count_complexities,
    count_complexity,
)
from ablations.complexity.scales import Scales, count_scales
from ablations.complexity.verification import Check, check_tables, list_networks

__all__ = [
    "Check",
    "Complexity",
    "Distance",
    "Scales",
    "Sized",
    "TorchvisionNetwork",
    "check_budget",
    "check_tables",
    "count_complexities",
    "count_complexity",
    "count_scales",
    "list_networks",
    "measure_distances",
]
