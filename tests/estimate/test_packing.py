"""Trials that share a GPU fit into its memory."""

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studies import make_plan, make_records

from ablations.config import Recipe
from ablations.data import Dataset
from ablations.errors import MachineError
from ablations.estimate import packing
from ablations.estimate.packing import MARGIN, PROCESS_BYTES, compute_share, find_share
from ablations.plans import TrialSpec


@given(peak=st.floats(1e6, 2e11), memory=st.floats(1e9, 2e11))
def test_trials_that_share_a_gpu_fit_into_its_memory(peak: float, memory: float) -> None:
    """Ray runs floor(1 / share) of them, counting in 1/10,000; one alone is always tried."""
    share = compute_share(peak, memory)

    at_once = 10_000 // round(share * 10_000)
    assert at_once == 1 or at_once * (MARGIN * peak + PROCESS_BYTES) <= memory


def test_ray_runs_no_more_trials_at_once_than_fit() -> None:
    """On GPUs that Ray only counts: seven fit on each, and 1/7 is no decimal fraction."""
    import ray

    share = compute_share(9e9, 7.5 * (MARGIN * 9e9 + PROCESS_BYTES))
    ray.init("local", num_cpus=16, num_gpus=2, include_dashboard=False, log_to_driver=False)
    try:
        free = [ray.available_resources()["GPU"]]

        @ray.remote(num_gpus=share, num_cpus=0)
        class Trial:
            """Occupies its share."""

            def start(self) -> None: ...

        trials = [Trial.remote() for _ in range(16)]
        running, waiting = ray.wait([t.start.remote() for t in trials], num_returns=14, timeout=120)
        time.sleep(1)
        free.append(ray.available_resources().get("GPU", 0.0))
    finally:
        ray.shutdown()

    assert len(running) == 14
    assert len(waiting) == 2
    assert free[0] - free[1] == pytest.approx(14 * share)


def test_finished_trials_are_not_measured_again(
    recipe: Recipe, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their records have the peak; the largest of all variants counts."""
    plan = make_plan(recipe, dataset)
    records = {
        key: replace(record, environment=replace(record.environment, device="H100"))
        for key, record in make_records(plan).items()
    }
    waiting = {trial.spec.key for trial in plan.trials if trial.spec.seed == 0}
    trials = [replace(t, state="to run" if t.spec.key in waiting else t.state) for t in plan.trials]
    known = {key: record for key, record in records.items() if key not in waiting}
    largest = max(e.peak_memory_mb for record in known.values() for e in record.epochs)
    monkeypatch.setattr(packing, "_find_gpu", lambda: ("H100", 80e9))

    assert find_share(trials, known) == compute_share(1e6 * largest, 80e9)


def test_a_machine_without_gpus_shares_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a cluster cannot be measured from here."""
    monkeypatch.setattr(packing, "_find_gpu", lambda: None)

    assert find_share([], {}) is None
    with pytest.raises(MachineError, match=r"got none\. Pass a number"):
        find_share([], {}, is_remote=True)


def test_the_measured_peak_grows_with_the_batch(spec: TrialSpec) -> None:
    """It holds at least weights, momentum and gradients, and the images of the dataset."""
    larger = replace(spec, recipe=spec.recipe.model_copy(update={"batch_size": 64}))

    peaks = [packing.measure_peak(own, "cpu") for own in (spec, larger)]

    assert 1e5 < peaks[0] < peaks[1] < 1e9
