"""Bottleneck, stages and body: every ResNet, ResNeXt, SENet and SKNet."""

import torch
from torch import Tensor, nn

from sknet.block_attention import build_attention
from sknet.operators import build_operator
from sknet.spec import (
    Block,
    BlockAttention,
    Body,
    NetworkSpec,
    Operator,
    Position,
    Stem,
    StridePlace,
    attended_widths,
)


class Bottleneck(nn.Module):
    """1x1 convolution, the spatial operator, 1x1 convolution, and a shortcut around them.

    Shapes:
        x: (N, in_width, H, W) -> (N, out_width, ceil(H / stride), ceil(W / stride))

    Args:
        block: Widths and stride.
        operator: What the spatial operator is.
        attention: What is added to the block, at its `position`; nothing if None.
        stride_place: Which convolution has the stride; the shortcut's projection has it, too.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(
        self,
        block: Block,
        *,
        operator: Operator,
        attention: BlockAttention | None = None,
        stride_place: StridePlace = "operator",
    ) -> None:
        super().__init__()
        reduce_stride = block.stride if stride_place == "reduce" else 1
        self.reduce = nn.Sequential(
            nn.Conv2d(block.in_width, block.mid_width, 1, stride=reduce_stride, bias=False),
            nn.BatchNorm2d(block.mid_width),
            nn.ReLU(inplace=True),
        )
        self.operator = build_operator(
            operator, block.mid_width, stride=block.stride // reduce_stride
        )
        self.expand = nn.Sequential(
            nn.Conv2d(block.mid_width, block.out_width, 1, bias=False),
            nn.BatchNorm2d(block.out_width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if block.stride != 1 or block.in_width != block.out_width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(block.in_width, block.out_width, 1, stride=block.stride, bias=False),
                nn.BatchNorm2d(block.out_width),
            )
        self.attention: nn.Module | None = None
        if attention is not None and attention.position != "between":
            self.attention = build_attention(attention, block.attended_width(attention.position))
            self.position = attention.position

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(self._attend("pre", x))
        y = self._attend("inside", self.operator(y))
        y = self._attend("standard", self.expand(y))
        y = torch.relu_(y + self._attend("identity", self.shortcut(x)))
        return self._attend("post", y)

    def _attend(self, position: Position, x: Tensor) -> Tensor:
        """Applies the attention if this is the place where it sits."""
        if self.attention is None or self.position != position:
            return x
        attended: Tensor = self.attention(x)
        return attended


class ResNeXt(nn.Module):
    """A classifier of images: stem, stages of bottlenecks, global pooling, linear layer.

    Shapes:
        x: (N, in_channels, H, W) -> (N, num_classes)

    Args:
        spec: The architecture.
        body: The spec's body.

    Reference:
        Li et al., Selective Kernel Networks, CVPR 2019, Table 1.
    """

    def __init__(self, spec: NetworkSpec, body: Body) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _build_stem(body.stem, spec.in_channels)
        self.stages = _build_stages(body, spec.operator, spec.attention)
        self.classifier = nn.Linear(body.out_widths[-1], spec.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _build_stem(stem: Stem, in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            stem.width,
            stem.kernel,
            stride=stem.stride,
            padding=stem.kernel // 2,
            bias=False,
        ),
        nn.BatchNorm2d(stem.width),
        nn.ReLU(inplace=True),
    ]
    if stem.pool:
        layers.append(nn.MaxPool2d(3, stride=2, padding=1))
    return nn.Sequential(*layers)


def _build_stages(
    body: Body, operator: Operator, attention: BlockAttention | None
) -> nn.Sequential:
    """One Sequential of bottlenecks a stage; an attention between stages ends it."""
    widths = [[]] * len(body.depths) if attention is None else attended_widths(body, attention)
    stages: list[nn.Module] = []
    for blocks, attended in zip(body.stages(), widths, strict=True):
        layers: list[nn.Module] = [
            Bottleneck(
                block,
                operator=operator,
                attention=attention if attended else None,
                stride_place=body.stride_place,
            )
            for block in blocks
        ]
        if attention is not None and attention.position == "between":
            layers += [build_attention(attention, width) for width in attended]
        stages.append(nn.Sequential(*layers))
    return nn.Sequential(*stages)
