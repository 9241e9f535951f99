"""A benchmark of an experiment: every variant is built, measured on this machine, and kept."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from ablations.choices import DeviceKind, Scale
from ablations.complexity import Scales, count_scales
from ablations.config import Config
from ablations.errors import MachineError
from ablations.files import check_writable
from ablations.plans import Plan
from ablations.reconcile.plans import Selection, draw_plan
from ablations.speed import (
    Benchmark,
    Conditions,
    Speed,
    compute_agreement,
    find_image_size,
    identify_variants,
    list_networks,
    write_benchmark,
)
from ablations.trial.environment import count_cores, describe_environment, find_commit
from ablations.workspace import Workspace

MOST_PIXELS = {"cpu": 16 * 224**2, "cuda": 64 * 224**2}
"""Maximum number of pixels of the default batch."""
MOST_MACS = {"cpu": 40e9, "cuda": 320e9}
"""Maximum multiply-adds of the default batch: 8 images for an SKNet-50 on a processor, 64 on a GPU.
"""

Show = Callable[[int], AbstractContextManager[Callable[[], object]]]
"""Shows progress: given the number of steps, a context whose value is called after each step."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How an experiment is measured."""

    scale: Scale = "paper"
    """Which network of each variant: at the paper's scale, or the one that the recipe trains."""

    device: DeviceKind | None = None
    """Where; None for a GPU if there is one, else the processor."""

    batch_size: int | None = None
    """Images per batch; None for as many as take some seconds."""

    rounds: int = 5
    """Number of rounds."""

    threads: int | None = None
    """Threads on the processor; None for one per core."""


@dataclass(frozen=True, kw_only=True)
class Benched:
    """A benchmark of an experiment's variants."""

    plan: Plan
    """The plan whose variants were measured."""

    scales: Mapping[str, Scales]
    """Complexities of all variants by name."""

    benchmark: Benchmark
    """The measurement."""

    file: Path
    """Where it is kept."""

    @property
    def speeds(self) -> Mapping[str, Speed]:
        """Speeds of the measured variants by name."""
        return self.benchmark.select(identify_variants(self.plan, self.benchmark.conditions))

    @property
    def agreement(self) -> float:
        """Kendall's tau-b between multiply-adds and latency over the variants; it may be NaN."""
        scale = self.benchmark.conditions.scale
        return compute_agreement(self.speeds, self.scales, scale=scale)


def bench_experiment(
    config: Config,
    experiment: str,
    selection: Selection,
    *,
    settings: BenchSettings,
    workspace: Workspace,
    show: Show = lambda _: nullcontext(lambda: None),
) -> Benched:
    """Measures the speed and memory of an experiment's variants, and keeps them.

    Args:
        config: The content of experiments.yaml.
        experiment: Name of the experiment.
        selection: Recipe and variants.
        settings: How to measure.
        workspace: Where benchmarks are kept.
        show: Shows progress.

    Raises:
        InputError: If a name is wrong, or a variant cannot be built.
        MachineError: If the machine lacks a GPU, memory, or a folder to write into.
    """
    import torch  # slow to import: wrong names are reported before

    from ablations.speed.measurement import count_steps, measure_networks

    plan = draw_plan(config, experiment, selection, workspace=workspace)
    device = torch.device(choose_device(settings.device))
    check_writable(workspace.runs_dir, flag="--runs-dir")
    scales = count_scales(config, plan, cache_file=workspace.complexity_file)
    baseline = scales[config.experiment(experiment).baseline]
    conditions = _set_conditions(plan, settings, device.type, macs=baseline.at(settings.scale).macs)
    asked = {trial.variant.name for trial in plan.trials if trial.state != "skipped"}
    networks = list_networks(plan, settings.scale)
    identities = identify_variants(plan, conditions)
    chosen = {identities[name]: networks[name] for name in networks if name in asked}
    environment, started = describe_environment(device, commit=find_commit()), time.time()
    with show(count_steps(len(chosen), conditions.rounds)) as advance:
        speeds = measure_networks(chosen, plan.recipe, conditions, device=device, advance=advance)
    benchmark = Benchmark(
        conditions=conditions,
        environment=environment,
        measured_at=started,
        speeds=speeds,
    )
    file = write_benchmark(benchmark, workspace.speed_dir)
    return Benched(plan=plan, scales=scales, benchmark=benchmark, file=file)


def choose_device(asked: DeviceKind | None) -> DeviceKind:
    """The device that was asked for, else a GPU if there is one.

    Raises:
        MachineError: If a GPU was asked for and there is none.
    """
    import torch

    if asked == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            "--device cuda needs a GPU that PyTorch can use, got none. Pass --device cpu."
        )
    return asked or ("cuda" if torch.cuda.is_available() else "cpu")


def _set_conditions(plan: Plan, settings: BenchSettings, kind: str, *, macs: int) -> Conditions:
    size = find_image_size(plan, settings.scale)
    # Training normalises descriptors over the batch, which takes two images.
    fitting = max(2, int(min(MOST_PIXELS[kind] // size**2, MOST_MACS[kind] // macs)))
    default = min(plan.recipe.batch_size, 2 ** (fitting.bit_length() - 1))
    return Conditions(
        scale=settings.scale,
        image_size=size,
        precision=plan.recipe.precision,
        batch_size=settings.batch_size or default,
        threads=settings.threads or count_cores(),
        rounds=settings.rounds,
    )
