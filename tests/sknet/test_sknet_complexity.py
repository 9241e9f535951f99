"""Complexity of every network agrees with pinned numbers and two independent counters."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ablations.complexity.counts import Sized, count_complexity
from sknet import NetworkSpec, SKConv, SqueezeExcitation, build_network, list_models
from sknet.zoo import NETWORKS

GOLDEN: dict[str, dict[str, int]] = json.loads(
    (ROOT / "tests" / "golden" / "complexity.json").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("name", list_models())
def test_complexity_is_golden(name: str) -> None:
    """A change of size means another network. PyTorch's own counter must agree."""
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


def test_the_released_sknet101_has_narrower_descriptors_in_stage_3() -> None:
    """The size that docs/networks.md gives for the authors' Caffe release."""
    with torch.device("meta"):
        network = build_network(NETWORKS["sknet101"])
        for block in network.stages[1]:
            block.operator = SKConv(256, min_width=16)

    assert sum(p.numel() for p in network.parameters()) == 48_686_760


@pytest.mark.parametrize(
    ("ratio", "printed"), [(2, "45.7"), (4, "35.7"), (8, "30.7"), (16, "28.1"), (32, "26.9")]
)
def test_a_bias_in_the_second_layer_of_se_fits_table_10(ratio: int, printed: str) -> None:
    """With running statistics; the reason in paper.yaml and docs/networks.md say so."""
    golden = GOLDEN[f"se_resnet50_r{ratio}"]
    body = NETWORKS[f"se_resnet50_r{ratio}"].body
    bias = sum(block.out_width for blocks in body.stages() for block in blocks)

    assert f"{(golden['params'] + golden['running_statistics'] + bias) / 1e6:.1f}" == printed


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_counted_complexity_is_golden(name: str) -> None:
    """Tables show this count, from fvcore, which fails on operators that are not listed."""
    spec = NETWORKS[name]

    counted = count_complexity(Sized(spec, spec.body.input_size))

    assert {key: getattr(counted, key) for key in GOLDEN[name]} == GOLDEN[name]


@pytest.mark.parametrize(
    ("name", "spec", "printed"),
    [
        (
            "SENet-50: batch normalisation after both layers, running statistics counted",
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
def test_contradictory_cells_match_other_networks(
    name: str, spec: NetworkSpec, printed: str
) -> None:
    """Where a printed cell contradicts the paper's text, this is the network that it counts."""
    with torch.device("meta"):
        network = build_network(spec)

    params = sum(p.numel() for p in network.parameters())
    statistics = sum(b.numel() for key, b in network.named_buffers() if "running" in key)

    assert f"{(params + statistics) / 1e6:.1f}" == printed, name


def _append_rescaling_to(counts: list[int]) -> Callable[[Any, Any, Tensor], None]:
    def hook(module: Any, _inputs: Any, output: Tensor) -> None:
        counts.append(module.count_rescaling(output))

    return hook
