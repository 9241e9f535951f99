"""Progress tells what is done, running and failed, and the time left."""

import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from ablations.backends import EpochDone, TrialFailed, TrialStarted
from ablations.cli.progress import Progress
from ablations.matrix import Variant
from ablations.plan import PlannedTrial, TrialSpec
from ablations.trial.records import Environment, EpochRecord

ENVIRONMENT = Environment(
    device="", python="", torch="", package="", platform="", commit=None, dirty=None
)


def make_trials(spec: TrialSpec) -> list[PlannedTrial]:
    """Three seeds of one variant."""
    variant = Variant(name="[v]", settings={}, network=spec.network, paper_network=spec.network)
    return [
        PlannedTrial(variant=variant, spec=replace(spec, seed=seed), state="to run")
        for seed in range(3)
    ]


def make_event(trial: PlannedTrial, epoch: int) -> EpochDone:
    """An epoch of two."""
    record = EpochRecord(
        epoch=epoch,
        is_last=epoch == 1,
        diverged=False,
        learning_rate=0.1,
        train_loss=1.5,
        top1_error=12.5,
        top5_error=1.0,
        train_seconds=1.0,
        test_seconds=1.0,
        images_per_second=1.0,
        peak_memory_mb=1.0,
    )
    return EpochDone(key=trial.spec.key, record=record, environment=ENVIRONMENT)


@pytest.mark.parametrize("terminal", [True, False])
def test_every_end_is_told(spec: TrialSpec, terminal: bool) -> None:
    """On a terminal above the live table, elsewhere a plain line each."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120, color_system=None)
    trials = make_trials(spec)

    with Progress(trials, console) as progress:
        progress.observe(TrialStarted(key=trials[0].spec.key))
        progress.observe(make_event(trials[0], 0))
        progress.observe(make_event(trials[0], 1))
        progress.observe(TrialFailed(key=trials[1].spec.key, reason="no luck", details=""))

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[1/3] [v], seed 0: error 12.50 %; about 0 s left" in text
    assert "[2/3] [v], seed 1: failed: no luck" in text
    assert ("1 of 3 trials done, 0 running, 1 failed" in text) == terminal


def test_a_running_trial_shows_its_epoch(spec: TrialSpec) -> None:
    """From its start on."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    trials = make_trials(spec)

    with Progress(trials, console) as progress:
        progress.observe(TrialStarted(key=trials[0].spec.key))
        started = console.file.tell()
        progress.observe(make_event(trials[0], 0))

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0 of 3 trials done, 1 running" in text
    assert "1/2" in text[started:]
    assert "12.50" in text[started:]


def test_epochs_told_again_do_not_count_twice(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a retry earlier epochs come again; two epochs in 10 s leave 10 s for two more."""
    console = Console(file=io.StringIO(), force_terminal=False, width=120)
    trials = make_trials(spec)[:2]
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)

    with Progress(trials, console) as progress:
        monkeypatch.setattr(time, "monotonic", lambda: 10.0)
        for epoch in (0, 0, 0, 1):
            progress.observe(make_event(trials[0], epoch))

    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[1/2] [v], seed 0: error 12.50 %; about 10 s left" in text
