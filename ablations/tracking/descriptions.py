"""What runs hold, as plain values: the same names in all experiments, and no MLflow.

Params are what was chosen, metrics (`group/name`) what was measured, tags who and from where, and
names that may change. No number stands there twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ablations.config import Column, describe_setting
from ablations.plan import Plan, PlannedTrial
from ablations.tables import Scales, Table, format_cells, render_csv, render_markdown
from ablations.tracking.artifacts import Artifact, place_artifacts
from ablations.trial.records import TrialRecord
from sknet.spec import NetworkSpec

SCHEMA = 2
"""Goes up by one with every change of what runs hold that their digests do not show: a run of
another schema is sent anew in its place."""

TABLE = "table.json"
"""Name of the comparison table's artifact that MLflow's UI shows."""

NOTE_LIMIT = 8000
"""Characters that MLflow keeps of a note."""

NOTHING = "-"
"""What a param holds of a setting that the network does not have."""

DECIMALS = 6
"""Of an error in percent: the UI shows all digits, and 4.05 is meant, not 4.049999999999997."""

Measured = tuple[str, float, int, int]
"""A metric's name and value, when it was measured (ms), and its step."""


@dataclass(frozen=True, kw_only=True)
class TrialDescription:
    """The run of one trial."""

    key: str
    """The trial's identity, by which its run is found again."""

    name: str
    """What people call the run."""

    params: Mapping[str, str]
    """What was chosen."""

    metrics: Mapping[str, float]
    """What it came to."""

    tags: Mapping[str, str]
    """What became of it, and where it was trained."""

    finished_at: float
    """When it ended, in seconds since 1970: another training of the same trial differs in it."""

    @cached_property
    def digest(self) -> str:
        """Of all that it holds: a run with another one is out of date."""
        return _digest({"schema": SCHEMA, **asdict(self)})


@dataclass(frozen=True, kw_only=True)
class ParentDescription:
    """The parent run of an experiment's trials on one recipe."""

    metrics: Mapping[str, float]
    """Number of trials in each state."""

    tags: Mapping[str, str]
    """Its note, and what MLflow's UI must know of its files."""

    files: Mapping[str, Artifact]
    """Its artifacts by path."""

    @cached_property
    def digest(self) -> str:
        """Of all that it holds, by the files' own digests: none of them is made for it."""
        files = {path: artifact.digest for path, artifact in self.files.items()}
        return _digest(
            {"schema": SCHEMA, "metrics": self.metrics, "tags": self.tags, "files": files}
        )


def describe_trial(trial: PlannedTrial, record: TrialRecord, scales: Scales) -> TrialDescription:
    """What the run of a trial holds, but for its curves, which its record has."""
    environment = record.environment
    return TrialDescription(
        key=record.key,
        name=f"{trial.variant.name}, seed {trial.spec.seed}",
        params={key: str(value) for key, value in _describe_params(trial).items()},
        metrics=_describe_result(record, scales),
        tags={
            "state": record.state,
            "commit": str(environment.commit),
            "dirty": str(environment.dirty),
            "device": environment.device,
            "torch": environment.torch,
        },
        finished_at=record.finished_at,
    )


def describe_parent(
    plan: Plan, table: Table, artifacts: Mapping[str, Artifact]
) -> ParentDescription:
    """What a parent run holds: the table in three forms, its note, the files, and the counts."""
    markdown = render_markdown(table)
    shown = {"columns": list(table.headings.values()), "data": format_cells(table)}
    texts = {
        TABLE: json.dumps(shown, indent=1),
        "table.md": markdown,
        "table.csv": render_csv(table),
    }
    count = plan.count()
    return ParentDescription(
        metrics={
            "trials/asked": len(plan.trials) - count["skipped"],
            "trials/finished": count["finished"],
            "trials/diverged": count["diverged"],
            "trials/failed": count["failed"],
            "trials/to_run": count["to run"],
        },
        tags={
            # The tag by which MLflow's UI knows that an artifact is a table.
            "mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}]),
            "mlflow.note.content": _shorten(markdown),
        },
        files={**place_artifacts(texts), **artifacts},
    )


