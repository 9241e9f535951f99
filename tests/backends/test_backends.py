"""Both backends run the same trials to the same records, and report what fails."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ablations.backends import (
    EpochDone,
    Event,
    Job,
    TrialFailed,
    TrialStarted,
    check_gpus,
    run_job,
)
from ablations.backends.backends import BackendName
from ablations.errors import MachineError
from ablations.plan import TrialSpec
from ablations.trial.records import EpochRecord


class Notes:
    """Remembers what a backend reports."""

    def __init__(self) -> None:
        self.records: dict[str, list[EpochRecord]] = {}
        self.failed: dict[str, TrialFailed] = {}
        self.started: set[str] = set()

    def observe(self, event: Event) -> None:
        """Takes an event."""
        if isinstance(event, TrialStarted):
            self.started.add(event.key)
        elif isinstance(event, EpochDone):
            self.records.setdefault(event.key, []).append(event.record)
        else:
            self.failed[event.key] = event


@pytest.mark.parametrize("backend", ["local", "ray"])
def test_a_failing_trial_is_reported_and_the_others_finish(
    backend: BackendName,
    spec: TrialSpec,
    impossible_spec: TrialSpec,
    make_job: Callable[..., Job],
) -> None:
    """With its reason; and both backends give the records of an undisturbed trial, to the bit."""
    other = replace(spec, seed=1)
    notes, undisturbed = Notes(), Notes()
    run_job("local", make_job(spec), undisturbed.observe)
    job = make_job(impossible_spec, spec, other, retries=1)
    for checkpoint in job.checkpoint_dir.glob("*.pt"):
        checkpoint.unlink()

    run_job(backend, job, notes.observe)

    assert notes.started == {impossible_spec.key, spec.key, other.key}
    assert notes.records.keys() == {spec.key, other.key}
    assert notes.records[spec.key] == undisturbed.records[spec.key]
    assert notes.failed.keys() == {impossible_spec.key}
    failure = notes.failed[impossible_spec.key]
    assert "must hold the prepared absent" in failure.reason
    assert "in run_trial" in failure.details


def test_an_observer_that_raises_ends_the_run(
    spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """A full disk must not be taken for a finished run."""

    def observe(_: Event) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_job("ray", make_job(spec, replace(spec, seed=1)), observe)


def test_more_gpus_than_there_are_are_refused(
    spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """At once: Ray itself would wait for ever without a word."""
    job = replace(make_job(spec), gpus_per_trial=0.5)

    with pytest.raises(MachineError, match=r"at most 0, the GPUs of the best node, got 0\.5"):
        run_job("ray", job, Notes().observe)


@pytest.mark.parametrize(
    ("backend", "there", "asked"),
    [("local", 4, 2), ("local", 0, 1), ("ray", 0, 0.5), ("ray", 2, 3)],
)
def test_gpus_are_checked_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, backend: BackendName, there: int, asked: float
) -> None:
    """The local backend trains on one GPU at most."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with pytest.raises(MachineError, match="--gpus-per-trial must be at most"):
        check_gpus(backend, asked)


@pytest.mark.parametrize(
    ("backend", "there", "asked"),
    [("local", 1, 1), ("ray", 1, 0.25), ("ray", 2, 2), ("ray", 0, None), ("local", 0, 0)],
)
def test_gpus_that_are_there_are_granted(
    monkeypatch: pytest.MonkeyPatch, backend: BackendName, there: int, asked: float | None
) -> None:
    """None asks for what is there."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)

    check_gpus(backend, asked)


def test_the_best_nodes_gpus_are_what_a_trial_may_take() -> None:
    """A share, the one that is there, and not more; as Ray itself sees the machine."""
    import ray

    from ablations.backends.on_ray import choose_gpus

    ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert [choose_gpus(asked) for asked in (0.25, None, 2, 0)] == [0.25, 1.0, 2, 0]
        with pytest.raises(MachineError, match="at most 2"):
            choose_gpus(3)
    finally:
        ray.shutdown()
