"""Speed on one GPU: `python -m benchmarks.gpu --out DIR`, in a few minutes, without Ray and MLflow.

With `--quick` everything is small and nothing is compiled, so that the script also runs on a
processor; its figures mean nothing then.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from timm.layers import SelectiveKernel
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy

from ablations.data.batches import ArraySplit, Augmentation, Data, iterate_train_batches
from ablations.data.catalogue import DATASETS
from ablations.trial.run import full_precision
from benchmarks.measurement import Measurement, average, take_best, time_alternately
from benchmarks.results import format_result, write_suite
from sknet import SKConv, create_model

SHAPES = ((128, 56), (256, 28), (512, 14), (1024, 7))
"""Channels, and side of the image, of SKNet-50's stages."""

TRAFFIC = 36e-3 * 4.3e12 / 256
"""Bytes that a training step of SKNet-50 moves per image of 224 pixels if everything is fused."""

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large the benchmark is."""

    device: torch.device
    """Where it runs."""

    is_quick: bool
    """Whether only to try the script."""

    def compile(self, module: nn.Module) -> nn.Module:
        """The compiled module; the module itself if nothing is to be compiled."""
        compiled: nn.Module = module if self.is_quick else torch.compile(module)
        return compiled

    def time(self, steps: dict[str, Step]) -> dict[str, tuple[float, ...]]:
        """Seconds per round, until the GPU has finished; ten runs are one round."""
        repeats = 1 if self.is_quick else 10

        def repeat(step: Step) -> Step:
            def run() -> None:
                for _ in range(repeats):
                    step()
                if self.device.type == "cuda":
                    torch.cuda.synchronize()

            return run

        return time_alternately(
            {name: repeat(step) for name, step in steps.items()},
            rounds=2 if self.is_quick else 7,
            warm_up=1 if self.is_quick else 2,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every part; one that fails does not stop the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    if not (options.quick or torch.cuda.is_available()):
        parser.error("no GPU is available; --quick tries the script without one")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = Size(device=device, is_quick=options.quick)
    rows: list[Measurement] = []
    failed = False
    for measure in (measure_convolutions, measure_network, measure_precision, measure_loader):
        try:
            found = measure(size)
        except Exception:  # noqa: BLE001 - the time on a GPU is short; keep the other parts
            traceback.print_exc()
            failed = True
            continue
        rows += found
        for row in found:
            print(f"{row.name} against {row.peer}: {format_result(row)}", flush=True)  # noqa: T201
        write_suite("gpu", rows, folder=options.out)
    return int(failed)


def measure_convolutions(size: Size) -> list[Measurement]:
    """SKConv in bf16, forward and backward, against timm's, eager and compiled."""
    batch_size = 2 if size.is_quick else 256
    eager, compiled = [], []
    for channels, side in SHAPES[3:] if size.is_quick else SHAPES:
        x = torch.randn(batch_size, channels, side, side, device=size.device)

        def prepare(module: nn.Module, x: Tensor, layout: torch.memory_format) -> Step:
            module = module.to(size.device, torch.bfloat16).to(memory_format=layout)
            x = x.to(torch.bfloat16).to(memory_format=layout).requires_grad_()

            def step() -> None:
                module(x).sum().backward()

            return step

        def build_timms(channels: int) -> nn.Module:
            module: nn.Module = SelectiveKernel(channels, groups=32, split_input=False)
            return module

        last = torch.channels_last
        seconds = size.time(
            {
                "ours": prepare(size.compile(SKConv(channels)), x, last),
                "NCHW": prepare(build_timms(channels), x, torch.contiguous_format),
                "channels_last": prepare(build_timms(channels), x, last),
                "compiled": prepare(size.compile(build_timms(channels)), x, last),
            }
        )
        name = f"SKConv {channels}@{side}, forward and backward"
        layout, best = take_best({k: seconds[k] for k in ("NCHW", "channels_last")})
        note = f"bf16, batch of {batch_size}, ours compiled"
        eager.append(_compare(name, seconds["ours"], "timm", best, note=f"{note}; {layout}"))
        compiled.append(
            _compare(name, seconds["ours"], "timm, compiled", seconds["compiled"], note=note)
        )
    mean = "SKConv, forward and backward"
    return [
        *eager,
        average(mean, eager, goal=2.0),
        *compiled,
        average(mean, compiled, goal=1.3),
    ]


