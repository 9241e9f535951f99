"""Learning rates, weight decay and errors."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ablations.config import Recipe
from ablations.data.arrays import load_data
from ablations.data.catalogue import Dataset
from ablations.trial.evaluation import evaluate
from ablations.trial.training import build_optimiser, compute_learning_rate

CPU = torch.device("cpu")


def test_cosine_rises_and_falls(recipe: Recipe) -> None:
    """From 0 to its peak during warm-up, then to 0 at the end of the last epoch."""
    recipe = recipe.model_copy(update={"epochs": 10, "warmup_epochs": 2.0, "learning_rate": 1.0})

    rates = [compute_learning_rate(recipe, epoch) for epoch in (0, 1, 2, 6, 10)]

    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_the_step_schedule_decays_by_its_factor(recipe: Recipe) -> None:
    """The paper divides by 10 every 30 epochs."""
    changes = {"epochs": 100, "schedule": "step", "step_epochs": (30, 60, 90)}
    recipe = recipe.model_copy(update={**changes, "learning_rate": 0.1})

    rates = [compute_learning_rate(recipe, epoch) for epoch in (0, 29.9, 30, 60, 99)]

    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize(("everything", "expected"), [(True, {0.1}), (False, {0.0})])
def test_norms_and_biases_decay_only_if_asked(
    recipe: Recipe, everything: bool, expected: set[float]
) -> None:
    """The authors' networks exempt every normalisation and the bias of the classifier."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 3))
    changes = {"weight_decay": 0.1, "decay_norms_and_biases": everything}

    groups = build_optimiser(network, recipe.model_copy(update=changes)).param_groups

    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decays) == 6
    assert decays[id(network[0].weight)] == decays[id(network[2].weight)] == 0.1
    vectors = (network[0].bias, *network[1].parameters(), network[2].bias)
    assert {decays[id(p)] for p in vectors} == expected


class Constant(nn.Module):
    """A network with constant scores."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores.expand(len(x), -1)


def test_errors_are_percent_of_images(dataset: Dataset, cache_dir: Path, recipe: Recipe) -> None:
    """Ranking class 0 first, then 1 to 4, is correct for one tenth (top-1) and half (top-5)."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)
    network = Constant([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])

    outcome = evaluate(network, data, recipe, device=CPU)

    assert (outcome.top1_error, outcome.top5_error) == pytest.approx((90.0, 50.0))
    assert outcome.correct.tolist() == [label == 0 for label in data.test.labels.tolist()]


def test_a_broken_network_has_a_high_error(
    dataset: Dataset, cache_dir: Path, recipe: Recipe
) -> None:
    """Scores that are NaN or all equal must not count as correct."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    for scores in ([float("nan")] * 10, [1.0] * 10):
        outcome = evaluate(Constant(scores), data, recipe, device=CPU)
        assert outcome.top1_error >= 90.0


def test_recipes_are_frozen(recipe: Recipe) -> None:
    """A trial cannot change what its key was computed from."""
    with pytest.raises(ValueError, match="frozen"):
        recipe.epochs = 3  # type: ignore[misc]
