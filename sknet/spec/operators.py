"""Values that describe the spatial operator of a block."""

from dataclasses import dataclass, replace
from typing import Literal

Attention = Literal["softmax", "sum"]
"""How branches are merged: weighed by a softmax (Select), or plainly summed."""

Setting = str | int | float | bool | None | tuple[str | int | float | bool | None, ...]
"""What a user's own operator may be given."""


@dataclass(frozen=True)
class Branch:
    """One convolution of the split: its kernel, with dilation D and groups G."""

    kernel: int = 3
    """Side of the square kernel; odd, so that the output is centred on the input."""

    dilation: int = 1
    """Distance between neighbouring kernel taps (the paper's D)."""

    groups: int | None = 32
    """Groups of the convolution (the paper's G); None for one a channel, a depthwise kernel."""

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd and positive, got {self.kernel}")
        if self.dilation < 1:
            raise ValueError(f"dilation must be at least 1, got {self.dilation}")
        if self.groups is not None and self.groups < 1:
            raise ValueError(f"groups must be at least 1, got {self.groups}")

    @property
    def extent(self) -> int:
        """Side of the square that the dilated kernel covers (the paper's resulting kernel).

        >>> Branch(kernel=3, dilation=2).extent
        5
        """
        return self.dilation * (self.kernel - 1) + 1

    def __str__(self) -> str:
        groups = "depthwise" if self.groups is None else f"G={self.groups}"
        return f"{self.kernel}x{self.kernel}, D={self.dilation}, {groups}"


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
        groups = [("groups", b.groups) for b in self.branches if b.groups is not None]
        for name, value in [*groups, ("L", self.min_width)]:
            if value % divisor:
                raise ValueError(f"{name} must be a multiple of the divisor {divisor}, got {value}")
        branches = tuple(
            b if b.groups is None else replace(b, groups=b.groups // divisor) for b in self.branches
        )
        return replace(self, branches=branches, min_width=self.min_width // divisor)

    def __str__(self) -> str:
        branches = " + ".join(f"[{branch}]" for branch in self.branches)
        selects = self.attention == "softmax"
        return f"{branches}, select r={self.reduction} L={self.min_width}" if selects else branches


@dataclass(frozen=True, kw_only=True)
class UserOperator:
    """A spatial operator that a user wrote: a class of theirs, and what it is given.

    It is built as `Class(channels, stride=stride, **settings)`, and must map (N, channels, H, W) to
    (N, channels, ceil(H / stride), ceil(W / stride)); it brings its own normalisation.
    """

    path: str
    """Where the class is, as `package.module:Class`."""

    settings: tuple[tuple[str, Setting], ...] = ()
    """Names and values of the arguments that it is given besides channels and stride."""

    sources: tuple[tuple[str, str], ...] = ()
    """Files that it is made of, the module's own first, each with its SHA-256."""

    def __post_init__(self) -> None:
        module, sign, name = self.path.partition(":")
        if not (sign and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
            raise ValueError(f"operator must be sk or package.module:Class, got {self.path!r}")

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{self.path.partition(':')[2]}({settings})"


Operator = SelectiveKernel | UserOperator
"""What may stand between the two 1x1 convolutions of a block."""
