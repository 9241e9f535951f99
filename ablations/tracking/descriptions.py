"""Contents of MLflow runs as plain values, with the same names in all experiments.

Params are choices, metrics (`group/name`) are measurements, tags hold origins and names that may
change. No number is logged twice.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ablations.complexity import Scales
from ablations.config import COLUMNS, describe_setting
from ablations.files import hash_value
from ablations.plans import Plan, PlannedTrial
from ablations.speed import Speed
from ablations.study import Study
from ablations.trial.records import TrialRecord
from sknet.spec import NetworkSpec, SelectiveKernel

if TYPE_CHECKING:
    from ablations.statistics import Agreement, Path
    from ablations.tables import Table

SCHEMA = 2
"""Increased by one with every change of what runs hold that their digests do not reflect; a run of
another schema is replaced."""

TABLE = "table.json"
"""Artifact that MLflow's UI shows as a table."""

ATTACHED = (".md", ".tex", ".html", ".svg")
"""Suffixes of the files of a study that a parent run holds, besides `table.csv`."""

NOTE_LIMIT = 8000
"""Maximum number of characters of a note in MLflow."""

NOTHING = "-"
"""Value of a param for a setting that the network does not have."""

DECIMALS = 6
"""Decimals of an error in percent; the UI would show 4.05 as 4.049999999999997."""

Measured = tuple[str, float, int, int]
"""Name and value of a metric, its time in milliseconds, and its step."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file of a run, rendered only if it has to be uploaded."""

    digest: str
    """Digest of the content, or for a figure of the data that it plots."""

    render: Callable[[], bytes]
    """Returns the content."""


