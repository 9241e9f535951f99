"""What MLflow's UI shows of an experiment at one click: chosen columns, runs grouped by variant.

The UI keeps a saved view, which anyone can open from its menu `Views`, as JSON in a tag of the
experiment. Two are written for each recipe, so that no mean mixes recipes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ablations.plan import Plan
from ablations.tracking.descriptions import NOTHING, describe_network

VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of the tags that hold views; what follows names one in its link."""

CREATED_MS = 1_790_000_000_000
"""When the views are said to have been made: a constant, so that equal views have equal tags."""

ERROR = "metrics.`final/top1_error`"

COSTS = tuple(
    f"metrics.`{name}`"
    for name in (
        "paper_scale/params_M",
        "paper_scale/GFLOPs",
        "network/params",
        "network/MFLOPs",
        "final/top5_error",
    )
)

SETTINGS = ("kernels", "D", "G", "M", "attention", "r", "L")
"""Columns of every experiment; where its variants differ in more, that is shown too."""

NUMBERS = ("D", "G", "M", "r", "L")
"""Those of which a group of runs shows a value."""

LEADING = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
"""The UI's own columns, which stay in front."""

WIDTHS = {
    "attributes.`Run Name`": 260,
    "runDateAndNestInfo": 140,
    "duration": 80,
    "params.`variant`": 190,
    "params.`kernels`": 140,
    ERROR: 200,
}
"""Pixels of columns whose heading does not tell."""

NOTE_END = (
    "The menu Views has, for each recipe, one run for each trial and the mean error of each "
    "variant. The comparison table, its figures and the report are artifacts of the parent runs."
)
"""How our notes end, by which they are told from a user's own."""


def render_views(plan: Plan) -> dict[str, str]:
    """The tags of an experiment that hold the views of a recipe; none of an altered one."""
    recipe = plan.recipe_name
    if " " in recipe:
        return {}
    extra = [name for name in _find_differing(plan) if name not in SETTINGS]
    settings = [f"params.`{name}`" for name in (*SETTINGS, *extra)]
    numbers = [f"params.`{name}`" for name in NUMBERS]
    trials = ["params.`variant`", "params.`seed`", ERROR, *settings, *COSTS, "tags.`recipe`"]
    groups = [f"param.variant.{variant.name}" for variant in plan.variants]
    grouping = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": "variant"}],
        },
        "groupsExpanded": dict.fromkeys(groups, False),
    }
    views = {
        "variants": (f"{recipe}: mean error of each variant", [ERROR, *numbers, *COSTS], grouping),
        "trials": (f"{recipe}: one run for each trial", trials, {}),
    }
    return {
        f"{VIEW_TAG}{recipe}-{key}": json.dumps(
            {
                "name": name,
                "createdAt": CREATED_MS + position,
                "state": json.dumps(_describe_state(recipe, columns) | more),
            }
        )
        for position, (key, (name, columns, more)) in enumerate(views.items())
    }


def render_note(question: str) -> str:
    """What stands above the runs."""
    return f"{question}\n\n{NOTE_END}"


def _describe_state(recipe: str, columns: Sequence[str]) -> dict[str, Any]:
    """The state of the run table; parent runs, which have no error of their own, are left out."""
    order = [*LEADING, *columns]
    return {
        "searchFilter": f"tags.`ablations.kind` = 'trial' and tags.`recipe` = '{recipe}'",
        "orderByKey": "params.`variant`",
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(columns),
        "columnOrder": order,
        "columnWidths": {column: _choose_width(column) for column in order},
    }


def _choose_width(column: str) -> int:
    heading = column.partition("`")[2].rstrip("`")
    return WIDTHS.get(column, 45 + 8 * len(heading))


def _find_differing(plan: Plan) -> list[str]:
    """Settings in which the experiment's variants differ."""
    described: list[Mapping[str, Any]] = [
        {**describe_network(v.paper_network), "as_built": v.as_built or NOTHING}
        for v in plan.variants
    ]
    return [name for name in described[0] if len({str(d[name]) for d in described}) > 1]
