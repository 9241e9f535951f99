"""Sends to MLflow what it has not got yet, on a thread of its own: training never waits for it.

What was sent is remembered beside the ledger, so that a run with nothing to send need not load
MLflow at all.
"""

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.files import write_atomically
from ablations.plan import Plan, PlannedTrial
from ablations.records import TrialRecord
from ablations.tables import Scales, Table, render_markdown

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
    """

    def __init__(self, uri: str, *, runs_dir: Path) -> None:
        self._uri = uri
        self._runs_dir = runs_dir
        name = hashlib.sha256(uri.encode()).hexdigest()[:12]
        self._memory_file = runs_dir / "tracking" / f"{name}.json"
        self._sent = self._read_memory() if self._is_store_there() else set()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._futures: list[Future[None]] = []
        self._trackers: dict[tuple[str, str], Tracker] = {}

    def send_trial(
        self, plan: Plan, trial: PlannedTrial, record: TrialRecord, scales: Scales
    ) -> None:
        """Queues one trial's record."""
        mark = f"{plan.experiment}/{plan.recipe_name}/{record.key}"
        self._send(mark, plan, lambda tracker: tracker.log_trial(trial, record, scales))

    def send_table(self, plan: Plan, table: Table) -> None:
        """Queues a comparison table, which replaces the one that is there."""
        digest = hashlib.sha256(render_markdown(table).encode()).hexdigest()[:16]
        mark = f"{plan.experiment}/{plan.recipe_name}/table-{digest}"
        self._send(mark, plan, lambda tracker: tracker.log_table(table))

    def close(self) -> str | None:
        """Waits until everything is sent; returns why something was not."""
        if self._futures:
            self._futures.append(self._executor.submit(self._end_parents))
        self._executor.shutdown(wait=True)
        errors = [error for future in self._futures if (error := future.exception())]
        if self._futures:
            write_atomically(
                self._memory_file, json.dumps({"uri": self._uri, "sent": sorted(self._sent)})
            )
        return str(errors[0]) if errors else None

    def _send(self, mark: str, plan: Plan, log: Any) -> None:
        if self._uri == OFF or mark in self._sent:
            return

        def work() -> None:
            log(self._find_tracker(plan))
            table = f"{mark.rpartition('-')[0]}-" if "/table-" in mark else mark
            self._sent -= {old for old in self._sent if old.startswith(table)}
            self._sent.add(mark)

        self._futures.append(self._executor.submit(work))

    def _end_parents(self) -> None:
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

    def _read_memory(self) -> set[str]:
        try:
            return set(json.loads(self._memory_file.read_text(encoding="utf-8"))["sent"])
        except FileNotFoundError:
            return set()
        except (OSError, ValueError, KeyError) as error:
            logger.info("%s is unreadable, all is compared again: %s", self._memory_file, error)
            return set()
