"""Progress shows what is done, running and failed, and the time left."""

import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from ablations.backends import EpochDone, TrialFailed, TrialStarted
from ablations.cli.progress import show_progress
from ablations.matrix import Variant
from ablations.plans import PlannedTrial, TrialSpec
from ablations.trial import Environment, EpochRecord

ENVIRONMENT = Environment(
    device="", python="", torch="", package="", platform="", commit=None, dirty=None
)


def make_console(*, terminal: bool) -> Console:
    """A console that writes into memory."""
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        force_interactive=terminal,
        width=120,
        color_system=None,
    )


def read(console: Console) -> str:
    """Everything that was written to the console."""
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def make_trials(spec: TrialSpec) -> list[PlannedTrial]:
    """Three seeds of one variant."""
    variant = Variant(name="[v]", settings={}, network=spec.network, paper_network=spec.network)
    return [
        PlannedTrial(variant=variant, spec=replace(spec, seed=seed), state="to run")
        for seed in range(3)
    ]


def make_event(trial: PlannedTrial, epoch: int) -> EpochDone:
    """One epoch of two."""
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
def test_every_trial_that_ends_is_reported(spec: TrialSpec, terminal: bool) -> None:
    """Above the bars in a terminal, and as a plain line elsewhere."""
    console = make_console(terminal=terminal)
    trials = make_trials(spec)

    clock = itertools.count()

    with show_progress(trials, console=console, get_time=lambda: next(clock)) as observe:
        observe(TrialStarted(key=trials[0].spec.key))
        observe(make_event(trials[0], 0))
        observe(make_event(trials[0], 1))
        observe(TrialFailed(key=trials[1].spec.key, reason="no luck", details=""))

    text = read(console)
    assert "[1/3] [v], seed 0: error 12.50 %; about " in text
    assert "[2/3] [v], seed 1: failed: no luck" in text
    assert ("3 trials to run" in text) != terminal
    assert ("1 of 3 trials done, 1 failed" in text) == terminal


def test_a_running_trial_shows_its_epoch_and_error(spec: TrialSpec) -> None:
    """Its bar appears when it starts."""
    console = make_console(terminal=True)
    trials = make_trials(spec)

    with show_progress(trials, console=console) as observe:
        observe(TrialStarted(key=trials[0].spec.key))
        observe(make_event(trials[0], 0))

    text = read(console)
    assert "0 of 3 trials done" in text
    assert "[v], seed 0" in text
    assert "1/2" in text
    assert "error 12.50 %" in text
    assert "[v], seed 1" not in text


def test_epochs_reported_again_do_not_count_twice(spec: TrialSpec) -> None:
    """A retry repeats earlier epochs; one epoch in 5 s leaves 10 s for two more."""
    console = make_console(terminal=False)
    trials = make_trials(spec)[:2]
    clock = [0.0]

    with show_progress(trials, console=console, get_time=lambda: clock[0]) as observe:
        for clock[0], epoch in ((5.0, 0), (6.0, 0), (7.0, 0), (10.0, 1)):
            observe(make_event(trials[0], epoch))

    assert "[1/2] [v], seed 0: error 12.50 %; about 10 s left" in read(console)


def test_a_run_without_trials_says_so() -> None:
    """There is nothing to show."""
    console = make_console(terminal=True)

    with show_progress([], console=console):
        pass

    assert read(console) == "nothing to train\n"
