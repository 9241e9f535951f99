"""SK convolutions, SKNet-50 and small trials on one GPU: `python -m benchmarks.gpu --out DIR`.

Takes less than eight minutes and needs neither Ray nor MLflow. Without timm, the peer is our own
code by its readable definition, in eager mode. Rows that train trials need PyYAML.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

from ablations.data.batches import ArraySplit, Data, iterate_train_batches
from ablations.data.catalogue import DATASETS
from benchmarks.measurement import Measurement, average, take_best, time_alternately
from benchmarks.results import format_result, write_suite
from sknet import SKConv, build_network, create_model
from sknet.fused import readable_path
from sknet.spec import Branch
from sknet.zoo import NETWORKS

if TYPE_CHECKING:
    from ablations.config import Recipe

GROUPS = 32

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}

HAS_TIMM = importlib.util.find_spec("timm") is not None

TRAFFIC = 36e-3 * 4.3e12 / 256
"""Bytes that a training step of SKNet-50 at 224 moves per image, with the fusion of a compiler."""

BANDWIDTHS = {"NVIDIA H200": 4.3e12}
"""Bytes per second by GPU; measured for every other one."""

MODES = ("eager", "compiled") if HAS_TIMM else ("eager",)
"""How the peer runs; without timm it is our own network, which is compiled already."""

Step = Callable[[], object]
Prepare = Callable[[], Step]
Rows = list[Measurement]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large the measurements are; the default is for a data-centre GPU."""

    device: torch.device = field(default_factory=partial(torch.device, "cuda"))
    """Where everything is measured."""

    compiles: bool = True
    """Whether `torch.compile` is used; otherwise, compiled networks are eager."""

    rounds: int = 7
    """Rounds of every measurement."""

    repeats: int = 5
    """Steps per round."""

    shapes: tuple[tuple[int, int], ...] = ((128, 56), (256, 28), (512, 14), (1024, 7))
    """Channels and side of the SK convolutions' images."""

    batch_size: int = 256
    """Images per step of an SK convolution."""

    sknet: str = "sknet50"
    """Our SKNet."""

    plain: str = "resnext50_32x4d"
    """The same network of ours with one grouped convolution in place of selection."""

    timms: str = "skresnext50_32x4d"
    """timm's SKNet."""

    image_size: int = 224
    """Side in pixels of the SKNets' images."""

    network_batch_size: int = 128
    """Images per step of the SKNets."""

    copied: int = 2**30
    """Bytes copied to measure the bandwidth."""

    network: str = "resnext29_16x32d"
    """Network in whose training the share of the loader is measured."""

    images: int = 6400
    """Images per epoch of that network."""

    trial_images: int = 6400
    """Images per epoch of a small trial."""

    trial_epochs: int = 4
    """Epochs of a small trial."""

    crowds: tuple[int, ...] = (4, 8)
    """How many trials share the GPU."""


QUICK = Scale(
    device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    compiles=False,
    rounds=2,
    repeats=1,
    shapes=((32, 8), (64, 4)),
    batch_size=2,
    sknet="sknet_tiny",
    plain="resnext_tiny",
    timms="skresnet18",
    image_size=32,
    network_batch_size=2,
    copied=2**20,
    network="resnext_tiny",
    images=128,
    trial_images=128,
    trial_epochs=1,
    crowds=(2,),
)
"""To test the script, also on a CPU; the results mean nothing."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Rows measured so far, and measurements that failed."""

    folder: Path
    """Where results are written."""

    scale: Scale
    """How large the measurements are."""

    rows: Rows = field(default_factory=list)
    """Finished measurements."""

    failures: list[str] = field(default_factory=list)
    """One line per failed measurement."""

    def attempt(self, name: str, measure: Callable[[], Rows]) -> Rows:
        """Adds the rows measured, and writes all; a failure is recorded, and yields no rows."""
        started = time.perf_counter()
        try:
            rows = measure()
        except Exception as error:  # noqa: BLE001 - one failure must not lose the other rows
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            self.failures.append(f"{name}: {type(error).__name__}: {reason}")
            print(f"failed: {self.failures[-1]}", flush=True)  # noqa: T201
            return []
        self.rows.extend(rows)
        write_suite("gpu", self.rows, folder=self.folder)
        for row in rows:
            against = f" against {row.peer}" if row.peer else ""
            print(f"{row.name}{against}: {format_result(row)}")  # noqa: T201
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)  # noqa: T201
        return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures all rows; returns 1 if any of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of gpu.json")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, without compilation")
    options = parser.parse_args(arguments)
    if not options.quick and not torch.cuda.is_available():
        parser.error("PyTorch must see a GPU, got none. Pass --quick to test this script on a CPU.")
    if not HAS_TIMM:
        print("timm is not installed: no row against compiled peers")  # noqa: T201
    suite = Suite(folder=options.out, scale=QUICK if options.quick else Scale())
    torch.manual_seed(0)
    torch.set_num_threads(1)  # as a trial does
    for measure in (
        measure_convolutions,
        measure_network,
        measure_precision,
        measure_loader,
        measure_crowds,
    ):
        measure(suite)
        release(suite.scale)
    for failure in suite.failures:
        print(f"failed: {failure}", file=sys.stderr)  # noqa: T201
    return 1 if suite.failures else 0


