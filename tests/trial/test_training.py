"""The learning rate, the optimiser, the loop, the errors."""

from dataclasses import replace
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
    """From 0 to its peak over the warm-up, then to 0 at the last epoch's end."""
    recipe = recipe.model_copy(update={"epochs": 10, "warmup_epochs": 2.0, "learning_rate": 1.0})

    rates = [compute_learning_rate(recipe, epoch) for epoch in (0, 1, 2, 6, 10)]

    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_steps_fall_by_the_factor(recipe: Recipe) -> None:
    """As the paper's: by ten every thirty epochs."""
    changes = {"epochs": 100, "schedule": "step", "step_epochs": (30, 60, 90)}
    recipe = recipe.model_copy(update={**changes, "learning_rate": 0.1})

    rates = [compute_learning_rate(recipe, epoch) for epoch in (0, 29.9, 30, 60, 99)]

    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize(("everything", "expected"), [(True, {0.1}), (False, {0.0})])
def test_norms_and_biases_decay_only_if_asked(
    recipe: Recipe, everything: bool, expected: set[float]
) -> None:
    """The paper's recipe decays all, ours spare vectors."""
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    changes = {"weight_decay": 0.1, "decay_norms_and_biases": everything}

    groups = build_optimiser(network, recipe.model_copy(update=changes)).param_groups

    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert len(decays) == 4
    assert decays[id(network[0].weight)] == 0.1
    assert {decays[id(p)] for p in (network[0].bias, *network[1].parameters())} == expected


class Constant(nn.Module):
    """Always the same scores."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores.expand(len(x), -1)


def test_errors_are_percent_of_images(dataset: Dataset, cache_dir: Path, recipe: Recipe) -> None:
    """A network that always answers 0, then 1, 2, 3, 4, is right for a tenth, and for half."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)
    network = Constant([9, 8, 7, 6, 5, 4, 3, 2, 1, 0])

    outcome = evaluate(network, data, recipe, device=CPU)

    assert (outcome.top1_error, outcome.top5_error) == pytest.approx((90.0, 50.0))
    assert outcome.correct.tolist() == [label == 0 for label in data.test.labels.tolist()]


def test_a_broken_network_is_not_right(dataset: Dataset, cache_dir: Path, recipe: Recipe) -> None:
    """Scores that are not numbers, or all the same, must not count as right for all images."""
    data = load_data(dataset, cache_dir=cache_dir, device=CPU)

    for scores in ([float("nan")] * 10, [1.0] * 10):
        outcome = evaluate(Constant(scores), data, recipe, device=CPU)
        assert outcome.top1_error >= 90.0


def test_replace_keeps_recipes_frozen(recipe: Recipe, dataset: Dataset) -> None:
    """Data are values: they cannot be changed behind a trial's back."""
    with pytest.raises(ValueError, match="frozen"):
        recipe.epochs = 3  # type: ignore[misc]
    assert replace(dataset) == dataset
