"""Selection weights are recorded as they are, whatever the batches; interventions replace them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ablations.attention import find_ends
from ablations.attention.interventions import measure_interventions
from ablations.attention.recording import (
    Setting,
    enlarge,
    rank_correlation,
    record_network,
)
from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import Dataset
from ablations.trial.run import one_thread
from sknet import Branch, SelectiveKernel, build_network, record_selection
from sknet.fused import readable_path
from sknet.selection import find_selective_units, replace_selection
from sknet.zoo import NETWORKS

CPU = torch.device("cpu")
COUNT = 40
SIZES = torch.arange(COUNT) % 16 + 8  # 8 to 23 pixels


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks gain nothing from several."""
    with one_thread():
        yield


def make_network(*, seed: int = 0, branches: int = 2) -> nn.Module:
    """Builds an SKNet with three units whose gates have biases; 1x1 kernels come last."""
    kernels = (Branch(3, 2, 4), Branch(3, 1, 4), Branch(1, 1, 4))[:branches]
    spec = replace(
        NETWORKS["sknet_tiny"],
        operator=SelectiveKernel(branches=kernels, score_bias=True, min_width=4),
        in_channels=1,
    )
    return build_network(spec, generator=torch.Generator().manual_seed(seed)).eval()


def open_gates(network: nn.Module, *logits: float) -> nn.Module:
    """Makes all units ignore the image, and weight their branches by the softmax of `logits`."""
    for unit in find_selective_units(network).values():
        assert unit.score is not None
        nn.init.zeros_(unit.score.weight)
        bias = torch.tensor(logits).repeat_interleave(len(unit.score.bias) // len(logits))
        unit.score.bias.data.copy_(bias)
    return network


def follow_size(network: nn.Module) -> nn.Module:
    """Makes gates turn to the first branch, the larger kernel, where more of the image is bright.

    With weights that are nowhere negative, all features grow with the pixels. Scores are scaled to
    at most 2, so that no gate is saturated.
    """

    def scale(layer: nn.Linear, _inputs: object, scores: Tensor) -> Tensor:
        factor = 2 / scores.max()
        layer.weight.data.mul_(factor)
        return scores * factor

    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
        handles = []
        for unit in find_selective_units(network).values():
            assert unit.score is not None
            unit.score.weight[len(unit.score.weight) // 2 :] = 0
            handles.append(unit.score.register_forward_hook(scale))
        network(next(make_setting().iterate())[0])
    for handle in handles:
        handle.remove()
    return network


def make_setting(*, seed: int = 0, batch_size: int | None = None) -> Setting:
    """Noisy images, each with a bright square at its centre, whose size is known."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, (COUNT, 1, 32, 32), dtype=torch.uint8, generator=generator)
    for image, size in zip(images, SIZES.tolist(), strict=True):
        start = (32 - size) // 2
        image[:, start : start + size, start : start + size] += 150
    labels = torch.arange(COUNT, dtype=torch.uint8) % 10
    split = ArraySplit(images=images, labels=labels, object_sizes=SIZES)
    dataset = Dataset(
        name="squares",
        channels=1,
        image_size=32,
        num_classes=10,
        train_size=COUNT,
        test_size=COUNT,
        mean=(0.5,),
        std=(0.3,),
    )
    data = Data(dataset=dataset, train=split, test=split)
    return Setting(data=data, device=CPU, batch_size=batch_size)


def test_gates_that_are_set_by_hand_give_known_numbers() -> None:
    """Softmax of (ln 3, 0) is (3/4, 1/4) for every image, enlargement, class and size."""
    network = open_gates(make_network(), np.log(3), 0.0)

    recorded = record_network(network, make_setting())

    assert [unit.name for unit in recorded.units] == ["SK_2_1", "SK_3_1", "SK_4_1"]
    for unit in recorded.units:
        assert unit.extents == (5, 3)
        assert np.allclose(unit.shares, [[0.75, 0.25]] * 3)
        assert np.allclose([unit.difference(0), unit.change(1), unit.change(2)], [0.5, 0, 0])
        assert np.allclose([unit.deviations, unit.change_deviations], 0, atol=1e-6)
        assert np.allclose(np.array(unit.by_class, float), 0.5)
        assert np.allclose(unit.by_size, [[0.75, 0.25]] * 16)
        assert unit.correlation is None  # it is the same for all images
        assert recorded.means[unit.name].shape[0] == 2


def test_the_largest_and_the_smallest_of_three_kernels_are_compared() -> None:
    """Softmax of (0, ln 2, 0) is (1/4, 1/2, 1/4): the middle kernel leaves the difference alone."""
    network = open_gates(make_network(branches=3), 0.0, np.log(2), 0.0)

    [unit, *_] = record_network(network, make_setting()).units

    assert unit.extents == (5, 3, 1)
    assert find_ends(unit.extents) == (0, 2)
    assert np.allclose(unit.shares[0], [0.25, 0.5, 0.25])
    assert unit.difference(0) == pytest.approx(0)


def test_moments_are_those_of_the_images() -> None:
    """Running sums give what all weights at once give."""
    network, setting = make_network(seed=1), make_setting()
    images = torch.cat([batch for batch, _ in setting.iterate()])
    with torch.inference_mode(), record_selection(network) as weights:
        network(images)
        plain = {name: own.double().mean(dim=2) for name, own in weights.items()}
        network(enlarge(images, 2.0))
        large = {name: own.double().mean(dim=2) for name, own in weights.items()}

    units = record_network(network, setting).units

    for unit in units:
        difference = (plain[unit.name][:, 0] - plain[unit.name][:, 1]).numpy()
        change = (large[unit.name][:, 0] - large[unit.name][:, 1]).numpy() - difference
        assert unit.difference(0) == pytest.approx(difference.mean(), abs=1e-6)
        assert unit.deviations[0] == pytest.approx(difference.std(), abs=1e-6)
        assert unit.change_deviations[2] == pytest.approx(change.std(), abs=1e-6)
        assert unit.by_class[0][3] == pytest.approx(difference[3::10].mean(), abs=1e-6)
        assert unit.subtract(unit.by_size[2]) == pytest.approx(
            difference[SIZES == 10].mean(), abs=1e-6
        )
        assert unit.correlation == pytest.approx(spearmanr(difference, SIZES).statistic, abs=1e-3)


@pytest.mark.parametrize("batch_size", [3, 7, 40])
def test_batches_change_nothing(batch_size: int) -> None:
    """Neither what is recorded nor what interventions do, beyond rounding."""
    network = follow_size(make_network(seed=2))

    def measure(setting: Setting) -> tuple[list[float], dict[str, float]]:
        recorded = record_network(network, setting)
        generator = torch.Generator().manual_seed(0)
        errors = measure_interventions(network, setting, means=recorded.means, generator=generator)
        values = [
            value
            for unit in recorded.units
            for rows in (unit.shares, unit.by_class, unit.by_size, (unit.deviations,))
            for row in rows
            for value in row
        ]
        return values, errors

    values, errors = measure(make_setting(batch_size=batch_size))
    expected_values, expected_errors = measure(make_setting(batch_size=16))

    assert np.allclose(np.array(values, float), np.array(expected_values, float), atol=1e-6)
    assert errors == expected_errors


def test_a_gate_that_follows_the_size_is_found_to_do_so() -> None:
    """In every unit, and the more the larger the picture; initial weights follow either way."""
    built = [record_network(follow_size(make_network(seed=s)), make_setting()) for s in range(3)]
    initial = [record_network(make_network(seed=s), make_setting()) for s in range(8)]

    for recorded in built:
        for unit in recorded.units:
            assert unit.correlation is not None
            assert unit.correlation > 0.95
            assert unit.change(2) > 0
    signs = {np.sign(unit.correlation or 0) for recorded in initial for unit in recorded.units}
    assert signs == {-1.0, 1.0}


def test_both_paths_record_the_same() -> None:
    """The fast path computes the weights in the same layer."""
    network = make_network(seed=3)

    fast = record_network(network, make_setting())
    with readable_path():
        readable = record_network(network, make_setting())

    assert fast.errors == readable.errors
    for unit, other in zip(fast.units, readable.units, strict=True):
        assert np.allclose(unit.shares, other.shares, atol=1e-6)


def test_recording_leaves_no_trace() -> None:
    """Neither hooks nor changes of the weights or of the outputs."""
    network, setting = make_network(seed=4), make_setting()
    images, _ = next(setting.iterate())
    with torch.inference_mode():
        before = network(images)

    recorded = record_network(network, setting)
    generator = torch.Generator().manual_seed(0)
    measure_interventions(network, setting, means=recorded.means, generator=generator)

    assert not any(module._forward_hooks for module in network.modules())
    with torch.inference_mode():
        assert torch.equal(network(images), before)


@pytest.mark.parametrize("is_recorded_first", [True, False])
def test_the_weights_that_are_applied_are_recorded(is_recorded_first: bool) -> None:
    """Whichever of the two blocks is the outer one."""
    network = make_network(seed=5)
    first = {"SK_2_1": torch.tensor([[1.0], [0.0]]).expand(2, 16)}
    images, _ = next(make_setting().iterate())

    with torch.inference_mode(), ExitStack() as stack:
        if is_recorded_first:
            recorded = stack.enter_context(record_selection(network))
        stack.enter_context(replace_selection(network, first))
        if not is_recorded_first:
            recorded = stack.enter_context(record_selection(network))
        network(images)

    assert torch.equal(recorded["SK_2_1"], first["SK_2_1"].expand(len(images), 2, 16))


@pytest.mark.parametrize("wrap", [lambda network: network, nn.DataParallel])
@pytest.mark.parametrize("branch", [0, 1])
def test_replaced_weights_are_those_of_the_unit(
    wrap: Callable[[nn.Module], nn.Module], branch: int
) -> None:
    """A forced branch gives what a saturated gate gives, on both paths and in wrappers."""
    network = make_network(seed=5)
    saturated = open_gates(make_network(seed=5), *(100.0 * (own == branch) for own in (0, 1)))
    weights = {
        name: nn.functional.one_hot(torch.tensor(branch), 2)[:, None].expand(2, width).float()
        for name, width in (("SK_2_1", 16), ("SK_3_1", 32), ("SK_4_1", 64))
    }
    images, _ = next(make_setting().iterate())

    with torch.inference_mode(), replace_selection(wrap(network), weights):
        fast = network(images)
        with readable_path():
            readable = network(images)

    with torch.inference_mode():
        assert torch.allclose(fast, saturated(images), atol=1e-4)
    assert torch.allclose(fast, readable, atol=1e-4)


def test_without_a_choice_per_image_freezing_changes_nothing() -> None:
    """Gates that ignore the image equal their mean, and lend what they have."""
    network, setting = open_gates(make_network(seed=6), 1.0, 0.0), make_setting()
    recorded = record_network(network, setting)

    errors = measure_interventions(
        network, setting, means=recorded.means, generator=torch.Generator().manual_seed(0)
    )

    assert list(errors) == ["mean", "smallest", "largest", "shuffled"]
    assert errors["mean"] == errors["shuffled"] == recorded.errors[0]


def test_shuffled_weights_come_from_another_image() -> None:
    """Drawn from all test images, not from those of the same batch."""
    network, setting = follow_size(make_network(seed=7)), make_setting(batch_size=7)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), record_selection(network) as weights:
        images = torch.cat([batch for batch, _ in setting.iterate()])
        network(images)
        donated = {name: own[order].clone() for name, own in weights.items()}
        with replace_selection(network, donated):
            scores = network(images)
    labels = torch.arange(COUNT) % 10
    expected = 100 * (scores.argmax(dim=1) != labels).double().mean().item()

    errors = measure_interventions(
        network,
        setting,
        means=record_network(network, setting).means,
        generator=torch.Generator().manual_seed(0),
    )

    assert errors["shuffled"] == pytest.approx(expected)


def test_enlargement_shows_the_centre() -> None:
    """At 2x the central half fills the image; at 1x nothing changes."""
    images = torch.zeros(1, 1, 8, 8)
    images[..., 2:6, 2:6] = 1.0

    assert enlarge(images, 1.0) is images
    assert torch.equal(enlarge(images, 2.0), torch.ones(1, 1, 8, 8))


def test_rank_correlation_is_spearmans() -> None:
    """With ties, as sizes have many."""
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, 50), generator.normal(size=50).round(1)

    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-8)
    assert rank_correlation(np.zeros(3), np.arange(3)) is None
