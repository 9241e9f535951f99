"""SKNet-50 at 224 pixels against timm's; one thread."""

from collections.abc import Callable

import timm
import torch
from torch import nn

from benchmarks.measurement import Measurement, take_best, time_alternately
from sknet import create_model, fold_normalisation

BATCH_SIZE = 4

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}

Step = Callable[[], object]


def measure() -> list[Measurement]:
    """A training step, and inference, folded and in bf16."""
    torch.set_num_threads(1)  # as a trial does
    torch.manual_seed(0)
    ours = create_model("sknet50")
    folded = fold_normalisation(ours)
    low = fold_normalisation(ours).to(torch.bfloat16)
    last = torch.channels_last
    return [
        _compare(
            "training step",
            _prepare_step(ours, last),
            {k: _prepare_step(_build(), f) for k, f in LAYOUTS.items()},
            1.25,
        ),
        _compare("inference, folded", _prepare_inference(folded, last), _infer_peers(), 1.2),
        _compare("inference, folded, bf16", _prepare_inference(low, last), _infer_peers(), 2.3),
    ]


def _infer_peers() -> dict[str, Step]:
    return {layout: _prepare_inference(_build(), form) for layout, form in LAYOUTS.items()}


def _compare(what: str, ours: Step, peers: dict[str, Step], goal: float) -> Measurement:
    seconds = time_alternately({"ours": ours, **peers})
    layout, values = take_best({name: seconds[name] for name in peers})
    return Measurement(
        name=f"SKNet-50 at 224, {what}",
        unit="s",
        values=seconds["ours"],
        peer="timm's skresnext50_32x4d",
        peer_values=values,
        goal=goal,
        note=f"batch of {BATCH_SIZE}; timm: fp32, {layout}, each kernel on half of the channels",
    )


def _build() -> nn.Module:
    network: nn.Module = timm.create_model("skresnext50_32x4d")
    return network


def _prepare_step(network: nn.Module, memory_format: torch.memory_format) -> Step:
    network = network.to(memory_format=memory_format).train()
    images = torch.randn(BATCH_SIZE, 3, 224, 224).to(memory_format=memory_format)

    def step() -> None:
        network(images).square().mean().backward()
        network.zero_grad(set_to_none=True)

    return step


def _prepare_inference(network: nn.Module, memory_format: torch.memory_format) -> Step:
    network = network.to(memory_format=memory_format).eval()
    dtype = next(network.parameters()).dtype
    images = torch.randn(BATCH_SIZE, 3, 224, 224, dtype=dtype).to(memory_format=memory_format)

    def infer() -> None:
        with torch.inference_mode():
            network(images)

    return infer
