"""Estimates of a run, from finished trials or from a measured throughput."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Answer

from ablations.backends import Backend
from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Recipe
from ablations.errors import InputError
from ablations.estimate import (
    Estimate,
    TrialEstimate,
    check_hours,
    estimate_plan,
    measurement,
    merge_estimates,
    throughput,
)
from ablations.estimate.durations import estimate_durations
from ablations.estimate.throughput import Device, Throughput, find_device, find_throughput
from ablations.matrix import Matrix, Variant
from ablations.plans import Plan, PlannedTrial, TrialSpec, build_specs
from ablations.speed import workload
from ablations.trial.records import Environment, EpochRecord, TrialRecord
from ablations.workspace import Workspace

CPU = Device(name="CPU X", kind="cpu", count=2)
MEASURED = Throughput(
    macs=1000, batch_size=16, train_images_per_second=32.0, test_images_per_second=40.0
)
"""An epoch of 64 training and 40 test images takes 3 seconds."""
MACS = {"a": 1000, "b": 2000}
COMPLEXITY = Complexity(
    params=10**6,
    running_statistics=0,
    macs=1000,
    rescaling_macs=0,
    fvcore_total=None,
    uncounted=(),
)
LOCAL = ("--backend", "local", "--tracking-uri", "off")


@pytest.fixture
def plan(spec: TrialSpec, recipe: Recipe) -> Plan:
    """Variants a and b, seeds 0 and 1, two epochs each; all to run."""
    networks = (spec.network, replace(spec.network, num_classes=11))
    variants = tuple(
        Variant(name=name, settings={}, network=network, paper_network=network)
        for name, network in zip("ab", networks, strict=True)
    )
    trials = tuple(
        PlannedTrial(variant=variant, spec=own, state="to run")
        for variant, own in build_specs(variants, recipe, spec.dataset)
    )
    return Plan(
        experiment="x",
        recipe_name="quick",
        recipe=recipe,
        matrix=Matrix(variants=variants, raw=len(variants)),
        trials=trials,
    )


def finish(plan: Plan, index: int, *, seconds: float, device: str = "CPU X") -> TrialRecord:
    """A record of one trial of the plan, with two equal epochs."""
    epoch = EpochRecord(
        epoch=0,
        is_last=False,
        diverged=False,
        learning_rate=0.1,
        train_loss=1.0,
        top1_error=50.0,
        top5_error=10.0,
        train_seconds=seconds / 2,
        test_seconds=0.0,
        images_per_second=1.0,
        peak_memory_mb=1.0,
    )
    environment = Environment(
        device=device, python="", torch="", package="", platform="", commit=None, dirty=None
    )
    return TrialRecord(
        key=plan.trials[index].spec.key,
        facts={},
        epochs=(epoch, replace(epoch, epoch=1, is_last=True)),
        environment=environment,
        finished_at=0.0,
    )


def measure_never() -> Throughput:
    """Fails a test that must not measure."""
    raise AssertionError("it was measured")


def make_estimate(*seconds: float, side_by_side: int = 2, first_key: int = 0) -> Estimate:
    """The estimate of trials with the given durations."""
    trials = {
        str(key): TrialEstimate(seconds=second, record_bytes=10, checkpoint_bytes=100)
        for key, second in enumerate(seconds, start=first_key)
    }
    return Estimate(
        trials=trials,
        datasets={"d": 1000},
        device=CPU,
        side_by_side=side_by_side,
        basis=("guessed",),
    )


def test_durations_scale_with_multiply_adds(plan: Plan) -> None:
    """Training and evaluation; a variant with twice the multiply-adds takes twice as long."""
    durations = estimate_durations(plan, MACS, {}, CPU, measure=lambda: MEASURED)

    assert durations.seconds == {"a": 6, "b": 12}
    assert durations.basis == "measured here on CPU X: 32 images per second at 0.001 MFLOPs"


def test_replicas_take_time_of_several_cores(plan: Plan) -> None:
    """A finished trial took its wall time on each of them; a measured one shares its work."""
    shared = plan.recipe.model_copy(update={"replicas": 4})
    both = replace(plan, recipe=shared)
    record = finish(plan, 0, seconds=20.0)
    finished = replace(record, facts={"replicas": 4})

    measured = estimate_durations(both, MACS, {}, CPU, measure=lambda: MEASURED)
    known = estimate_durations(both, MACS, {record.key: finished}, CPU, measure=measure_never)

    assert measured.seconds == {"a": 6, "b": 12}
    assert measured.basis.endswith("and 4 replicas taken to share the work without loss")
    assert known.seconds == {"a": 80, "b": 160}


def test_finished_trials_take_precedence(plan: Plan) -> None:
    """Their variant takes as long again, others in proportion; nothing is measured."""
    record = finish(plan, 0, seconds=20.0)

    durations = estimate_durations(plan, MACS, {record.key: record}, CPU, measure=measure_never)

    assert durations.seconds == {"a": 20, "b": 40}
    assert durations.basis == "from 1 finished trial on CPU X"


def test_a_variants_own_trials_take_precedence_over_others(plan: Plan) -> None:
    """The time of small networks is not proportional to their multiply-adds."""
    records = [finish(plan, 0, seconds=20.0), finish(plan, 2, seconds=24.0)]

    durations = estimate_durations(
        plan, MACS, {r.key: r for r in records}, CPU, measure=measure_never
    )

    assert durations.seconds == {"a": 20, "b": 24}


def test_trials_on_another_device_are_ignored(plan: Plan) -> None:
    """Seconds of a GPU say nothing about a core."""
    record = finish(plan, 0, seconds=1.0, device="H100")

    durations = estimate_durations(plan, MACS, {record.key: record}, CPU, measure=lambda: MEASURED)

    assert durations.seconds["a"] == 6


def test_a_throughput_is_measured_only_once(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Per body, image shape, precision, batch size and device; not per network or seed."""
    calls: list[str] = []

    def measure(_: TrialSpec, kind: str, *, macs: int) -> Throughput:
        calls.append(kind)
        return replace(MEASURED, macs=macs)

    monkeypatch.setattr(measurement, "measure_throughput", measure)
    cache_file = tmp_path / "runs" / "throughput.json"
    bf16 = replace(spec, recipe=spec.recipe.model_copy(update={"precision": "bf16"}))
    other = replace(spec, seed=1, network=replace(spec.network, attention=None))

    first, again, apart = (
        find_throughput(own, CPU, macs=macs, cache_file=cache_file)
        for own, macs in ((spec, 7), (other, 8), (bf16, 9))
    )

    assert calls == ["cpu", "cpu"]
    assert (first.macs, again.macs, apart.macs) == (7, 7, 9)
    find_throughput(spec, replace(CPU, name="CPU Y"), macs=7, cache_file=cache_file)
    assert len(calls) == 3


