"""The SK convolution against timm's, and against the plain convolution of ResNeXt."""

from collections.abc import Callable

import torch
from timm.layers import SelectiveKernel
from torch import Tensor, nn

from benchmarks.measurement import Measurement, average, take_best, time_alternately
from sknet import SKConv
from sknet.convolution import build_convolution
from sknet.spec import Branch

SHAPES = ((128, 56, 32), (256, 28, 32), (512, 14, 32), (1024, 7, 32), (256, 32, 16))
"""Channels, side of the image, groups."""

BATCH_SIZE = 16

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def measure() -> list[Measurement]:
    """Training steps of one convolution of every shape, then their geometric mean."""
    torch.manual_seed(0)
    rows = [_measure_training(*shape) for shape in SHAPES]
    return [
        *rows,
        average("SKConv, forward and backward", rows, goal=1.6),
        *(_measure_over_plain(*shape) for shape in SHAPES),
    ]


def _measure_training(channels: int, side: int, groups: int) -> Measurement:
    ours = _prepare_step(_build_ours(channels, groups), channels, side, torch.channels_last)
    peers = {
        f"timm, {layout}": _prepare_step(_build_timms(channels, groups), channels, side, form)
        for layout, form in LAYOUTS.items()
    }
    seconds = time_alternately({"ours": ours, **peers})
    peer, values = take_best({name: seconds[name] for name in peers})
    return Measurement(
        name=f"SKConv {channels}@{side}, G={groups}, forward and backward",
        unit="s",
        values=seconds["ours"],
        peer="timm",
        peer_values=values,
        goal=1.3,
        note=f"fp32, batch of {BATCH_SIZE}; {peer}",
    )


def _measure_over_plain(channels: int, side: int, groups: int) -> Measurement:
    plain = build_convolution(channels, channels, kernel=3, groups=groups)
    seconds = time_alternately(
        {
            "ours": _prepare_step(
                _build_ours(channels, groups), channels, side, torch.channels_last
            ),
            "plain": _prepare_step(plain, channels, side, torch.channels_last),
        }
    )
    return Measurement(
        name=f"SKConv {channels}@{side}, G={groups}, of a plain 3x3 convolution's speed",
        unit="s",
        values=seconds["ours"],
        peer="conv, BN, ReLU",
        peer_values=seconds["plain"],
        goal=1 / 2.1,
        note="two branches cannot be faster than 0.5",
    )


def _build_ours(channels: int, groups: int) -> nn.Module:
    return SKConv(channels, (Branch(groups=groups), Branch(dilation=2, groups=groups)))


def _build_timms(channels: int, groups: int) -> nn.Module:
    module: nn.Module = SelectiveKernel(channels, groups=groups, split_input=False)
    return module


def _prepare_step(
    module: nn.Module, channels: int, side: int, memory_format: torch.memory_format
) -> Callable[[], None]:
    module = module.to(memory_format=memory_format).train()
    x = torch.randn(BATCH_SIZE, channels, side, side).to(memory_format=memory_format)
    x.requires_grad_()
    gradient = torch.randn_like(x)

    def step() -> None:
        output: Tensor = module(x)
        output.backward(gradient)
        x.grad = None
        module.zero_grad(set_to_none=True)

    return step
