"""Trials that lack memory or do not end: what is tried again, and what is said of them."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from ablations.backends import (
    BackendName,
    EpochDone,
    Event,
    Job,
    TrialFailed,
    TrialStarted,
    run_job,
)
from ablations.backends.attempts import TimeLimitError, limit_epochs
from ablations.matrix.user_operators import describe_operator
from ablations.plans import TrialSpec
from ablations.trial.records import EpochRecord
from ablations.trial.run import run_trial

BACKENDS = get_args(BackendName)
SLOW_RAY = ["local", pytest.param("ray", marks=pytest.mark.faults)]
"""Both backends; Ray only where minutes are no matter."""

MODULE = """
import ctypes
import time
from pathlib import Path

import numpy
import torch
from torch import nn


class Own(nn.Conv2d):
    def __init__(self, channels, *, stride):
        super().__init__(channels, channels, 3, stride, 1)

    def forward(self, x):
        FAULT
        return super().forward(x)
"""
FIRST_TIME = "tried = Path({path!r}); {fault} if not tried.exists() else None"
RAISE = "(tried.touch(), (_ for _ in ()).throw(MemoryError()))"


@pytest.fixture
def make_faulty(
    tmp_path: Path, spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], TrialSpec]]:
    """Builds a trial whose network does something before each pass."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(fault: str) -> TrialSpec:
        (tmp_path / "their_faulty.py").write_text(MODULE.replace("FAULT", fault))
        operator = describe_operator("their_faulty:Own", {}, sources=[], folder=tmp_path)
        return replace(spec, network=replace(spec.network, operator=operator))

    yield make
    sys.modules.pop("their_faulty", None)


def run(job: Job, **limits: float) -> list[Event]:
    """The events of a job whose workers find the user's module."""
    events: list[Event] = []
    run_job(replace(job, import_paths=tuple(sys.path), limits=limits), events.append)
    return events


def find_failure(events: list[Event], key: str) -> TrialFailed:
    """The only failure, which is that of the trial with this key."""
    [failure] = [event for event in events if isinstance(event, TrialFailed)]
    assert failure.key == key
    return failure


def list_finished(events: list[Event]) -> list[str]:
    """Keys of the trials that reached their last epoch, in order."""
    return [e.key for e in events if isinstance(e, EpochDone) and e.record.is_last]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_that_lacks_memory_is_tried_once_more_alone(
    backend: BackendName,
    spec: TrialSpec,
    make_faulty: Callable[[str], TrialSpec],
    make_job: Callable[..., Job],
    tmp_path: Path,
) -> None:
    """Even without retries: beside others there may be no room for it, alone there is."""
    once = FIRST_TIME.format(path=str(tmp_path / "tried"), fault=RAISE)
    faulty = make_faulty(once)
    others = [replace(spec, seed=seed) for seed in range(3)]

    events = run(make_job(faulty, *others, backend=backend))

    starts = [i for i, e in enumerate(events) if e == TrialStarted(key=faulty.key)]
    assert len(starts) == 2
    assert sorted(list_finished(events)) == sorted([faulty.key, *(other.key for other in others)])
    assert not any(isinstance(event, TrialFailed) for event in events)
    if backend == "ray":
        assert len(list_finished(events[: starts[1]])) == len(others)


@pytest.mark.parametrize("backend", SLOW_RAY)
def test_a_trial_that_never_fits_into_memory_fails_with_that_reason(
    backend: BackendName,
    spec: TrialSpec,
    make_faulty: Callable[[str], TrialSpec],
    make_job: Callable[..., Job],
) -> None:
    """It is tried twice, and no more often, whatever the number of retries."""
    faulty = make_faulty("torch.empty(2**46)")

    events = run(make_job(faulty, spec, backend=backend, retries=3))

    assert events.count(TrialStarted(key=faulty.key)) == 2
    assert list_finished(events) == [spec.key]
    failure = find_failure(events, faulty.key)
    assert failure.reason.startswith("out of memory, also with no other trial beside it: Runtime")
    assert "can't allocate memory" in failure.reason
    assert "their_faulty.py" in failure.details


@pytest.mark.parametrize("backend", SLOW_RAY)
def test_an_endless_loop_ends_at_the_time_limit(
    backend: BackendName,
    spec: TrialSpec,
    make_faulty: Callable[[str], TrialSpec],
    make_job: Callable[..., Job],
) -> None:
    """Somebody's half-finished module must not keep the other trials from running."""
    faulty = make_faulty("while True: pass")

    events = run(make_job(faulty, spec, backend=backend, retries=1), **{faulty.key: 8.0})

    assert events.count(TrialStarted(key=faulty.key)) == 1
    assert list_finished(events) == [spec.key]
    failure = find_failure(events, faulty.key)
    assert failure.reason.startswith("exceeded its time limit of 8 s")
    assert "their_faulty.py" in failure.details


@pytest.mark.faults
def test_a_worker_that_cannot_be_interrupted_is_killed(
    spec: TrialSpec, make_faulty: Callable[[str], TrialSpec], make_job: Callable[..., Job]
) -> None:
    """Native code that keeps Python's lock hears no signal."""
    faulty = make_faulty("ctypes.PyDLL(None).sleep(3600)")

    events = run(make_job(faulty, spec, backend="ray"), **{faulty.key: 8.0})

    assert list_finished(events) == [spec.key]
    assert find_failure(events, faulty.key).reason.startswith("exceeded its time limit of 8 s")


def test_a_module_that_catches_every_exception_ends_at_the_time_limit() -> None:
    """A loop around a faulty step is a common mistake."""

    def swallow() -> Iterator[EpochRecord]:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # noqa: BLE001 - as they do
                continue
        yield

    with pytest.raises(TimeLimitError):
        list(limit_epochs(swallow(), 0.1))


def test_the_time_limit_counts_only_the_training(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """A driver that takes long to record an epoch is no fault of the trial."""
    cpu = torch.device("cpu")
    records = run_trial(spec, cache_dir=cache_dir, checkpoint=tmp_path / "c.pt", device=cpu)
    taken = []

    for record in limit_epochs(records, 60.0):
        time.sleep(0.01)
        taken.append(record.epoch)

    assert taken == [0, 1]


def test_a_limit_that_cannot_interrupt_is_noticed_after_the_epoch(
    spec: TrialSpec, cache_dir: Path, tmp_path: Path
) -> None:
    """Signals reach only the main thread; the checkpoint of the epoch is kept."""
    checkpoint, errors = tmp_path / "c.pt", []

    def train() -> None:
        cpu = torch.device("cpu")
        records = run_trial(spec, cache_dir=cache_dir, checkpoint=checkpoint, device=cpu)
        try:
            list(limit_epochs(records, 1e-3))
        except TimeLimitError as error:
            errors.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()

    assert len(errors) == 1
    assert checkpoint.is_file()
