"""The spec of a whole network: which specs are possible, and which describe the same network."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sknet.spec.attentions import BlockAttention, SqueezeExcitation
from sknet.spec.bodies import AnyBody, Body
from sknet.spec.operators import Branch, Operator, SelectiveKernel, UserOperator, check_positive

MOST_WEIGHTS = 10**9
"""Most weights of a network, by `estimate_weights`; the published ones have up to 1.2e8."""

LARGEST_MAP = 2**30
"""Most values of a map of a block, were it as large as the image."""


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Everything that a network's architecture depends on. The default is SKNet-50.

    Examples:
        >>> from sknet import SelectiveKernel, SqueezeExcitation, create_model
        >>> NetworkSpec() == create_model("sknet50").spec
        True
        >>> senet = NetworkSpec(
        ...     operator=SelectiveKernel(branches=(Branch(),), attention="sum"),
        ...     attention=SqueezeExcitation(),
        ... )
    """

    body: AnyBody = Body()
    """Depths, widths and stem."""

    operator: Operator = SelectiveKernel()
    """The spatial operator of every block, as built (groups and L already divided)."""

    in_channels: int = 3
    """Channels of the images."""

    num_classes: int = 1000
    """Outputs of the classifier."""

    attention: BlockAttention | None = None
    """Attention added to the blocks or between the stages."""

    def __post_init__(self) -> None:
        check_positive(in_channels=self.in_channels, num_classes=self.num_classes)
        check_size(self)
        faults = list(find_impossible(self.body, self.operator, self.attention))
        if faults:
            raise ValueError("; ".join(faults))

    def architecture(self) -> dict[str, Any]:
        """What is built, as plain values: equal for two specs exactly if their networks are equal.

        Settings that lead to the same network are not told apart: ratios r and floors L count only
        by the descriptor widths they give, and a sum has neither. Absent parts are left out.
        """
        values = {
            **self.body.architecture(),
            **_describe_operator(self.body, self.operator),
            "in_channels": self.in_channels,
            "num_classes": self.num_classes,
        }
        if self.attention is not None:
            values["attention"] = _describe_attention(self.body, self.attention)
        return values

    @property
    def normalises_descriptors(self) -> bool:
        """Whether batch normalisation sees one value per image, so a batch needs two images."""
        operator, attention = self.operator, self.attention
        return (
            isinstance(operator, SelectiveKernel)
            and (operator.attention, operator.descriptor) == ("softmax", "normalised")
        ) or (
            isinstance(attention, SqueezeExcitation)
            and attention.batch_norm
            and attention.squeeze != "none"
        )

    def __str__(self) -> str:
        parts = [str(part) for part in (self.body, self.operator, self.attention) if part]
        return "; ".join([*parts, f"{self.in_channels} channels to {self.num_classes} classes"])


def check_size(spec: NetworkSpec) -> None:
    """Raises ValueError if a network is too large to be built on any machine that we know."""
    if (weights := estimate_weights(spec)) > MOST_WEIGHTS:
        raise ValueError(f"a network may have {MOST_WEIGHTS:.0e} weights, got about {weights:.1e}")
    blocks = [block for stage in spec.body.stages() for block in stage]
    width = max(max(block.in_width, block.mid_width, block.out_width) for block in blocks)
    if (size := width * spec.body.input_size**2) > LARGEST_MAP:
        raise ValueError(
            f"a map may have {LARGEST_MAP:.1e} values, got {width} channels of images of "
            f"{spec.body.input_size} pixels, {size:.1e} values"
        )