def measure_network(size: Size) -> list[Measurement]:
    """A training step of SKNet-50 in bf16."""
    batch_size, side = (2, 64) if size.is_quick else (128, 224)
    images = torch.randn(batch_size, 3, side, side, device=size.device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch_size,), device=size.device)

    def prepare(network: nn.Module) -> Step:
        network = network.to(size.device).to(memory_format=torch.channels_last)

        def step() -> None:
            with torch.autocast(size.device.type, torch.bfloat16):
                loss = cross_entropy(network(images), labels)
            loss.backward()
            network.zero_grad(set_to_none=True)

        return step

    theirs = "skresnext50_32x4d"
    seconds = size.time(
        {
            "ours": prepare(size.compile(create_model("sknet50"))),
            "eager": prepare(timm.create_model(theirs)),
            "compiled": prepare(size.compile(timm.create_model(theirs))),
            "resnext": prepare(size.compile(create_model("resnext50_32x4d"))),
        }
    )
    name = "SKNet-50 at 224, training step"
    note = f"bf16, batch of {batch_size}, ours compiled"
    roofline = batch_size * TRAFFIC / _measure_bandwidth(size)
    repeats = 1 if size.is_quick else 10
    return [
        _compare(name, seconds["ours"], f"timm's {theirs}", seconds["eager"], 2.0, note),
        _compare(
            name, seconds["ours"], f"timm's {theirs}, compiled", seconds["compiled"], 1.15, note
        ),
        _compare(name, seconds["ours"], "our ResNeXt-50, compiled", seconds["resnext"], 0.7, note),
        _compare(
            name,
            seconds["ours"],
            "the memory roofline",
            (repeats * roofline,) * len(seconds["ours"]),
            0.6,
            f"{note}; bandwidth measured by copying",
        ),
    ]


def measure_precision(size: Size) -> list[Measurement]:
    """The error of a convolution in fp32, as trials compute it and by PyTorch's defaults."""
    x = torch.randn(8, 64, 16, 16, device=size.device)
    weight = torch.randn(64, 64, 3, 3, device=size.device)
    exact = conv2d(x.double(), weight.double(), padding=1)

    def measure_error() -> float:
        found = conv2d(x, weight, padding=1)
        return ((found - exact).abs().max() / exact.abs().max()).item()

    with full_precision():
        ours = measure_error()
    return [
        Measurement(
            name="largest error of a convolution in fp32",
            unit="of the largest output",
            values=(ours,),
            peer="PyTorch's defaults",
            peer_values=(measure_error(),),
            note=f"ours: {ours:.1e}",
        )
    ]


def measure_loader(size: Size) -> list[Measurement]:
    """Batches of CIFAR-10's size, resident on the device, against a step that trains on them."""
    count = 512 if size.is_quick else 50_000
    split = ArraySplit(
        images=torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, device=size.device),
        labels=torch.randint(10, (count,), dtype=torch.uint8, device=size.device),
    )
    data = Data(dataset=DATASETS["cifar10"], train=split, test=split)
    network = create_model("sknet_tiny").to(size.device).to(memory_format=torch.channels_last)
    network = size.compile(network)

    def iterate(*, train: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        batches = iterate_train_batches(
            data,
            batch_size=128,
            augmentation=Augmentation(crop="pad", padding=4, flip=True, generator=generator),
            shuffle=generator,
            device=size.device,
        )
        for images, labels in batches:
            if train:
                cross_entropy(network(images), labels).backward()

    seconds = size.time(
        {"load": lambda: iterate(train=False), "train": lambda: iterate(train=True)}
    )
    return [
        Measurement(
            name="share of loading in training on resident images",
            unit="%",
            values=tuple(
                100 * load / train
                for load, train in zip(seconds["load"], seconds["train"], strict=True)
            ),
            goal=3.0,
            note="sknet_tiny, CIFAR-10's size, batch of 128, pad, crop and flip",
        )
    ]


def _measure_bandwidth(size: Size) -> float:
    """Bytes per second of reading and writing memory, by copying a large tensor."""
    source = torch.empty(2**20 if size.is_quick else 2**30, dtype=torch.uint8, device=size.device)
    target = torch.empty_like(source)
    repeats = 1 if size.is_quick else 10
    (seconds,) = size.time({"copy": lambda: target.copy_(source)}).values()
    return 2 * source.nbytes * repeats / min(seconds)


def _compare(
    name: str,
    ours: tuple[float, ...],
    peer: str,
    theirs: tuple[float, ...],
    goal: float | None = None,
    note: str = "",
) -> Measurement:
    return Measurement(
        name=name, unit="s", values=ours, peer=peer, peer_values=theirs, goal=goal, note=note
    )


if __name__ == "__main__":
    sys.exit(main())
