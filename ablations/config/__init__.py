"""experiments.yaml and paper.yaml -> checked, typed objects; every fault with file and line."""

from ablations.config.reading import Config, alter_recipe, find_config, read_config, read_paper
from ablations.config.schema import (
    Column,
    Complexities,
    Experiment,
    Explanation,
    OperatorSettings,
    PaperRow,
    PaperTable,
    Recipe,
)

__all__ = [
    "Column",
    "Complexities",
    "Config",
    "Experiment",
    "Explanation",
    "OperatorSettings",
    "PaperRow",
    "PaperTable",
    "Recipe",
    "alter_recipe",
    "find_config",
    "read_config",
    "read_paper",
]
