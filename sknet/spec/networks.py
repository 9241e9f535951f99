"""A network as one value; what is possible, and what is the same."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sknet.spec.attentions import BlockAttention, SqueezeExcitation
from sknet.spec.bodies import AnyBody, Body, MobileNetV2Body, ShuffleNetV2Body
from sknet.spec.operators import Branch, Operator, SelectiveKernel, UserOperator


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """All that a network's architecture depends on. The default is SKNet-50."""

    body: AnyBody = Body()
    """Depths, widths and stem."""

    operator: Operator = SelectiveKernel()
    """The spatial operator of every block, as built (groups and L already divided)."""

    in_channels: int = 3
    """Channels of the images."""

    num_classes: int = 1000
    """Outputs of the classifier."""

    attention: BlockAttention | None = None
    """What is added to the blocks, or between the stages."""

    def __post_init__(self) -> None:
        if self.in_channels < 1 or self.num_classes < 1:
            raise ValueError(
                "in_channels and num_classes must be at least 1, "
                f"got {self.in_channels} and {self.num_classes}"
            )
        faults = list(find_impossible(self.body, self.operator, self.attention))
        if faults:
            raise ValueError("; ".join(faults))

    def architecture(self) -> dict[str, Any]:
        """What is built, in plain values: equal for two specs exactly if the networks are.

        How it was described does not count: ratios r and floors L that give the same descriptor
        widths are the same, and a sum has neither. A part that is absent is left out.
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

    def __str__(self) -> str:
        parts = [str(self.body), str(self.operator)]
        if self.attention is not None:
            parts.append(str(self.attention))
        return "; ".join([*parts, f"{self.in_channels} channels to {self.num_classes} classes"])


def find_impossible(
    body: AnyBody, operator: Operator, attention: BlockAttention | None = None
) -> Iterator[str]:
    """Says, stage by stage, why the parts cannot be built on `body`; nothing if they can.

    Of a user's operator nothing is known before it is built.
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
    if isinstance(body, Body):
        if attention is not None:
            yield from _find_impossible_attention(body, attention)
    else:
        yield from _find_impossible_lightweight(body, branches, attention)


def attended_widths(body: AnyBody, attention: BlockAttention) -> list[list[int]]:
    """Channels that `attention` is built on, in the order of its units, by stage."""
    stages = body.stages()
    if attention.position == "between":
        return [*([blocks[-1].out_width] for blocks in stages[:-1]), []]
    chosen = range(1, len(stages) + 1) if attention.stages is None else attention.stages
    return [
        [block.attended_width(attention.position) for block in blocks] if stage in chosen else []
        for stage, blocks in enumerate(stages, start=1)
    ]


def _find_impossible_lightweight(
    body: ShuffleNetV2Body | MobileNetV2Body,
    branches: tuple[Branch, ...],
    attention: BlockAttention | None,
) -> Iterator[str]:
    if any(branch.groups is not None for branch in branches):
        yield "every branch of a lightweight body must be depthwise, groups None"
    if attention is None:
        return
    if not isinstance(attention, SqueezeExcitation):
        yield f"attention of a lightweight body must be SE, got {type(attention).__name__}"
    elif attention.position != "standard":
        yield f"position on a lightweight body must be standard, got {attention.position}"
    else:
        yield from _find_impossible_attention(body, attention)


def _find_impossible_attention(body: AnyBody, attention: BlockAttention) -> Iterator[str]:
    count = len(body.stages())
    unknown = [stage for stage in attention.stages or () if not 1 <= stage <= count]
    if unknown:
        yield f"stages must be within 1 to {count}, got {unknown[0]}"
    for stage, widths in enumerate(attended_widths(body, attention), start=1):
        if widths and not attention.hidden_width(min(widths)):
            yield (
                f"stage {stage}: {min(widths)} channels must be at least the attention's "
                f"reduction, got {attention.reduction}"
            )


def _describe_operator(body: AnyBody, operator: Operator) -> dict[str, Any]:
    """The operator in plain values, with its widths in place of the ratio and the floor."""
    if isinstance(operator, UserOperator):
        plain = {"path": operator.path, "settings": dict(operator.settings)}
        return {"operator": {**plain, "sources": dict(operator.sources)}}
    selects = operator.attention == "softmax"
    return {
        "branches": [asdict(branch) for branch in operator.branches],
        "descriptor_widths": [
            operator.descriptor_width(width) if selects else None for width in body.operator_widths
        ],
    }


def _describe_attention(body: AnyBody, attention: BlockAttention) -> dict[str, Any]:
    """The attention in plain values, with its widths in place of the ratio and the stages."""
    settings = asdict(attention)
    for name in ("reduction", "stages"):
        settings.pop(name, None)
    widths = attended_widths(body, attention)
    return {
        "kind": type(attention).__name__,
        **settings,
        "hidden_widths": [[attention.hidden_width(width) for width in row] for row in widths],
    }