def measure_convolutions(suite: Suite) -> None:
    """Forward and backward of an SK convolution, compiled, against eager and compiled peers."""
    scale = suite.scale
    peer = "timm's SelectiveKernel" if HAS_TIMM else "our readable SKConv"
    rows: dict[str, Rows] = {mode: [] for mode in MODES}
    for channels, side in scale.shapes:
        release(scale)
        contest = Contest(
            name=f"SKConv {channels}@{side}, forward and backward in bf16",
            prepare=partial(_prepare_convolution, scale, channels, side),
            scale=scale,
            note=f"batch of {scale.batch_size}, {GROUPS} groups",
        )
        prepare = partial(_prepare_peer_convolution, scale, channels, side)
        for mode in MODES:
            rows[mode] += contest.attempt(suite, f"{peer}, {mode}", _list_layouts(prepare, mode))
    goals = {"eager": 2.0, "compiled": 1.3}
    for mode, found in rows.items():
        if len(found) == len(scale.shapes):
            mean = average("SKConv, forward and backward in bf16", found, goal=goals[mode])
            suite.attempt(f"{mean.name}, {mode}", partial(list, [mean]))


def measure_network(suite: Suite) -> None:
    """A training step of SKNet-50, against timm's, our ResNeXt-50, and the memory roofline."""
    scale = suite.scale
    contest = Contest(
        name=f"{scale.sknet} at {scale.image_size}, training step in bf16",
        prepare=partial(_prepare_network, scale, scale.sknet),
        scale=scale,
        note=f"batch of {scale.network_batch_size}; timm: each kernel on half of the channels",
    )
    peer = f"timm's {scale.timms}" if HAS_TIMM else f"our readable {scale.sknet}"
    goals = {"eager": 2.0, "compiled": 1.15}
    for mode in MODES:
        layouts = _list_layouts(partial(_prepare_peer_network, scale), mode)
        contest.attempt(suite, f"{peer}, {mode}", layouts, goal=goals[mode])
    plain = {"channels_last": partial(_prepare_network, scale, scale.plain)}
    contest.attempt(suite, f"our {scale.plain}, compiled", plain, goal=0.7)
    suite.attempt("roofline", partial(_compare_with_roofline, contest))


def measure_precision(suite: Suite) -> None:
    """Relative error of an fp32 convolution, as trials compute it and by PyTorch's defaults."""

    def measure(name: str, goal: float | None, context: AbstractContextManager[None]) -> Rows:
        with context:
            error = compute_error(suite.scale.device)
        note = "3x3, 64 channels, against float64"
        row = Measurement(name=name, unit="relative error", values=(error,), goal=goal, note=note)
        return [row]

    def measure_trial() -> Rows:
        from ablations.trial.run import full_precision  # late: it needs PyYAML

        return measure("convolution in fp32, within a trial", 1e-5, full_precision())

    name = "convolution in fp32, by PyTorch's defaults"
    suite.attempt("convolution in fp32, within a trial", measure_trial)
    suite.attempt(name, partial(measure, name, None, nullcontext()))


