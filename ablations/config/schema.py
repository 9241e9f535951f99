"""What experiments.yaml and paper.yaml may say: one typed field for each thing."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ablations.config.base import Strict, check_label, wrap_text
from ablations.config.expansion import Expansion, expand
from ablations.config.variants import VariantSettings
from ablations.data.catalogue import DATASETS, Crop

Column = Literal[
    "kernel", "dilation", "groups", "resulting_kernel", "kernels", "attention", "reduction", "L"
]
"""A setting that a table may show; the first four are those of the operator's last branch."""


def _check_dataset(name: str) -> str:
    if name not in DATASETS:
        raise ValueError(f"must be one of {', '.join(DATASETS)}, got {name!r}")
    return name


class _Sides(Strict):
    """Two variants, and what is claimed of them."""

    better: str | None = None
    """The variant of which a lower error is claimed."""

    than: str | None = None
    """The variant that it is held against."""

    equivalent: str | None = None
    """The variant of which it is claimed that the difference is within the margin."""

    to: str | None = None
    """The variant that it is held against."""

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        first, second = self.better or self.equivalent, self.than or self.to
        if first is not None and first == second:
            raise ValueError(f"must compare two variants, got {first!r} twice")
        return self


class Statement(_Sides):
    """Something about two variants: one is `better` `than`, or `equivalent` `to`, the other."""

    @property
    def pair(self) -> tuple[str, str]:
        """The variant that the statement is about, and the one it is held against."""
        return self.better or self.equivalent or "", self.than or self.to or ""

    @model_validator(mode="after")
    def _check_words(self) -> Self:
        if self.model_fields_set not in ({"better", "than"}, {"equivalent", "to"}):
            raise ValueError("a statement must say either better and than, or equivalent and to")
        return self


