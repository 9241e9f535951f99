"""The MLflow store: uploads runs, which are identified by tags and never duplicated."""

import json
import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

# MLflow reads these when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# By default MLflow waits minutes for a server that is down.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy import Engine, event

from ablations.data.catalogue import Dataset as OurDataset
from ablations.errors import MachineError
from ablations.plans import Plan
from ablations.tracking.descriptions import ParentDescription, TrialDescription, describe_curves
from ablations.tracking.views import NOTE_END, find_views, render_note, render_views
from ablations.trial.records import TrialRecord

KIND, TRIAL, DIGEST, FILES = (f"ablations.{n}" for n in ("kind", "trial", "digest", "files"))
"""Tags that identify runs, and that tell whether one is out of date."""

BATCH = 900
"""Metrics of one request; MLflow takes 1000 together with params."""

NOTE = "mlflow.note.content"
"""MLflow's own tag for the description in its UI."""


class Tracker:
    """One experiment and recipe in an MLflow store.

    Args:
        uri: The store.
        plan: The trials; the experiment and the parent run are created if they do not exist.
        artifacts_dir: Folder for the artifacts of an embedded store.

    Raises:
        MachineError: If the store cannot be reached.
    """

    def __init__(self, uri: str, plan: Plan, *, artifacts_dir: Path) -> None:
        self._uri = uri
        self._plan = plan
        self._known: Mapping[str, Sequence[Run]] | None = None
        with _reaching(uri):
            self._client = _connect(uri)
            self._experiment = self._find_experiment(artifacts_dir)
            self._parent = self._find_or_create_parent()
            views = render_views(plan)
            self._tag_experiment(views)
        self.views = find_views(plan.experiment, self._experiment, views)

    def log_trial(
        self, description: TrialDescription, record: TrialRecord, dataset: OurDataset
    ) -> None:
        """Uploads one trial's record unless its run is complete; replaces outdated runs."""
        is_found = False
        for run in self._list_trials().get(description.key, ()):
            is_complete = run.info.status == "FINISHED"
            if is_complete and not is_found and run.data.tags.get(DIGEST) == description.digest:
                is_found = True
                self._adopt(run)
            else:  # outdated, or incomplete since the driver was killed
                self._client.delete_run(run.info.run_id)
        if not is_found:
            self._create_trial(description, record, dataset)

    def log_parent(
        self, description: ParentDescription, contents: Mapping[str, bytes], question: str
    ) -> None:
        """Updates the parent run and the experiment's note.

        Args:
            description: The parent run.
            contents: Contents of its files by path.
            question: The question of the experiment.
        """
        self._describe_experiment(question)
        run = self._client.get_run(self._parent)
        if run.data.tags.get(DIGEST) == description.digest:
            return
        self._log_files(self._parent, contents)
        before = json.loads(run.data.tags.get(FILES, "[]"))
        self._remove_files(run, set(before) - contents.keys())
        for metric, number in description.metrics.items():
            if run.data.metrics.get(metric) != number:
                self._client.log_metric(self._parent, metric, number)
        self._log_looks(description)
        tags = {**description.tags, FILES: json.dumps(list(contents))}
        for key, value in {**tags, DIGEST: description.digest}.items():  # the digest last
            self._client.set_tag(self._parent, key, value)

    def _log_looks(self, description: ParentDescription) -> None:
        """Adds the looks that the parent run does not have yet."""
        known = {
            (metric.key, metric.step)
            for name in {name for name, *_ in description.looks}
            for metric in self._client.get_metric_history(self._parent, name)
        }
        for name, value, step in description.looks:
            if (name, step) not in known:
                self._client.log_metric(self._parent, name, value, step=step)

    def end(self) -> None:
        """Marks the parent run as finished."""
        self._client.set_terminated(self._parent)
        if (database := _find_database(self._uri)) is not None:
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA wal_checkpoint")  # waits until all is on the disk

    def _create_trial(
        self, description: TrialDescription, record: TrialRecord, dataset: OurDataset
    ) -> None:
        run = self._client.create_run(
            self._experiment,
            start_time=int((record.finished_at - record.seconds) * 1000),
            run_name=description.name,
            tags={
                KIND: "trial",
                TRIAL: description.key,
                DIGEST: description.digest,  # counts only once the run is marked as finished
                **self._belonging,
                **description.tags,
            },
        )
        run_id = run.info.run_id
        at_ms = int(record.finished_at * 1000)
        metrics = [Metric(key, value, at_ms, 0) for key, value in description.metrics.items()]
        metrics += [Metric(*measured) for measured in describe_curves(record)]
        params = [Param(key, value) for key, value in description.params.items()]
        for start in range(0, len(metrics), BATCH):
            batch = metrics[start : start + BATCH]
            self._client.log_batch(run_id, metrics=batch, params=[] if start else params)
        self._log_dataset(run_id, dataset)
        files = {"spec.json": record.facts, "environment.json": asdict(record.environment)}
        self._log_files(run_id, {k: json.dumps(v, indent=1).encode() for k, v in files.items()})
        self._client.set_terminated(run_id, status="FINISHED", end_time=at_ms)

    def _adopt(self, run: Run) -> None:
        """Moves an existing run below this plan's parent, unless the plan was altered."""
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
        # A server chooses the location itself; SQLite would use the working directory.
        location = artifacts_dir.as_uri() if self._uri.startswith("sqlite:") else None
        # MLflow's own tag for experiments that train models, rather than use language models.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return self._client.create_experiment(name, artifact_location=location, tags=kind)

    def _describe_experiment(self, question: str) -> None:
        """Writes the experiment's note unless a user has written one."""
        note = self._client.get_experiment(self._experiment).tags.get(NOTE, "")
        if not note or note.endswith(NOTE_END):
            self._tag_experiment({NOTE: render_note(question)})

    def _tag_experiment(self, tags: Mapping[str, str]) -> None:
        current = self._client.get_experiment(self._experiment).tags
        for key, value in tags.items():
            if current.get(key) != value:
                self._client.set_experiment_tag(self._experiment, key, value)

    def _find_or_create_parent(self) -> str:
        recipe = self._plan.recipe_name
        tags = {KIND: "comparison", "recipe": recipe}
        name = f"{self._plan.experiment}, {recipe}"
        found = self._search(tags)
        run = found[0] if found else self._client.create_run(self._experiment, None, tags, name)
        return str(run.info.run_id)

    def _list_trials(self) -> Mapping[str, Sequence[Run]]:
        """The runs of trials that the experiment had before this process uploaded any, by key."""
        if self._known is None:
            known: dict[str, list[Run]] = {}
            for run in self._search({KIND: "trial"}):
                known.setdefault(run.data.tags.get(TRIAL, ""), []).append(run)
            self._known = known
        return self._known

    def _search(self, tags: Mapping[str, str]) -> list[Run]:
        condition = " and ".join(f"tags.`{key}` = {_quote(value)}" for key, value in tags.items())
        page = self._client.search_runs([self._experiment], condition)
        runs = list(page)
        while page.token:
            page = self._client.search_runs([self._experiment], condition, page_token=page.token)
            runs += page
        return runs

    def _log_files(self, run_id: str, contents: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for path, content in contents.items():
                file = Path(folder) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            self._client.log_artifacts(run_id, folder)

    def _remove_files(self, run: Run, paths: Iterable[str]) -> None:
        """Deletes artifacts, for which MLflow's client has no method."""
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


def _quote(value: str) -> str:
    """A text in a condition of MLflow, which has two kinds of quotes but no escapes."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def read_experiments(uri: str) -> list[Experiment]:
    """All experiments in a store.

    Raises:
        MachineError: If the store cannot be reached.
    """
    with _reaching(uri):
        client = _connect(uri)
        page = client.search_experiments()
        experiments = list(page)
        while page.token:
            page = client.search_experiments(page_token=page.token)
            experiments += page
    return experiments


@contextmanager
def _reaching(uri: str) -> Iterator[None]:
    """Replaces errors of the connection by one message."""
    try:
        yield
    except (MlflowException, OSError, sqlite3.Error) as error:
        raise MachineError(
            f"cannot use the MLflow store {uri}: {error}. Check --tracking-uri."
        ) from error


def _connect(uri: str) -> MlflowClient:
    """Connects to a store, whose file is opened first: MLflow would retry that ten times.

    Raises:
        OSError: If the folder of the file cannot be created.
        sqlite3.Error: If the file cannot be opened or is not a database.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would report each retry
    if (database := _find_database(uri)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # also opens it; stored in the file
        _speed_up(database)
    return MlflowClient(tracking_uri=uri)


def _find_database(uri: str) -> Path | None:
    """The file of an embedded store; None for a server."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def _speed_up(database: Path) -> None:
    """Lets connections to this file write without waiting for the disk at each commit.

    A trial takes a dozen commits. With a write-ahead log, a crash of the machine can only lose the
    last of them, which the ledger still has.
    """

    def relax(connection: sqlite3.Connection, _: object) -> None:
        files = [Path(row[2]) for row in connection.execute("PRAGMA database_list") if row[2]]
        if database.resolve() in files:
            connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(Engine, "connect", relax)
