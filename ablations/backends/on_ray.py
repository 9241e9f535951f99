"""The backend `ray`: runs trials concurrently with Ray Tune, on this machine or on a cluster.

One call of `fit` runs the whole job. Workers are reused: each runs trial after trial, one epoch per
step, without importing anything again. Ray's own checkpoints, loggers and reporters are disabled.
Trials resume from their own checkpoints, so retries, restarts and reused workers share one path.
"""

import os

# Ray reads these when it is imported.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new output ignores progress_reporter
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger records everything
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")  # Tune never restores
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning on CPU trials

import faulthandler
import gc
import logging
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from ablations.backends.attempts import (
    TimeLimitError,
    attempt_trial,
    describe_failure,
    limit_epochs,
)
from ablations.backends.claims import Claim, claim_trial
from ablations.backends.job import (
    Backend,
    EpochDone,
    Job,
    Observer,
    TrialTaken,
)
from ablations.backends.nodes import copy_code, find_storage, marking_storage
from ablations.backends.relay import Relay
from ablations.errors import MachineError
from ablations.plans import TrialSpec
from ablations.trial.environment import count_cores, describe_environment
from ablations.trial.memory import free_memory, is_out_of_memory
from ablations.trial.records import EpochRecord

CONNECT_SECONDS = 10.0
"""Time after which a cluster that does not answer is reported."""

OBJECT_STORE_BYTES = 256 * 2**20
"""Size of Ray's object store on this machine; it holds nothing but records."""

GRACE_SECONDS = 30.0
"""Time after which a worker is killed whose trial could not be interrupted at its limit."""


def run_on_ray(job: Job, observe: Observer) -> None:
    """Runs every trial of the job; one that raises is reported, and the others continue.

    Connects to the cluster at the job's address, or at `RAY_ADDRESS`; without either it starts Ray
    on this machine.

    Raises:
        MachineError: If the cluster lacks what a trial needs.
        KeyboardInterrupt: If the user stopped the run; trials that ended have been reported.
    """
    with redirect_stdout(sys.stderr), _connected(job):  # Ray prints when a node dies
        gpus = choose_gpus(job.backend, replicas=job.replicas)
        relay = Relay(job, observe)
        with (
            tempfile.TemporaryDirectory(prefix="tune-") as scratch,
            marking_storage(job.workspace) as marker,
        ):
            fit = partial(_fit, job, relay, marker=marker, scratch=Path(scratch))
            fit(keys=[spec.key for spec in job.specs], gpus=gpus)
            if starved := relay.begin_alone():
                fit(keys=starved, gpus=max(gpus, 1.0) if gpus else 0.0, at_once=1)
    if relay.error is not None:
        raise relay.error
    if len(relay.ended) < len(job.specs):  # Tune returns normally after an interrupt
        raise KeyboardInterrupt


class _TrialActor(tune.Trainable):
    """A worker that runs one trial after another."""

    def setup(self, config: dict[str, Any], *, job: Job, gpus: float, marker: str) -> None:  # type: ignore[override]  # Ray passes the parameters
        self._job = job
        self._working_state = find_storage(job.workspace, marker)
        sys.path.extend(path for path in job.import_paths if path not in sys.path)
        self._specs = {spec.key: spec for spec in job.specs}
        self._device = torch.device("cuda" if gpus else "cpu")
        self._environment = describe_environment(self._device, commit=job.commit)
        self._claim: Claim | None = None
        self._records: Generator[EpochRecord, None, None] | None = None
        self._begin(self._specs[config["trial"]])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(self._specs[new_config["trial"]])
        return True

    def cleanup(self) -> None:
        self._release()

    def _release(self) -> None:
        """Releases the last trial: the driver has recorded it by now if it has ended."""
        if self._records is not None:
            self._records.close()  # ends the processes of its replicas
        if self._claim is not None:
            self._claim.release()

    def _begin(self, spec: TrialSpec) -> None:
        self._release()
        self._key = spec.key
        self._claim = claim_trial(spec.key, self._job.workspace)
        self._limit = self._job.find_limit(spec.key)
        self._records = limit_epochs(self._train(spec), self._limit)

    def _train(self, spec: TrialSpec) -> Generator[EpochRecord, None, None]:
        self._working_state.prepare(spec.dataset)
        yield from attempt_trial(self._job, spec, self._device)

    def step(self) -> dict[str, Any]:
        if self._claim is None or self._records is None:
            return {"event": TrialTaken(key=self._key), "done": True}
        try:
            with _killing_after(self._limit + GRACE_SECONDS):
                record = next(self._records)
        except TimeLimitError as error:  # another attempt would only take as long again
            return {"event": describe_failure(self._key, error), "done": True}
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            failure = describe_failure(self._key, error)
        else:
            weights = self._working_state.take_weights(self._key) if record.is_last else None
            event = EpochDone(key=self._key, record=record, environment=self._environment)
            return {"event": event, "weights": weights, "done": record.is_last}
        free_memory()  # the error and what it refers to are gone by now
        return {"event": failure, "is_starved": True, "done": True}


