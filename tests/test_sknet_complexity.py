"""Complexity of every network against pinned numbers, two independent counters and the papers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ablations.complexity import Sized, count_complexity
from sknet import NetworkSpec, SqueezeExcitation, build_network, list_models
from sknet.zoo import NETWORKS

GOLDEN: dict[str, dict[str, int]] = json.loads(
    (Path(__file__).parent / "golden" / "complexity.json").read_text(encoding="utf-8")
)

ONE_OF_EACH_KIND = [
    "resnext50_cbam",
    "resnext_tiny",
    "se_resnet50_max",
    "se_resnet50_no_squeeze",
    "se_resnet50_tanh",
    "mobilenet_v2_se",
    "shufflenet_v2_x0_5_sk",
    "sknet26",
    "sknet_tiny",
    "resnext50_bam",
]

PRINTED_PARAMS = {
    "resnext50_32x4d": "25.0",
    "resnext50_bam": "25.4",
    "resnext101_32x4d": "44.3",
    "sknet50": "27.5",
    "sknet101": "48.9",
    "resnext50_wider": "28.1",
    "resnext56_deeper": "27.3",
    "resnext50_36x4d": "27.6",
    "sknet50_5x5_g64": "28.1",
    "sknet50_7x7_g128": "28.1",
    "sknet50_k3k5_sum": "26.5",
    "sknet50_k3k5k7": "29.3",
    "sknet50_k3k5k7_sum": "28.0",
    "resnext29_16x32d": "25.2",
    "resnext29_8x64d": "34.4",
    "se_resnet50_r2": "45.7",
    "se_resnet50_r4": "35.7",
    "se_resnet50_r16": "28.1",
    "se_resnet50_r32": "26.9",
    "se_resnet50_stage2": "25.6",
    "se_resnet50_stage3": "25.7",
    "se_resnet50_stage4": "26.4",
    "se_resnet50_3x3": "25.8",
    "se_resnet50_no_squeeze": "28.1",
    "resnet50_senet": "25.6",
}
"""Millions; SENet's with BN's running statistics, SKNet's with or without, by cell."""

PRINTED_GFLOPS = {
    "resnext50_bam": "4.31",
    "resnext50_cbam": "4.25",
    "resnext101_bam": "8.05",
    "resnext101_cbam": "8.00",
    "sknet50": "4.47",
    "sknet101": "8.46",
    "resnext50_wider": "4.74",
    "resnext56_deeper": "4.67",
    "resnext50_36x4d": "4.70",
    "sknet50_5x5_g64": "4.56",
    "sknet50_7x7_g128": "4.55",
    "sknet50_k3k5_sum": "4.46",
    "sknet50_k3k5k7": "4.70",
    "sknet50_k3k5k7_sum": "4.69",
    "resnet50_senet": "3.86",
    "se_resnet50_r16": "3.87",
    "se_resnet50_stage2": "3.86",
    "se_resnet50_stage3": "3.86",
    "se_resnet50_stage4": "3.86",
    "se_resnet50_3x3": "3.86",
    "se_resnet50_no_squeeze": "4.27",
}
"""1e9 multiply-adds, with the multiplications of the rescaling."""


@pytest.mark.parametrize("name", list_models())
def test_complexity_is_golden(name: str) -> None:
    """A network that changes its size is another network; PyTorch's own counter agrees."""
    spec = NETWORKS[name]
    with torch.device("meta"):
        network = build_network(spec).eval()
    size = spec.body.input_size
    image = torch.empty(1, spec.in_channels, size, size, device="meta")
    rescaling: list[int] = []
    for module in network.modules():
        if hasattr(module, "count_rescaling"):
            module.register_forward_hook(_append_rescaling_to(rescaling))

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(image)

    golden = GOLDEN[name]
    assert sum(p.numel() for p in network.parameters()) == golden["params"]
    assert sum(rescaling) == golden["rescaling_macs"]
    assert counter.get_total_flops() == 2 * (golden["macs"] - golden["rescaling_macs"])


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_the_runners_count_is_golden(name: str) -> None:
    """What tables show is counted by fvcore, which fails on operators that nobody decided on."""
    spec = NETWORKS[name]

    counted = count_complexity(Sized(spec, spec.body.input_size))

    assert {key: getattr(counted, key) for key in GOLDEN[name]} == GOLDEN[name]


def test_sknet50_has_the_known_size() -> None:
    """The network that everything else is compared with."""
    golden = GOLDEN["sknet50"]

    assert golden["params"] == 27_479_784
    assert golden["macs"] - golden["rescaling_macs"] == 4_462_710_784


@pytest.mark.parametrize("name", PRINTED_PARAMS)
def test_params_are_the_printed(name: str) -> None:
    """To the printed digit, with or without the running statistics of batch normalisation."""
    params = GOLDEN[name]["params"]
    with_statistics = params + GOLDEN[name]["running_statistics"]

    assert PRINTED_PARAMS[name] in {f"{count / 1e6:.1f}" for count in (params, with_statistics)}


@pytest.mark.parametrize("name", PRINTED_GFLOPS)
def test_gflops_are_the_printed(name: str) -> None:
    """To the printed digit."""
    assert f"{GOLDEN[name]['macs'] / 1e9:.2f}" == PRINTED_GFLOPS[name]


@pytest.mark.parametrize(
    ("name", "spec", "printed"),
    [
        (
            "SENet-50: normalised after both layers, statistics counted",
            replace(NETWORKS["senet50"], attention=SqueezeExcitation(batch_norm=True)),
            "27.7",
        ),
        (
            "SENet-101: the same",
            replace(NETWORKS["senet101"], attention=SqueezeExcitation(batch_norm=True)),
            "49.2",
        ),
        (
            "SENet-29: on 8x64d, not on the stated 16x32d",
            replace(NETWORKS["resnext29_8x64d"], attention=SqueezeExcitation()),
            "35.0",
        ),
    ],
)
def test_contradicting_cells_follow_from_other_networks(
    name: str, spec: NetworkSpec, printed: str
) -> None:
    """What a printed cell counts, where that is not what the paper's text describes."""
    with torch.device("meta"):
        network = build_network(spec)

    params = sum(p.numel() for p in network.parameters())
    statistics = sum(b.numel() for key, b in network.named_buffers() if "running" in key)

    assert f"{(params + statistics) / 1e6:.1f}" == printed, name


def _append_rescaling_to(counts: list[int]) -> Callable[[Any, Any, Tensor], None]:
    def hook(module: Any, _inputs: Any, output: Tensor) -> None:
        counts.append(module.count_rescaling(output))

    return hook
