"""experiments.yaml and paper.yaml as checked, typed values; faults come with file and line."""

from ablations.config.columns import COLUMNS, describe_setting
from ablations.config.expansion import Expansion
from ablations.config.experiments import (
    PAPER_BODY,
    Config,
    alter_recipe,
    find_config,
    read_config,
    replace_seeds,
)
from ablations.config.paper import (
    Cell,
    Complexities,
    Explanation,
    PaperRow,
    PaperTable,
    Provenance,
    read_paper,
)
from ablations.config.schema import (
    FEWEST_SEEDS,
    FORMS,
    MOST_SEEDS,
    Budget,
    Claim,
    Column,
    Experiment,
    Form,
    Recipe,
    Statement,
    plan_looks,
)
from ablations.config.variants import (
    AttentionSettings,
    BodySettings,
    Parts,
    VariantSettings,
)

__all__ = [
    "COLUMNS",
    "FEWEST_SEEDS",
    "FORMS",
    "MOST_SEEDS",
    "PAPER_BODY",
    "AttentionSettings",
    "BodySettings",
    "Budget",
    "Cell",
    "Claim",
    "Column",
    "Complexities",
    "Config",
    "Expansion",
    "Experiment",
    "Explanation",
    "Form",
    "PaperRow",
    "PaperTable",
    "Parts",
    "Provenance",
    "Recipe",
    "Statement",
    "VariantSettings",
    "alter_recipe",
    "describe_setting",
    "find_config",
    "plan_looks",
    "read_config",
    "read_paper",
    "replace_seeds",
]
