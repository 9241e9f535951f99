"""Centred convolutions with batch normalisation and activation."""

from math import gcd
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from sknet.fused import is_fast
from sknet.spec.operators import check_choice

Activation = Literal["relu", "relu6", "none"]
"""What follows batch normalisation: ReLU in SKNet, ReLU6 or nothing in lightweight networks."""


class CentredConv2d(nn.Conv2d):
    """A convolution with an odd kernel that pads by half of its extent.

    If its stride shares a divisor with its dilation, it only reads a part of its input, on a grid,
    and the fast path is a smaller convolution on that part. Both are equal to the bit.

    Shapes:
        x: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def forward(self, x: Tensor) -> Tensor:
        stride, dilation = self.stride[0], self.dilation[0]
        step = stride if self.kernel_size[0] == 1 else gcd(stride, dilation)
        if step == 1 or not is_fast():
            return super().forward(x)
        x = avg_pool2d(x, 1, step)  # subsamples; much faster than indexing
        padding = self.padding[0] // step  # type: ignore[operator]  # never text
        dilation = max(1, dilation // step)
        return conv2d(x, self.weight, self.bias, stride // step, padding, dilation, self.groups)


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
        CentredConv2d(in_width, out_width, kernel, stride, padding, dilation, groups, bias),
        nn.BatchNorm2d(out_width),
    ]
    if activation != "none":
        layers.append(nn.ReLU(inplace=True) if activation == "relu" else nn.ReLU6(inplace=True))
    return nn.Sequential(*layers)
