"""Sends to MLflow what it has not got yet, on a thread of its own: training never waits for it.

What was sent is remembered beside the ledger, so that a run with nothing to send need not load
MLflow at all.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.errors import MachineError
from ablations.files import write_atomically
from ablations.plan import Plan, PlannedTrial
from ablations.tables import Scales, Table
from ablations.tracking.artifacts import AnyArtifact, Artifact, place_artifacts
from ablations.tracking.descriptions import describe_parent, describe_trial
from ablations.trial.records import TrialRecord

if TYPE_CHECKING:
    from ablations.tracking.store import Tracker

OFF = "off"
"""The tracking URI that stands for no tracking."""

logger = logging.getLogger(__name__)


def choose_uri(flag: str | None, environment: str | None, runs_dir: Path) -> str:
    """The store to use: the flag's, else the environment's, else a file in `runs_dir`."""
    return flag or environment or f"sqlite:///{(runs_dir / 'mlflow.db').resolve()}"


class Mirror:
    """A queue of records and tables on their way to one MLflow store.

    Args:
        uri: The store; `off` sends nothing.
        runs_dir: The ledger's folder.
        trusts_memory: Whether what is remembered as sent is left alone; else all is held against
            the store.
    """

    def __init__(self, uri: str, *, runs_dir: Path, trusts_memory: bool = True) -> None:
        self._uri = uri
        self._runs_dir = runs_dir
        name = hashlib.sha256(uri.encode()).hexdigest()[:12]
        self._memory_file = runs_dir / "tracking" / f"{name}.json"
        remembers = trusts_memory and self._is_store_there()
        self._sent = self._read_memory() if remembers else {}
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._futures: list[Future[None]] = []
        self._trackers: dict[tuple[str, str], Tracker] = {}
        self._lost: Exception | None = None  # why the store cannot be reached

    def send_trial(
        self, plan: Plan, trial: PlannedTrial, record: TrialRecord, scales: Scales
    ) -> None:
        """Queues one trial's record."""
        description = describe_trial(trial, record, scales)
        dataset = trial.spec.dataset
        if self._is_due(plan, record.key, description.digest):
            self._send(
                plan,
                record.key,
                description.digest,
                lambda tracker: tracker.log_trial(description, record, dataset),
            )

    def send_records(
        self, plan: Plan, records: Mapping[str, TrialRecord], scales: Mapping[str, Scales]
    ) -> None:
        """Queues the records of a plan's trials, as far as there are any.

        Args:
            plan: The plan.
            records: Records by the trials' keys.
            scales: Complexities by variant.
        """
        for trial in plan.trials:
            record = records.get(trial.spec.key)
            if record is not None and trial.state != "skipped":
                self.send_trial(plan, trial, record, scales[trial.variant.name])

    def send_table(
        self, plan: Plan, table: Table, *, artifacts: Mapping[str, AnyArtifact] | None = None
    ) -> None:
        """Queues a comparison table with its files, which replace those that are there.

        Args:
            plan: The plan, with what is known of its trials now.
            table: What compares them; it becomes the parent run's note and three files.
            artifacts: Further files by name; PNGs go into the folder `figures`. One that is costly
                to make is given as an `Artifact`, and made, here, only if something has changed.
        """
        description = describe_parent(plan, table, place_artifacts(artifacts or {}))
        if self._is_due(plan, "table", description.digest):
            made = {path: _make(artifact) for path, artifact in description.files.items()}
            whole = replace(description, files=made)
            self._send(
                plan,
                "table",
                description.digest,
                lambda tracker: tracker.log_parent(whole, question=table.question),
            )

    def close(self) -> str | None:
        """Waits until everything is sent; returns why something was not."""
        if self._futures:
            self._futures.append(self._executor.submit(self._end_parents))
        self._executor.shutdown(wait=True)
        errors = [error for future in self._futures if (error := future.exception())]
        if self._futures:
            content = {"uri": self._uri, "digests": dict(sorted(self._sent.items()))}
            write_atomically(self._memory_file, json.dumps(content))
        return str(errors[0]) if errors else None

    def _is_due(self, plan: Plan, name: str, digest: str) -> bool:
        return self._uri != OFF and self._sent.get(_mark(plan, name)) != digest

    def _send(self, plan: Plan, name: str, digest: str, log: "Callable[[Tracker], None]") -> None:
        def work() -> None:
            if self._lost is not None:
                raise self._lost
            try:
                log(self._find_tracker(plan))
            except Exception as error:
                if _is_unreachable(error):
                    self._lost = error
                raise
            self._sent[_mark(plan, name)] = digest

        self._futures.append(self._executor.submit(work))

    def _end_parents(self) -> None:
        if self._lost is None:
            for tracker in self._trackers.values():
                tracker.end()

    def _find_tracker(self, plan: Plan) -> "Tracker":
        from ablations.tracking.store import Tracker  # loads MLflow, which takes seconds

        key = (plan.experiment, plan.recipe_name)
        if key not in self._trackers:
            artifacts = (self._runs_dir / "artifacts").resolve()
            self._trackers[key] = Tracker(self._uri, plan, artifacts_dir=artifacts)
        return self._trackers[key]

    def _is_store_there(self) -> bool:
        """Whether an embedded store's file exists; a server is taken to keep what it was sent."""
        path = self._uri.removeprefix("sqlite:///")
        return path == self._uri or Path(path).is_file()

    def _read_memory(self) -> dict[str, str]:
        """Digests of what was sent; none if they were written for another schema of runs."""
        try:
            content = json.loads(self._memory_file.read_text(encoding="utf-8"))
            return dict(content["digests"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.info("%s is unreadable, all is compared again: %s", self._memory_file, error)
            return {}


def _mark(plan: Plan, name: str) -> str:
    return f"{plan.experiment}/{plan.recipe_name}/{name}"


def _is_unreachable(error: Exception) -> bool:
    """Whether the store did not answer, as opposed to an answer that refuses one upload.

    MLflow replaces an error of the connection by one of its own, raised while handling it.
    """
    return isinstance(error, MachineError) or isinstance(error.__context__, OSError)


def _make(artifact: Artifact) -> Artifact:
    """The same file, made: figures are not drawn on the thread that sends."""
    content = artifact.render()
    return replace(artifact, render=lambda: content)
