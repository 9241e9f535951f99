"""Uploads to MLflow on a thread of its own, so that training never waits for the store.

The digests of everything uploaded are cached beside the ledger. A run with nothing to upload does
not even load MLflow.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from ablations.complexity.scales import Scales
from ablations.errors import MachineError
from ablations.files import hash_value, read_cache, write_cache
from ablations.plans import Plan, PlannedTrial
from ablations.speed import Speed
from ablations.study.study import Study
from ablations.tracking.descriptions import describe_parent, describe_trial
from ablations.trial.records import TrialRecord
from ablations.workspace import Workspace

if TYPE_CHECKING:
    from ablations.tables import Table
    from ablations.tracking.store import Tracker

OFF = "off"
"""The tracking URI that disables MLflow."""

LOCK_SECONDS = 60.0
"""How long to wait for another run on the same folder to end an upload."""

UI_PORT = 5000
"""Default port of `ablations ui`."""


@dataclass(kw_only=True)
class _Memory:
    """What one store is known to hold."""

    digests: dict[str, str] = field(default_factory=dict)
    """Digests of the uploaded runs."""

    views: dict[str, str] = field(default_factory=dict)
    """Path of the saved view that opens first, by experiment and recipe."""


_MEMORY = TypeAdapter(_Memory)


@dataclass(frozen=True, kw_only=True)
class _Upload:
    """A run to upload."""

    plan: Plan
    """The plan that it belongs to."""

    name: str
    """Name of the run within the plan."""

    digest: str
    """Digest of everything that the run holds."""

    @property
    def mark(self) -> str:
        """Name of the run within the store."""
        return f"{self.plan.experiment}/{self.plan.recipe_name}/{self.name}"


def choose_uri(flag: str | None, environment: str | None, runs_dir: Path) -> str:
    """The store to use: from the flag, else from the environment, else a file in `runs_dir`."""
    return flag or environment or f"sqlite:///{(runs_dir / 'mlflow.db').resolve()}"


class Mirror:
    """A queue of uploads to one MLflow store.

    Args:
        uri: The store; `off` uploads nothing.
        workspace: Where the memory of earlier uploads and the artifacts are kept.
        trusts_memory: Whether to skip what was uploaded before; otherwise everything is compared
            with the store.
    """

    def __init__(self, uri: str, *, workspace: Workspace, trusts_memory: bool = True) -> None:
        self._uri = uri
        self._artifacts_dir = workspace.runs_dir / "artifacts"
        self._memory_file = workspace.runs_dir / "tracking" / f"{hash_value(uri)[:12]}.json"
        self._lock = FileLock(
            self._memory_file.with_suffix(".lock"), timeout=LOCK_SECONDS, thread_local=False
        )
        self._trusts_memory = trusts_memory
        self._memory = _read_memory(self._memory_file)
        self._seen = _find_time(self._memory_file)
        if not (trusts_memory and self._store_exists()):
            self._memory = _Memory()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._futures: list[Future[None]] = []
        self._queued: dict[str, str] = {}  # digests by mark
        self._trackers: dict[str, Tracker] = {}
        self._lost: Exception | None = None  # why the store cannot be reached

    def send_trial(
        self,
        plan: Plan,
        trial: PlannedTrial,
        record: TrialRecord,
        scales: Scales,
        speed: Speed | None,
    ) -> None:
        """Queues one trial's record.

        Args:
            plan: The plan that the trial belongs to.
            trial: The trial.
            record: Its record.
            scales: Complexities of its variant.
            speed: Measured speed of its variant; None if it was not measured.
        """
        if self._uri == OFF:
            return
        run = describe_trial(trial, record, scales, speed=speed)
        upload = _Upload(plan=plan, name=record.key, digest=run.digest)
        if self._is_due(upload):
            dataset = trial.spec.dataset
            self._queue(upload, lambda tracker: tracker.log_trial(run, record, dataset))

    def send_study(
        self, plan: Plan, study: Study, table: "Table", files: Mapping[str, bytes]
    ) -> None:
        """Queues the trials of a study, and its table and figures unless it is narrowed.

        Args:
            plan: The plan with the present state of its trials.
            study: The study of that plan.
            table: The study's comparison table.
            files: The files of the study's folder by name.
        """
        if self._uri == OFF:
            return
        records = {trial.key: trial.record for trial in study.trials}
        for trial in plan.trials:
            record = records.get(trial.spec.key)
            if record is not None and trial.state != "skipped":
                name = trial.variant.name
                self.send_trial(plan, trial, record, study.scales[name], study.speeds.get(name))
        if study.is_narrowed:
            return
        run = describe_parent(plan, study, table, files)
        upload = _Upload(plan=plan, name="table", digest=run.digest)
        if self._is_due(upload):
            contents = {path: file.render() for path, file in run.files.items()}  # on this thread
            self._queue(upload, lambda tracker: tracker.log_parent(run, contents, table.question))

    def close(self) -> str | None:
        """Waits for all uploads; returns why one failed, or None."""
        if self._futures:
            self._futures.append(self._executor.submit(self._end_parents))
        self._executor.shutdown(wait=True)
        errors = [error for future in self._futures if (error := future.exception())]
        return str(errors[0]) if errors else None

    def find_view(self, experiment: str, recipe_name: str) -> str | None:
        """Link to the saved view of a recipe's variants, as far as it is known after `close`.

        The link to an embedded store works while `ablations ui` serves it on the default port.
        """
        path = self._memory.views.get(f"{experiment}/{recipe_name}")
        is_server = self._uri.startswith(("http:", "https:"))
        host = self._uri.rstrip("/") if is_server else f"http://127.0.0.1:{UI_PORT}"
        return None if path is None else f"{host}/{path}"

    def _is_due(self, upload: _Upload) -> bool:
        known = (self._memory.digests.get(upload.mark), self._queued.get(upload.mark))
        return upload.digest not in known

    def _queue(self, upload: _Upload, log: "Callable[[Tracker], None]") -> None:
        def work() -> None:
            if self._lost is not None:
                raise self._lost
            try:
                with self._alone():
                    known = self._memory.digests.get(upload.mark)
                    if self._trusts_memory and known == upload.digest:
                        return  # another run on the same folder has sent it meanwhile
                    log(self._find_tracker(upload.plan))
                    self._memory.digests[upload.mark] = upload.digest
            except Exception as error:
                if _is_unreachable(error):
                    self._lost = error
                raise

        self._queued[upload.mark] = upload.digest
        self._futures.append(self._executor.submit(work))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other runs on the same folder from sending; knows what they have sent.

        Raises:
            MachineError: If another one is at an upload for too long, such as a stopped process.
        """
        self._memory_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = self._lock.acquire()
        except Timeout as error:
            raise MachineError(
                f"another run on the same folder has been uploading for {LOCK_SECONDS:g} s"
            ) from error
        with held:
            if self._trusts_memory and _find_time(self._memory_file) != self._seen:
                self._memory.digests.update(_read_memory(self._memory_file).digests)
            yield
            write_cache(self._memory_file, _MEMORY.dump_python(self._memory))
            self._seen = _find_time(self._memory_file)

    def _end_parents(self) -> None:
        if self._lost is None:
            for tracker in self._trackers.values():
                tracker.end()

    def _find_tracker(self, plan: Plan) -> "Tracker":
        from ablations.tracking.store import Tracker  # imports MLflow, which is slow

        key = f"{plan.experiment}/{plan.recipe_name}"
        if key not in self._trackers:
            tracker = Tracker(self._uri, plan, artifacts_dir=self._artifacts_dir.resolve())
            self._trackers[key] = tracker
            if tracker.views:
                self._memory.views[key] = tracker.views[0].path
        return self._trackers[key]

    def _store_exists(self) -> bool:
        """Whether an embedded store's file exists; a server is assumed to keep its runs."""
        path = self._uri.removeprefix("sqlite:///")
        return path == self._uri or Path(path).is_file()


def _read_memory(path: Path) -> _Memory:
    try:
        return _MEMORY.validate_python(read_cache(path))
    except ValidationError:
        return _Memory()


def _find_time(path: Path) -> int | None:
    """When a file was written; None if there is none."""
    return path.stat().st_mtime_ns if path.exists() else None


def _is_unreachable(error: Exception) -> bool:
    """Whether the store did not answer, as opposed to an answer that rejects one upload.

    MLflow replaces a connection error by an exception of its own.
    """
    return isinstance(error, MachineError) or isinstance(error.__context__, OSError)
