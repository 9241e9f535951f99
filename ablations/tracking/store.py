"""Ledger -> MLflow: runs, metrics and comparison tables, found again by tag and never doubled."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Read by MLflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
)
from mlflow.exceptions import MlflowException

from ablations.config import Column
from ablations.errors import MachineError
from ablations.matrix import describe_setting
from ablations.plan import Plan, PlannedTrial
from ablations.records import TrialRecord
from ablations.tables import Scales, Table, format_cells, render_csv, render_markdown

TABLE = "table.json"
"""Name of the comparison table's artifact that MLflow's UI shows."""


class Tracker:
    """One ablation's experiment in an MLflow store.

    Raises:
        MachineError: If the store does not answer.
    """

    def __init__(self, uri: str, plan: Plan, *, artifacts_dir: Path) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._plan = plan
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._find_experiment(uri, artifacts_dir)
            self._parent = self._find_or_create_parent()
        except (MlflowException, OSError) as error:
            raise MachineError(f"{uri} must be a store that answers, got {error}.") from error

    def log_trial(self, trial: PlannedTrial, record: TrialRecord, scales: Scales) -> None:
        """Sends one trial's record, unless it is there whole."""
        found = self._search({"ablations.kind": "trial", "ablations.trial": record.key})
        for run in found:
            if run.info.status == "FINISHED":
                return
            self._client.delete_run(run.info.run_id)  # left half-sent by a killed driver
        started_ms = int((record.finished_at - record.seconds) * 1000)
        run = self._client.create_run(
            self._experiment,
            start_time=started_ms,
            run_name=f"{trial.variant.name}, seed {trial.spec.seed}",
            tags=self._describe_tags(trial, record),
        )
        run_id = run.info.run_id
        self._client.log_batch(
            run_id,
            metrics=_describe_result(record, scales),
            params=[Param(key, str(value)) for key, value in describe_params(trial).items()],
        )
        curves = _describe_curves(record, started_ms)
        for start in range(0, len(curves), 1000):  # MLflow's limit for one batch
            self._client.log_batch(run_id, metrics=curves[start : start + 1000])
        self._log_dataset(run_id, trial)
        self._client.log_text(run_id, json.dumps(record.facts, indent=1), "spec.json")
        self._client.log_text(run_id, json.dumps(asdict(record.environment)), "environment.json")
        self._client.set_terminated(
            run_id, status="FINISHED", end_time=int(record.finished_at * 1000)
        )

    def log_table(self, table: Table) -> None:
        """Replaces the parent run's comparison table by this one."""
        cells = format_cells(table)
        content = {"columns": list(table.headings.values()), "data": cells}
        self._client.log_text(self._parent, json.dumps(content, indent=1), TABLE)
        self._client.log_text(self._parent, render_markdown(table), "table.md")
        self._client.log_text(self._parent, render_csv(table), "table.csv")
        # The tag by which MLflow's UI knows that an artifact is a table.
        self._client.set_tag(
            self._parent, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}])
        )
        self._client.set_tag(self._parent, "mlflow.note.content", render_markdown(table))

    def end(self) -> None:
        """Marks the parent run as finished; nothing is under way any more."""
        self._client.set_terminated(self._parent)

    def _find_experiment(self, uri: str, artifacts_dir: Path) -> str:
        name = self._plan.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        # A server keeps artifacts where it was told; a file's would go to the working directory.
        location = artifacts_dir.as_uri() if uri.startswith("sqlite:") else None
        # MLflow's own tag for experiments that train models, as against those of chat models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return self._client.create_experiment(name, artifact_location=location, tags=kind)

    def _find_or_create_parent(self) -> str:
        tags = {"ablations.kind": "comparison", "ablations.recipe": self._plan.recipe_name}
        for run in self._search(tags):
            return str(run.info.run_id)
        run = self._client.create_run(
            self._experiment,
            run_name=f"{self._plan.experiment}, {self._plan.recipe_name}",
            tags={**tags, "ablations.experiment": self._plan.experiment},
        )
        return str(run.info.run_id)

    def _search(self, tags: Mapping[str, str]) -> list[Run]:
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        return list(self._client.search_runs([self._experiment], " and ".join(conditions)))

    def _describe_tags(self, trial: PlannedTrial, record: TrialRecord) -> dict[str, str]:
        environment = record.environment
        return {
            "mlflow.parentRunId": self._parent,
            "ablations.kind": "trial",
            "ablations.trial": record.key,
            "ablations.experiment": self._plan.experiment,
            "ablations.recipe": self._plan.recipe_name,
            "ablations.state": record.state,
            "variant": trial.variant.name,
            "seed": str(trial.spec.seed),
            "commit": str(environment.commit),
            "dirty": str(environment.dirty),
            "device": environment.device,
            "torch": environment.torch,
        }

    def _log_dataset(self, run_id: str, trial: PlannedTrial) -> None:
        dataset = trial.spec.dataset
        entity = Dataset(
            name=dataset.name,
            digest=dataset.identity[:36],
            source_type="local",
            source=json.dumps({"name": dataset.name}),
            profile=json.dumps(
                {"train_images": dataset.train_size, "test_images": dataset.test_size}
            ),
        )
        tags = [InputTag("mlflow.data.context", "training and test")]
        self._client.log_inputs(run_id, [DatasetInput(entity, tags)])


def describe_params(trial: PlannedTrial) -> dict[str, Any]:
    """What was chosen, by names that are the same in all experiments."""
    network = trial.variant.paper_network
    columns: dict[str, Column] = {
        "kernels": "kernels",
        "kernel": "kernel",
        "D": "dilation",
        "G": "groups",
        "attention": "attention",
        "r": "reduction",
        "L": "L",
    }
    return {
        "variant": trial.variant.name,
        "seed": trial.spec.seed,
        "M": len(getattr(network.operator, "branches", ("one of the user's own",))),
        "block_attention": network.attention or "-",
        **{name: describe_setting(network.operator, column) for name, column in columns.items()},
        **{key: value for key, value in trial.spec.recipe.model_dump().items() if key != "seeds"},
    }


def _describe_result(record: TrialRecord, scales: Scales) -> list[Metric]:
    last = record.last
    at = int(record.finished_at * 1000)
    values = {
        "final/top1_error": last.top1_error,
        "final/top5_error": last.top5_error,
        "final/train_loss": last.train_loss,
        "time/total_seconds": record.seconds,
        "memory/peak_mb": last.peak_memory_mb,
        "complexity/params": scales.trained.params,
        "complexity/mflops": scales.trained.macs / 1e6,
        "complexity/paper_scale_params_m": scales.paper.params / 1e6,
        "complexity/paper_scale_gflops": scales.paper.macs / 1e9,
    }
    if last.top1_error_320 is not None:
        values["final/top1_error_320"] = last.top1_error_320
    return [Metric(key, value, at, 0) for key, value in values.items()]


def _describe_curves(record: TrialRecord, started_ms: int) -> list[Metric]:
    metrics = []
    at = float(started_ms)
    for epoch in record.epochs:
        at += 1000 * (epoch.train_seconds + epoch.test_seconds)
        values = {
            "epoch/train_loss": epoch.train_loss,
            "epoch/learning_rate": epoch.learning_rate,
            "epoch/top1_error": epoch.top1_error,
            "epoch/top5_error": epoch.top5_error,
            "epoch/images_per_second": epoch.images_per_second,
        }
        if epoch.top1_error_320 is not None:
            values["epoch/top1_error_320"] = epoch.top1_error_320
        metrics += [Metric(key, value, int(at), epoch.epoch) for key, value in values.items()]
    return metrics
