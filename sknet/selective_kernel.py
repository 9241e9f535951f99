"""The selective kernel convolution: split, fuse, select; or split and fuse by a plain sum."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sknet.spec import Attention, Branch, SelectiveKernel
from sknet.spec.operators import check_choice, check_positive

Activation = Literal["relu", "relu6", "none"]
"""What follows batch normalisation: ReLU in SKNet, ReLU6 or nothing in lightweight networks."""


class SKConv(nn.Module):
    """Convolution that selects its kernel from its input, separately for every channel.

    Split: every branch convolves the same input with its own kernel, followed by batch
    normalisation and ReLU. Fuse: the sum of the branches is pooled to a descriptor of the whole
    image. Select: a softmax over branches, computed from the descriptor, weights them.
    With `attention="sum"` the branches are only summed; a single summed branch is
    a plain grouped convolution. A softmax over a single branch weights it by 1.

    Shapes:
        x: (N, C, H, W) -> (N, C, ceil(H / stride), ceil(W / stride))

    Args:
        channels: C, the same for input and output.
        branches: The M kernels; selection weights come in this order.
        attention: `softmax` to select among branches, `sum` to add them.
        reduction: Ratio r; the descriptor is max(C // r, min_width) wide.
        min_width: Lower bound L of the descriptor's width.
        stride: Stride of every branch.
        activation: What follows the batch normalisation of every branch.

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
        check_positive(stride=stride)
        self.branches = nn.ModuleList(
            build_convolution(
                channels,
                channels,
                kernel=branch.kernel,
                stride=stride,
                dilation=branch.dilation,
                groups=channels if branch.groups is None else branch.groups,
                activation=activation,
            )
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
            # The fully connected layers of all branches in one matrix, branch by branch.
            self.score = nn.Linear(width, len(self.branches) * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        features = [branch(x) for branch in self.branches]  # M of (N, C, H', W'); never stacked
        if self.squeeze is None:
            return _sum(features)
        return weighted_sum(features, self.weigh(features))

    def weigh(self, features: Sequence[Tensor]) -> Tensor:
        """Computes the weight of every branch, per channel; over branches they sum to 1.

        Shapes:
            features: M of (N, C, H', W') -> (N, M, C)

        Raises:
            TypeError: If the unit sums its branches and so has no weights.
        """
        if self.squeeze is None or self.score is None:
            raise TypeError("weigh needs attention='softmax'; this unit sums its branches")
        descriptor = self.squeeze(pooled_sum(features))  # (N, width)
        return normalise_scores(self.score(descriptor), len(features))

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of Select for `output`: one per element of every branch."""
        return 0 if self.squeeze is None else len(self.branches) * output.numel()


def normalise_scores(scores: Tensor, num_branches: int) -> Tensor:
    """Softmax over branches of the outputs of the fully connected layers.

    Shapes:
        scores: (N, M * C), branch by branch -> (N, M, C)
    """
    return scores.view(scores.shape[0], num_branches, -1).softmax(dim=1)


def pooled_sum(features: Sequence[Tensor]) -> Tensor:
    """Global average of the sum of the features, without computing the sum.

    Shapes:
        features: M of (N, C, H, W) -> (N, C)
    """
    return _sum([feature.mean(dim=(2, 3)) for feature in features])


def weighted_sum(features: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Sum of the features, weighted per channel by weights that sum to 1 over M.

    Shapes:
        features: M of (N, C, H, W); weights: (N, M, C) -> (N, C, H, W)
    """
    columns = weights[..., None, None].unbind(dim=1)  # M of (N, C, 1, 1)
    if len(features) == 2:
        first, second = features
        return torch.lerp(first, second, columns[1].to(first.dtype))  # one pass instead of three
    return _sum([feature * column for feature, column in zip(features, columns, strict=True)])


def build_convolution(
    in_width: int,
    out_width: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: Activation = "relu",
) -> nn.Sequential:
    """Builds a centred convolution with batch normalisation and activation.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Raises:
        ValueError: If `groups` does not divide the widths, or the activation is unknown.
    """
    check_choice("activation", activation, get_args(Activation))
    if in_width % groups:
        raise ValueError(
            f"channels must be a multiple of groups, got {in_width} channels and {groups} groups"
        )
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(in_width, out_width, kernel, stride, padding, dilation, groups, bias),
        nn.BatchNorm2d(out_width),
    ]
    if activation != "none":
        layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
