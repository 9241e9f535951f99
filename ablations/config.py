"""experiments.yaml and paper.yaml -> checked, typed objects; every fault with file and line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ablations.datasets import DATASETS
from ablations.errors import InputError, MachineError
from sknet.spec import Attention, Body, Branch
from sknet.zoo import BODIES

KERNELS: Mapping[str, Branch] = {
    "K3": Branch(kernel=3, dilation=1),
    "K5": Branch(kernel=3, dilation=2),
    "K7": Branch(kernel=3, dilation=3),
}
"""The paper's short names of kernels (section 4.4, Table 7)."""

Column = Literal[
    "kernel", "dilation", "groups", "resulting_kernel", "kernels", "attention", "reduction", "L"
]
"""A setting that a table may show; the first four are those of the operator's last branch."""


def _expand_kernel(value: Any) -> Any:
    if isinstance(value, str):
        if value not in KERNELS:
            raise ValueError(f"must be one of {', '.join(KERNELS)} or a mapping")
        return KERNELS[value]
    return value


class _Strict(BaseModel):
    """Immutable, and a misspelt key is an error rather than a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OperatorSettings(_Strict):
    """Settings of the spatial operator, at the paper's scale; what is left out is inherited."""

    branches: tuple[Annotated[Branch, BeforeValidator(_expand_kernel)], ...] | None = None
    """The M kernels, as K3, K5, K7 or as mappings of kernel, dilation and groups."""

    attention: Attention | None = None
    """`softmax` selects among branches, `sum` adds them."""

    reduction: PositiveInt | None = None
    """Ratio r of the descriptor."""

    min_width: PositiveInt | None = None
    """Lower bound L of the descriptor's width."""


class Experiment(_Strict):
    """One question, and the variants that answer it."""

    question: str
    """What the table answers."""

    expect: str
    """What is expected before it is run."""

    paper_table: str | None = None
    """Key of the paper's table in paper.yaml; its rows are found by the variants' names."""

    paper_body: str = "imagenet50"
    """Body of the networks that the paper's cells speak of."""

    columns: tuple[Column, ...] = ()
    """Settings that the table shows for each variant."""

    base: OperatorSettings = OperatorSettings()
    """What all variants share."""

    baseline: str
    """The variant that the others are compared with."""

    variants: Annotated[dict[str, OperatorSettings], Field(min_length=1)]
    """What each variant changes, in the table's order."""

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if self.baseline not in self.variants:
            raise ValueError(
                f"baseline must be one of the variants {sorted(self.variants)}, "
                f"got {self.baseline!r}"
            )
        return self


class Recipe(_Strict):
    """How networks are trained; everything that a result depends on besides the network."""

    dataset: str
    """Name of the dataset."""

    body: str
    """Name of the body that variants are built on."""

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

    crop: Literal["none", "pad", "resized"] = "none"
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
        if self.dataset not in DATASETS:
            raise ValueError(f"dataset must be one of {sorted(DATASETS)}, got {self.dataset!r}")
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
        return self


class PaperRow(_Strict):
    """Cells that a paper printed for one network."""

    top1_error: float | None = None
    """Percent."""

    params_m: float | None = None
    """Millions of parameters."""

    gflops: float | None = None
    """1e9 multiply-adds."""

    note: str | None = None
    """What a reader of the cells must know."""


