"""Both backends produce the same records and report failures."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import pytest
import torch

from ablations.backends import (
    Backend,
    BackendName,
    EpochDone,
    Event,
    Job,
    TrialFailed,
    TrialStarted,
    check_gpus,
    registry,
    run_job,
)
from ablations.errors import InputError, MachineError
from ablations.plans import TrialSpec
from ablations.trial.records import EpochRecord
from ablations.trial.run import run_trial

BACKENDS = get_args(BackendName)


class Log:
    """Collects the events of a backend."""

    def __init__(self) -> None:
        self.records: dict[str, list[EpochRecord]] = {}
        self.failed: dict[str, TrialFailed] = {}
        self.started: set[str] = set()

    def observe(self, event: Event) -> None:
        """Receives an event."""
        if isinstance(event, TrialStarted):
            self.started.add(event.key)
        elif isinstance(event, EpochDone):
            self.records.setdefault(event.key, []).append(event.record)
        else:
            self.failed[event.key] = event


def test_every_backend_is_registered() -> None:
    """A name without an entry would be accepted by the command line and fail later."""
    assert registry._BACKENDS.keys() == set(BACKENDS)


def test_importing_the_package_loads_neither_torch_nor_ray() -> None:
    """The command line imports it for `--help`."""
    code = "import sys, ablations.backends; print({'torch', 'ray'} & {*sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert answer.stdout == "set()\n"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failing_trial_is_reported_and_the_others_finish(
    backend: BackendName,
    spec: TrialSpec,
    impossible_spec: TrialSpec,
    make_job: Callable[..., Job],
) -> None:
    """The others have the records of an undisturbed trial, to the bit."""
    other = replace(spec, seed=1)
    log, undisturbed = Log(), Log()
    run_job(make_job(spec), undisturbed.observe)
    job = make_job(impossible_spec, spec, other, backend=backend, retries=1)
    for checkpoint in job.workspace.checkpoint_dir.glob("*.pt"):
        checkpoint.unlink()

    run_job(job, log.observe)

    assert log.started == {impossible_spec.key, spec.key, other.key}
    assert log.records.keys() == {spec.key, other.key}
    assert log.records[spec.key] == undisturbed.records[spec.key]
    assert log.failed.keys() == {impossible_spec.key}
    failure = log.failed[impossible_spec.key]
    assert "must hold the prepared absent" in failure.reason
    assert "in run_trial" in failure.details


@pytest.mark.parametrize("backend", ["local", pytest.param("ray", marks=pytest.mark.faults)])
def test_a_trial_of_replicas_runs_on_every_backend(
    backend: BackendName,
    spec: TrialSpec,
    impossible_spec: TrialSpec,
    make_job: Callable[..., Job],
    tmp_path: Path,
) -> None:
    """With equal records; one whose replicas fail is reported with their message."""
    recipe = spec.recipe.model_copy(update={"replicas": 2})
    own, impossible = (replace(one, recipe=recipe) for one in (spec, impossible_spec))
    job = make_job(impossible, own, backend=backend)
    log = Log()

    run_job(job, log.observe)

    alone = run_trial(
        own,
        cache_dir=job.workspace.cache_dir,
        checkpoint=tmp_path / "alone.pt",
        device=torch.device("cpu"),
    )
    assert log.records == {own.key: list(alone)}
    assert "must hold the prepared absent" in log.failed[impossible.key].reason
    assert "of 2: " in log.failed[impossible.key].reason


def test_a_trial_of_replicas_takes_one_gpu_for_each() -> None:
    """Or none; NCCL refuses to share one, and half of the replicas cannot train."""
    choose = partial(Backend.choose_gpus, replicas=4, where=" here")

    assert choose(Backend(), available=8) == 4
    assert choose(Backend(gpus_per_trial=4), available=8) == 4
    assert choose(Backend(gpus_per_trial=0), available=8) == 0
    assert choose(Backend(), available=0) == 0
    with pytest.raises(MachineError, match="a trial of 4 replicas needs as many GPUs, got 2 here"):
        choose(Backend(), available=2)
    with pytest.raises(MachineError, match=r"must be 0 or 4 for trials of 4 replicas, got 0\.5"):
        choose(Backend(gpus_per_trial=0.5), available=8)


def test_only_ray_has_an_address() -> None:
    """The run would be on this machine alone, unlike what was asked."""
    with pytest.raises(InputError, match="--address needs --backend ray, got local"):
        Backend(name="local", address="auto")


def test_an_address_without_a_cluster_is_reported(
    spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """With what to do; it wins over the environment."""
    job = replace(make_job(spec), backend=Backend(address="127.0.0.1:9"))

    with pytest.raises(
        MachineError, match=r"cannot connect .* at 127\.0\.0\.1:9: .*omit --address"
    ):
        run_job(job, Log().observe)


def test_ray_refuses_more_replicas_than_a_node_has_cores(
    spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """Ray itself would wait for them without a message."""
    crowd = replace(spec, recipe=spec.recipe.model_copy(update={"replicas": 1024}))

    with pytest.raises(MachineError, match="a node with 1024 CPU cores"):
        run_job(make_job(crowd, backend="ray"), Log().observe)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_observer_that_raises_ends_the_run(
    backend: BackendName, spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """A full disk is neither a finished run nor a failed trial."""
    log = Log()

    def observe(event: Event) -> None:
        if isinstance(event, EpochDone):
            raise OSError("disk full")
        log.observe(event)

    with pytest.raises(OSError, match="disk full"):
        run_job(make_job(spec, replace(spec, seed=1), backend=backend, retries=1), observe)

    assert not log.failed


def test_ray_refuses_more_gpus_than_a_node_has(
    spec: TrialSpec, make_job: Callable[..., Job]
) -> None:
    """Ray itself would wait for them without a message."""
    backend = Backend(name="ray", gpus_per_trial=0.5)

    with pytest.raises(MachineError, match=r"at most 0, the GPUs of the best node, got 0\.5"):
        run_job(replace(make_job(spec), backend=backend), Log().observe)


@pytest.mark.parametrize(
    ("name", "available", "asked"),
    [("local", 4, 2), ("local", 0, 1), ("ray", 0, 0.5), ("ray", 2, 3)],
)
def test_too_many_gpus_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: BackendName, available: int, asked: float
) -> None:
    """The local backend uses at most one."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: available)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with pytest.raises(MachineError, match="--gpus-per-trial must be at most"):
        check_gpus(Backend(name=name, gpus_per_trial=asked))