class Claim(_Sides):
    """A statement of a paper in terms of variants; exactly one of its forms."""

    name: Annotated[str, AfterValidator(check_label)]
    """The claim in words."""

    for_every: tuple[Statement, ...] = ()
    """Statements that all hold."""

    at_least_one: tuple[Statement, ...] = ()
    """Statements of which at least one holds."""

    best: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Variants each of which has a lower error than every variant that is not among them."""

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        forms: tuple[set[str], ...] = (
            {"better", "than"},
            {"equivalent", "to"},
            {"for_every"},
            {"at_least_one"},
            {"best"},
        )
        said = {key for key in self.model_fields_set - {"name"} if getattr(self, key)}
        if said not in forms:
            raise ValueError(
                "a claim must say one of: better and than, equivalent and to, for_every, "
                "at_least_one, best"
            )
        return self

    @property
    def statement(self) -> Statement | None:
        """The claim's one statement, if it is of that form."""
        if self.better:
            return Statement(better=self.better, than=self.than)
        if self.equivalent:
            return Statement(equivalent=self.equivalent, to=self.to)
        return None

    def list_names(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Every variant that is named, with the keys that lead to it."""
        for key in ("better", "than", "equivalent", "to"):
            if name := getattr(self, key):
                yield (key,), name
        for index, name in enumerate(self.best):
            yield ("best", str(index)), name
        for form in ("for_every", "at_least_one"):
            for index, statement in enumerate(getattr(self, form)):
                for key, name in statement.model_dump(exclude_none=True).items():
                    yield (form, str(index), key), name


def _parse_share(value: Any) -> Any:
    """`6%` as 0.06; anything else as it is."""
    if isinstance(value, str) and value.endswith("%"):
        return float(value.removesuffix("%")) / 100
    return value


class Budget(Strict):
    """What the variants may cost: about as much as one of them."""

    match: Literal["macs", "params"]
    """What is matched: multiply-adds, or parameters, of the networks that are trained."""

    to: str
    """The variant whose cost is the measure."""

    tolerance: Annotated[float, BeforeValidator(_parse_share), Field(gt=0, lt=1)]
    """Largest distance, as a share of the measure: 6% or 0.06."""

    free: tuple[str, ...] = ()
    """Variants that need not match, such as the smaller network that all others start from."""


class Experiment(Strict):
    """One question, and the variants that answer it."""

    question: str
    """What the table answers."""

    expect: str
    """What is expected before it is run."""

    paper_table: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Keys of papers' tables in paper.yaml; their rows are found by the variants' names."""

    paper_rows: Literal["ours", "all"] = "ours"
    """Which rows of the papers' tables are shown: those of our variants, or also the others."""

    paper_body: str = "imagenet50"
    """Body of the networks that the paper's cells speak of."""

    columns: tuple[Column, ...] = ()
    """Settings that the table shows for each variant."""

    base: VariantSettings = VariantSettings()
    """What all variants share."""

    baseline: str
    """The variant that the others are compared with."""

    variants: dict[str, VariantSettings] = Field(default_factory=dict)
    """What each variant changes, in the table's order."""

    grid: dict[str, Any] = Field(default_factory=dict)
    """Settings with their values: every combination is a variant more."""

    zip: dict[str, Any] = Field(default_factory=dict)
    """Settings with their values, which go in step; crossed with the grid."""

    include: tuple[dict[str, Any], ...] = ()
    """Further combinations of settings."""

    exclude: tuple[dict[str, Any], ...] = ()
    """Combinations of grid and zip that are left out."""

    margin: PositiveFloat = 0.5
    """Points of error below which a difference does not matter."""

    budget: Budget | None = None
    """What the variants may cost, if that is limited."""

    claims: tuple[Claim, ...] = ()
    """Statements that the trials are held against."""

    @property
    def expansion(self) -> Expansion:
        """The variants that are written out, and those of the axes.

        Raises:
            ValueError: If the axes cannot be combined.
        """
        return expand(
            self.variants,
            grid=self.grid,
            zipped=self.zip,
            include=self.include,
            exclude=self.exclude,
        )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        variants = self.expansion.variants
        for name in variants:
            check_label(name)
        if self.baseline not in variants:
            raise ValueError(
                f"baseline must be one of the variants {sorted(variants)}, got {self.baseline!r}"
            )
        names = [claim.name for claim in self.claims]
        if len(set(names)) < len(names):
            raise ValueError(f"claims must have names of their own, got {names}")
        if any(set(claim.best) >= set(variants) for claim in self.claims):
            raise ValueError("best must leave a variant to compare with, got all of them")
        return self


class Recipe(Strict):
    """How networks are trained; everything that a result depends on besides the network."""

    dataset: Annotated[str, AfterValidator(_check_dataset)]
    """Name of the dataset."""

    body: str
    """Name of the body that variants are built on; `paper` for each experiment's `paper_body`."""

    epochs: PositiveInt
    """Passes over the training images."""

    batch_size: PositiveInt
    """Images in a step."""

    learning_rate: PositiveFloat
    """Largest learning rate, after warm-up."""

    schedule: Literal["cosine", "step"]
    """How the learning rate falls: along a half cosine to 0, or by `step_factor` at epochs."""

    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs over which the learning rate rises linearly from 0."""

    step_epochs: tuple[PositiveInt, ...] = ()
    """Epochs before which the learning rate is multiplied by `step_factor`."""

    step_factor: PositiveFloat = 0.1
    """Factor of the step schedule."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""

    nesterov: bool = False
    """Whether the momentum is Nesterov's."""

    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty's factor."""

    decay_norms_and_biases: bool = False
    """Whether weight decay also acts on batch normalisation and biases."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that is spread evenly over all labels."""

    crop: Crop = "none"
    """Random crop: none, of the padded image, or of random size and resized (ImageNet)."""

    crop_padding: NonNegativeInt = 0
    """Pixels of padding of the crop `pad`."""

    flip: bool = False
    """Whether images are mirrored at random."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass: fp32, or bf16 by autocast."""

    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """One training of every variant for each."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}")
        if (self.schedule == "step") != bool(self.step_epochs):
            raise ValueError("step_epochs must be given with schedule step, and only then")
        if list(self.step_epochs) != sorted(set(self.step_epochs)):
            raise ValueError(f"step_epochs must increase, got {list(self.step_epochs)}")
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs must be at most epochs, got {self.warmup_epochs} of {self.epochs}"
            )
        if (self.crop == "pad") != (self.crop_padding > 0):
            raise ValueError("crop_padding must be given with crop pad, and only then")
        crops = DATASETS[self.dataset].crops
        if self.crop not in crops:
            raise ValueError(
                f"crop must be {' or '.join(crops)} for {self.dataset}, got {self.crop!r}"
            )
        return self


Complexities = Literal["params_m", "gflops", "mflops"]
"""Printed cells that can be counted."""


class Explanation(Strict):
    """Why our count is not the printed one."""

    ours: Decimal
    """What our count is, at the printed precision: the explanation holds for no other."""

    reason: str
    """The reason, in words."""

    running_statistics: bool = False
    """Whether the cell is exact once batch normalisation's running statistics are counted."""


class PaperRow(Strict):
    """Cells that a paper printed for one network, with the precision that they have there."""

    network: str | None = None
    """The network of sknet that the row speaks of."""

    torchvision: str | None = None
    """Of a network that sknet does not build: torchvision's."""

    image_size: PositiveInt = 224
    """Side in pixels of the images that multiply-adds are counted on."""

    top1_error: Decimal | None = None
    """Percent, of a 224x224 crop."""

    top1_error_320: Decimal | None = None
    """Percent, of a 320x320 crop."""

    top5_error: Decimal | None = None
    """Percent, of a 224x224 crop."""

    cifar10_error: Decimal | None = None
    """Percent."""

    cifar100_error: Decimal | None = None
    """Percent."""

    params_m: Decimal | None = None
    """Millions of parameters."""

    gflops: Decimal | None = None
    """1e9 multiply-adds."""

    mflops: Decimal | None = None
    """1e6 multiply-adds."""

    depths: tuple[PositiveInt, ...] | None = None
    """Blocks of each stage."""

    mid_widths: tuple[PositiveInt, ...] | None = None
    """Channels of the spatial operator, by stage."""

    out_widths: tuple[PositiveInt, ...] | None = None
    """Output channels, by stage."""

    explained: dict[Complexities, Explanation] = Field(default_factory=dict)
    """Cells where our count differs, with the reason."""


class PaperTable(Strict):
    """One table of a paper."""

    source: str
    """Paper and table."""

    recipe: str = ""
    """How the printed errors came about."""

    provenance: Literal["printed", "secondary", "recomputed", "unverified"]
    """Where the numbers were read."""

    rows: dict[str, PaperRow]
    """Cells by row name."""