def measure_loader(suite: Suite) -> None:
    """Share of the loader in an epoch of training on images in the GPU's memory."""
    scale = suite.scale
    name = f"loader of CIFAR-size images, share of an epoch of {scale.network}"

    def measure() -> Rows:
        trial = Trial(
            network=scale.network, images=scale.images, precision="bf16", device=scale.device
        )
        tasks = {"loader": trial.iterate, "epoch": trial.train}
        seconds = time_steps(tasks, scale=scale, repeats=1)
        pairs = zip(seconds["loader"], seconds["epoch"], strict=True)
        row = Measurement(
            name=name,
            unit="%",
            values=tuple(100 * loader / epoch for loader, epoch in pairs),
            goal=3,
            note=f"{scale.images} images in batches of 128, bf16, crop with padding 4, flip",
        )
        return [row]

    suite.attempt(name, measure)


def measure_crowds(suite: Suite) -> None:
    """Trials per hour of small trials that share the GPU as processes, and whether they agree."""
    suite.attempt("small trials that share the GPU", partial(_measure_crowds, suite.scale))


def _measure_crowds(scale: Scale) -> Rows:
    most = max(scale.crowds)
    with start_workers(most) as pool:
        run_trials(pool, scale, most)  # every worker initialises the GPU
        tasks = {str(n): partial(run_trials, pool, scale, n) for n in (1, *scale.crowds)}
        seconds = time_alternately(tasks, rounds=scale.rounds)
        together = run_trials(pool, scale, most)
        alone = [pool.submit(train_small, scale, seed).result() for seed in range(most)]
    rows = [
        Measurement(
            name=f"{count} small trials that share the GPU",
            unit="trials/h",
            values=tuple(3600 * count / value for value in seconds[str(count)]),
            peer="one at a time",
            peer_values=tuple(3600 / value for value in seconds["1"]),
            better="higher",
            goal=2.5,
            note=f"sknet_tiny in fp32, {scale.trial_epochs} x {scale.trial_images} images",
        )
        for count in scale.crowds
    ]
    equality = Measurement(
        name=f"{most} small trials that share the GPU, final losses as one at a time",
        unit="equal",
        values=(float(together == alone),),
        better="higher",
        goal=1,
        note="1 if equal to the bit; cuDNN deterministic, without autotuning",
    )
    return [*rows, equality]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Our step, to be compared with several peers, one after the other."""

    name: str
    """What a step does."""

    prepare: Callable[[], Step]
    """Builds our step; called once, as it is compiled only once."""

    scale: Scale
    """How large the measurements are."""

    note: str
    """Settings of the step and of its peers."""

    @cached_property
    def ours(self) -> Step:
        """Our step."""
        return self.prepare()

    def attempt(
        self, suite: Suite, peer: str, layouts: Mapping[str, Prepare], *, goal: float | None = None
    ) -> Rows:
        """Adds the comparison with one peer to a suite."""
        compare = partial(self.compare, peer, layouts, goal=goal)
        return suite.attempt(f"{self.name}, against {peer}", compare)

    def compare(
        self, peer: str, layouts: Mapping[str, Prepare], *, goal: float | None = None
    ) -> Rows:
        """Times our step and the peer's in all its memory layouts; the best one counts."""
        peers = {layout: prepare() for layout, prepare in layouts.items()}
        seconds = time_steps({"ours": self.ours, **peers}, scale=self.scale)
        layout, values = take_best({key: seconds[key] for key in peers})
        row = Measurement(
            name=self.name,
            unit="s",
            values=seconds["ours"],
            peer=peer,
            peer_values=values,
            goal=goal,
            note=f"{self.note}; ours compiled, channels_last; the peer in {layout}",
        )
        return [row]


def _list_layouts(
    prepare: Callable[[str, torch.memory_format], Step], mode: str
) -> dict[str, Prepare]:
    """Layouts of the peer: both in eager mode, and channels_last compiled."""
    names = LAYOUTS if mode == "eager" else ("channels_last",)
    return {name: partial(prepare, mode, LAYOUTS[name]) for name in names}


def _compare_with_roofline(contest: Contest) -> Rows:
    scale = contest.scale
    seconds = time_steps({"ours": contest.ours}, scale=scale)["ours"]
    bandwidth = find_bandwidth(scale)
    least = TRAFFIC * scale.network_batch_size / bandwidth
    row = Measurement(
        name=f"{contest.name}, share of the speed that memory allows",
        unit="of the roofline",
        values=tuple(least / value for value in seconds),
        better="higher",
        goal=0.6,
        note=f"batch of {scale.network_batch_size}; {TRAFFIC / 1e9:.2f} GB per image, "
        f"{bandwidth / 1e12:.2f} TB/s",
    )
    return [row]


