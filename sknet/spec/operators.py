"""Specs of the spatial operator of a block, and the checks that all specs share."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

Attention = Literal["softmax", "sum"]
"""How branches are merged: weighted by a softmax (Select), or summed."""

Descriptor = Literal["normalised", "linear"]
"""What computes the descriptor: a fully connected layer with batch normalisation and ReLU, as in
the paper; or only a fully connected layer with a bias, as in some reimplementations."""

Scalar = str | int | float | bool | None
Setting = Scalar | tuple[Scalar, ...]
"""Value of an argument of a user's operator."""


LARGEST_SIZE = 2**16
"""Largest width, reduction, number of groups or other size of a part of a network."""

LARGEST_EXTENT = 255
"""Largest side of the square that a kernel covers."""


# Defined first: the default values below are checked on import.


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_positive(**sizes: int) -> None:
    """Raises ValueError unless every size is within 1 and the largest one."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
        if size > LARGEST_SIZE:
            raise ValueError(f"{name} must be at most {LARGEST_SIZE}, got {size}")


def check_kernel(kernel: int, *, dilation: int = 1) -> None:
    """Raises ValueError unless a kernel of this side has a centre and a sensible extent."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel must be odd and positive, got {kernel}")
    if (extent := dilation * (kernel - 1) + 1) > LARGEST_EXTENT:
        raise ValueError(
            f"kernel and dilation must cover at most {LARGEST_EXTENT} pixels, got {extent}"
        )


@dataclass(frozen=True)
class Branch:
    """One convolution of the split: its kernel, dilation D and groups G.

    Examples:
        >>> print(Branch(kernel=3, dilation=2, groups=32))
        3x3, D=2, G=32
    """

    kernel: int = 3
    """Side of the square kernel; odd, so that the output is centred on the input."""

    dilation: int = 1
    """Distance between neighbouring kernel taps (the paper's D)."""

    groups: int | None = 32
    """Groups of the convolution (the paper's G); None for depthwise (one group per channel)."""

    def __post_init__(self) -> None:
        check_positive(dilation=self.dilation)
        check_kernel(self.kernel, dilation=self.dilation)
        if self.groups is not None:
            check_positive(groups=self.groups)

    @property
    def extent(self) -> int:
        """Side of the square that the dilated kernel covers (the paper's resulting kernel).

        Examples:
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

    A single summed branch is the grouped convolution of ResNeXt.

    Examples:
        >>> SelectiveKernel().descriptor_width(channels=1024)
        64
    """

    branches: tuple[Branch, ...] = (Branch(), Branch(dilation=2))
    """The M kernels to select from; selection weights come in this order."""

    attention: Attention = "softmax"
    """Whether branches are selected or summed; a sum has no fully connected layers."""

    reduction: int = 16
    """Ratio r: the descriptor is max(channels // reduction, min_width) wide."""

    min_width: int = 32
    """Lower bound L of the descriptor's width."""

    descriptor: Descriptor = "normalised"
    """What computes the descriptor; `normalised` in the paper."""

    score_bias: bool = False
    """Whether the layers that score the branches have biases; False in the paper."""

    def __post_init__(self) -> None:
        if not self.branches:
            raise ValueError("branches must hold at least 1 kernel, got none")
        check_choice("attention", self.attention, get_args(Attention))
        check_choice("descriptor", self.descriptor, get_args(Descriptor))
        check_positive(reduction=self.reduction, min_width=self.min_width)

    def descriptor_width(self, channels: int) -> int:
        """Width d of the fused descriptor for `channels` channels (section 3.1, equation 4)."""
        return max(channels // self.reduction, self.min_width)

    def scaled_down(self, divisor: int) -> "SelectiveKernel":
        """The same operator for a narrower body: groups and L are divided by its divisor.

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
        parts = [" + ".join(f"[{branch}]" for branch in self.branches)]
        if self.attention == "softmax":
            parts.append(f"select r={self.reduction} L={self.min_width}")
            if self.descriptor != "normalised":
                parts.append(f"{self.descriptor} descriptor")
            if self.score_bias:
                parts.append("score bias")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class UserOperator:
    """A spatial operator written by a user: the path of its class, and the arguments to pass.

    It is built as `Class(channels, stride=stride, **settings)`, and must map (N, channels, H, W) to
    (N, channels, ceil(H / stride), ceil(W / stride)). It includes its own normalisation.
    """

    path: str
    """Import path of the class, as `package.module:Class`."""

    settings: tuple[tuple[str, Setting], ...] = ()
    """Names and values of its arguments other than channels and stride."""

    sources: tuple[tuple[str, str], ...] = ()
    """Files that define it, each with its SHA-256; the class's own module comes first."""

    def __post_init__(self) -> None:
        module, colon, name = self.path.partition(":")
        if not (colon and name.isidentifier() and all(map(str.isidentifier, module.split(".")))):
            raise ValueError(f"operator must be sk or package.module:Class, got {self.path!r}")

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings)
        return f"{self.path.partition(':')[2]}({settings})"


Operator = SelectiveKernel | UserOperator
"""Spatial operators, which sit between the two 1x1 convolutions of a block."""
