"""What a variant may set: its network in the papers' terms, and its form on a narrower body."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    create_model,
)

from ablations.errors import suggest
from sknet.spec import ATTENTIONS, FAMILIES, Attention, Branch, Descriptor

KERNELS: Mapping[str, Branch] = {
    "K3": Branch(kernel=3, dilation=1),
    "K5": Branch(kernel=3, dilation=2),
    "K7": Branch(kernel=3, dilation=3),
}
"""The paper's short names of kernels (section 4.4, Table 7)."""

Plain = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""A value that is not converted."""


class Strict(BaseModel):
    """Immutable; a misspelt key is an error, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def check_name(name: str, known: Iterable[str]) -> str:
    """Returns a known name.

    Raises:
        ValueError: If it is unknown.
    """
    if name not in (names := list(known)):
        raise ValueError(f"must be one of {', '.join(names)}, got {name!r}{suggest(name, names)}")
    return name


def wrap_text(value: Any) -> Any:
    """Wraps a single name in a tuple."""
    return (value,) if isinstance(value, str) else value


def list_given(settings: BaseModel) -> dict[str, Any]:
    """The settings that were given, without the defaults."""
    return {key: getattr(settings, key) for key in settings.model_fields_set}


def _expand_kernel(value: Any) -> Any:
    return KERNELS[check_name(value, KERNELS)] if isinstance(value, str) else value


def _expand_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _make_optional(classes: Iterable[Any], *, without: Iterable[str] = ()) -> dict[str, Any]:
    """The fields of several dataclasses as optional fields of one model."""
    hints: dict[str, Any] = {}
    for cls in classes:
        own = get_type_hints(cls)
        for name in (field.name for field in fields(cls) if field.name not in without):
            hints[name] = own[name] | hints.get(name)
    return {name: (hint, None) for name, hint in hints.items()}


if TYPE_CHECKING:
    AttentionSettings: TypeAlias = Strict
    BodySettings: TypeAlias = Strict
else:
    AttentionSettings = create_model(
        "AttentionSettings",
        __base__=Strict,
        __doc__="""A block attention; omitted settings are inherited, or the defaults of `kind`.

        `kind: none` removes the attention.
        """,
        kind=(Literal[*ATTENTIONS, "none"] | None, None),
        **_make_optional(ATTENTIONS.values()),
    )
    BodySettings = create_model(
        "BodySettings",
        __base__=Strict,
        __doc__="""Changes to a body; omitted settings are kept.""",
        **_make_optional(FAMILIES.values(), without=("input_size", "divisor")),
    )


class Parts(Strict):
    """The parts of a network; omitted ones are inherited."""

    body: str | BodySettings | None = None
    """Another body by name, or changes to the body."""

    branches: tuple[Annotated[Branch, BeforeValidator(_expand_kernel)], ...] | None = None
    """The M kernels: K3, K5, K7, or mappings of kernel, dilation and groups."""

    attention: Attention | None = None
    """Whether branches are selected (`softmax`) or summed (`sum`)."""

    reduction: PositiveInt | None = None
    """Ratio r of the descriptor."""

    min_width: PositiveInt | None = None
    """Lower bound L of the descriptor's width."""

    descriptor: Descriptor | None = None
    """What computes the descriptor: a layer with normalisation and ReLU, or a linear one."""

    score_bias: bool | None = None
    """Whether the layers that score the branches have biases."""

    block_attention: Annotated[AttentionSettings | None, BeforeValidator(_expand_kind)] = None
    """A kind of attention, none, or a mapping with the settings of a kind."""

    settings: dict[str, Plain | tuple[Plain, ...]] | None = None
    """Arguments of an operator of the user's own, validated by its annotations."""


class VariantSettings(Parts):
    """A variant at the paper's scale."""

    network: str | None = None
    """Network of sknet's zoo to start from (default: SKNet on the paper's body)."""

    operator: str | None = None
    """`sk`, or `package.module:Class` for an operator of the user's own."""

    sources: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Other files that the user's operator depends on, relative to experiments.yaml."""

    on: dict[str, Parts] = Field(default_factory=dict)
    """The variant on other bodies, by name, in each body's own numbers."""

    def list_names(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Every network and body that is mentioned: kind, path of keys, name."""
        if self.network is not None:
            yield "network", ("network",), self.network
        if isinstance(self.body, str):
            yield "body", ("body",), self.body
        for name, parts in self.on.items():
            yield "body", ("on", name), name
            if isinstance(parts.body, str):
                yield "body", ("on", name, "body"), parts.body
