"""Effective receptive fields are those of the layers, and their sizes known numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import make_recording
from torch import nn

from ablations.attention import FieldRecord, analyse_recording
from ablations.attention.receptive_field import (
    draw_map,
    find_radius,
    measure_energy,
    measure_fields,
)
from ablations.attention.recording import Setting
from ablations.data.batches import ArraySplit, Data
from ablations.data.catalogue import DATASETS
from ablations.figures import list_attention_charts, parse_svg, render_svg
from ablations.tables import render_attention_markdown
from sknet import Body, Branch, NetworkSpec, SelectiveKernel, build_network
from sknet.selection import find_operators
from sknet.spec import Stem
from sknet.zoo import NETWORKS


@pytest.mark.parametrize(("kernel", "dilation", "radius"), [(1, 1, 0.0), (3, 1, 1.0), (3, 3, 3.0)])
def test_the_field_of_one_convolution_is_its_kernel(
    kernel: int, dilation: int, radius: float
) -> None:
    """All taps are equal: five of nine lie within one dilation, more than half."""
    layer = nn.Conv2d(1, 2, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
    nn.init.ones_(layer.weight)

    energy = measure_energy(nn.Sequential(layer, nn.ReLU()), layer, torch.ones(3, 1, 15, 15))

    assert np.count_nonzero(energy) == kernel**2
    assert energy.sum() == pytest.approx(1)
    assert find_radius(energy) == pytest.approx(radius)


def test_a_larger_kernel_has_a_larger_field() -> None:
    """In an SKNet as in a single layer; its hooks are removed."""
    spec = replace(NETWORKS["sknet_tiny"], in_channels=1)
    network = build_network(spec, generator=torch.Generator().manual_seed(0)).eval()
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))

    radii = [
        find_radius(measure_energy(network, unit, images))
        for unit in find_operators(network).values()  # type: ignore[arg-type]
    ]

    assert list(find_operators(network)) == ["2_1", "3_1", "4_1"]  # type: ignore[arg-type]
    assert radii[0] < radii[1] < radii[2]
    assert not any(module._forward_hooks for module in network.modules())


def test_every_stage_of_a_deep_body_is_measured() -> None:
    """Also the tenth and later ones, whose numbers share a first digit."""
    stem = Stem(width=16, kernel=1, stride=1, pool=False)
    body = Body(
        stem=stem, depths=(1,) * 10, mid_widths=(16,) * 10, out_widths=(16,) * 10, input_size=32
    )
    operator = SelectiveKernel(branches=(Branch(groups=4),), attention="sum")
    spec = NetworkSpec(body=body, operator=operator, in_channels=1)
    network = build_network(spec, generator=torch.Generator().manual_seed(0)).eval()
    split = ArraySplit(
        images=torch.arange(1024, dtype=torch.uint8).view(1, 1, 32, 32), labels=torch.zeros(1)
    )
    dataset = replace(DATASETS["multiscale_digits"], train_size=1, test_size=1)
    data = Data(dataset=dataset, train=split, test=split)
    setting = Setting(data=data, device=torch.device("cpu"), batch_size=1)

    fields = measure_fields(network, setting, variant="deep", seed=0, source="key")

    units = list(dict.fromkeys(field.unit for field in fields))
    assert units == [f"{stage}_1" for stage in range(2, 12)]


def test_a_map_is_relative_to_its_largest_gradient() -> None:
    """A quarter of the energy is half of the gradient."""
    assert draw_map(np.array([[0.8, 0.2], [0.0, 0.0]])) == "ff800000"


def test_fields_are_compared_over_seeds() -> None:
    """Also those of variants that do not select."""
    fields = tuple(
        FieldRecord(
            variant=variant,
            seed=seed,
            source=f"{variant} {seed}",
            unit="2_1",
            enlargement=enlargement,
            radius=radius + 0.1 * seed,
            energy="ff800000",
        )
        for variant, radii in (("SK", (2.0, 3.0)), ("sum", (2.0, 2.0)))
        for seed in range(3)
        for enlargement, radius in zip((1.0, 2.0), radii, strict=True)
    )

    analysis = analyse_recording(replace(make_recording(), fields=fields))

    text = render_attention_markdown(analysis)
    assert "| 2_1 | SK | 2.10 ± 0.25 | 3.10 ± 0.25 | +1.00 ± 0.00 | 3 |" in text
    assert "| 2_1 | sum | 2.10 ± 0.25 | 2.10 ± 0.25 | +0.00 ± 0.00 | 3 |" in text
    [chart] = [own for own in list_attention_charts(analysis) if own.name == "fields"]
    parse_svg(render_svg(chart))
