"""The processes of the replicas of a trial: started, watched and ended by the trial's own process.

Every replica runs the same function. They reach each other by torch.distributed, on this machine
alone, and the trial's process by one pipe each. When one fails, the trial fails with its message.
None outlives the trial's process, however that ends.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from ablations.data.batches import Replica
from ablations.trial.memory import is_out_of_memory
from ablations.user_code import describe_error

T = TypeVar("T")

Run = Callable[[Replica, torch.device], Iterator[T]]
"""What a replica does on its device; it is pickled by its name."""

GRACE_SECONDS = 1.0
"""How long to wait for further messages after a failure: the first message may be of a replica that
only noticed that another one had gone."""

_QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Setting by which PyTorch does not advise every replica on the speed of a user's module."""

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class ReplicaError(RuntimeError):
    """A replica failed, and with it the trial."""


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a process is told to do."""

    run: Run[Any]
    """The function."""

    replica: Replica
    """Which replica it is."""

    device_type: str
    """PyTorch's type of the devices; of GPUs, each replica has the one of its rank."""

    store: Path
    """File by which the replicas find each other."""


@dataclass(frozen=True, kw_only=True)
class _Result:
    """Something that the first replica yielded."""

    value: Any


@dataclass(frozen=True, kw_only=True)
class _Done:
    """A replica has come to its end."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A replica failed."""

    reason: str
    """What happened, on one line."""

    details: str = ""
    """Stack trace; empty if the process ended without one."""

    lacked_memory: bool = False
    """Whether it ran out of memory."""

    is_sudden: bool = False
    """Whether the process just ended, which is no consequence of another failure."""

    at: float
    """When it failed, Unix time in seconds."""


_Message = _Result | _Done | _Failure | logging.LogRecord


@dataclass(kw_only=True)
class _Worker:
    """The process of a replica, as the trial's process sees it."""

    replica: Replica
    process: "subprocess.Popen[bytes]"
    connection: Connection
    is_done: bool = False

    def receive(self) -> _Message | None:
        """The next message, logged if it is for the log; None if the process has ended."""
        try:
            message: _Message = self.connection.recv()
        except (EOFError, OSError):
            return None if self.is_done else self._describe_end()
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        self.is_done = self.is_done or isinstance(message, _Done | _Failure)
        return message

    def _describe_end(self) -> _Failure:
        self.is_done = True
        code = self.process.wait()
        end = f"ended with exit code {code}"
        if code < 0:
            end = f"was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            end += ", which the system does when memory runs out"
        reason = f"{_name(self.replica)} {end}"
        # NCCL aborts a process after the failure of another one.
        is_cause = -code != signal.SIGABRT
        return _Failure(reason=reason, is_sudden=is_cause, at=time.time())


def run_replicas(run: Run[T], *, count: int, device_type: str) -> Iterator[T]:
    """Runs a function in several processes that are joined by torch.distributed.

    Args:
        run: The function, of a module that a new process can import.
        count: Number of processes.
        device_type: `cpu` to join them by gloo; `cuda` for NCCL, with one GPU for each.

    Yields:
        What the first replica yields.

    Raises:
        ReplicaError: If a replica raises or its process ends; the others are ended. Its cause is a
            MemoryError if the replica ran out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="replicas-") as folder, ExitStack() as stack:
        workers = [
            stack.enter_context(
                _started(
                    _Task(
                        run=run,
                        replica=Replica(rank=rank, count=count),
                        device_type=device_type,
                        store=Path(folder) / "store",
                    )
                )
            )
            for rank in range(count)
        ]
        yield from _relay(workers)


@contextmanager
def _started(task: _Task) -> Iterator[_Worker]:
    """A replica's process, which is killed at the end of the block."""
    own, other = Pipe()
    code = f"from {__name__} import serve; serve({other.fileno()})"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        pass_fds=[other.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=2,  # standard error: what a user's module prints is no result
        env={**_QUIET, **os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    other.close()
    try:
        own.send(task)
        yield _Worker(replica=task.replica, process=process, connection=own)
    finally:
        process.kill()
        process.wait()
        own.close()


def _relay(workers: Sequence[_Worker]) -> Iterator[Any]:
    """Yields the results of the workers until all have come to their end."""
    running = list(workers)
    failures: list[_Failure] = []
    while running:
        connections = [worker.connection for worker in running]
        ready = wait(connections, GRACE_SECONDS if failures else None)
        for worker in [own for own in running if own.connection in ready]:
            message = worker.receive()
            if isinstance(message, _Result):
                yield message.value
            elif isinstance(message, _Failure):
                failures.append(message)
            elif message is None:
                running.remove(worker)
        if not ready:
            break
    if failures:
        _raise_first(failures)


def _raise_first(failures: Sequence[_Failure]) -> None:
    """Raises the failure that caused the others."""
    cause = min(failures, key=lambda own: (not own.is_sudden, not own.details, own.at))
    error = ReplicaError(cause.reason)
    if cause.details:
        kind = MemoryError if cause.lacked_memory else ReplicaError
        raise error from kind(f"in the process of the replica:\n{cause.details}")
    raise error


def _name(replica: Replica) -> str:
    return f"replica {replica.rank + 1} of {replica.count}"


def serve(descriptor: int) -> None:
    """Entry point of a replica's process.

    Args:
        descriptor: File descriptor of its end of the pipe.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # the trial's process ends this one
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    task: _Task = connection.recv()
    threading.Thread(target=_end_with_parent, args=[connection], daemon=True).start()
    try:
        _run(task, connection)
        connection.send(_Done())
    except BaseException as error:  # noqa: BLE001 - whatever it is, the trial fails with it
        reason = f"{_name(task.replica)}: {describe_error(error)}"
        connection.send(
            _Failure(
                reason=reason,
                details=traceback.format_exc(),
                lacked_memory=is_out_of_memory(error),
                at=time.time(),
            )
        )
        os._exit(1)  # without waiting for what the other replicas owe


def _end_with_parent(connection: Connection) -> None:
    """Ends this process when the trial's process has ended, of which nothing else arrives."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _run(task: _Task, connection: Connection) -> None:
    """Joins the other replicas and does the task."""
    device = torch.device(task.device_type)
    if device.type == "cuda":
        device = torch.device("cuda", task.replica.rank)
        torch.cuda.set_device(device)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    replica = task.replica
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.FileStore(str(task.store), replica.count),  # type: ignore[attr-defined]
        rank=replica.rank,
        world_size=replica.count,
    )
    # Each warning is reported once.
    handler = _Forwarder(connection) if replica.is_first else logging.NullHandler()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    for value in task.run(replica, device):
        if replica.is_first:
            connection.send(_Result(value=value))
    dist.destroy_process_group()


class _Forwarder(QueueHandler):
    """Sends log records to the trial's process.

    Args:
        connection: Its end of the pipe, in place of a queue.
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._connection = connection

    def enqueue(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        self._connection.send(record)
