"""What a run will cost, from finished trials or from a measured throughput."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Answer

from ablations.complexity.counts import Complexity
from ablations.config import Recipe
from ablations.errors import InputError
from ablations.estimate import (
    Device,
    Price,
    Throughput,
    TrialPrice,
    find_device,
    find_throughput,
    measurement,
    merge_prices,
    price_trials,
    throughput,
    time_trials,
)
from ablations.estimate.price import check_hours
from ablations.matrix import Matrix, Variant
from ablations.plan import Plan, PlannedTrial, TrialSpec, build_specs
from ablations.trial.records import Environment, EpochRecord, TrialRecord

CPU = Device(name="CPU X", kind="cpu", count=2)
MEASURED = Throughput(
    macs=1000, batch_size=16, train_images_per_second=32.0, test_images_per_second=40.0
)
"""With 64 training and 40 test images an epoch takes 3 seconds."""
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
    """Variants a and b, seeds 0 and 1, two epochs each; nothing is done."""
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
    """A record of one of the plan's trials, of two equal epochs."""
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
    """For plans that must not measure."""
    raise AssertionError("it was measured")


def make_price(*seconds: float, side_by_side: int = 2, first_key: int = 0) -> Price:
    """The price of trials that take so long."""
    trials = {
        str(key): TrialPrice(seconds=second, record_bytes=10, checkpoint_bytes=100)
        for key, second in enumerate(seconds, start=first_key)
    }
    return Price(
        trials=trials,
        datasets={"d": 1000},
        device=CPU,
        side_by_side=side_by_side,
        basis=("guessed",),
    )


def test_time_is_measured_throughput_times_multiply_adds(plan: Plan) -> None:
    """Epochs of training and evaluation; a variant of twice the multiply-adds takes twice."""
    timing = time_trials(plan, MACS, {}, CPU, measure=lambda: MEASURED)

    assert [timing.seconds[trial.spec.key] for trial in plan.trials] == [6, 6, 12, 12]
    assert timing.basis == "measured here on CPU X: 32 images a second of 0.001 MFLOPs"


def test_finished_trials_win(plan: Plan) -> None:
    """Their own variant takes what they took; the others in proportion; nothing is measured."""
    record = finish(plan, 0, seconds=20.0)

    timing = time_trials(plan, MACS, {record.key: record}, CPU, measure=measure_never)

    assert [timing.seconds[trial.spec.key] for trial in plan.trials[1:]] == [20, 40, 40]
    assert timing.basis == "from 1 finished trial on CPU X"


def test_a_variants_own_trials_win_over_others(plan: Plan) -> None:
    """Small networks do not cost as their multiply-adds do."""
    records = [finish(plan, 0, seconds=20.0), finish(plan, 2, seconds=24.0)]

    timing = time_trials(plan, MACS, {r.key: r for r in records}, CPU, measure=measure_never)

    assert timing.seconds[plan.trials[1].spec.key] == 20
    assert timing.seconds[plan.trials[3].spec.key] == 24


def test_trials_of_another_device_say_nothing(plan: Plan) -> None:
    """A GPU's seconds are no core's."""
    record = finish(plan, 0, seconds=1.0, device="H100")

    timing = time_trials(plan, MACS, {record.key: record}, CPU, measure=lambda: MEASURED)

    assert timing.seconds[plan.trials[1].spec.key] == 6


