"""Benchmarks as plain values: the speed of networks, how it was measured, and where it is kept."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ablations.choices import Scale
from ablations.complexity.scales import Scales
from ablations.errors import MachineError
from ablations.files import hash_value, write_atomically
from ablations.plans import Plan, make_key
from ablations.trial.records import Environment
from sknet.spec import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A quantity that was measured in several rounds."""

    median: float
    """Median over the rounds."""

    least: float
    """Smallest value of a round."""

    greatest: float
    """Largest value of a round."""

    @property
    def deviation(self) -> float:
        """Largest deviation of a round from the median, as a share of the median."""
        return max(self.greatest - self.median, self.median - self.least) / self.median


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Speed and memory of one network."""

    train_images_per_second: Quantity
    """Training throughput: forward pass, backward pass and step, without augmentation."""

    test_images_per_second: Quantity
    """Inference throughput: forward pass on a batch."""

    latency_ms: Quantity
    """Time of the forward pass on a single image, in milliseconds."""

    memory_mb: float
    """Peak memory of a training step in 1e6 bytes: all tensors that exist at the same time, that is
    weights, gradients, momentum, activations and the batch; not the libraries."""

    @property
    def deviation(self) -> float:
        """Largest deviation of a round from its median, as a share of the median."""
        quantities = (self.train_images_per_second, self.test_images_per_second, self.latency_ms)
        return max(quantity.deviation for quantity in quantities)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How networks are measured; speeds under different conditions are not comparable."""

    scale: Scale
    """Which network of each variant: at the paper's scale, or the trained one."""

    image_size: int
    """Side of the square images in pixels."""

    precision: Literal["fp32", "bf16"]
    """Precision of training and inference."""

    batch_size: int
    """Images per batch; latency is measured on one image."""

    threads: int
    """Threads of PyTorch on the processor."""

    rounds: int
    """Number of rounds, in each of which every network is measured once."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Speeds of several networks, measured in turn under the same conditions."""

    conditions: Conditions
    """How they were measured."""

    environment: Environment
    """Device, versions and commit."""

    measured_at: float
    """Unix time in seconds."""

    speeds: Mapping[str, Speed]
    """Speeds by the identity of the network (`identify_network`)."""

    @property
    def key(self) -> str:
        """Name of the benchmark on disk; it is the same for a repetition of the same code."""
        facts = {
            "conditions": asdict(self.conditions),
            "environment": asdict(self.environment),
            "networks": sorted(self.speeds),
        }
        return hash_value(facts)[:12]

    def select(self, identities: Mapping[str, str]) -> dict[str, Speed]:
        """Speeds by name, given the identities of networks by name; unknown ones are left out."""
        known = self.speeds
        return {name: known[key] for name, key in identities.items() if key in known}

    def describe(self) -> str:
        """The conditions in words, for notes and captions."""
        own, place = self.conditions, self.environment
        scale = "at the paper's scale" if own.scale == "paper" else "at the recipe's scale"
        return (
            f"{scale}, {own.image_size}x{own.image_size} pixels, on {place.device}, "
            f"{own.precision}, {own.threads} thread{'s' if own.threads > 1 else ''}"
        )


_BENCHMARK = TypeAdapter(Benchmark)


def identify_network(network: NetworkSpec, image_size: int) -> str:
    """Identity of a network and the size of its images, independent of its name."""
    return make_key({"network": network.architecture(), "input_size": image_size})


def list_networks(plan: Plan, scale: Scale) -> dict[str, NetworkSpec]:
    """The network of every variant at a scale, by name."""
    is_paper = scale == "paper"
    return {v.name: v.paper_network if is_paper else v.network for v in plan.variants}


def find_image_size(plan: Plan, scale: Scale) -> int:
    """Side in pixels of the images of a plan's networks at a scale."""
    if scale == "paper":
        return plan.variants[0].paper_network.body.input_size
    return plan.trials[0].spec.dataset.image_size


def find_benchmark(plan: Plan, benchmarks: Iterable[Benchmark]) -> Benchmark | None:
    """The latest benchmark of all variants of a plan, without other networks; None without any.

    Its precision must be that of the recipe. Speeds of different benchmarks are never combined,
    since they were not measured in turn.
    """
    for benchmark in sorted(benchmarks, key=lambda known: known.measured_at, reverse=True):
        keys = identify_variants(plan, benchmark.conditions).values()
        is_alike = benchmark.conditions.precision == plan.recipe.precision
        if is_alike and benchmark.speeds.keys() >= {*keys}:
            return replace(benchmark, speeds={key: benchmark.speeds[key] for key in keys})
    return None


def identify_variants(plan: Plan, conditions: Conditions) -> dict[str, str]:
    """Identities of the networks that are measured under some conditions, by variant."""
    networks = list_networks(plan, conditions.scale)
    return {n: identify_network(own, conditions.image_size) for n, own in networks.items()}


def compute_agreement(
    speeds: Mapping[str, Speed], scales: Mapping[str, Scales], *, scale: Scale
) -> float:
    """Kendall's tau-b between multiply-adds and latency; NaN if either is the same for all.

    It is 1 if both put the variants into the same order, and -1 if the orders are opposite. Pairs
    with equal multiply-adds count as ties.
    """
    from scipy.stats import kendalltau  # takes half a second to import, and is rarely needed

    macs = [scales[name].at(scale).macs for name in speeds]
    latencies = [speed.latency_ms.median for speed in speeds.values()]
    if len({*macs}) < 2 or len({*latencies}) < 2:
        return math.nan
    return float(kendalltau(macs, latencies).statistic)


def describe_agreement(agreement: float, *, variants: int) -> str:
    """The rank agreement of multiply-adds and latency as a sentence.

    >>> describe_agreement(1 / 3, variants=3)
    "Rank agreement of multiply-adds and latency over 3 variants: Kendall's tau-b = 0.33."
    """
    value = "undefined, since one of them is equal for all"
    if not math.isnan(agreement):
        value = f"Kendall's tau-b = {agreement:.2f}"
    return f"Rank agreement of multiply-adds and latency over {variants} variants: {value}."


def write_benchmark(benchmark: Benchmark, folder: Path) -> Path:
    """Writes a benchmark, in place of an earlier one with the same key; returns its file.

    Raises:
        MachineError: If it cannot be written.
    """
    path = folder / f"{benchmark.key}.json"
    try:
        write_atomically(path, json.dumps(_BENCHMARK.dump_python(benchmark), indent=1) + "\n")
    except OSError as error:
        raise MachineError(
            f"{folder} must be a writable folder, got {error.strerror}. Pass another --runs-dir."
        ) from error
    return path


def read_benchmarks(folder: Path) -> list[Benchmark]:
    """Reads every benchmark in a folder.

    Raises:
        MachineError: If a file cannot be read, or is damaged.
    """
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> Benchmark:
    try:
        return _BENCHMARK.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "other content"
        raise MachineError(
            f"{path} must be a benchmark as `ablations bench` writes it, got {reason}. Remove it, "
            "and measure again."
        ) from error
