"""Saved views of MLflow's UI: columns, filters and grouping of an experiment's runs.

The UI keeps a saved view as JSON in a tag of the experiment, and lists it in the menu `Views`.
Every recipe has two views, so that no mean mixes recipes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from ablations.plans import Plan
from ablations.tracking.descriptions import NOTHING, describe_network

VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of the tags that hold views; the rest of the tag is the view's key in its link."""

CREATED_MS = 1_790_000_000_000
"""Creation time of the views; it is constant, so that equal views have equal tags."""

ERROR = "metrics.`final/top1_error`"

MEASURES = tuple(
    f"metrics.`{name}`"
    for name in (
        "paper_scale/params_M",
        "paper_scale/GFLOPs",
        "network/params",
        "network/MFLOPs",
        "final/top5_error",
    )
)
"""Columns of metrics besides the error."""

SETTINGS = ("kernels", "D", "G", "M", "attention", "r", "L")
"""Settings shown for every experiment; others are added where its variants differ in them."""

NUMBERS = ("D", "G", "M", "r", "L")
"""Settings that are shown for a group of runs."""

LEADING = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
"""The UI's own columns, which come first."""

WIDTHS = {
    "attributes.`Run Name`": 260,
    "runDateAndNestInfo": 140,
    "duration": 80,
    "params.`variant`": 190,
    "params.`kernels`": 140,
    ERROR: 200,
}
"""Widths in pixels of columns whose content is wider than their heading."""

NOTE_END = (
    "For each recipe, the menu Views offers one run for each trial and the mean error of each "
    "variant. The comparison table, its figures and the report are artifacts of the parent runs."
)
"""Last paragraph of generated notes; it distinguishes them from a user's own."""


class SavedView(NamedTuple):
    """A saved view of an experiment."""

    experiment: str
    """Name of the experiment."""

    name: str
    """Name of the view in the menu."""

    path: str
    """Path of the view, to be appended to the address of the UI."""


def list_views(uri: str) -> list[SavedView]:
    """All saved views in a store, by experiment and creation.

    Raises:
        MachineError: If the store cannot be reached.
    """
    from ablations.tracking.store import read_experiments  # imports MLflow, which is slow

    return [
        view
        for experiment in sorted(read_experiments(uri), key=lambda experiment: experiment.name)
        for view in find_views(experiment.name, experiment.experiment_id, experiment.tags)
    ]


def find_views(experiment: str, experiment_id: str, tags: Mapping[str, str]) -> list[SavedView]:
    """The named views among the tags of an experiment, by creation.

    The UI's button `Share` also writes such tags; they hold compressed text and have no name.
    """
    views = {tag: text for tag, text in tags.items() if tag.startswith(VIEW_TAG)}
    named = {tag: json.loads(text) for tag, text in views.items() if text.startswith("{")}
    base = f"#/experiments/{experiment_id}/runs?viewStateShareKey="
    return [
        SavedView(experiment, view["name"], base + quote(tag.removeprefix(VIEW_TAG)))
        for tag, view in sorted(named.items(), key=lambda item: item[1]["createdAt"])
    ]


def render_views(plan: Plan) -> dict[str, str]:
    """The tags that hold the views of a plan's recipe; none if the recipe was altered."""
    recipe = plan.recipe_name
    if " " in recipe:
        return {}
    extra = [name for name in _find_differing(plan) if name not in SETTINGS]
    settings = [f"params.`{name}`" for name in (*SETTINGS, *extra)]
    numbers = [f"params.`{name}`" for name in NUMBERS]
    trials = ["params.`variant`", "params.`seed`", ERROR, *settings, *MEASURES, "tags.`recipe`"]
    groups = [f"param.variant.{variant.name}" for variant in plan.variants]
    grouping = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "param", "groupByData": "variant"}],
        },
        "groupsExpanded": dict.fromkeys(groups, False),
    }
    means = [ERROR, *numbers, *MEASURES]
    views = {
        "variants": (f"{recipe}: mean error of each variant", means, grouping),
        "trials": (f"{recipe}: one run for each trial", trials, {}),
    }
    return {
        f"{VIEW_TAG}{recipe}-{key}": json.dumps(
            {
                "name": name,
                "createdAt": CREATED_MS + position,
                "state": json.dumps(_describe_state(recipe, columns) | grouped),
            }
        )
        for position, (key, (name, columns, grouped)) in enumerate(views.items())
    }


def render_note(question: str) -> str:
    """The note that the UI shows above the runs of an experiment."""
    return f"{question}\n\n{NOTE_END}"


def _describe_state(recipe: str, columns: Sequence[str]) -> dict[str, Any]:
    """State of the run table; parent runs are filtered out, as they have no error."""
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
    """Settings that differ between the variants of the experiment."""
    described: list[Mapping[str, Any]] = [
        {**describe_network(v.paper_network), "as_built": v.as_built or NOTHING}
        for v in plan.variants
    ]
    return [name for name in described[0] if len({str(d[name]) for d in described}) > 1]