@pytest.mark.parametrize(
    ("name", "available", "asked"),
    [("local", 1, 1), ("ray", 1, 0.25), ("ray", 2, 2), ("ray", 0, None), ("local", 0, 0)],
)
def test_available_gpus_are_accepted(
    monkeypatch: pytest.MonkeyPatch, name: BackendName, available: int, asked: float | None
) -> None:
    """None asks for what is available."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: available)

    check_gpus(Backend(name=name, gpus_per_trial=asked))


def test_gpus_of_a_cluster_are_not_checked_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are known once Ray has connected."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    check_gpus(Backend(name="ray", gpus_per_trial=8))


def test_a_run_starts_its_own_ray_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, make_job: Callable[..., Job], spec: TrialSpec
) -> None:
    """Ray would join a cluster that anybody started on this machine, and refuse our settings."""
    from ablations.backends import on_ray

    asked: list[str] = []
    monkeypatch.setattr(on_ray.ray, "init", lambda address, **_: asked.append(address))
    monkeypatch.setattr(on_ray, "_check_reachable", lambda _: None)
    job = make_job(spec)

    on_ray._connect(None, job)
    on_ray._connect("10.0.0.1:6379", job)

    assert asked == ["local", "10.0.0.1:6379"]


def test_ray_gets_the_cores_that_a_container_may_use(
    monkeypatch: pytest.MonkeyPatch, make_job: Callable[..., Job], spec: TrialSpec
) -> None:
    """With all cores of the host, it would start far too many trials at once."""
    from ablations.backends import on_ray

    asked: list[int] = []
    monkeypatch.setattr(on_ray.ray, "init", lambda *_, num_cpus, **__: asked.append(num_cpus))
    monkeypatch.setattr("joblib.cpu_count", lambda: 7)

    on_ray._connect(None, make_job(spec))

    assert asked == [7]


def test_a_trial_may_use_the_gpus_of_the_best_node() -> None:
    """A fraction, one by default, or all of them, but not more."""
    import ray

    from ablations.backends.on_ray import choose_gpus

    ray.init("local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert [
            choose_gpus(Backend(gpus_per_trial=asked), replicas=1) for asked in (0.25, None, 2, 0)
        ] == [0.25, 1.0, 2, 0]
        with pytest.raises(MachineError, match="at most 2"):
            choose_gpus(Backend(gpus_per_trial=3), replicas=1)
    finally:
        ray.shutdown()
