"""The selective kernel convolution: split, fuse, select; or split and fuse by a plain sum."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sknet.spec import Attention, Branch, SelectiveKernel

Activation = Literal["relu", "relu6", "none"]
"""What follows a branch's batch normalisation: ReLU in the paper, less in lightweight networks."""


class SKConv(nn.Module):
    """Convolution that chooses its kernel, channel by channel, from what it sees.

    Split: every branch convolves the same input with its own kernel, each followed by batch
    normalisation and ReLU. Fuse: the branches' sum is pooled to a descriptor of the whole image.
    Select: a softmax over branches, computed from the descriptor, weighs them.
    With `attention="sum"` the branches are summed and nothing else; a single summed branch is
    a plain grouped convolution. A softmax over a single branch weighs it by 1.

    Shapes:
        x: (N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))

    Args:
        channels: C, the same for input and output.
        branches: The M kernels; selection weights come in this order.
        attention: `softmax` to select among branches, `sum` to add them.
        reduction: Ratio r; the descriptor is max(C // r, min_width) wide.
        min_width: Lower bound L of the descriptor's width.
        stride: Stride of every branch.
        activation: What follows every branch's batch normalisation.

    Raises:
        ValueError: If a branch's groups do not divide `channels`, or a setting is out of range.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, section 3.1.
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[Branch] = (Branch(), Branch(dilation=2)),
        *,
        attention: Attention = "softmax",
        reduction: int = 16,
        min_width: int = 32,
        stride: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        operator = SelectiveKernel(
            branches=tuple(branches),
            attention=attention,
            reduction=reduction,
            min_width=min_width,
        )
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.branches = nn.ModuleList(
            _build_branch(branch, channels, stride=stride, activation=activation)
            for branch in operator.branches
        )
        self.squeeze: nn.Sequential | None = None
        self.score: nn.Linear | None = None
        if attention == "softmax":
            width = operator.descriptor_width(channels)
            self.squeeze = nn.Sequential(
                nn.Linear(channels, width, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(inplace=True),
            )
            # One fully connected layer for each branch, laid one below the other.
            self.score = nn.Linear(width, len(self.branches) * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = [branch(x) for branch in self.branches]  # M of (N, C, H', W'); never stacked
        if self.squeeze is None:
            return _sum(features)
        return weighted_sum(features, self.weigh(features))

    def weigh(self, features: Sequence[Tensor]) -> Tensor:
        """Weights of the branches, one for each channel; over branches they sum to 1.

        Shapes:
            features: M of (N, C, H', W') -> (N, M, C)

        Raises:
            TypeError: If the unit sums its branches: it then has no weights.
        """
        if self.squeeze is None or self.score is None:
            raise TypeError("weigh needs attention='softmax'; this unit sums its branches")
        descriptor = self.squeeze(pooled_sum(features))  # (N, width)
        return normalise_scores(self.score(descriptor), len(features))

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of Select for `output`: one for each element of every branch."""
        return 0 if self.squeeze is None else len(self.branches) * output.numel()


def normalise_scores(scores: Tensor, num_branches: int) -> Tensor:
    """Softmax over branches of the fully connected layers' outputs.

    Shapes:
        scores: (N, M * C), branch by branch -> (N, M, C)
    """
    return scores.view(scores.shape[0], num_branches, -1).softmax(dim=1)


def pooled_sum(features: Sequence[Tensor]) -> Tensor:
    """Global average of the features' sum, without forming the sum.

    Shapes:
        features: M of (N, C, H, W) -> (N, C)
    """
    return _sum([feature.mean(dim=(2, 3)) for feature in features])


def weighted_sum(features: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum of the features, each weighed channel by channel; the weights sum to 1 over M.

    Shapes:
        features: M of (N, C, H, W); weights: (N, M, C) -> (N, C, H, W)
    """
    columns = weights[..., None, None].unbind(dim=1)  # M of (N, C, 1, 1)
    if len(features) == 2:
        first, second = features
        return torch.lerp(first, second, columns[1].to(first.dtype))  # one pass instead of three
    return _sum([feature * column for feature, column in zip(features, columns, strict=True)])


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


def _build_branch(
    branch: Branch, channels: int, *, stride: int, activation: Activation
) -> nn.Sequential:
    groups = channels if branch.groups is None else branch.groups
    if channels % groups:
        raise ValueError(
            f"channels must be a multiple of groups, got {channels} channels and {groups} groups"
        )
    convolution = nn.Conv2d(
        channels,
        channels,
        branch.kernel,
        stride=stride,
        padding=branch.extent // 2,
        dilation=branch.dilation,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), *build_activation(activation))


def build_activation(activation: Activation) -> list[nn.Module]:
    """The layer that `activation` names, if it names one.

    Raises:
        ValueError: If there is no such activation.
    """
    layers: dict[str, list[nn.Module]] = {
        "relu": [nn.ReLU(inplace=True)],
        "relu6": [nn.ReLU6(inplace=True)],
        "none": [],
    }
    if activation not in layers:
        raise ValueError(f"activation must be one of {', '.join(layers)}, got {activation!r}")
    return layers[activation]
