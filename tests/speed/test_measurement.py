"""Measuring a network: what is timed, in which order, and how memory is counted."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from ablations.config import Recipe
from ablations.errors import MachineError
from ablations.speed import Conditions, Quantity, measurement
from ablations.speed.measurement import count_steps, measure_networks
from ablations.speed.memory import watch_memory
from ablations.speed.rounds import summarise_rounds, time_alternately
from sknet.spec import NetworkSpec
from sknet.zoo import NETWORKS

CPU = torch.device("cpu")
CONDITIONS = Conditions(
    scale="trained", image_size=32, precision="fp32", batch_size=4, threads=1, rounds=2
)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, NetworkSpec]:
    """Two tiny networks, of which the second has more channels; tasks are not repeated."""
    whole = measurement.time_alternately
    monkeypatch.setattr(
        measurement, "time_alternately", lambda *a, **n: whole(*a, **n, least_seconds=0.0)
    )
    small = NETWORKS["sknet_tiny"]
    widths = tuple(2 * width for width in small.body.mid_widths)
    return {"small": small, "large": replace(small, body=replace(small.body, mid_widths=widths))}


def test_every_quantity_is_measured(networks: dict[str, NetworkSpec], recipe: Recipe) -> None:
    """Of every network, in as many steps as were announced; threads are restored."""
    threads, steps = torch.get_num_threads(), []

    speeds = measure_networks(
        networks, recipe, CONDITIONS, device=CPU, advance=lambda: steps.append(1)
    )

    assert list(speeds) == ["small", "large"]
    assert len(steps) == count_steps(2, CONDITIONS.rounds) == 14
    assert torch.get_num_threads() == threads
    for speed in speeds.values():
        for quantity in (
            speed.train_images_per_second,
            speed.test_images_per_second,
            speed.latency_ms,
        ):
            assert 0 < quantity.least <= quantity.median <= quantity.greatest


def test_memory_is_the_same_every_time(networks: dict[str, NetworkSpec], recipe: Recipe) -> None:
    """It grows with the network and with the batch."""
    double = replace(CONDITIONS, batch_size=8)

    first, again, larger = (
        {
            key: speed.memory_mb
            for key, speed in measure_networks(networks, recipe, own, device=CPU).items()
        }
        for own in (CONDITIONS, CONDITIONS, double)
    )

    assert first == again
    assert first["small"] < first["large"]
    assert first["small"] < larger["small"] < 2 * first["small"]


def test_the_recipe_is_measured_without_augmentation(
    networks: dict[str, NetworkSpec], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with a learning rate that cannot diverge, whatever the recipe's."""
    seen: list[Recipe] = []
    whole = measurement.make_epoch

    def observe(network: nn.Module, data: object, own: Recipe, **places: object) -> object:
        seen.append(own)
        return whole(network, data, own, **places)  # type: ignore[arg-type]

    monkeypatch.setattr(measurement, "make_epoch", observe)
    large = recipe.model_copy(update={"learning_rate": 1e30})

    measure_networks(networks, large, CONDITIONS, device=CPU)

    assert {(own.crop, own.flip, own.batch_size) for own in seen} == {("none", False, 4)}
    assert max(own.learning_rate for own in seen) < 1e-3


def test_a_batch_that_does_not_fit_is_reported(
    networks: dict[str, NetworkSpec], recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option to change."""

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(measurement, "make_epoch", fail)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")

    with pytest.raises(MachineError, match=r"--batch-size must fit .* of H100, got 4: none left"):
        measure_networks(networks, recipe, CONDITIONS, device=CPU)


def test_rounds_alternate() -> None:
    """Each starts with another task, after all of them warmed up."""
    calls: list[str] = []
    tasks = {name: lambda name=name: calls.append(name) for name in "abc"}

    seconds = time_alternately(tasks, rounds=4, least_seconds=0.0)

    assert "".join(calls) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_short_task_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a round takes long enough to be timed; the value is per call."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def work() -> None:
        now[0] += 0.0625

    seconds = time_alternately({"a": work}, rounds=2, least_seconds=0.25)

    assert seconds == {"a": (0.0625, 0.0625)}
    assert now[0] == 0.0625 * (2 + 2 * 4)


def test_a_device_is_waited_for() -> None:
    """Before the clock starts, and before it stops."""
    events: list[str] = []

    time_alternately(
        {"a": lambda: events.append("run")},
        rounds=1,
        least_seconds=0.0,
        wait=lambda: events.append("wait"),
    )

    assert events == ["wait", "run", "wait"] * 2


def test_rounds_are_summarised_by_the_median() -> None:
    """One slow round does not change it."""
    assert summarise_rounds([1.0, 9.0, 2.0]) == Quantity(median=2.0, least=1.0, greatest=9.0)


def test_memory_counts_what_exists_at_the_same_time() -> None:
    """Freed tensors and views do not count, temporary ones do."""
    with watch_memory(CPU) as watch:
        kept = torch.zeros(1000)
        view = kept[:500]
        torch.zeros(3000) + 1
        first = watch.read_peak()
        watch.reset()
        second = watch.read_peak()
        kept.add_(1)

    assert first == 4 * (1000 + 3000 + 3000)
    assert second == watch.read_peak() == 4 * 1000
    assert view.shape == (500,)


def test_memory_counts_gradients_and_saved_activations() -> None:
    """They exist until the backward pass has used them."""
    with watch_memory(CPU) as watch:
        weight = torch.ones(1000, requires_grad=True)
        watch.reset()
        (weight.exp().exp().exp().sum()).backward()

    forward = 4 * 4000 + 4  # the weight, three results of exp, and the sum
    assert forward < watch.read_peak() <= forward + 4 * 3000
    assert weight.grad is not None


@pytest.mark.gpu
def test_a_gpu_is_measured(networks: dict[str, NetworkSpec], recipe: Recipe) -> None:
    """Memory does not include that of the other networks."""
    alone = measure_networks(
        {"large": networks["large"]}, recipe, CONDITIONS, device=torch.device("cuda")
    )
    both = measure_networks(networks, recipe, CONDITIONS, device=torch.device("cuda"))

    assert both["large"].memory_mb == pytest.approx(alone["large"].memory_mb, rel=0.2)
