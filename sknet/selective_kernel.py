"""The selective kernel convolution: split, fuse, select; or split and fuse by a plain sum."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sknet.convolution import Activation, build_convolution
from sknet.fused import can_fuse, fuse
from sknet.spec import Attention, Branch, Descriptor, SelectiveKernel
from sknet.spec.operators import check_positive


class ZeroBiasLinear(nn.Linear):
    """A fully connected layer whose bias, if there is one, is initialised to 0 without a draw.

    With or without the bias, the same seed therefore gives a network the same weights.

    Shapes:
        x: (N, in_features) -> (N, out_features)
    """

    def reset_parameters(self) -> None:
        """Initialises the weight as `nn.Linear` does, and the bias to 0."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            nn.init.zeros_(self.bias)


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
        descriptor: `normalised` to follow the descriptor's fully connected layer by batch
            normalisation and ReLU, `linear` to give it a bias instead.
        score_bias: Whether the layers that score the branches have biases.
        stride: Stride of every branch.
        activation: What follows the batch normalisation of every branch.

    Raises:
        ValueError: If a branch's groups do not divide `channels`, or a setting is out of range.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, section 3.1.

    Examples:
        >>> conv = SKConv(64, branches=[Branch(), Branch(dilation=2)], stride=2)
        >>> conv(torch.randn(2, 64, 7, 7)).shape
        torch.Size([2, 64, 4, 4])
    """

    def __init__(
        self,
        channels: int,
        branches: Sequence[Branch] = (Branch(), Branch(dilation=2)),
        *,
        attention: Attention = "softmax",
        reduction: int = 16,
        min_width: int = 32,
        descriptor: Descriptor = "normalised",
        score_bias: bool = False,
        stride: int = 1,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        operator = SelectiveKernel(
            branches=tuple(branches),
            attention=attention,
            reduction=reduction,
            min_width=min_width,
            descriptor=descriptor,
            score_bias=score_bias,
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
            self.squeeze = _build_squeeze(channels, width, descriptor)
            # The fully connected layers of all branches in one matrix, branch by branch.
            self.score = ZeroBiasLinear(width, len(self.branches) * channels, bias=score_bias)

    def forward(self, x: Tensor) -> Tensor:
        branches: list[Any] = list(self.branches)
        gate = [module for module in (self.squeeze, self.score) if module is not None]
        if can_fuse(x, branches, gate=gate):
            features = [branch[0](x) for branch in branches]
            return self._fuse(features, [branch[1] for branch in branches])
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
        return self._weigh_pooled(pooled_sum(features))

    def _weigh_pooled(self, pooled: Tensor) -> Tensor:
        """The weights (N, M, C), from the average of the sum of the branches, (N, C)."""
        if self.squeeze is None or self.score is None:
            raise TypeError("weigh needs attention='softmax'; this unit sums its branches")
        return normalise_scores(self.score(self.squeeze(pooled)), len(self.branches))

    def _fuse(self, features: Sequence[Tensor], norms: Sequence[nn.BatchNorm2d]) -> Tensor:
        """What `forward` computes from the outputs of the convolutions, in fewer steps."""
        if self.squeeze is None or self.score is None:
            return fuse(features, norms)
        parameters = [*self.squeeze.parameters(), *self.score.parameters()]
        return fuse(features, norms, weigh=self._weigh_pooled, parameters=parameters)

    def count_rescaling(self, output: Tensor) -> int:
        """Multiplications of Select for `output`: one per element of every branch."""
        return 0 if self.squeeze is None else len(self.branches) * output.numel()


def _build_squeeze(channels: int, width: int, descriptor: Descriptor) -> nn.Sequential:
    """Layers from the pooled features, (N, channels), to the descriptor, (N, width)."""
    if descriptor == "linear":
        return nn.Sequential(ZeroBiasLinear(channels, width))
    return nn.Sequential(
        nn.Linear(channels, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)
    )


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

    The result has the features' type, whatever type autocast gives the weights.

    Shapes:
        features: M of (N, C, H, W); weights: (N, M, C) -> (N, C, H, W)
    """
    columns = weights.to(features[0].dtype)[..., None, None].unbind(dim=1)  # M of (N, C, 1, 1)
    if len(features) == 2:
        first, second = features
        return torch.lerp(first, second, columns[1])  # one pass instead of three
    return _sum([feature * column for feature, column in zip(features, columns, strict=True)])


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total