def test_a_throughput_is_measured_once(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a body, a shape, a precision, a batch size and a device; not for each network or seed."""
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


@pytest.mark.parametrize("content", [None, "{", "[]", '{"gpus": 1, "throughput": {}}'])
def test_a_cache_that_is_no_use_is_done_without(
    spec: TrialSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    """One that cannot be written, and damaged ones."""
    monkeypatch.setattr(measurement, "measure_throughput", lambda *_, **__: MEASURED)
    monkeypatch.setattr(throughput, "_ask_for_gpus", lambda: ["H100", "H100"])
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


def test_gpus_are_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not at all if none may be used; others that are made visible are another question."""
    asked: list[int] = []

    def ask() -> list[str]:
        asked.append(1)
        return ["H100"]

    monkeypatch.setattr(throughput, "_ask_for_gpus", ask)
    cache_file = tmp_path / "throughput.json"

    assert find_device(cache_file, use_gpu=False).kind == "cpu"
    assert asked == []
    assert [find_device(cache_file).unit for _ in range(2)] == ["GPU", "GPU"]
    assert len(asked) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    find_device(cache_file)
    assert len(asked) == 2


def test_a_measurement_is_a_trials_own_epoch(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one thread, with the recipe's batch; afterwards PyTorch has its threads again."""
    monkeypatch.setattr(measurement, "LIMIT_SECONDS", 0.2)
    threads, train_epoch, seen = torch.get_num_threads(), measurement.train_epoch, []

    def observe(*arguments: object, **named: object) -> object:
        seen.append((torch.get_num_threads(), arguments[3].batch_size))  # type: ignore[attr-defined]
        return train_epoch(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(measurement, "train_epoch", observe)

    found = measurement.measure_throughput(spec, "cpu", macs=5)

    assert set(seen) == {(1, 16)}
    assert torch.get_num_threads() == threads
    assert (found.macs, found.batch_size) == (5, 16)
    assert 1 < found.train_images_per_second < found.test_images_per_second


def test_large_images_are_measured_a_few_at_a_time(
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


def test_a_small_memory_takes_a_smaller_batch(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it, until it fits."""

    def measure(*_: object, batch_size: int, **__: object) -> Throughput:
        if batch_size > 4:
            raise torch.OutOfMemoryError("no room")
        return replace(MEASURED, batch_size=batch_size)

    monkeypatch.setattr(measurement, "_measure", measure)

    assert measurement.measure_throughput(spec, "cuda", macs=5).batch_size == 4


def test_wall_time_is_that_of_all_cores() -> None:
    """But never below the longest trial's."""
    assert make_price(10, 10, 10, 10).wall_seconds == 20
    assert make_price(10, 10, side_by_side=1).wall_seconds == 20
    assert make_price(10, 1).wall_seconds == 10
    assert merge_prices([]).wall_seconds == 0


def test_what_plans_share_counts_once() -> None:
    """Trials and datasets; trials side by side have their checkpoints at the same time."""
    both = merge_prices([make_price(10, 10, 10), make_price(10, 10, first_key=2)])

    assert both.seconds == 40
    assert (both.record_bytes, both.checkpoint_bytes) == (40, 200)
    assert both.disk_bytes == 40 + 200 + 1000
    assert both.basis == ("guessed",)


def test_a_prepared_dataset_costs_nothing(plan: Plan, tmp_path: Path) -> None:
    """Else its arrays: a byte a pixel and a byte a label."""
    timing = time_trials(plan, MACS, {}, CPU, measure=lambda: MEASURED)
    known = {"a": COMPLEXITY, "b": COMPLEXITY}
    arguments = {"device": CPU, "side_by_side": 2, "cache_dir": tmp_path}

    before = price_trials(plan, known, timing, **arguments)
    (tmp_path / plan.trials[0].spec.dataset.cache_name).mkdir()
    after = price_trials(plan, known, timing, **arguments)

    assert before.datasets == {"synthetic": 104 * (32 * 32 + 1)}
    assert after.datasets == {}
    assert before.record_bytes == pytest.approx(4 * 4e6, rel=0.05)
    assert before.checkpoint_bytes == pytest.approx(2 * 2 * 8e6, rel=0.05)


def test_hours_are_limited() -> None:
    """With the estimate, and what it rests on."""
    price = make_price(3600, 5400)

    check_hours(price, 2.5)
    with pytest.raises(InputError, match=r"at least 2\.5, the core hours .*guessed\), got 2\.4"):
        check_hours(price, 2.4)


def test_a_run_beyond_its_hours_is_refused(command: Callable[..., Answer], tmp_path: Path) -> None:
    """As its plan is, before anything is trained; one within them is trained."""
    refused = [
        command("ablations", *verb, "kernels", "--max-hours", "0")
        for verb in (("plan",), ("run", "--dry-run"), ("run",))
    ]
    allowed = command("run-ablation", "attention", *LOCAL, "--max-hours", "1", "--seeds", "0")

    for answer in refused:
        assert answer.code == 2
        assert answer.out == ""
        assert "6 trial(s) would take (measured here on " in answer.err
    assert allowed.code == 0
    assert len(list(tmp_path.glob("runs/trials/*"))) == 2


def test_a_plan_is_priced(command: Callable[..., Answer]) -> None:
    """For people and for programs; of several plans also the sum."""
    text = command("ablations", "plan", "kernels", "attention")
    data = command("ablations", "plan", "kernels", "--json")

    assert "Time: " in text.out
    assert "measured here on " in text.out
    assert "Disk: " in text.out
    assert "All together" in text.out
    [plan] = json.loads(data.out)
    total = sum(trial["estimate"]["seconds"] for trial in plan["trials"])
    assert plan["price"]["hours"] == pytest.approx(total / 3600)
    assert plan["price"]["disk_bytes"]["datasets"] == {}
    assert plan["price"]["device"]["kind"] == "cpu"


def test_records_are_as_large_as_priced(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Within a fifth, even for a network that is smaller than its names are."""
    arguments = ("attention", "--seeds", "0", "--only", "SK")
    [plan] = json.loads(command("ablations", "plan", *arguments, "--json").out)
    command("run-ablation", *arguments, *LOCAL)

    size = sum(path.stat().st_size for path in tmp_path.glob("runs/trials/*/*"))
    assert plan["price"]["disk_bytes"]["records"] == pytest.approx(size, rel=0.2)


def test_a_plan_with_nothing_to_train_measures_nothing(
    command: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no price, and any number of hours is enough."""
    command("run-ablation", "attention", *LOCAL, "--seeds", "0")
    with no_measurement(monkeypatch):
        text = command("ablations", "plan", "attention", "--seeds", "0", "--max-hours", "0")
        data = command("ablations", "plan", "attention", "--seeds", "0", "--json")

    assert text.code == 0
    assert "Time:" not in text.out
    assert json.loads(data.out)[0]["price"]["device"] is None


@contextmanager
def no_measurement(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever measures or looks for a GPU fails."""
    with monkeypatch.context() as patch:
        patch.setattr(measurement, "measure_throughput", measure_never)
        patch.setattr(throughput, "_ask_for_gpus", measure_never)
        yield