@contextmanager
def _killing_after(seconds: float) -> Iterator[None]:
    """Ends the process after a time, whatever it does; its stack traces go to Ray's logs."""
    if seconds < threading.TIMEOUT_MAX:
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class _Silent(tune.ProgressReporter):
    """Prints nothing; the observer shows the progress."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: Any) -> None:
        pass


def _fit(
    job: Job,
    relay: Relay,
    *,
    keys: Sequence[str],
    gpus: float,
    marker: str,
    scratch: Path,
    at_once: int | None = None,
) -> None:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the observer reports failures
    trainable = tune.with_resources(
        tune.with_parameters(_TrialActor, job=job, gpus=gpus, marker=marker),
        {"cpu": job.replicas, "gpu": gpus},  # of one node
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"trial": tune.grid_search(list(keys))},
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=at_once,
            trial_dirname_creator=lambda trial: str(trial.config["trial"]),
        ),
        run_config=tune.RunConfig(
            name="trials" if at_once is None else "alone",
            storage_path=str(scratch),
            stop=relay.stop,
            callbacks=[relay],
            failure_config=tune.FailureConfig(max_failures=job.backend.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            progress_reporter=_Silent(),
            verbose=0,
        ),
    )
    with _restoring(signal.SIGINT):  # Tune leaves a handler behind that ignores one Ctrl-C
        tuner.fit()


@contextmanager
def _restoring(number: signal.Signals) -> Iterator[None]:
    """Restores the handler of a signal, which only the main thread may change."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, handler)


@contextmanager
def _connected(job: Job) -> Iterator[None]:
    """Connects to Ray and disconnects afterwards, unless the process is connected already."""
    if ray.is_initialized():
        yield
        return
    _connect(job.backend.cluster, job)
    try:
        yield
    finally:
        gc.collect()  # a handle of an actor that is collected after the shutdown ends the process
        ray.shutdown()


def _connect(address: str | None, job: Job) -> None:
    """Connects to the cluster at `address`, or starts Ray on this machine if it is None.

    A cluster's nodes get a copy of the code.
    """
    own: dict[str, Any] = {
        "num_cpus": count_cores(),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        with (
            tempfile.TemporaryDirectory(prefix="code-") as code,
            _restoring(signal.SIGTERM),  # Ray's handler ends the process with a stack trace
        ):
            if address:
                _check_reachable(address)
                copy_code(job.specs, Path(code))
            settings = {"runtime_env": {"working_dir": code}} if address else own
            ray.init(
                address=address or "local",  # not a cluster that somebody else started here
                logging_level=logging.ERROR,
                log_to_driver=False,
                **settings,
            )
    except ConnectionError as error:
        raise MachineError(
            f"cannot connect to the Ray cluster at {address}: {error}. Start it, or omit --address "
            "and unset RAY_ADDRESS to run on this machine."
        ) from error


def _check_reachable(address: str) -> None:
    """Notices soon if nothing answers at an address such as HOST:PORT; Ray tries for minutes.

    Raises:
        ConnectionError: If there is no connection.
    """
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(error) from error


def choose_gpus(backend: Backend, *, replicas: int) -> float:
    """Number of GPUs per trial, checked against the nodes of the cluster.

    Raises:
        MachineError: If no node can run a trial; Ray would wait for one without a message.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    largest = max((node.get("GPU", 0.0) for node in resources), default=0.0)
    gpus = backend.choose_gpus(replicas, available=largest, where=", the GPUs of the best node")
    cores = max((node.get("CPU", 0.0) for node in resources), default=0.0)
    if cores < replicas:
        raise MachineError(
            f"the Ray cluster must have a node with {replicas} CPU core{'s' * (replicas > 1)} for "
            f"the processes of a trial, got {cores:g} on the best one."
        )
    return gpus
