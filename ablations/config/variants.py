"""What a variant may say: its network in the papers' terms, and what it is on a narrower body."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
)

from ablations.config.base import Strict, wrap_text
from sknet.spec import Attention, Branch, Excitation, Position, Squeeze, Stem, StridePlace

KERNELS: Mapping[str, Branch] = {
    "K3": Branch(kernel=3, dilation=1),
    "K5": Branch(kernel=3, dilation=2),
    "K7": Branch(kernel=3, dilation=3),
}
"""The paper's short names of kernels (section 4.4, Table 7)."""

Plain = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""A value that is taken as it is written."""


def _expand_kernel(value: Any) -> Any:
    if isinstance(value, str):
        if value not in KERNELS:
            raise ValueError(f"must be one of {', '.join(KERNELS)} or a mapping")
        return KERNELS[value]
    return value


def _expand_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class AttentionSettings(Strict):
    """Attention of a block: SE, CBAM or BAM; what is left out is inherited, or its default."""

    kind: Literal["SE", "CBAM", "BAM", "none"] | None = None
    """Which; `none` takes it away. A kind that is given starts from its defaults."""

    reduction: PositiveInt | None = None
    """Ratio r of its layers."""

    squeeze: Squeeze | None = None
    """SE: how a channel is described."""

    excitation: Excitation | None = None
    """SE: what the weights go through last."""

    position: Position | None = None
    """SE: where in the bottleneck it sits."""

    stages: tuple[PositiveInt, ...] | None = None
    """SE: the stages that have it, the first after the stem being 1; all if left out."""

    bias: bool | None = None
    """SE: whether its layers have a bias."""

    batch_norm: bool | None = None
    """SE: whether batch normalisation follows its layers."""

    kernel: PositiveInt | None = None
    """CBAM: side of the convolution that weighs places."""

    dilation: PositiveInt | None = None
    """BAM: dilation of its 3x3 convolutions."""


class BodySettings(Strict):
    """What is changed in a body; what is left out stays."""

    stem: Stem | None = None
    """What comes before the first stage."""

    depths: tuple[PositiveInt, ...] | None = None
    """Number of blocks in each stage."""

    mid_widths: tuple[PositiveInt, ...] | None = None
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[PositiveInt, ...] | None = None
    """Output channels, by stage."""

    stride_place: StridePlace | None = None
    """Which convolution of a stage's first bottleneck has the stride."""

    stem_width: PositiveInt | None = None
    """Channels of a lightweight body's stem."""

    last_width: PositiveInt | None = None
    """Channels of a lightweight body's last 1x1 convolution."""


class Parts(Strict):
    """What a network is made of; what is left out is inherited."""

    body: str | BodySettings | None = None
    """Another body by name, or what is changed in the body."""

    branches: tuple[Annotated[Branch, BeforeValidator(_expand_kernel)], ...] | None = None
    """The M kernels, as K3, K5, K7 or as mappings of kernel, dilation and groups."""

    attention: Attention | None = None
    """`softmax` selects among branches, `sum` adds them."""

    reduction: PositiveInt | None = None
    """Ratio r of the descriptor."""

    min_width: PositiveInt | None = None
    """Lower bound L of the descriptor's width."""

    block_attention: Annotated[AttentionSettings | None, BeforeValidator(_expand_kind)] = None
    """SE, CBAM, BAM or none, or a mapping with the kind's settings."""

    settings: dict[str, Plain | tuple[Plain, ...]] | None = None
    """Arguments of a user's own operator, checked against its annotations."""


class VariantSettings(Parts):
    """What a variant is, at the paper's scale."""

    network: str | None = None
    """The network of sknet's zoo that it starts from; else SKNet on the paper's body."""

    operator: str | None = None
    """`sk`, or `package.module:Class` for an operator of the user's own."""

    sources: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Further files that the user's operator is made of, beside experiments.yaml."""

    on: dict[str, Parts] = Field(default_factory=dict)
    """What it is on another body, by the body's name, in that body's own numbers."""

    def list_names(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Every network and body that is named: its kind, the keys that lead to it, its name."""
        if self.network is not None:
            yield "network", ("network",), self.network
        if isinstance(self.body, str):
            yield "body", ("body",), self.body
        for name, parts in self.on.items():
            yield "body", ("on", name), name
            if isinstance(parts.body, str):
                yield "body", ("on", name, "body"), parts.body
