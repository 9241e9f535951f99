"""The SK convolution against timm's, and against the plain convolution of ResNeXt; one thread."""

import copy
from collections.abc import Callable, Mapping

import torch
from timm.layers import SelectiveKernel
from torch import Tensor, nn

from ablations.speed.memory import watch_memory
from benchmarks.measurement import Measurement, average, take_best, time_alternately
from sknet import SKConv, fold_normalisation
from sknet.convolution import build_convolution
from sknet.spec import Branch

SHAPES = ((128, 56, 32), (256, 28, 32), (512, 14, 32), (1024, 7, 32), (256, 32, 16))
"""Channels, side of the image, groups."""

BATCH_SIZE = 16

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}

Step = Callable[[], None]


def measure() -> list[Measurement]:
    """Every shape alone, and the geometric mean of all."""
    torch.set_num_threads(1)  # as a trial does
    torch.manual_seed(0)
    rows = []
    for measure_one, name, goal in (
        (_measure_training, "SKConv, forward and backward", 1.6),
        (_measure_stored, "SKConv, memory stored for backward", 3.0),
        (_measure_peak, "SKConv, peak memory of forward and backward", 1 / 0.6),
        (_measure_folded, "SKConv, inference, folded", 2.5),
        (_measure_low, "SKConv, inference, folded, bf16", 5.0),
        (_measure_over_plain, "SKConv, of the speed of a plain 3x3 convolution", 1 / 2.1),
    ):
        shapes = [measure_one(*shape) for shape in SHAPES]
        rows += [*shapes, average(name, shapes, goal=goal)]
    return rows


def _measure_training(channels: int, side: int, groups: int) -> Measurement:
    steps = {
        f"timm, {layout}": _prepare_step(_build_timms(channels, groups), channels, side, form)
        for layout, form in LAYOUTS.items()
    }
    ours = _prepare_step(_build_ours(channels, groups), channels, side)
    return _compare(f"{_name(channels, side, groups)}, forward and backward", ours, steps, goal=1.3)


def _measure_folded(channels: int, side: int, groups: int) -> Measurement:
    return _measure_inference(channels, side, groups, torch.float32, "folded")


def _measure_low(channels: int, side: int, groups: int) -> Measurement:
    return _measure_inference(channels, side, groups, torch.bfloat16, "folded, bf16")


def _measure_inference(
    channels: int, side: int, groups: int, dtype: torch.dtype, settings: str
) -> Measurement:
    peers = {
        f"timm, {layout}": _prepare_inference(_build_timms(channels, groups), channels, side, form)
        for layout, form in LAYOUTS.items()
    }
    unit = fold_normalisation(_build_ours(channels, groups)).to(dtype)
    ours = _prepare_inference(unit, channels, side, torch.channels_last, dtype)
    return _compare(f"{_name(channels, side, groups)}, inference, {settings}", ours, peers)


def _measure_over_plain(channels: int, side: int, groups: int) -> Measurement:
    plain = build_convolution(channels, channels, kernel=3, groups=groups)
    steps = {"conv, BN, ReLU": _prepare_step(plain, channels, side)}
    ours = _prepare_step(_build_ours(channels, groups), channels, side)
    name = f"{_name(channels, side, groups)}, of the speed of a plain 3x3 convolution"
    return _compare(name, ours, steps)


def _measure_stored(channels: int, side: int, groups: int) -> Measurement:
    x = torch.randn(BATCH_SIZE, channels, side, side).to(memory_format=torch.channels_last)
    return Measurement(
        name=f"{_name(channels, side, groups)}, memory stored for backward",
        unit="MB",
        values=(_count_stored(_build_ours(channels, groups), x),),
        peer="timm",
        peer_values=(_count_stored(_build_timms(channels, groups), x),),
        note="without the input and the parameters",
    )


def _measure_peak(channels: int, side: int, groups: int) -> Measurement:
    def watch(module: nn.Module) -> float:
        step = _prepare_step(module, channels, side)
        step()
        with watch_memory(torch.device("cpu")) as memory:
            step()
            return memory.read_peak() / 1e6

    return Measurement(
        name=f"{_name(channels, side, groups)}, peak memory of forward and backward",
        unit="MB",
        values=(watch(_build_ours(channels, groups)),),
        peer="timm",
        peer_values=(watch(_build_timms(channels, groups)),),
        note="tensors created by a step",
    )


def _compare(
    name: str, ours: Step, peers: Mapping[str, Step], *, goal: float | None = None
) -> Measurement:
    seconds = time_alternately({"ours": ours, **peers})
    best, values = take_best({peer: seconds[peer] for peer in peers})
    return Measurement(
        name=name,
        unit="s",
        values=seconds["ours"],
        peer=best.partition(",")[0] if best.startswith("timm") else best,
        peer_values=values,
        goal=goal,
        note=f"batch of {BATCH_SIZE}; {best}",
    )


def _name(channels: int, side: int, groups: int) -> str:
    return f"SKConv {channels}@{side}, G={groups}"


def _build_ours(channels: int, groups: int) -> nn.Module:
    return SKConv(channels, (Branch(groups=groups), Branch(dilation=2, groups=groups)))


def _build_timms(channels: int, groups: int) -> nn.Module:
    module: nn.Module = SelectiveKernel(channels, groups=groups, split_input=False)
    return module


def _prepare_step(
    module: nn.Module,
    channels: int,
    side: int,
    memory_format: torch.memory_format = torch.channels_last,
) -> Step:
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


def _prepare_inference(
    module: nn.Module,
    channels: int,
    side: int,
    memory_format: torch.memory_format,
    dtype: torch.dtype = torch.float32,
) -> Step:
    module = module.to(memory_format=memory_format).eval()
    x = torch.randn(BATCH_SIZE, channels, side, side, dtype=dtype).to(memory_format=memory_format)

    def infer() -> None:
        with torch.inference_mode():
            module(x)

    return infer


def _count_stored(module: nn.Module, x: Tensor) -> float:
    """Memory in MB that autograd stores, each storage once."""
    module = copy.deepcopy(module).to(memory_format=torch.channels_last).train()
    x = x.clone().requires_grad_()
    known = {x.untyped_storage().data_ptr()}
    known |= {p.untyped_storage().data_ptr() for p in (*module.parameters(), *module.buffers())}
    stored: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            stored[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(x)
    stored.pop(output.untyped_storage().data_ptr(), None)
    return sum(stored.values()) / 1e6