@pytest.mark.parametrize("content", [None, "{", "[]", '{"gpus": 1}', '{"throughput": {"k": 1}}'])
def test_an_unusable_cache_is_ignored(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """It cannot be written, or it is damaged."""
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: MEASURED)
    monkeypatch.setattr(throughput, "_list_gpus", lambda: ["H100", "H100"])
    folder = tmp_path / "runs"
    if content is None:
        folder.write_text("a file where the folder should be")
    else:
        folder.mkdir()
        (folder / "throughput.json").write_text(content)

    cache_file = folder / "throughput.json"
    device = find_device(cache_file)

    assert device == Device(name="H100", kind="cuda", count=2)
    assert find_throughput(spec, device, macs=1, cache_file=cache_file) == MEASURED


def test_gpus_are_listed_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at all if none may be used; again if others become visible."""
    asked: list[int] = []

    def ask() -> list[str]:
        asked.append(1)
        return ["H100"]

    monkeypatch.setattr(throughput, "_list_gpus", ask)
    cache_file = tmp_path / "throughput.json"

    assert find_device(cache_file, use_gpu=False).kind == "cpu"
    assert asked == []
    assert [find_device(cache_file).unit for _ in range(2)] == ["GPU", "GPU"]
    assert len(asked) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    find_device(cache_file)
    assert len(asked) == 2


def test_a_measurement_runs_the_trials_own_epoch(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one thread and with the batch size of the recipe; the thread count is restored."""
    monkeypatch.setattr(measurement, "LIMIT_SECONDS", 0.2)
    threads, train_epoch, seen = torch.get_num_threads(), workload.train_epoch, []

    def observe(*arguments: object, **named: object) -> object:
        seen.append((torch.get_num_threads(), arguments[3].batch_size))  # type: ignore[attr-defined]
        return train_epoch(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(workload, "train_epoch", observe)

    found = measurement.measure_throughput(spec, "cpu", macs=5)

    assert set(seen) == {(1, 16)}
    assert torch.get_num_threads() == threads
    assert (found.macs, found.batch_size) == (5, 16)
    assert 1 < found.train_images_per_second < found.test_images_per_second


def test_large_images_are_measured_in_small_batches(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 256 would take minutes and more memory than a laptop has."""
    monkeypatch.setattr(measurement, "LIMIT_SECONDS", 0.0)
    large = replace(
        spec,
        dataset=replace(spec.dataset, image_size=224, is_folder=True),
        recipe=spec.recipe.model_copy(
            update={"batch_size": 256, "crop": "resized", "crop_padding": 0}
        ),
    )

    assert measurement.measure_throughput(large, "cpu", macs=5).batch_size == 4


def test_no_batch_has_a_single_image(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SK unit normalises one value per image over the batch; one alone has no variance."""
    monkeypatch.setattr(measurement, "LIMIT_SECONDS", 0.0)
    monkeypatch.setitem(measurement.MOST_PIXELS, "cpu", spec.dataset.image_size**2)

    assert spec.network.normalises_descriptors
    assert measurement.measure_throughput(spec, "cpu", macs=5).batch_size == 2


def test_a_batch_is_halved_until_it_fits(spec: TrialSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU's memory may be too small for the recipe's batch."""

    def measure(*_: object, batch_size: int, **__: object) -> Throughput:
        if batch_size > 4:
            raise torch.OutOfMemoryError("out of memory")
        return replace(MEASURED, batch_size=batch_size)

    monkeypatch.setattr(measurement, "_measure", measure)

    assert measurement.measure_throughput(spec, "cuda", macs=5).batch_size == 4


def test_wall_time_assumes_busy_cores() -> None:
    """It is never shorter than the longest trial."""
    assert make_estimate(10, 10, 10, 10).wall_seconds == 20
    assert make_estimate(10, 10, side_by_side=1).wall_seconds == 20
    assert make_estimate(10, 1).wall_seconds == 10
    assert merge_estimates([]).wall_seconds == 0


def test_wall_time_is_shorter_with_replicas(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as there are cores; fewer trials run at the same time."""
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: MEASURED)
    trial = TrialEstimate(seconds=12, record_bytes=1, checkpoint_bytes=1, replicas=4)
    four = replace(make_estimate(), trials={"a": trial}, device=replace(CPU, count=4))
    two = replace(four, device=CPU)
    monkeypatch.setattr(throughput, "count_cores", lambda: 9)
    recipe = plan.recipe.model_copy(update={"replicas": 4})
    trials = tuple(replace(t, spec=replace(t.spec, recipe=recipe)) for t in plan.trials)

    estimate = estimate_on_cpu(replace(plan, recipe=recipe, trials=trials), tmp_path)

    assert (four.wall_seconds, two.wall_seconds) == (3, 6)
    assert (four.seconds, two.seconds) == (12, 12)
    assert estimate.side_by_side == 2
    assert {t.replicas for t in estimate.trials.values()} == {4}


def test_estimates_count_the_cores_that_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cores of the host would make them too short."""
    monkeypatch.setattr("joblib.cpu_count", lambda: 7)

    assert find_device(tmp_path / "cache.json", use_gpu=False).count == 7


def test_shared_trials_and_datasets_count_once() -> None:
    """Concurrent trials have checkpoints at the same time."""
    both = merge_estimates([make_estimate(10, 10, 10), make_estimate(10, 10, first_key=2)])

    assert both.seconds == 40
    assert (both.record_bytes, both.checkpoint_bytes) == (40, 200)
    assert both.disk_bytes == 40 + 200 + 1000
    assert both.basis == ("guessed",)


def estimate_on_cpu(
    plan: Plan, tmp_path: Path, *records: TrialRecord, **options: object
) -> Estimate:
    """Estimates the plan on this machine's processor."""
    complexities = {name: replace(COMPLEXITY, macs=macs) for name, macs in MACS.items()}
    return estimate_plan(
        plan,
        {name: Scales(paper=own, trained=own) for name, own in complexities.items()},
        {record.key: record for record in records},
        baseline="a",
        backend=Backend(**{"gpus_per_trial": 0, **options}),  # type: ignore[arg-type]
        workspace=Workspace(runs_dir=tmp_path / "runs"),
    )


def test_only_unprepared_datasets_take_disk_space(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte per pixel and one per label."""
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: MEASURED)

    before = estimate_on_cpu(plan, tmp_path)
    (tmp_path / "runs" / "datasets" / plan.trials[0].spec.dataset.cache_name).mkdir(parents=True)
    after = estimate_on_cpu(plan, tmp_path)

    assert before.datasets == {"synthetic": 104 * (32 * 32 + 1)}
    assert after.datasets == {}
    assert before.record_bytes == pytest.approx(4 * 4e6, rel=0.05)
    assert before.trials.keys() == {trial.spec.key for trial in plan.trials}


def test_checkpoints_exist_as_often_as_trials_run_at_once(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray runs one trial per core, the local backend one at a time."""
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: MEASURED)
    monkeypatch.setattr(throughput, "count_cores", lambda: 2)

    one, two = (estimate_on_cpu(plan, tmp_path, name=name) for name in ("local", "ray"))

    assert (one.side_by_side, two.side_by_side) == (1, 2)
    assert two.checkpoint_bytes == pytest.approx(2 * 2 * 8e6, rel=0.05)
    assert one.checkpoint_bytes == pytest.approx(2 * 8e6, rel=0.05)


def test_hours_beyond_the_limit_are_refused() -> None:
    """The message has the estimate and its basis."""
    estimate = make_estimate(3600, 5400)

    check_hours(estimate, 2.5)
    with pytest.raises(InputError, match=r"at least 2\.5, the .* core hours .*guessed\), got 2\.4"):
        check_hours(estimate, 2.4)


def test_max_hours_limits_plans_and_runs(command: Callable[..., Answer], tmp_path: Path) -> None:
    """A run beyond the limit is refused before training; one within it is trained."""
    refused = [
        command("ablations", *verb, "kernels", "--max-hours", "0")
        for verb in (("plan",), ("run", "--dry-run"), ("run",))
    ]
    allowed = command("run-ablation", "attention", *LOCAL, "--max-hours", "1", "--seeds", "0")

    for answer in refused:
        assert answer.code == 2
        assert answer.out == ""
        assert "hours of 6 trials (measured here on " in answer.err
    assert allowed.code == 0
    assert len(list(tmp_path.glob("runs/trials/*"))) == 2


def test_a_plan_shows_its_estimate(command: Callable[..., Answer]) -> None:
    """As text and as JSON; several plans also show their sum."""
    text = command("ablations", "plan", "kernels", "attention")
    data = command("ablations", "plan", "kernels", "--json")

    assert "Time: " in text.out
    assert "measured here on " in text.out
    assert "Disk: " in text.out
    assert "All together" in text.out
    [plan] = json.loads(data.out)
    total = sum(trial["estimate"]["seconds"] for trial in plan["trials"])
    assert plan["estimate"]["hours"] == pytest.approx(total / 3600)
    assert plan["estimate"]["disk_bytes"]["datasets"] == {}
    assert plan["estimate"]["device"]["kind"] == "cpu"


def test_records_are_as_large_as_estimated(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Within 20 %, even if the names of the weights take more space than the weights."""
    arguments = ("attention", "--seeds", "0", "--only", "SK")
    [plan] = json.loads(command("ablations", "plan", *arguments, "--json").out)
    command("run-ablation", *arguments, *LOCAL)

    size = sum(path.stat().st_size for path in tmp_path.glob("runs/trials/*/*"))
    assert plan["estimate"]["disk_bytes"]["records"] == pytest.approx(size, rel=0.2)


def test_a_plan_with_nothing_to_train_measures_nothing(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no estimate and passes any limit of hours."""
    command("run-ablation", "attention", *LOCAL, "--seeds", "0")
    with no_measurement(monkeypatch):
        text = command("ablations", "plan", "attention", "--seeds", "0", "--max-hours", "0")
        data = command("ablations", "plan", "attention", "--seeds", "0", "--json")

    assert text.code == 0
    assert "Time:" not in text.out
    assert json.loads(data.out)[0]["estimate"]["device"] is None


@contextmanager
def no_measurement(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes measurements and the search for GPUs fail."""
    with monkeypatch.context() as patch:
        patch.setattr(measurement, "measure_throughput", measure_never)
        patch.setattr(throughput, "_list_gpus", measure_never)
        yield