def find_bandwidth(scale: Scale) -> float:
    """Bytes per second that the device reads and writes: as listed, or measured by copying."""
    if scale.device.type == "cuda" and (name := torch.cuda.get_device_name()) in BANDWIDTHS:
        return BANDWIDTHS[name]
    source = torch.zeros(scale.copied, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    seconds = time_steps({"copy": partial(target.copy_, source)}, scale=scale)["copy"]
    return 2 * scale.copied / min(seconds)


def time_steps(
    steps: Mapping[str, Step], *, scale: Scale, repeats: int | None = None
) -> dict[str, tuple[float, ...]]:
    """Seconds per step in every round, which ends with a synchronisation; cuDNN is autotuned."""
    count = repeats or scale.repeats

    def repeat(step: Step) -> None:
        for _ in range(count):
            step()
        if scale.device.type == "cuda":
            torch.cuda.synchronize()

    tasks = {name: partial(repeat, step) for name, step in steps.items()}
    with torch.backends.cudnn.flags(enabled=True, benchmark=True):
        seconds = time_alternately(tasks, rounds=scale.rounds)
    return {name: tuple(value / count for value in values) for name, values in seconds.items()}


def release(scale: Scale) -> None:
    """Forgets compiled code, and returns cached memory to the GPU for other processes."""
    if scale.compiles:
        torch.compiler.reset()
    if scale.device.type == "cuda":
        torch.cuda.empty_cache()


def compute_error(device: torch.device) -> float:
    """Error of a convolution in fp32, relative to the result in float64 (Euclidean norms)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 64, 16, 16, generator=generator)
    weight = torch.randn(64, 64, 3, 3, generator=generator)
    exact = conv2d(images.double(), weight.double(), padding=1)
    found = conv2d(images.to(device), weight.to(device), padding=1).cpu().double()
    return float((found - exact).norm() / exact.norm())


class Trial:
    """Training of a small network on random images of CIFAR's size, all on the device."""

    def __init__(
        self, *, network: str, images: int, precision: str, device: torch.device, seed: int = 0
    ) -> None:
        from ablations.trial.training import (  # late: it needs PyYAML
            build_augmentation,
            build_optimiser,
        )

        generator = torch.Generator().manual_seed(seed)
        spec = NETWORKS[network]
        self._device = device
        self._recipe = _describe_training(precision)
        built: nn.Module = build_network(spec, generator=generator)
        self._network = built.to(device).to(memory_format=torch.channels_last)
        self._optimiser = build_optimiser(self._network, self._recipe)
        self._data = draw_data(images, device)
        self._generator = generator
        self._augmentation = build_augmentation(
            self._recipe, generator=generator, distortion=generator
        )

    def train(self) -> float:
        """Trains for one epoch; returns its loss."""
        from ablations.trial.training import train_epoch  # late: it needs PyYAML

        return train_epoch(
            self._network,
            self._optimiser,
            self._data,
            self._recipe,
            epoch=0,
            shuffle=self._generator,
            augmentation=self._augmentation,
            device=self._device,
        ).loss

    def iterate(self) -> None:
        """Iterates over the batches of one epoch."""
        for _ in iterate_train_batches(
            self._data,
            batch_size=self._recipe.batch_size,
            augmentation=self._augmentation,
            shuffle=self._generator,
            device=self._device,
        ):
            pass


def _describe_training(precision: str) -> "Recipe":
    from ablations.config import Recipe  # late: it needs PyYAML

    return Recipe.model_validate(
        {
            "dataset": "cifar10",
            "body": "paper",
            "epochs": 1,
            "batch_size": 128,
            "learning_rate": 0.05,
            "schedule": "cosine",
            "crop": "pad",
            "crop_padding": 4,
            "flip": True,
            "precision": precision,
            "seeds": (0,),
        }
    )


@cache
def draw_data(count: int, device: torch.device) -> Data:
    """Draws images and labels of CIFAR-10's size, on the device."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=generator, dtype=torch.uint8)
    split = ArraySplit(images=images, labels=labels).to(device)
    return Data(dataset=DATASETS["cifar10"], train=split, test=split)


def start_workers(count: int) -> ProcessPoolExecutor:
    """Starts processes that begin with their first task together."""
    context = torch.multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    return ProcessPoolExecutor(
        count, mp_context=context, initializer=_prepare_worker, initargs=(barrier,)
    )


def _prepare_worker(barrier: Any) -> None:
    torch.set_num_threads(1)
    barrier.wait(timeout=120)  # otherwise the first worker could take several of the first tasks


def run_trials(pool: ProcessPoolExecutor, scale: Scale, count: int) -> list[float]:
    """Trains small trials at the same time, one per worker; returns their final losses."""
    return list(pool.map(partial(train_small, scale), range(count)))


def train_small(scale: Scale, seed: int) -> float:
    """Trains one small trial in fp32; returns its final loss."""
    flags = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with flags:
        trial = Trial(
            network="sknet_tiny",
            images=scale.trial_images,
            precision="fp32",
            device=scale.device,
            seed=seed,
        )
        return [trial.train() for _ in range(scale.trial_epochs)][-1]


def _prepare_convolution(scale: Scale, channels: int, side: int) -> Step:
    return _prepare_unit(_compile(_build_convolution(channels), scale), scale, channels, side)


def _prepare_peer_convolution(
    scale: Scale, channels: int, side: int, mode: str, memory_format: torch.memory_format
) -> Step:
    unit = _build_convolution(channels)
    if HAS_TIMM:
        from timm.layers import SelectiveKernel

        unit = SelectiveKernel(channels, groups=GROUPS, split_input=False)
    if mode == "compiled":
        unit = _compile(unit, scale)
    step = _prepare_unit(unit, scale, channels, side, memory_format)
    return step if HAS_TIMM else _make_readable(step)


def _build_convolution(channels: int) -> nn.Module:
    return SKConv(channels, (Branch(groups=GROUPS), Branch(dilation=2, groups=GROUPS)))


def _prepare_unit(
    unit: nn.Module,
    scale: Scale,
    channels: int,
    side: int,
    memory_format: torch.memory_format = torch.channels_last,
) -> Step:
    unit = unit.to(scale.device).to(memory_format=memory_format).train()
    x = torch.randn(
        scale.batch_size, channels, side, side, device=scale.device, dtype=torch.bfloat16
    )
    x = x.to(memory_format=memory_format).requires_grad_()
    gradients = {
        dtype: torch.randn_like(x, dtype=dtype) for dtype in (torch.bfloat16, torch.float32)
    }

    def step() -> None:
        with _autocast(scale):
            output: Tensor = unit(x)
        gradient = gradients[output.dtype]  # autocast may make it float32
        output.backward(gradient)  # type: ignore[no-untyped-call]  # not annotated in torch
        x.grad = None
        unit.zero_grad(set_to_none=True)

    return step


def _prepare_network(scale: Scale, name: str) -> Step:
    return _prepare_training(_compile(create_model(name, num_classes=1000), scale), scale)


def _prepare_peer_network(scale: Scale, mode: str, memory_format: torch.memory_format) -> Step:
    network: nn.Module = create_model(scale.sknet, num_classes=1000)
    if HAS_TIMM:
        import timm

        network = timm.create_model(scale.timms)
    if mode == "compiled":
        network = _compile(network, scale)
    step = _prepare_training(network, scale, memory_format)
    return step if HAS_TIMM else _make_readable(step)


def _prepare_training(
    network: nn.Module, scale: Scale, memory_format: torch.memory_format = torch.channels_last
) -> Step:
    network = network.to(scale.device).to(memory_format=memory_format).train()
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, fused=True)
    count, side = scale.network_batch_size, scale.image_size
    images = torch.randn(count, 3, side, side, device=scale.device).to(memory_format=memory_format)
    labels = torch.randint(1000, (count,), device=scale.device)

    def step() -> None:
        with _autocast(scale):
            loss = cross_entropy(network(images), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # not annotated in torch
        optimiser.step()

    return step


def _compile(module: nn.Module, scale: Scale) -> nn.Module:
    """Compiles when first called, for one shape, so that a failure belongs to a measurement."""
    if not scale.compiles:
        return module
    compiled: Any = torch.compile(module, dynamic=False)
    return compiled  # type: ignore[no-any-return]


def _autocast(scale: Scale) -> AbstractContextManager[Any]:
    return torch.autocast(scale.device.type, dtype=torch.bfloat16)


def _make_readable(step: Step) -> Step:
    def run() -> None:
        with readable_path():
            step()

    return run


if __name__ == "__main__":
    sys.exit(main())
