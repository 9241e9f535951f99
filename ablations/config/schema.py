"""experiments.yaml: experiments with their claims and budgets, and recipes."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ablations.choices import Match
from ablations.config.columns import COLUMNS
from ablations.config.expansion import MOST_VARIANTS, Expansion, expand
from ablations.config.variants import Strict, VariantSettings, check_name, wrap_text
from ablations.data import ARRAY_CROPS, CROP_SCALE, DATASETS, Crop, CropFill
from ablations.errors import suggest
from ablations.escapes import shorten

LATER_FIELDS: tuple[str, ...] = (
    *("crop_fill", "crop_scale", "rotation", "pixel_jitter"),
    *("shuffled_labels", "batch_norm"),
)
"""Fields of a recipe that were added after results had been published. At their defaults they are
left out of the identity of a trial, so that earlier trials stay valid."""

FEWEST_SEEDS = 3
"""Fewest seeds for a verdict, and so for a look."""

LARGEST_LOOK = 1000
"""Most seeds that a look may have."""

MOST_SEEDS = 10_000
"""Most seeds of a recipe."""

MOST_REPLICAS = 1024
"""Most processes that train one trial together."""

LARGEST_SEED = 2**32 - 1
"""Largest seed."""

LABEL_LENGTH = 120
"""Longest name of a variant or a claim."""

TEXT_LENGTH = 2000
"""Longest question or expectation."""

Column = Annotated[str, AfterValidator(lambda name: check_name(name, COLUMNS))]
"""A setting that a table shows."""

Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, le=LARGEST_SEED)], ...],
    Field(min_length=1, max_length=MOST_SEEDS),
]
"""The seeds of a recipe."""

Form = Literal["better", "equivalent", "for_every", "at_least_one", "best"]
"""Forms of a claim."""

FORMS: Mapping[Form, tuple[str, ...]] = {
    "better": ("better", "than"),
    "equivalent": ("equivalent", "to"),
    "for_every": ("for_every",),
    "at_least_one": ("at_least_one",),
    "best": ("best",),
}
"""The keys of each form of a claim."""


def plan_looks(looks: tuple[int, ...], seeds: tuple[int, ...]) -> tuple[int, ...]:
    """The planned looks, or the only one if none are planned or the seeds were replaced.

    >>> plan_looks((3, 5), (0, 1, 2, 3, 4)), plan_looks((3, 5), (0, 7))
    ((3, 5), (2,))
    """
    return looks if looks and seeds == tuple(range(looks[-1])) else (len(seeds),)


def check_label(label: str, *, most: int = LABEL_LENGTH) -> str:
    """Returns a text that fits on one line of tables, figures and terminals.

    Raises:
        ValueError: If it is empty, too long, or has a control character or a line break.
    """
    if not (0 < len(label) <= most and label.isprintable()):
        raise ValueError(f"must be 1 to {most} printable characters, got {label[:most]!r}")
    return label


def check_dataset(name: str) -> str:
    """Returns the name of a dataset that is known, or that names a function of the user's own.

    Raises:
        ValueError: If it is neither.
    """
    module, colon, function = name.partition(":")
    if name in DATASETS or (
        colon and function.isidentifier() and all(map(str.isidentifier, module.split(".")))
    ):
        return name
    raise ValueError(
        f"must be one of {', '.join(DATASETS)}, or package.module:function of your own, got "
        f"{name!r}{suggest(name, DATASETS)}"
    )


Text = Annotated[
    str, AfterValidator(lambda text: check_label(" ".join(text.split()), most=TEXT_LENGTH))
]
"""A text of one line; line breaks become spaces."""


class _Sides(Strict):
    """Two variants and a statement about them."""

    better: str | None = None
    """The variant that is claimed to have the lower error."""

    than: str | None = None
    """The variant that `better` is compared with."""

    equivalent: str | None = None
    """The variant whose error is claimed to differ by less than the margin."""

    to: str | None = None
    """The variant that `equivalent` is compared with."""

    @model_validator(mode="after")
    def _check_sides(self) -> Self:
        first, second = self.better or self.equivalent, self.than or self.to
        if first is not None and first == second:
            raise ValueError(f"must compare two different variants, got {first!r} twice")
        return self


class Statement(_Sides):
    """A statement about two variants: one is `better` `than`, or `equivalent` `to`, the other."""

    @property
    def pair(self) -> tuple[str, str]:
        """The variant that the statement is about, and the one it is compared with."""
        return self.better or self.equivalent or "", self.than or self.to or ""

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        if self.model_fields_set not in [set(FORMS["better"]), set(FORMS["equivalent"])]:
            raise ValueError("a statement needs either better and than, or equivalent and to")
        return self


class Claim(_Sides):
    """A paper's claim about variants, in exactly one of the forms."""

    name: Annotated[str, AfterValidator(check_label)]
    """The claim in words."""

    for_every: tuple[Statement, ...] = ()
    """Statements that must all hold."""

    at_least_one: tuple[Statement, ...] = ()
    """Statements of which at least one must hold."""

    best: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Variants that each have a lower error than every variant not listed here."""

    @model_validator(mode="after")
    def _check_form(self) -> Self:
        given = {key for key in self.model_fields_set - {"name"} if getattr(self, key)}
        if given not in map(set, FORMS.values()):
            forms = ", ".join(" and ".join(keys) for keys in FORMS.values())
            raise ValueError(f"a claim needs exactly one of: {forms}")
        return self

    @property
    def form(self) -> Form:
        """The form of the claim."""
        return next(form for form in FORMS if getattr(self, form))

    @property
    def statement(self) -> Statement | None:
        """The claim's only statement; None if its form is another."""
        if self.form not in ("better", "equivalent"):
            return None
        return Statement.model_validate({key: getattr(self, key) for key in FORMS[self.form]})

    def list_names(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Every variant that is mentioned, with the path of keys to it."""
        for key in FORMS[self.form]:
            value = getattr(self, key)
            if isinstance(value, str):
                yield (key,), value
                continue
            for index, item in enumerate(value):
                if isinstance(item, str):
                    yield (key, str(index)), item
                    continue
                for side, name in item.model_dump(exclude_none=True).items():
                    yield (key, str(index), side), name


def _parse_share(value: Any) -> Any:
    """Reads `6%` as 0.06; returns anything else unchanged."""
    if isinstance(value, str) and value.endswith("%"):
        return float(value.removesuffix("%")) / 100
    return value


class Budget(Strict):
    """The cost that variants must match, within a tolerance."""

    match: Match
    """Cost of the trained networks that is matched."""

    to: str
    """Variant whose cost the others must match."""

    tolerance: Annotated[float, BeforeValidator(_parse_share), Field(gt=0, lt=1)]
    """Largest relative difference: 6% or 0.06."""

    free: tuple[str, ...] = ()
    """Variants that need not match, such as the smaller network that the others extend."""


class Experiment(Strict):
    """One question, and the variants that answer it."""

    question: Text
    """Question that the table answers."""

    expect: Text
    """Expected result, written before the experiment is run."""

    paper_table: Annotated[tuple[str, ...], BeforeValidator(wrap_text)] = ()
    """Keys of printed tables in paper.yaml; rows are matched by the names of variants."""

    paper_rows: Literal["ours", "all"] = "ours"
    """Whether only printed rows of our variants are shown, or all."""

    paper_body: str = "imagenet50"
    """Body of the networks in the paper."""

    columns: tuple[Column, ...] = ()
    """Settings that the table shows."""

    base: VariantSettings = VariantSettings()
    """Settings that all variants share."""

    baseline: str
    """Variant that the others are compared with."""

    variants: dict[str, VariantSettings] = Field(default_factory=dict)
    """Settings of each variant, in the order of the table."""

    grid: dict[str, Any] = Field(default_factory=dict)
    """Settings with lists of values; every combination is another variant."""

    zip: dict[str, Any] = Field(default_factory=dict)
    """Settings with equally long lists of values that vary together; crossed with `grid`."""

    include: Annotated[tuple[dict[str, Any], ...], Field(max_length=MOST_VARIANTS)] = ()
    """Additional combinations of settings."""

    exclude: Annotated[tuple[dict[str, Any], ...], Field(max_length=MOST_VARIANTS)] = ()
    """Combinations of `grid`, `zip` and `include` to leave out."""

    margin: PositiveFloat = 0.5
    """Difference in points of error that is considered negligible."""

    budget: Budget | None = None
    """Cost that the variants must match; None if it may vary."""

    claims: tuple[Claim, ...] = ()
    """Claims to be tested."""

    @property
    def expansion(self) -> Expansion:
        """The variants that are listed, and those generated from axes.

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
            raise ValueError(f"claims must have distinct names, got {names}")
        if any(set(claim.best) >= set(variants) for claim in self.claims):
            raise ValueError("best must leave a variant to compare with, got all variants")
        return self


class Recipe(Strict):
    """How networks are trained: everything that a result depends on besides the network."""

    dataset: Annotated[str, AfterValidator(check_dataset)]
    """Name of the dataset, or `package.module:function` for one of the user's own: the function
    takes the data directory and returns arrays of images and labels. A plan runs it once."""

    body: str
    """Body that variants are built on, by name; `paper` is each experiment's `paper_body`."""

    epochs: Annotated[int, Field(gt=0, le=100_000)]
    """Passes over the training images."""

    batch_size: Annotated[int, Field(gt=0, le=1_000_000)]
    """Images per step."""

    learning_rate: PositiveFloat
    """Largest learning rate, after warm-up."""

    schedule: Literal["cosine", "step"]
    """How the learning rate decays: along a half cosine to 0, or by `step_factor` at epochs."""

    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs over which the learning rate rises linearly from 0."""

    step_epochs: tuple[PositiveInt, ...] = ()
    """Epochs at whose start the learning rate is multiplied by `step_factor`."""

    step_factor: PositiveFloat = 0.1
    """Factor of the step schedule."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""

    nesterov: bool = False
    """Whether to use Nesterov momentum."""

    weight_decay: NonNegativeFloat = 0.0
    """Factor of the L2 penalty."""

    decay_norms_and_biases: bool = False
    """Whether weight decay also applies to batch normalisation and biases."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability that is spread evenly over all labels."""

    crop: Crop = "none"
    """Random crop of the training images."""

    crop_padding: Annotated[int, Field(ge=0, le=256)] = 0
    """Pixels of padding for `crop: pad`."""

    crop_fill: CropFill = "black"
    """Colour of the padding for `crop: pad`; `mean` equals padding after normalisation with 0."""

    crop_scale: Annotated[float, Field(gt=0, le=1)] = CROP_SCALE
    """Smallest area for `crop: resized` relative to the image."""

    flip: bool = False
    """Whether training images are mirrored at random."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest angle in degrees by which training images are rotated at random."""

    pixel_jitter: Annotated[float, Field(ge=0, le=255)] = 0.0
    """Largest random shift of the values of a channel of an image, in grey levels of 0 to 255."""

    shuffled_labels: bool = False
    """Whether the training images have each other's labels, drawn once for every seed: a control
    that can learn nothing about the classes."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward pass: fp32, or bf16 with autocast."""

    replicas: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] = 1
    """Processes that train one trial together, each on its own GPU or core and on an equal part of
    every batch. They must divide `batch_size`."""

    batch_norm: Literal["replica", "synchronised"] = "replica"
    """Which images batch normalisation computes means and variances of in training: each replica's
    part of the batch, as in the paper, or the whole batch. With `replica`, the running statistics
    are those of the first replica."""

    seeds: Seeds
    """Seeds; every variant is trained once with each. Only a recipe with `looks` has none."""

    looks: tuple[Annotated[int, Field(ge=1, le=LARGEST_LOOK)], ...] = ()
    """Numbers of seeds at which the table is looked at, rising; after each, what is decided gets no
    further seeds. They replace `seeds`, which are then 0 to the last number minus one."""

    @property
    def facts(self) -> dict[str, Any]:
        """The fields that a trial depends on, as plain values; `replicas` is a fact of its own."""
        default = {key: type(self).model_fields[key].default for key in LATER_FIELDS}
        unchanged = {key for key, value in default.items() if getattr(self, key) == value}
        elsewhere = {"seeds", "looks", "body", "replicas"}
        return self.model_dump(mode="json", exclude={*elsewhere, *unchanged})

    @property
    def replica_batch_size(self) -> int:
        """Images per step of each replica."""
        return self.batch_size // self.replicas

    @property
    def planned_looks(self) -> tuple[int, ...]:
        """The looks that a table on the recipe's seeds takes."""
        return plan_looks(self.looks, self.seeds)

    @field_validator("replicas")
    @classmethod
    def _check_replicas(cls, replicas: int, others: ValidationInfo) -> int:
        if others.data.get("batch_size", 0) % replicas:
            raise ValueError(
                f"batch_size must be divisible by replicas, got {others.data['batch_size']} images "
                f"for {replicas} replicas"
            )
        return replicas

    @field_validator("batch_norm")
    @classmethod
    def _check_batch_norm(cls, batch_norm: str, others: ValidationInfo) -> str:
        if batch_norm == "synchronised" and others.data.get("replicas") == 1:
            raise ValueError("synchronised needs at least 2 replicas; omit it for one process")
        return batch_norm

    @model_validator(mode="before")
    @classmethod
    def _derive_seeds(cls, values: Any) -> Any:
        """Adds the seeds that the looks imply; faults of the looks are reported as such."""
        if not isinstance(values, dict) or "looks" not in values or "seeds" in values:
            return values
        looks = values["looks"]
        if not looks:
            raise ValueError(f"looks must hold at least one number of seeds, got {looks}")
        last = looks[-1] if isinstance(looks, (list, tuple)) else None
        count = last if isinstance(last, int) and 0 < last <= LARGEST_LOOK else 1
        return {**values, "seeds": tuple(range(count))}

    @model_validator(mode="after")
    def _check_looks(self) -> Self:
        if self.looks and self.seeds != tuple(range(self.looks[-1])):
            raise ValueError("a recipe has either seeds or looks, got both")
        rising = list(self.looks) == sorted(set(self.looks))
        if self.looks and not (rising and self.looks[0] >= FEWEST_SEEDS):
            raise ValueError(
                f"looks must increase from at least {FEWEST_SEEDS} seeds, got {list(self.looks)}"
            )
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, got {shorten(str(list(self.seeds)), 80)}")
        if (self.schedule == "step") != bool(self.step_epochs):
            raise ValueError("step_epochs must be given if and only if schedule is step")
        if list(self.step_epochs) != sorted(set(self.step_epochs)):
            raise ValueError(f"step_epochs must increase, got {list(self.step_epochs)}")
        if self.warmup_epochs > self.epochs:
            raise ValueError(
                f"warmup_epochs must be at most epochs, got {self.warmup_epochs} of {self.epochs}"
            )
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0, got 0; set nesterov: false")
        return self

    @model_validator(mode="after")
    def _check_crop(self) -> Self:
        if (self.crop == "pad") != (self.crop_padding > 0):
            raise ValueError("crop_padding must be given if and only if crop is pad")
        if self.crop_fill != "black" and self.crop != "pad":
            raise ValueError(f"crop_fill: {self.crop_fill} needs crop: pad, got {self.crop}")
        if self.crop_scale != CROP_SCALE and self.crop != "resized":
            raise ValueError(f"crop_scale needs crop: resized, got {self.crop}")
        known = DATASETS.get(self.dataset)
        crops = known.crops if known else ARRAY_CROPS
        if self.crop not in crops:
            raise ValueError(
                f"crop must be {' or '.join(crops)} for {self.dataset}, got {self.crop!r}"
            )
        return self
