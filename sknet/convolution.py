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

    If its stride and its dilation have a common divisor g, every tap lies on a grid of step g. The
    fast path takes this grid of the input, and divides stride, dilation and padding by g; its
    outputs are the same to the bit.

    Shapes:
        x: (N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))
    """

    def forward(self, x: Tensor) -> Tensor:
        step = gcd(self.stride[0], self.dilation[0])
        if step == 1 or not is_fast():
            return super().forward(x)
        stride, dilation = self.stride[0] // step, self.dilation[0] // step
        padding = dilation * (self.kernel_size[0] // 2)
        grid = avg_pool2d(x, 1, step)  # several times faster than indexing
        return conv2d(grid, self.weight, self.bias, stride, padding, dilation, self.groups)


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
