"""Frozen values that describe a branch, an operator, a body and a network, and what is possible."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Attention = Literal["softmax", "sum"]
"""How branches are merged: weighed by a softmax (Select), or plainly summed."""


@dataclass(frozen=True)
class Branch:
    """One convolution of the split: its kernel, with dilation D and groups G."""

    kernel: int = 3
    """Side of the square kernel; odd, so that the output is centred on the input."""

    dilation: int = 1
    """Distance between neighbouring kernel taps (the paper's D)."""

    groups: int = 32
    """Groups of the convolution (the paper's G)."""

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")
        if self.dilation < 1:
            raise ValueError(f"dilation must be at least 1, got {self.dilation}")
        if self.groups < 1:
            raise ValueError(f"groups must be at least 1, got {self.groups}")

    @property
    def extent(self) -> int:
        """Side of the square that the dilated kernel covers (the paper's resulting kernel).

        >>> Branch(kernel=3, dilation=2).extent
        5
        """
        return self.dilation * (self.kernel - 1) + 1

    def __str__(self) -> str:
        return f"{self.kernel}x{self.kernel}, D={self.dilation}, G={self.groups}"


@dataclass(frozen=True, kw_only=True)
class SelectiveKernel:
    """The spatial operator of a bottleneck. The defaults are SK[M=2, r=16] of SKNet-50, L=32.

    One summed branch is the grouped convolution of ResNeXt.
    """

    branches: tuple[Branch, ...] = (Branch(), Branch(dilation=2))
    """The M kernels to select from; selection weights come in this order."""

    attention: Attention = "softmax"
    """Whether branches are selected or summed; a sum has no fully connected layer at all."""

    reduction: int = 16
    """Ratio r: the descriptor is max(channels // reduction, min_width) wide."""

    min_width: int = 32
    """Lower bound L of the descriptor's width."""

    def __post_init__(self) -> None:
        if not self.branches:
            raise ValueError("branches must hold at least 1 kernel, got none")
        if self.attention not in ("softmax", "sum"):
            raise ValueError(f"attention must be softmax or sum, got {self.attention!r}")
        if self.reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {self.reduction}")
        if self.min_width < 1:
            raise ValueError(f"min_width must be at least 1, got {self.min_width}")

    def descriptor_width(self, channels: int) -> int:
        """Width d of the fused descriptor of `channels` channels (section 3.1, equation 4)."""
        return max(channels // self.reduction, self.min_width)

    def scaled_down(self, divisor: int) -> "SelectiveKernel":
        """The same operator for a body `divisor` times narrower: groups and L are divided.

        Raises:
            ValueError: If a number of groups or L is not a multiple of `divisor`.
        """
        for name, value in [*(("groups", b.groups) for b in self.branches), ("L", self.min_width)]:
            if value % divisor:
                raise ValueError(f"{name} must be a multiple of the divisor {divisor}, got {value}")
        branches = tuple(replace(b, groups=b.groups // divisor) for b in self.branches)
        return replace(self, branches=branches, min_width=self.min_width // divisor)


@dataclass(frozen=True, kw_only=True)
class Stem:
    """What comes before the first stage. The default is ResNet's for ImageNet."""

    width: int = 64
    """Output channels."""

    kernel: int = 7
    """Side of the convolution's square kernel."""

    stride: int = 2
    """Stride of the convolution."""

    pool: bool = True
    """Whether a 3x3 max pooling of stride 2 follows."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Where operators are built in. The default is the 50-layer body of Table 1."""

    stem: Stem = Stem()
    """What comes before the first stage."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Number of bottlenecks in each stage."""

    mid_widths: tuple[int, ...] = (128, 256, 512, 1024)
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[int, ...] = (256, 512, 1024, 2048)
    """Output channels of the bottlenecks, by stage."""

    input_size: int = 224
    """Side in pixels of the images that the body is made for."""

    divisor: int = 1
    """By how much the body is narrower than the paper's; groups and L are divided by it."""

    def __post_init__(self) -> None:
        stages = {len(self.depths), len(self.mid_widths), len(self.out_widths)}
        if len(stages) != 1 or not self.depths:
            raise ValueError(
                "depths, mid_widths and out_widths must have one entry for each stage, got "
                f"{len(self.depths)}, {len(self.mid_widths)} and {len(self.out_widths)}"
            )
        sizes = (*self.depths, *self.mid_widths, *self.out_widths, self.input_size, self.divisor)
        if min(sizes) < 1:
            raise ValueError(f"every size of a body must be at least 1, got {min(sizes)}")


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """All that a network's architecture depends on. The default is SKNet-50."""

    body: Body = Body()
    """Depths, widths and stem."""

    operator: SelectiveKernel = SelectiveKernel()
    """The spatial operator of every bottleneck, as built (groups and L already divided)."""

    in_channels: int = 3
    """Channels of the images."""

    num_classes: int = 1000
    """Outputs of the classifier."""

    def __post_init__(self) -> None:
        if self.in_channels < 1 or self.num_classes < 1:
            raise ValueError(
                "in_channels and num_classes must be at least 1, "
                f"got {self.in_channels} and {self.num_classes}"
            )
        faults = list(find_impossible(self.body, self.operator))
        if faults:
            raise ValueError("; ".join(faults))

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values: equal for two specs exactly if the networks are.

        How it was described does not count: ratios r and floors L that give the same descriptor
        widths are the same, and a sum has neither.
        """
        body, operator = self.body, self.operator
        selects = operator.attention == "softmax"
        return {
            "stem": asdict(body.stem),
            "depths": list(body.depths),
            "mid_widths": list(body.mid_widths),
            "out_widths": list(body.out_widths),
            "branches": [asdict(branch) for branch in operator.branches],
            "descriptor_widths": [
                operator.descriptor_width(width) if selects else None for width in body.mid_widths
            ],
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
        }


def find_impossible(body: Body, operator: SelectiveKernel) -> Iterator[str]:
    """Says, stage by stage, why `operator` cannot be built on `body`; nothing if it can."""
    for stage, width in enumerate(body.mid_widths, start=1):
        for branch in operator.branches:
            if width % branch.groups:
                yield (
                    f"stage {stage}: {width} channels must be a multiple of the groups "
                    f"of {branch.kernel}x{branch.kernel}, got {branch.groups} groups"
                )
