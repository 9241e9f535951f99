"""experiments.yaml and paper.yaml -> checked, typed objects; every fault with file and line."""

from ablations.config.expansion import Expansion
from ablations.config.reading import (
    PAPER_BODY,
    Config,
    alter_recipe,
    find_config,
    read_config,
    read_paper,
)
from ablations.config.schema import (
    Budget,
    Claim,
    Column,
    Complexities,
    Experiment,
    Explanation,
    PaperRow,
    PaperTable,
    Recipe,
    Statement,
)
from ablations.config.variants import AttentionSettings, BodySettings, Parts, VariantSettings

__all__ = [
    "PAPER_BODY",
    "AttentionSettings",
    "BodySettings",
    "Budget",
    "Claim",
    "Column",
    "Complexities",
    "Config",
    "Expansion",
    "Experiment",
    "Explanation",
    "PaperRow",
    "PaperTable",
    "Parts",
    "Recipe",
    "Statement",
    "VariantSettings",
    "alter_recipe",
    "find_config",
    "read_config",
    "read_paper",
]
