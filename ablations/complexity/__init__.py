"""Parameters and multiply-adds of networks: counted, compared with a budget, matched, verified."""

from ablations.complexity.budget import Distance, check_budget, measure_distances
from ablations.complexity.counts import Complexity, Sized, count_complexities
from ablations.complexity.scales import Scales, count_scales
from ablations.complexity.verification import Check, check_tables, list_networks

__all__ = [
    "Check",
    "Complexity",
    "Distance",
    "Scales",
    "Sized",
    "check_budget",
    "check_tables",
    "count_complexities",
    "count_scales",
    "list_networks",
    "measure_distances",
]
