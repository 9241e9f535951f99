"""The selective kernel convolution agrees with its definition."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sknet import Branch, SKConv, build_network
from sknet.selective_kernel import weighted_sum
from sknet.zoo import NETWORKS

THREE = (Branch(), Branch(dilation=2), Branch(kernel=5, groups=64))


@pytest.mark.parametrize("attention", ["softmax", "sum"])
@pytest.mark.parametrize("branches", [THREE[:1], THREE[:2], THREE])
@pytest.mark.parametrize(("stride", "size_out"), [(1, 7), (2, 4), (3, 3)])
def test_output_shape(
    branches: tuple[Branch, ...], attention: str, stride: int, size_out: int
) -> None:
    """Odd sizes are rounded up for any branches."""
    conv = SKConv(64, branches=branches, attention=attention, stride=stride)

    assert conv(torch.randn(2, 64, 7, 7)).shape == (2, 64, size_out, size_out)


@given(
    data=st.data(),
    count=st.integers(1, 4),
    batch=st.integers(2, 4),
    size=st.integers(1, 9),
)
@settings(max_examples=25, deadline=None)
def test_weights_are_positive_and_sum_to_one(
    data: st.DataObject, count: int, batch: int, size: int
) -> None:
    """Over branches, for any number and kind of kernels."""
    branch = st.builds(
        Branch,
        kernel=st.sampled_from([1, 3, 5]),
        dilation=st.integers(1, 3),
        groups=st.sampled_from([1, 2, 8]),
    )
    branches = data.draw(st.lists(branch, min_size=count, max_size=count))
    conv = SKConv(8, branches=branches, min_width=4)

    weights = conv.weigh([torch.randn(batch, 8, size, size) for _ in branches])

    assert weights.shape == (batch, count, 8)
    assert weights.min() >= 0
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(batch, 8))


def test_weights_depend_on_the_input() -> None:
    """A fixed mixture would not be attention."""
    conv = SKConv(64).eval()
    first, second = (conv.weigh([torch.rand(1, 64, 5, 5) for _ in range(2)]) for _ in range(2))

    assert not torch.allclose(first, second)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_weighted_features_keep_their_type(count: int) -> None:
    """Weights of another type, as of autocast, do not turn the rest of a network into fp32."""
    features = [torch.ones(1, 2, 3, 3, dtype=torch.bfloat16)] * count

    assert weighted_sum(features, torch.full((1, count, 2), 1 / count)).dtype == torch.bfloat16


def test_sum_is_the_plain_sum_of_branches() -> None:
    """Summation has no fully connected layers."""
    conv = SKConv(64, branches=THREE, attention="sum").eval()
    x = torch.randn(2, 64, 6, 6)

    assert not [m for m in conv.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(conv(x), sum(branch(x) for branch in conv.branches))


def test_one_summed_branch_is_the_plain_convolution() -> None:
    """It is the grouped convolution of ResNeXt."""
    conv = SKConv(64, branches=[Branch(dilation=2)], attention="sum").eval()
    x = torch.randn(2, 64, 6, 6)
    plain = nn.functional.conv2d(x, conv.branches[0][0].weight, padding=2, dilation=2, groups=32)

    torch.testing.assert_close(conv(x), torch.relu(conv.branches[0][1](plain)))


@pytest.mark.parametrize("branches", [THREE[:2], THREE])
@pytest.mark.parametrize("attention", ["softmax", "sum"])
def test_channels_last_is_kept(branches: tuple[Branch, ...], attention: str) -> None:
    """Copying to another layout would cost more than the unit itself."""
    conv = SKConv(64, branches=branches, attention=attention)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.randn(2, 64, 6, 6).to(memory_format=torch.channels_last)

    assert conv(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("branches", [THREE[:2], THREE])
def test_branches_are_never_stacked(branches: tuple[Branch, ...]) -> None:
    """Stacking them would double the memory traffic and lose the memory format."""
    biggest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # noqa: ANN001, ANN204
            nonlocal biggest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                biggest = max(biggest, result.numel())
            return result

    conv, x = SKConv(64, branches=branches), torch.randn(2, 64, 16, 16)
    with Watch():
        conv(x)

    assert biggest == x.numel()


class Reimplementation(nn.Module):
    """An SK unit with one layer per branch for the scores, as in common reimplementations.

    Without normalisation, the descriptor is a linear layer with a bias, as in pppLang/SKNet and
    External-Attention-pytorch; with it, as in developer0hye/SKNet-PyTorch. Both have score biases.
    """

    def __init__(self, channels: int, width: int, dilations: Sequence[int], *, norm: bool) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=d, dilation=d, groups=32, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for d in dilations
        )
        layers = [nn.Linear(channels, width, bias=not norm)]
        self.fc = nn.Sequential(*layers, *([nn.BatchNorm1d(width), nn.ReLU()] if norm else []))
        self.fcs = nn.ModuleList(nn.Linear(width, channels) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.stack([conv(x) for conv in self.convs], dim=1)
        descriptor = self.fc(features.sum(dim=1).mean(dim=(2, 3)))
        scores = torch.stack([fc(descriptor) for fc in self.fcs], dim=1)
        return (features * scores.softmax(dim=1)[..., None, None]).sum(dim=1)


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("dilations", [(1, 2), (1, 2, 3)])
@pytest.mark.parametrize("descriptor", ["normalised", "linear"])
def test_reimplementations_are_expressible(
    descriptor: str, dilations: tuple[int, ...], is_training: bool
) -> None:
    """With their weights, a unit computes what they compute."""
    theirs = Reimplementation(64, 32, dilations, norm=descriptor == "normalised")
    branches = [Branch(dilation=d) for d in dilations]
    ours = SKConv(64, branches, descriptor=descriptor, score_bias=True)
    ours.branches.load_state_dict(theirs.convs.state_dict())
    ours.squeeze.load_state_dict(theirs.fc.state_dict())
    ours.score.load_state_dict(
        {
            name: torch.cat([getattr(fc, name).data for fc in theirs.fcs])
            for name in ("weight", "bias")
        }
    )
    x = torch.randn(4, 64, 6, 6)

    torch.testing.assert_close(ours.train(is_training)(x), theirs.train(is_training)(x))


@pytest.mark.parametrize(
    "settings",
    [{"descriptor": "linear"}, {"score_bias": True}, {"descriptor": "linear", "score_bias": True}],
)
def test_other_descriptors_have_the_same_initial_weights(settings: dict) -> None:
    """Their biases start at 0 without a draw, so equal seeds give comparable networks."""
    paper = NETWORKS["sknet_tiny"]
    spec = replace(paper, operator=replace(paper.operator, **settings))

    weights, others = (
        build_network(own, generator=torch.Generator().manual_seed(0)).state_dict()
        for own in (paper, spec)
    )

    added = others.keys() - weights.keys()
    assert added
    assert all(name.endswith(".bias") and not others[name].any() for name in added)
    assert all(torch.equal(others[name], weights[name]) for name in others.keys() - added)


def test_gradients_reach_every_parameter() -> None:
    """A parameter without a gradient is never trained."""
    conv = SKConv(64, branches=THREE)
    conv(torch.randn(4, 64, 6, 6)).square().sum().backward()

    assert [name for name, p in conv.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 64, "branches": [Branch(7, 1, 128)]}, "multiple of groups, got 64 channels"),
        ({"channels": 64, "branches": []}, "at least 1 kernel"),
        ({"channels": 64, "attention": "max"}, "attention must be one of softmax, sum, got 'max'"),
        ({"channels": 64, "reduction": 0}, "reduction must be at least 1, got 0"),
        ({"channels": 64, "min_width": 0}, "min_width must be at least 1, got 0"),
        ({"channels": 64, "descriptor": "none"}, "must be one of normalised, linear, got 'none'"),
        ({"channels": 64, "stride": 0}, "stride must be at least 1, got 0"),
    ],
)
def test_impossible_units_are_refused(arguments: dict, message: str) -> None:
    """The message says what must hold and what was given."""
    with pytest.raises(ValueError, match=message):
        SKConv(**arguments)


def test_summed_branches_have_no_weights() -> None:
    """Asking for them is a mistake in the caller."""
    conv = SKConv(64, attention="sum")

    with pytest.raises(TypeError, match="sums its branches"):
        conv.weigh([torch.randn(2, 64, 4, 4)] * 2)


def test_importing_sknet_loads_no_torch() -> None:
    """Plans and help texts must stay fast."""
    code = "import sys, sknet; sknet.list_models(); sys.exit('torch' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)