class PaperTable(_Strict):
    """One table of a paper."""

    source: str
    """Paper and table."""

    recipe: str
    """How the printed errors came about."""

    provenance: Literal["printed", "secondary", "recomputed", "unverified"]
    """Where the numbers were read."""

    rows: dict[str, PaperRow]
    """Cells by row name."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that experiments.yaml says."""

    path: Path
    """The file."""

    bodies: Mapping[str, Body]
    """The file's own bodies, and those that sknet knows."""

    recipes: Mapping[str, Recipe]
    """Recipes by name."""

    experiments: Mapping[str, Experiment]
    """Experiments by name."""

    lines: Mapping[tuple[str, ...], int]
    """Line of each key, for messages."""

    def place(self, *keys: str) -> str:
        """Where `keys` stand, as `file:line: a.b.c`."""
        return f"{self.path}:{_find_line(self.lines, keys)}: {'.'.join(keys)}"

    def experiment(self, name: str) -> Experiment:
        """The experiment called `name`.

        Raises:
            InputError: If there is none.
        """
        return _choose(name, self.experiments, kind="experiment", where=self.path)

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`.

        Raises:
            InputError: If there is none.
        """
        return _choose(name, self.recipes, kind="recipe", where=self.path)


def find_config(path: Path | None, *, working_dir: Path) -> Path:
    """The experiments.yaml to use: `path`, else the working directory's, else the package's.

    Raises:
        InputError: If `path` is given and is no file.
    """
    if path is not None:
        if not path.is_file():
            raise InputError(f"{path} must be a file of experiments, got no such file.")
        return path
    package = Path(__file__).parent  # an installed package holds the file, a checkout its parent
    name = "experiments.yaml"
    candidates = [working_dir / name, package / name, package.parent / name]
    return next(candidate for candidate in candidates if candidate.is_file())


def read_config(path: Path) -> Config:
    """Parses and checks every body, recipe and experiment of `path`.

    Raises:
        InputError: With all faults, a line each.
    """
    raw, lines = _read_yaml(path)
    faults: list[_Fault] = []
    known = {"bodies", "recipes", "experiments"}
    faults += [_unknown_key((str(key),), key, known) for key in raw if key not in known]
    bodies = dict(_validate_section(raw, "bodies", Body, faults))
    recipes = dict(_validate_section(raw, "recipes", Recipe, faults))
    experiments = dict(_validate_section(raw, "experiments", Experiment, faults))
    faults += [
        _Fault(("bodies", name), "must not be the name of one of sknet's bodies", name)
        for name in bodies.keys() & BODIES.keys()
    ]
    bodies = {**BODIES, **bodies}
    known_bodies = bodies.keys() | _keys_of(raw.get("bodies"))
    tables = read_paper()
    for name, recipe in recipes.items():
        faults += _missing(("recipes", name, "body"), recipe.body, known_bodies)
    for name, experiment in experiments.items():
        faults += _missing(("experiments", name, "paper_body"), experiment.paper_body, known_bodies)
        if experiment.paper_table is not None:
            key = ("experiments", name, "paper_table")
            faults += _missing(key, experiment.paper_table, tables.keys())
    if faults:
        raise InputError(_describe(path, faults, lines))
    return Config(
        path=path, bodies=bodies, recipes=recipes, experiments=experiments, lines=lines
    )


def read_paper() -> Mapping[str, PaperTable]:
    """The papers' printed tables, by key."""
    raw, _ = _read_yaml(Path(__file__).with_name("paper.yaml"))
    return TypeAdapter(dict[str, PaperTable]).validate_python(raw)


def alter_recipe(recipe: Recipe, settings: Mapping[str, str]) -> Recipe:
    """The recipe with fields set from the command line, their values read as YAML.

    Raises:
        InputError: If a field does not exist or a value is not possible, with all faults.
    """
    faults: list[_Fault] = []
    values: dict[str, Any] = {}
    for key, text in settings.items():
        if key not in Recipe.model_fields:
            faults.append(_unknown_key((key,), text, Recipe.model_fields))
            continue
        try:
            values[key] = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader's child
        except yaml.YAMLError:
            faults.append(_Fault((key,), "must be a YAML value", text))
    if not faults:
        try:
            return Recipe.model_validate({**recipe.model_dump(), **values})
        except ValidationError as error:
            faults = [_fault_of(fault, ()) for fault in error.errors()]
    raise InputError("\n".join(f"--set {fault.text()}" for fault in faults))


# YAML: no surprises about numbers, booleans and duplicate keys.


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """YAML 1.2's numbers and booleans: `1e-4` is a number, `on` and `yes` are texts."""


_BOOLEAN = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOLEAN, _FLOAT)]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+.0123456789"),
)


def _read_yaml(path: Path) -> tuple[dict[str, Any], Mapping[tuple[str, ...], int]]:
    """The file's content and the line of each key.

    Raises:
        InputError: If it is no YAML mapping, or a key stands twice.
        MachineError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be a text in UTF-8, got {error}.") from error
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}:1: must hold a mapping, got something else.")
        keys = list(_walk(root, ()))
        lines: dict[tuple[str, ...], int] = {}
        twice = []
        for key, line in keys:
            if key in lines:
                twice.append(f"{path}:{line}: {'.'.join(key)}: stands twice, first in line "
                             f"{lines[key]}; remove one.")
            lines.setdefault(key, line)
        if twice:
            raise InputError("\n".join(twice))
        return loader.construct_document(root), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: must be YAML, got an error: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: must be YAML, got an error: {error}.") from None
    finally:
        loader.dispose()


def _walk(node: yaml.Node, prefix: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, str(key.value))
            yield path, key.start_mark.line + 1
            yield from _walk(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            path = (*prefix, str(index))
            yield path, value.start_mark.line + 1
            yield from _walk(value, path)


# Faults: where, what must hold, what was found, what to do.


@dataclass(frozen=True)
class _Fault:
    keys: tuple[str, ...]
    rule: str
    found: Any = None
    hint: str = ""

    def text(self) -> str:
        found = "" if self.found is None else f", got {str(self.found)[:60]!r}"
        return f"{'.'.join(self.keys)}: {self.rule}{found}{self.hint}"


_Model = TypeVar("_Model")


def _validate_section(
    raw: Mapping[str, Any], section: str, model: type[_Model], faults: list[_Fault]
) -> Iterator[tuple[str, _Model]]:
    """Yields the entries of `section` that are right, and adds the others' faults."""
    entries = raw.get(section) or {}
    if not isinstance(entries, dict):
        faults.append(_Fault((section,), "must be a mapping of names", entries))
        return
    adapter = TypeAdapter(model)
    for name, entry in entries.items():
        try:
            yield str(name), adapter.validate_python(entry)
        except ValidationError as error:
            faults += [_fault_of(fault, (section, str(name))) for fault in error.errors()]


def _fault_of(fault: Any, prefix: tuple[str, ...]) -> _Fault:
    keys = (*prefix, *(str(key) for key in fault["loc"]))
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return _unknown_key(keys, fault["input"], _schema_keys())
    rule = fault["msg"].removeprefix("Value error, ")
    own_words = fault["type"] == "value_error" or isinstance(fault["input"], dict)
    return _Fault(keys, rule, None if own_words else fault["input"])


def _unknown_key(keys: tuple[str, ...], found: Any, known: Any) -> _Fault:
    return _Fault(keys, "unknown key", found, _suggest(keys[-1], known))


def _missing(keys: tuple[str, ...], name: str, known: Any) -> list[_Fault]:
    if name in known:
        return []
    return [_Fault(keys, f"must be one of {', '.join(sorted(known))}", name, _suggest(name, known))]


def _schema_keys() -> set[str]:
    models: tuple[type[BaseModel], ...] = (Experiment, Recipe, OperatorSettings)
    return {name for model in models for name in model.model_fields} | {
        field.name for cls in (Body, Branch) for field in fields(cls)
    }


def _suggest(name: str, known: Any) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _choose(name: str, known: Mapping[str, _Model], *, kind: str, where: Path) -> _Model:
    if name not in known:
        hint = _suggest(name, known) or f"; choose from {', '.join(known)}."
        raise InputError(f"{where}: {kind} must be one that the file holds, got {name!r}{hint}")
    return known[name]


def _keys_of(section: Any) -> set[str]:
    return {str(key) for key in section} if isinstance(section, dict) else set()


def _find_line(lines: Mapping[tuple[str, ...], int], keys: tuple[str, ...]) -> int:
    """Line of the longest beginning of `keys` that the file holds."""
    known = (keys[:length] for length in range(len(keys), 0, -1))
    return next((lines[key] for key in known if key in lines), 1)


def _describe(path: Path, faults: list[_Fault], lines: Mapping[tuple[str, ...], int]) -> str:
    placed = sorted((_find_line(lines, fault.keys), fault.text()) for fault in faults)
    return "\n".join(f"{path}:{line}: {text}" for line, text in placed)
