"""experiments.yaml and paper.yaml -> checked, typed objects; every fault with file and line."""

from ablations.config.reading import Config, alter_recipe, find_config, read_config, read_paper
from ablations.config.schema import (
    Budget,
    Claim,
    Column,
    Complexities,
    Experiment,
    Explanation,
    OperatorSettings,
    PaperRow,
    PaperTable,
    Recipe,
    Statement,
)

__all__ = [
    "Budget",
    "Claim",
    "Column",
    "Complexities",
    "Config",
    "Experiment",
    "Explanation",
    "OperatorSettings",
    "PaperRow",
    "PaperTable",
    "Recipe",
    "Statement",
    "alter_recipe",
    "find_config",
    "read_config",
    "read_paper",
]
