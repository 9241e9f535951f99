"""Ledger -> MLflow: runs, metrics and comparison tables, found again by tag and never doubled."""

import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

# Read by MLflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# MLflow's own defaults wait minutes for a server that is down.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from ablations.data.catalogue import Dataset as OurDataset
from ablations.errors import MachineError
from ablations.plan import Plan
from ablations.tracking.descriptions import ParentDescription, TrialDescription, describe_curves
from ablations.tracking.views import NOTE_END, render_note, render_views
from ablations.trial.records import TrialRecord

KIND, TRIAL, DIGEST, FILES = (f"ablations.{n}" for n in ("kind", "trial", "digest", "files"))
"""Tags by which runs are found again, and by which one is known that is out of date."""

OLD_RECIPE = "ablations.recipe"
"""What the tag `recipe` was called in schema 1."""

NOTE = "mlflow.note.content"
"""MLflow's own tag for what the UI shows as a description."""


class Tracker:
    """One ablation's experiment in an MLflow store.

    Raises:
        MachineError: If the store does not answer.
    """

    def __init__(self, uri: str, plan: Plan, *, artifacts_dir: Path) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # no line for each retry
        self._uri = uri
        self._plan = plan
        try:
            _check_file(uri)
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._find_experiment(artifacts_dir)
            self._parent = self._find_or_create_parent()
            self._tag_experiment(render_views(plan))
        except (MlflowException, OSError, sqlite3.Error) as error:
            raise MachineError(f"{uri} must be a store that answers, got {error}.") from error

    def log_trial(
        self, description: TrialDescription, record: TrialRecord, dataset: OurDataset
    ) -> None:
        """Sends one trial's record, unless it is there whole; what is out of date is replaced."""
        is_there = False
        for run in self._search({KIND: "trial", TRIAL: description.key}):
            is_whole = run.info.status == "FINISHED"
            if is_whole and not is_there and run.data.tags.get(DIGEST) == description.digest:
                is_there = True
                self._adopt(run)
            else:  # of another schema or name, or left half-sent by a killed driver
                self._client.delete_run(run.info.run_id)
        if not is_there:
            self._create_trial(description, record, dataset)

    def log_parent(self, description: ParentDescription, *, question: str) -> None:
        """Brings the parent run, and what stands above the runs, up to date."""
        self._describe_experiment(question)
        run = self._client.get_run(self._parent)
        if run.data.tags.get(DIGEST) == description.digest:
            return
        with tempfile.TemporaryDirectory() as folder:
            for path, artifact in description.files.items():
                content = artifact.render()
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
            self._client.log_artifacts(self._parent, folder)
        before = json.loads(run.data.tags.get(FILES, "[]"))
        self._remove_files(run, set(before) - set(description.files))
        for metric, number in description.metrics.items():
            if run.data.metrics.get(metric) != number:
                self._client.log_metric(self._parent, metric, number)
        tags = {**description.tags, FILES: json.dumps(list(description.files))}
        for key, value in {**tags, DIGEST: description.digest}.items():  # the digest comes last
            self._client.set_tag(self._parent, key, value)

    def end(self) -> None:
        """Marks the parent run as finished; nothing is under way any more."""
        self._client.set_terminated(self._parent)

    def _create_trial(
        self, description: TrialDescription, record: TrialRecord, dataset: OurDataset
    ) -> None:
        run = self._client.create_run(
            self._experiment,
            start_time=int((record.finished_at - record.seconds) * 1000),
            run_name=description.name,
            tags={KIND: "trial", TRIAL: description.key, **self._belonging, **description.tags},
        )
        run_id = run.info.run_id
        at_ms = int(record.finished_at * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(key, value, at_ms, 0) for key, value in description.metrics.items()],
            params=[Param(key, value) for key, value in description.params.items()],
        )
        curves = [Metric(*measured) for measured in describe_curves(record)]
        for start in range(0, len(curves), 1000):  # MLflow's limit for one batch
            self._client.log_batch(run_id, metrics=curves[start : start + 1000])
        self._log_dataset(run_id, dataset)
        self._client.log_text(run_id, json.dumps(record.facts, indent=1), "spec.json")
        self._client.log_text(run_id, json.dumps(asdict(record.environment)), "environment.json")
        self._client.set_tag(run_id, DIGEST, description.digest)
        self._client.set_terminated(run_id, status="FINISHED", end_time=at_ms)

    def _adopt(self, run: Run) -> None:
        """Puts a run below this plan's parent, unless the plan is only a variation of one."""
        if self._plan.changes:
            return
        for key, value in self._belonging.items():
            if run.data.tags.get(key) != value:
                self._client.set_tag(run.info.run_id, key, value)

    @property
    def _belonging(self) -> dict[str, str]:
        return {"mlflow.parentRunId": self._parent, "recipe": self._plan.recipe_name}

    def _find_experiment(self, artifacts_dir: Path) -> str:
        name = self._plan.experiment
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            return str(experiment.experiment_id)
        # A server keeps artifacts where it was told; a file's would go to the working directory.
        location = artifacts_dir.as_uri() if self._uri.startswith("sqlite:") else None
        # MLflow's own tag for experiments that train models, as against those of chat models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return self._client.create_experiment(name, artifact_location=location, tags=kind)

    def _describe_experiment(self, question: str) -> None:
        """Writes the experiment's note, unless a user has written one."""
        there = self._client.get_experiment(self._experiment).tags.get(NOTE, "")
        if not there or there.endswith(NOTE_END):
            self._tag_experiment({NOTE: render_note(question)})

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        there = self._client.get_experiment(self._experiment).tags
        for key, value in tags.items():
            if there.get(key) != value:
                self._client.set_experiment_tag(self._experiment, key, value)

    def _find_or_create_parent(self) -> str:
        recipe = self._plan.recipe_name
        for run in self._search({KIND: "comparison"}):
            tags = run.data.tags
            if tags.get("recipe", tags.get(OLD_RECIPE)) == recipe:
                self._client.set_tag(run.info.run_id, "recipe", recipe)
                if OLD_RECIPE in tags:
                    self._client.delete_tag(run.info.run_id, OLD_RECIPE)
                return str(run.info.run_id)
        run = self._client.create_run(
            self._experiment,
            run_name=f"{self._plan.experiment}, {recipe}",
            tags={KIND: "comparison", "recipe": recipe},
        )
        return str(run.info.run_id)

    def _search(self, tags: Mapping[str, str]) -> list[Run]:
        conditions = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        return list(self._client.search_runs([self._experiment], " and ".join(conditions)))

    def _remove_files(self, run: Run, paths: Iterable[str]) -> None:
        """Removes artifacts that are made no more; the client has no way to."""
        repository = get_artifact_repository(run.info.artifact_uri, tracking_uri=self._uri)
        for path in paths:
            repository.delete_artifacts(path)  # type: ignore[no-untyped-call]

    def _log_dataset(self, run_id: str, dataset: OurDataset) -> None:
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


def _check_file(uri: str) -> None:
    """Makes sure that an embedded store can be opened, for which MLflow would try ten times.

    Raises:
        OSError: If its folder cannot be created.
        sqlite3.Error: If it cannot be opened or is not a database.
    """
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///").partition("?")[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")
