"""ShuffleNetV2 and MobileNetV2: plain, with SE, or with selective kernels."""

import torch
from torch import Tensor, nn

from sknet.block_attention import build_attention
from sknet.convolution import build_convolution
from sknet.operators import build_operator
from sknet.resnext import build_stages
from sknet.spec import (
    Block,
    BlockAttention,
    MobileNetV2Body,
    NetworkSpec,
    Operator,
    ShuffleNetV2Body,
)


class ShuffleUnit(nn.Module):
    """Half of the channels go through 1x1, the spatial operator, 1x1; then both are interleaved.

    The other half is passed on unchanged. With stride 2 both halves are computed from the whole
    input, the other one by a depthwise 3x3 and a 1x1 convolution. Attention applies to both
    halves before they are interleaved.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Args:
        block: Widths and stride.
        operator: Spec of the spatial operator.
        attention: Attention to add; none if None.

    Reference:
        Ma et al., ShuffleNet V2, ECCV 2018, Figure 3 (c) and (d).
    """

    def __init__(
        self, block: Block, *, operator: Operator, attention: BlockAttention | None
    ) -> None:
        super().__init__()
        half = block.mid_width
        self.shortcut: nn.Sequential | None = None
        in_width = half
        if block.stride > 1:
            in_width = block.in_width
            depthwise = build_convolution(
                in_width,
                in_width,
                kernel=3,
                stride=block.stride,
                groups=in_width,
                activation="none",
            )
            self.shortcut = nn.Sequential(depthwise, build_convolution(in_width, half))
        self.reduce = build_convolution(in_width, half)
        self.operator = build_operator(operator, half, stride=block.stride, activation="none")
        self.expand = build_convolution(half, half)
        self.attention = None if attention is None else build_attention(attention, block.out_width)

    def forward(self, x: Tensor) -> Tensor:
        if self.shortcut is None:
            kept, worked = x.chunk(2, dim=1)
        else:
            kept, worked = self.shortcut(x), x
        worked = self.expand(self.operator(self.reduce(worked)))
        if self.attention is not None:
            kept, worked = self.attention(torch.cat((kept, worked), dim=1)).chunk(2, dim=1)
        return interleave(kept, worked)


class ShuffleNetV2(nn.Module):
    """Image classifier: stem, stages of shuffle units, 1x1, global pooling, linear layer.

    Shapes:
        x: (N, in_channels, H, W) -> (N, num_classes)

    Args:
        spec: The architecture.
        body: The spec's body.

    Reference:
        Ma et al., ShuffleNet V2, ECCV 2018, Table 5.
    """

    def __init__(self, spec: NetworkSpec, body: ShuffleNetV2Body) -> None:
        super().__init__()
        self.spec = spec
        self.stem = nn.Sequential(
            build_convolution(spec.in_channels, body.stem_width, kernel=3, stride=body.stem_stride)
        )
        if body.stem_pool:
            self.stem.append(nn.MaxPool2d(3, stride=2, padding=1))
        self.stages = build_stages(spec, ShuffleUnit)
        self.head = build_convolution(body.out_widths[-1], body.last_width)
        self.classifier = nn.Linear(body.last_width, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, spatial operator, 1x1 to fewer, and a shortcut around them.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Args:
        block: Widths and stride.
        operator: Spec of the spatial operator.
        attention: Attention to add after the last convolution; none if None.

    Reference:
        Sandler et al., MobileNetV2, CVPR 2018, section 3.4.
    """

    def __init__(
        self, block: Block, *, operator: Operator, attention: BlockAttention | None
    ) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity()
        if block.mid_width != block.in_width:
            self.expand = build_convolution(block.in_width, block.mid_width, activation="relu6")
        self.operator = build_operator(
            operator, block.mid_width, stride=block.stride, activation="relu6"
        )
        self.project = build_convolution(block.mid_width, block.out_width, activation="none")
        self.attention = None if attention is None else build_attention(attention, block.out_width)
        self.adds = block.stride == 1 and block.in_width == block.out_width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.operator(self.expand(x)))
        if self.attention is not None:
            y = self.attention(y)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """Image classifier: stem, stages of inverted residuals, 1x1, global pooling, linear layer.

    The classifier has no dropout.

    Shapes:
        x: (N, in_channels, H, W) -> (N, num_classes)

    Args:
        spec: The architecture.
        body: The spec's body.

    Reference:
        Sandler et al., MobileNetV2, CVPR 2018, Table 2.
    """

    def __init__(self, spec: NetworkSpec, body: MobileNetV2Body) -> None:
        super().__init__()
        self.spec = spec
        self.stem = build_convolution(
            spec.in_channels, body.stem_width, kernel=3, stride=2, activation="relu6"
        )
        self.stages = build_stages(spec, InvertedResidual)
        self.head = build_convolution(body.out_widths[-1], body.last_width, activation="relu6")
        self.classifier = nn.Linear(body.last_width, spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """Alternates the channels of both, starting with `first`; keeps the memory format of `second`.

    Shapes:
        first, second: (N, C, H, W) -> (N, 2 * C, H, W)
    """
    if second.stride(1) == 1:  # channels last, of the whole tensor or a slice of it
        pair = (first.permute(0, 2, 3, 1), second.permute(0, 2, 3, 1))
        return torch.stack(pair, dim=-1).flatten(3).permute(0, 3, 1, 2)
    return torch.stack((first, second), dim=2).flatten(1, 2)
