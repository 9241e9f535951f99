"""Every trial of a run has a time limit, far above its estimate."""

from collections.abc import Callable

import pytest
from conftest import Answer

from ablations.backends import Job, Observer
from ablations.estimate import measurement, throughput
from ablations.reconcile import run as reconcile
from ablations.reconcile.limits import FACTOR, LEAST_SECONDS, UNKNOWN_SECONDS

RUN = ("run-ablation", "attention", "--backend", "local", "--tracking-uri", "off")


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that runs would have done: they are stopped before."""
    found: list[Job] = []

    def stop(job: Job, _observe: Observer) -> None:
        found.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconcile, "run_job", stop)
    return found


def test_the_limit_is_a_multiple_of_the_estimate(
    command: Callable[..., Answer], jobs: list[Job]
) -> None:
    """But never so short that a busy machine exceeds it."""
    command(*RUN)
    command(*RUN, "--set", "epochs=50000")

    short, long = (job.limits for job in jobs)
    assert short.keys() == {spec.key for spec in jobs[0].specs}
    assert set(short.values()) == {LEAST_SECONDS}
    assert min(long.values()) > FACTOR * 10_000  # 64 images per epoch at 100 per second


def test_the_limit_can_be_chosen(command: Callable[..., Answer], jobs: list[Job]) -> None:
    """Nothing is measured then."""
    command(*RUN, "--trial-hours", "0.5")

    assert set(jobs[0].limits.values()) == {1800.0}


def test_a_run_does_not_depend_on_its_estimate(
    command: Callable[..., Answer],
    jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It trains a network for a moment, which a GPU that is full or a user's module may refuse."""

    def refuse(*_: object, **__: object) -> throughput.Throughput:
        raise RuntimeError("no luck")

    monkeypatch.setattr(measurement, "measure_throughput", refuse)

    answer = command(*RUN)

    assert set(jobs[0].limits.values()) == {UNKNOWN_SECONDS}
    assert "no luck (while estimating the time of a trial)" in caplog.text
    assert answer.code == 130