def describe_curves(record: TrialRecord) -> list[Measured]:
    """The metrics of every epoch."""
    measured: list[Measured] = []
    at_ms = 1000 * (record.finished_at - record.seconds)
    for epoch in record.epochs:
        at_ms += 1000 * (epoch.train_seconds + epoch.test_seconds)
        values = {
            "epoch/train_loss": epoch.train_loss,
            "epoch/learning_rate": epoch.learning_rate,
            "epoch/top1_error": round(epoch.top1_error, DECIMALS),
            "epoch/top5_error": round(epoch.top5_error, DECIMALS),
            "epoch/images_per_second": epoch.images_per_second,
        }
        if epoch.top1_error_320 is not None:
            values["epoch/top1_error_320"] = epoch.top1_error_320
        measured += [(key, value, int(at_ms), epoch.epoch) for key, value in values.items()]
    return measured


def _describe_params(trial: PlannedTrial) -> dict[str, Any]:
    recipe = trial.spec.recipe.model_dump()
    return {
        "variant": trial.variant.name,
        "seed": trial.spec.seed,
        **describe_network(trial.variant.paper_network),
        "as_built": trial.variant.as_built or NOTHING,
        **{key: value for key, value in recipe.items() if key != "seeds"},
    }


def describe_network(network: NetworkSpec) -> dict[str, Any]:
    """What was chosen of a network, in the papers' letters; r is of SK, or else of SE, BAM, CBAM.

    >>> described = describe_network(NetworkSpec())
    >>> [described[name] for name in ("kernels", "D", "G", "M", "attention", "r", "L")]
    ['3x3 + 5x5', 2, 32, 2, 'SK', 16, 32]
    """
    columns: Mapping[str, Column] = {
        "kernels": "kernels",
        "kernel": "kernel",
        "D": "dilation",
        "G": "groups",
        "attention": "attention",
        "r": "reduction",
        "L": "L",
    }
    own = {name: describe_setting(network.operator, column) for name, column in columns.items()}
    block = network.attention
    if block is not None:
        kind = _BLOCK_NAMES[type(block).__name__]
        own["attention"] = kind if own["attention"] == NOTHING else f"{own['attention']} + {kind}"
        own["r"] = block.reduction if own["r"] == NOTHING else own["r"]
    branches = getattr(network.operator, "branches", None)
    stages = getattr(block, "stages", None)
    return {
        **own,
        "M": NOTHING if branches is None else len(branches),
        "squeeze": getattr(block, "squeeze", NOTHING),
        "excitation": getattr(block, "excitation", NOTHING),
        "position": getattr(block, "position", NOTHING),
        "stages": " ".join(map(str, stages)) if stages else NOTHING if block is None else "all",
        "depths": "-".join(map(str, network.body.depths)),
        "widths": "-".join(map(str, getattr(network.body, "mid_widths", network.body.out_widths))),
    }


_BLOCK_NAMES = {
    "SqueezeExcitation": "SE",
    "ConvolutionalAttention": "CBAM",
    "BottleneckAttention": "BAM",
}


def _describe_result(record: TrialRecord, scales: Scales) -> dict[str, float]:
    last = record.last
    values = {
        "final/top1_error": round(last.top1_error, DECIMALS),
        "final/top5_error": round(last.top5_error, DECIMALS),
        "final/train_loss": last.train_loss,
        "network/params": float(scales.trained.params),
        "network/MFLOPs": round(scales.trained.macs / 1e6, 3),
        "paper_scale/params_M": round(scales.paper.params / 1e6, 3),
        "paper_scale/GFLOPs": round(scales.paper.macs / 1e9, 3),
        "time/total_seconds": record.seconds,
        "memory/peak_mb": last.peak_memory_mb,
    }
    if last.top1_error_320 is not None:
        values["final/top1_error_320"] = round(last.top1_error_320, DECIMALS)
    return values


def _shorten(markdown: str) -> str:
    """As much of a text as MLflow keeps, cut between lines."""
    if len(markdown) <= NOTE_LIMIT:
        return markdown
    rest = "\n\nThe whole is in table.md, among the artifacts.\n"
    return markdown[: NOTE_LIMIT - len(rest)].rpartition("\n")[0] + rest


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
