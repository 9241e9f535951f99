"""The price of a plan: hours of cores or GPUs, wall time, and disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ablations.complexity.counts import Complexity
from ablations.data.catalogue import Dataset
from ablations.errors import InputError
from ablations.estimate.throughput import Device
from ablations.estimate.timing import Timing
from ablations.plan import Plan, TrialSpec

BYTES_PER_NUMBER = 4
"""Of a weight, of its momentum, of a running statistic."""
FIXED_BYTES = 5_000
"""Of a record besides its numbers: facts, environment."""
BYTES_PER_BLOCK = 12_000
"""Of the names and places of a block's weights."""
BYTES_PER_EPOCH = 450
"""Of a record's curves."""
BYTES_PER_PATH = 64
"""Of an image of a folder in the list of them."""


@dataclass(frozen=True, kw_only=True)
class TrialPrice:
    """What one trial takes."""

    seconds: float
    """Of one core, or of one GPU."""

    record_bytes: int
    """Of its record: weights, curves, outcomes."""

    checkpoint_bytes: int
    """Of its state while it runs: weights and momentum, twice while they are rewritten."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What the trials to run will take of this machine."""

    trials: Mapping[str, TrialPrice]
    """By key."""

    datasets: Mapping[str, int]
    """Bytes of the datasets that have to be prepared, by name."""

    device: Device | None
    """What trains; None if there is nothing to train."""

    side_by_side: int
    """How many trials run at once."""

    basis: tuple[str, ...]
    """What the time rests on."""

    @property
    def seconds(self) -> float:
        """Of one core or GPU, were the trials to run one after the other."""
        return sum(trial.seconds for trial in self.trials.values())

    @property
    def hours(self) -> float:
        """Hours of cores or GPUs."""
        return self.seconds / 3600

    @property
    def wall_seconds(self) -> float:
        """With all cores or GPUs at work, none of them faster for the others' idling."""
        if not self.trials or self.device is None:
            return 0.0
        at_once = min(self.side_by_side, self.device.count, len(self.trials))
        return max(self.seconds / at_once, *(trial.seconds for trial in self.trials.values()))

    @property
    def record_bytes(self) -> int:
        """Of all records."""
        return sum(trial.record_bytes for trial in self.trials.values())

    @property
    def checkpoint_bytes(self) -> int:
        """Of the largest checkpoints that are there at once."""
        sizes = sorted((trial.checkpoint_bytes for trial in self.trials.values()), reverse=True)
        return sum(sizes[: self.side_by_side])

    @property
    def disk_bytes(self) -> int:
        """At most, in the runs folder, besides what is there already and MLflow's copies."""
        return self.record_bytes + self.checkpoint_bytes + sum(self.datasets.values())


def price_trials(
    plan: Plan,
    complexities: Mapping[str, Complexity],
    timing: Timing,
    *,
    device: Device,
    side_by_side: int,
    cache_dir: Path,
) -> Price:
    """The price of a plan's trials to run.

    Args:
        plan: The trials.
        complexities: Of the variants' networks.
        timing: How long they take.
        device: What trains.
        side_by_side: How many trials run at once.
        cache_dir: Where prepared datasets are.
    """
    trials = {
        trial.spec.key: _price_trial(
            trial.spec, complexities[trial.variant.name], timing.seconds[trial.spec.key]
        )
        for trial in plan.trials
        if trial.spec.key in timing.seconds
    }
    datasets = {trial.spec.dataset for trial in plan.trials if trial.spec.key in trials}
    return Price(
        trials=trials,
        datasets={
            dataset.name: _size_dataset(dataset)
            for dataset in datasets
            if not (cache_dir / dataset.cache_name).is_dir()
        },
        device=device,
        side_by_side=side_by_side,
        basis=(timing.basis,),
    )


def merge_prices(prices: Sequence[Price]) -> Price:
    """The price of several plans together; trials and datasets that they share count once."""
    return Price(
        trials={key: trial for price in prices for key, trial in price.trials.items()},
        datasets={name: size for price in prices for name, size in price.datasets.items()},
        device=next((price.device for price in prices if price.device), None),
        side_by_side=max((price.side_by_side for price in prices), default=1),
        basis=tuple(dict.fromkeys(basis for price in prices for basis in price.basis)),
    )


def check_hours(price: Price, max_hours: float) -> None:
    """Makes sure that a run does not take more of the machine than the user allows.

    Raises:
        InputError: If it does.
    """
    if price.device is not None and price.hours > max_hours:
        raise InputError(
            f"--max-hours must be at least {price.hours:.3g}, the {price.device.unit} hours that "
            f"{len(price.trials)} trial(s) would take ({'; '.join(price.basis)}), got "
            f"{max_hours:g}. Raise it, or narrow the run with --only, --seeds or --set epochs=N."
        )


def _price_trial(spec: TrialSpec, complexity: Complexity, seconds: float) -> TrialPrice:
    weights = BYTES_PER_NUMBER * (complexity.params + complexity.running_statistics)
    momentum = BYTES_PER_NUMBER * complexity.params
    blocks = sum(map(len, spec.network.body.stages()))
    besides = FIXED_BYTES + BYTES_PER_BLOCK * blocks + BYTES_PER_EPOCH * spec.recipe.epochs
    return TrialPrice(
        seconds=seconds,
        record_bytes=weights + spec.dataset.test_size // 8 + besides,
        checkpoint_bytes=2 * (weights + momentum + besides),
    )


def _size_dataset(dataset: Dataset) -> int:
    """Bytes of the prepared arrays; of a folder of images only the list of them is written."""
    images = dataset.train_size + dataset.test_size
    if dataset.is_folder:
        return images * BYTES_PER_PATH
    return images * (dataset.channels * dataset.image_size**2 + 1)