@dataclass(frozen=True, kw_only=True)
class TrialDescription:
    """The MLflow run of one trial."""

    key: str
    """Identity of the trial, by which its run is found."""

    name: str
    """Name of the run."""

    params: Mapping[str, str]
    """Choices."""

    metrics: Mapping[str, float]
    """Final measurements."""

    tags: Mapping[str, str]
    """State and environment."""

    finished_at: float
    """Unix time in seconds; it tells repeated runs of the same trial apart."""

    @cached_property
    def digest(self) -> str:
        """Digest of the run; an uploaded run with another digest is out of date."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        metrics = {name: repr(value) for name, value in self.metrics.items()}  # may be NaN
        return hash_value({"schema": SCHEMA, **content, "metrics": metrics})


@dataclass(frozen=True, kw_only=True)
class ParentDescription:
    """The parent run of the trials of one experiment and recipe."""

    metrics: Mapping[str, float]
    """Number of trials by state; agreement with the ranking that papers printed."""

    tags: Mapping[str, str]
    """Note, and the declaration of `table.json` for the UI."""

    files: Mapping[str, Artifact]
    """Artifacts by path."""

    looks: tuple[tuple[str, int, int], ...] = ()
    """Name, value and step of the metrics of planned looks; the step is the number of seeds."""

    @cached_property
    def digest(self) -> str:
        """Digest of the run, computed from the digests of the files without rendering them."""
        files = {path: file.digest for path, file in self.files.items()}
        return hash_value(
            {"schema": SCHEMA, "metrics": self.metrics, "tags": self.tags, "files": files}
        )


def describe_trial(
    trial: PlannedTrial, record: TrialRecord, scales: Scales, *, speed: Speed | None = None
) -> TrialDescription:
    """Describes the run of a trial, except its learning curves (`describe_curves`)."""
    environment = record.environment
    return TrialDescription(
        key=record.key,
        name=f"{trial.variant.name}, seed {trial.spec.seed}",
        params={key: str(value) for key, value in _describe_params(trial).items()},
        metrics={**_describe_result(record, scales), **(_describe_speed(speed) if speed else {})},
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
    plan: Plan, study: Study, table: "Table", files: Mapping[str, bytes]
) -> ParentDescription:
    """Describes the parent run: number of trials, the table as its note, and its files.

    Args:
        plan: The plan with the present state of its trials.
        study: The study of that plan.
        table: The study's comparison table.
        files: The files of the study's folder by name.
    """
    count = plan.count()
    return ParentDescription(
        metrics={
            "trials/asked": len(plan.trials) - count["skipped"],
            "trials/finished": count["finished"],
            "trials/diverged": count["diverged"],
            "trials/failed": count["failed"],
            "trials/to_run": count["to run"],
            **(_describe_agreement(table.agreement) if table.agreement else {}),
        },
        tags={
            # Makes MLflow's UI show the artifact as a table.
            "mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}]),
            "mlflow.note.content": _shorten(files["table.md"].decode()),
        },
        files=dict(_collect_artifacts(study, table, files)),
        looks=tuple(_describe_looks(table.path)),
    )


def _describe_looks(path: "Path") -> Iterator[tuple[str, int, int]]:
    """What was undecided after each of several looks."""
    if len(path.question.looks) == 1:
        return
    for look in path.looks:
        decided = sum(n <= look.n for n in path.decided_at.values())
        yield "look/undecided_rows", path.question.family - decided, look.n
        undecided = sum(claim.word == "undecided" for claim in look.claims)
        yield "look/undecided_claims", undecided, look.n


def _describe_agreement(agreement: "Agreement") -> dict[str, float]:
    bounds = zip(("agreement/low", "agreement/high"), agreement.interval or (), strict=False)
    return {"agreement/tau": agreement.tau, "agreement/p": agreement.p, **dict(bounds)}


def _collect_artifacts(
    study: Study, table: "Table", files: Mapping[str, bytes]
) -> Iterator[tuple[str, Artifact]]:
    # These import pandas, which is slow.
    from ablations.attention import ATTENTION, RECORDS, analyse_recording, parse_recording
    from ablations.figures import list_attention_charts, list_charts, render_png
    from ablations.tables import format_cells

    cells = {"columns": list(table.headings.values()), "data": format_cells(table)}
    yield TABLE, _wrap(json.dumps(cells, indent=1).encode())
    for name, content in files.items():
        if name == "table.csv" or PurePosixPath(name).suffix in ATTACHED:
            yield name, _wrap(content)
    charts = {f"figures/{chart.name}.png": chart for chart in list_charts(study, table)}
    if (records := files.get(f"{ATTENTION}/{RECORDS}")) is not None:
        own = list_attention_charts(analyse_recording(parse_recording(records)))
        charts |= {f"{ATTENTION}/figures/{chart.name}.png": chart for chart in own}
    for name, chart in charts.items():
        yield name, Artifact(digest=chart.digest, render=partial(render_png, chart))


def _wrap(content: bytes) -> Artifact:
    return Artifact(digest=hashlib.sha256(content).hexdigest(), render=lambda: content)


def describe_curves(record: TrialRecord) -> list[Measured]:
    """The metrics of all epochs."""
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
    recipe = trial.spec.recipe.model_dump(exclude={"seeds"})
    return {
        "variant": trial.variant.name,
        "seed": trial.spec.seed,
        **describe_network(trial.variant.paper_network),
        "as_built": trial.variant.as_built or NOTHING,
        **recipe,
    }


def describe_network(network: NetworkSpec) -> dict[str, Any]:
    """Settings of a network, named by the papers' letters; r is that of SK, SE, BAM or CBAM.

    >>> described = describe_network(NetworkSpec())
    >>> [described[name] for name in ("kernels", "D", "G", "M", "attention", "r", "L")]
    ['3x3 + 5x5', 2, 32, 2, 'SK', 16, 32]
    """
    operator, block = network.operator, network.attention
    own: dict[str, Any] = {
        setting.heading: describe_setting(operator, column)
        for column, setting in COLUMNS.items()
        if column != "resulting_kernel"
    }
    own["M"] = len(operator.branches) if isinstance(operator, SelectiveKernel) else NOTHING
    settings: dict[str, Any] = {}
    if block is not None:
        kind = block.kind
        own["attention"] = kind if own["attention"] == NOTHING else f"{own['attention']} + {kind}"
        own["r"] = block.reduction if own["r"] == NOTHING else own["r"]
        settings = {**asdict(block), "stages": " ".join(map(str, block.stages or ())) or "all"}
    return {
        **own,
        **{
            name: settings.get(name, NOTHING)
            for name in ("squeeze", "excitation", "position", "stages")
        },
        "depths": "-".join(map(str, network.body.depths)),
        "widths": "-".join(map(str, getattr(network.body, "mid_widths", network.body.out_widths))),
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


def _describe_speed(speed: Speed) -> dict[str, float]:
    """Medians of a benchmark of the trial's variant, whose conditions are in the table's notes."""
    return {
        "speed/train_images_per_second": speed.train_images_per_second.median,
        "speed/test_images_per_second": speed.test_images_per_second.median,
        "speed/latency_ms": speed.latency_ms.median,
        "speed/memory_mb": speed.memory_mb,
    }


def _shorten(markdown: str) -> str:
    """Cuts a text between lines if it is too long for MLflow."""
    if len(markdown) <= NOTE_LIMIT:
        return markdown
    rest = "\n\nThe complete text is in the artifact table.md.\n"
    return markdown[: NOTE_LIMIT - len(rest)].rpartition("\n")[0] + rest