def estimate_weights(spec: NetworkSpec) -> int:
    """About the number of weights of a network, from its spec alone; exact numbers need torch.

    Users' operators count as nothing, since they are not known before they are built.
    """
    body, operator = spec.body, spec.operator
    stages = body.stages()
    units = [width for widths in attended_widths(body, spec.attention) for width in widths]
    total = sum(2 * width**2 // spec.attention.reduction for width in units if spec.attention)
    for blocks in stages:
        total += blocks[0].in_width * blocks[0].out_width  # the shortcut
        for block in blocks:
            total += block.mid_width * (block.in_width + block.out_width)
            if isinstance(operator, SelectiveKernel):
                total += _estimate_operator(operator, block.mid_width)
    width = stages[-1][-1].out_width
    last_width = width if isinstance(body, Body) else body.last_width
    head = 0 if isinstance(body, Body) else width * last_width
    return total + head + last_width * spec.num_classes


def _estimate_operator(operator: SelectiveKernel, width: int) -> int:
    kernels = sum(
        width * b.kernel**2 * (1 if b.groups is None else -(-width // b.groups))
        for b in operator.branches
    )
    if operator.attention == "sum":
        return kernels
    return kernels + width * operator.descriptor_width(width) * (1 + len(operator.branches))


def find_impossible(
    body: AnyBody, operator: Operator, attention: BlockAttention | None = None
) -> Iterator[str]:
    """Yields the reasons, stage by stage, why these parts cannot be built on `body`.

    Users' operators are not checked: nothing is known about them before they are built.
    """
    branches = operator.branches if isinstance(operator, SelectiveKernel) else ()
    for stage, blocks in enumerate(body.stages(), start=1):
        for width in dict.fromkeys(block.mid_width for block in blocks):
            for branch in branches:
                if branch.groups is not None and width % branch.groups:
                    yield (
                        f"stage {stage}: {width} channels must be a multiple of the groups "
                        f"of {branch.kernel}x{branch.kernel}, got {branch.groups} groups"
                    )
    if body.is_lightweight:
        yield from _find_impossible_lightweight(branches, attention)
    if attention is not None:
        yield from _find_impossible_attention(body, attention)


def attended_widths(body: AnyBody, attention: BlockAttention | None) -> list[list[int]]:
    """Channels of every unit of attention, in order, by stage."""
    stages = body.stages()
    if attention is None:
        return [[] for _ in stages]
    if attention.position == "between":
        return [*([blocks[-1].out_width] for blocks in stages[:-1]), []]
    chosen = range(1, len(stages) + 1) if attention.stages is None else attention.stages
    return [
        [block.attended_width(attention.position) for block in blocks] if stage in chosen else []
        for stage, blocks in enumerate(stages, start=1)
    ]


def _find_impossible_lightweight(
    branches: tuple[Branch, ...], attention: BlockAttention | None
) -> Iterator[str]:
    if any(branch.groups is not None for branch in branches):
        yield "every branch of a lightweight body must be depthwise (groups None)"
    if attention is None:
        return
    if not isinstance(attention, SqueezeExcitation):
        yield f"attention of a lightweight body must be SE, got {attention.kind}"
    elif attention.position != "standard":
        yield f"position on a lightweight body must be standard, got {attention.position}"


def _find_impossible_attention(body: AnyBody, attention: BlockAttention) -> Iterator[str]:
    count = len(body.stages())
    unknown = [stage for stage in attention.stages or () if not 1 <= stage <= count]
    if unknown:
        yield f"stages must be within 1 to {count}, got {unknown[0]}"
    for stage, widths in enumerate(attended_widths(body, attention), start=1):
        if widths and min(widths) < attention.reduction:
            yield (
                f"stage {stage}: {min(widths)} channels must be at least the attention's "
                f"reduction, got {attention.reduction}"
            )


def _describe_operator(body: AnyBody, operator: Operator) -> dict[str, Any]:
    """The operator as plain values, with its widths in place of the ratio and the floor."""
    if isinstance(operator, UserOperator):
        plain = {"path": operator.path, "settings": dict(operator.settings)}
        return {"operator": {**plain, "sources": dict(operator.sources)}}
    selects = operator.attention == "softmax"
    later = {"descriptor": operator.descriptor, "score_bias": operator.score_bias}
    default = {name: getattr(SelectiveKernel(), name) for name in later}
    changed = {name: value for name, value in later.items() if value != default[name]}
    return {
        "branches": [asdict(branch) for branch in operator.branches],
        "descriptor_widths": [
            operator.descriptor_width(width) if selects else None for width in body.operator_widths
        ],
        **(changed if selects else {}),  # without the defaults: older identities stay
    }


def _describe_attention(body: AnyBody, attention: BlockAttention) -> dict[str, Any]:
    """The attention as plain values, with its widths in place of the ratio and the stages."""
    settings = asdict(attention)
    for name in ("reduction", "stages"):
        settings.pop(name, None)
    return {
        "kind": type(attention).__name__,  # not the short kind: older identities stay
        **settings,
        "hidden_widths": [
            [width // attention.reduction for width in widths]
            for widths in attended_widths(body, attention)
        ],
    }
