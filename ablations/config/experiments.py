"""Reads experiments.yaml, and changes recipes from the command line."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ablations.config.faults import (
    NAME_LENGTH,
    Fault,
    describe_faults,
    find_bad_name,
    find_line,
    find_unknown_key,
    find_unknown_name,
    parse_fault,
)
from ablations.config.paper import read_paper
from ablations.config.schema import Experiment, Recipe, Seeds
from ablations.config.text import Keys, parse_value, read_yaml
from ablations.errors import InputError, suggest
from ablations.escapes import shorten
from sknet.spec import FAMILIES, AnyBody
from sknet.zoo import BODIES, NETWORKS

T = TypeVar("T")

_SEEDS = TypeAdapter(Seeds)

PAPER_BODY = "paper"
"""Body of a recipe that trains each experiment at the paper's scale."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The content of experiments.yaml."""

    path: Path
    """The file."""

    bodies: Mapping[str, AnyBody]
    """Bodies by name: those of the file and those of sknet."""

    recipes: Mapping[str, Recipe]
    """Recipes by name."""

    experiments: Mapping[str, Experiment]
    """Experiments by name."""

    lines: Mapping[Keys, int]
    """Line of each key, for messages."""

    @property
    def folder(self) -> Path:
        """Folder of the file, where the user's own modules are searched too."""
        return self.path.absolute().parent

    def place(self, *keys: str) -> str:
        """The place of a key as `file:line: a.b.c`."""
        return f"{self.path}:{find_line(self.lines, keys)}: {'.'.join(keys)}"

    def experiment(self, name: str) -> Experiment:
        """The experiment called `name`.

        Raises:
            InputError: If it does not exist.
        """
        return _choose(name, self.experiments, kind="experiment", where=self.path)

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`.

        Raises:
            InputError: If it does not exist.
        """
        return _choose(name, self.recipes, kind="recipe", where=self.path)


def find_config(path: Path | None, *, working_dir: Path) -> Path:
    """The experiments.yaml to use: `path`, or that of the working directory, or the bundled one.

    Raises:
        InputError: If `path` is given and is not a file.
    """
    if path is not None:
        if not path.is_file():
            raise InputError(f"{path} must be an experiments file, got no such file.")
        return path
    package = Path(__file__).parents[1]  # holds the file if installed, its parent in a checkout
    name = "experiments.yaml"
    candidates = [working_dir / name, package / name, package.parent / name]
    return next(candidate for candidate in candidates if candidate.is_file())


def read_config(path: Path) -> Config:
    """Parses and checks every body, recipe and experiment.

    Raises:
        InputError: With all faults, one per line.
    """
    raw, lines = read_yaml(path)
    known = {"bodies", "recipes", "experiments"}
    faults = [find_unknown_key((str(key),), key, known) for key in raw if key not in known]
    bodies = dict(_validate_bodies(raw, faults))
    recipes = dict(_validate_section(raw, "recipes", Recipe, faults))
    experiments = dict(_validate_section(raw, "experiments", Experiment, faults))
    faults += [
        Fault(("bodies", name), "must not have the name of one of sknet's bodies", name)
        for name in bodies.keys() & BODIES.keys()
    ]
    # A faulty body counts as known, so that its fault is not reported twice.
    known_bodies = BODIES.keys() | _keys_of(raw.get("bodies"))
    faults += [
        Fault(("bodies", name), "must have another name, since this one selects paper_body", name)
        for name in bodies.keys() & {PAPER_BODY}
    ]
    faults += _find_dangling(recipes, experiments, known_bodies)
    if faults:
        raise InputError(describe_faults(path, faults, lines))
    return Config(
        path=path,
        bodies={**BODIES, **bodies},
        recipes=recipes,
        experiments=experiments,
        lines=lines,
    )


def alter_recipe(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with changed fields; text, as from the command line, is parsed as YAML.

    Raises:
        InputError: With all fields that do not exist and values that are impossible.
    """
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in Recipe.model_fields:
            faults.append(find_unknown_key((key,), value, Recipe.model_fields))
            continue
        label = str(value)  # part of the name of the recipe
        if len(label) > NAME_LENGTH or not label.isprintable():
            rule = f"must be at most {NAME_LENGTH} printable characters"
            faults.append(Fault((key,), rule, label))
            continue
        try:
            values[key] = parse_value(value) if isinstance(value, str) else value
        except yaml.YAMLError:
            faults.append(Fault((key,), "must be a YAML value", value))
    if not faults:
        try:
            return Recipe.model_validate({**_drop_replaced(recipe.model_dump(), values), **values})
        except ValidationError as error:
            faults = [parse_fault(fault, ()) for fault in error.errors()]
    raise InputError("\n".join(f"--set {fault.text().removeprefix(': ')}" for fault in faults))


def replace_seeds(recipe: Recipe, seeds: Sequence[int]) -> Recipe:
    """The recipe with other seeds; its looks stay, but are not taken.

    Raises:
        InputError: If there are too many, or one is impossible or given twice.
    """
    try:
        checked = _SEEDS.validate_python(seeds)
    except ValidationError as error:
        faults = [parse_fault(fault, ()) for fault in error.errors()]
        raise InputError("\n".join(f"--seeds {fault.text()}" for fault in faults)) from None
    if len(set(checked)) < len(checked):
        raise InputError(f"--seeds must name each seed once, got {shorten(str(seeds), 80)}.")
    return recipe.model_copy(update={"seeds": checked})


def _drop_replaced(fields: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without the seeds and looks that new looks or seeds replace."""
    replaced = {"seeds", "looks"} if values.keys() & {"seeds", "looks"} else set()
    if fields["looks"]:
        replaced.add("seeds")  # they follow from the looks
    return {key: value for key, value in fields.items() if key not in replaced}


def _validate_bodies(raw: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[str, AnyBody]]:
    """Yields the valid bodies, each as the class of its `family`; adds the faults of the others."""
    for name, entry in _list_entries(raw, "bodies", faults):
        family, values = "resnext", entry
        if isinstance(entry, dict):
            values = dict(entry)
            family = str(values.pop("family", family))
        if unknown := find_unknown_name(("bodies", name, "family"), family, FAMILIES):
            faults += unknown
        else:
            yield from _validate(FAMILIES[family], ("bodies", name), values, faults)


def _validate_section(
    raw: Mapping[str, Any], section: str, model: type[T], faults: list[Fault]
) -> Iterator[tuple[str, T]]:
    """Yields the valid entries of `section`; adds the faults of the others."""
    for name, entry in _list_entries(raw, section, faults):
        yield from _validate(model, (section, name), entry, faults)


def _list_entries(
    raw: Mapping[str, Any], section: str, faults: list[Fault]
) -> Iterator[tuple[str, Any]]:
    entries = raw.get(section) or {}
    if not isinstance(entries, dict):
        faults.append(Fault((section,), "must be a mapping from names", entries))
        return
    for name, entry in entries.items():
        faults += find_bad_name((section, str(name)), name)
        yield str(name), entry


def _validate(
    model: type[T], place: tuple[str, str], entry: Any, faults: list[Fault]
) -> Iterator[tuple[str, T]]:
    # Nested dataclasses inherit the configuration of their container. A dataclass on its own has
    # none and would ignore unknown keys, hence the mapping around the entry.
    section, name = place
    adapter = TypeAdapter(dict[str, model], config=ConfigDict(extra="forbid"))  # type: ignore[valid-type]
    try:
        yield from adapter.validate_python({name: entry}).items()
    except ValidationError as error:
        faults += [parse_fault(fault, (section,)) for fault in error.errors()]


def _choose(name: str, known: Mapping[str, T], *, kind: str, where: Path) -> T:
    if name not in known:
        hint = suggest(name, known) or f"; choose from {', '.join(known)}."
        raise InputError(f"{where}: {kind} must be defined in the file, got {name!r}{hint}")
    return known[name]


def _find_dangling(
    recipes: Mapping[str, Recipe],
    experiments: Mapping[str, Experiment],
    bodies: Set[str],
) -> list[Fault]:
    """Faults of names that refer to no body, table, network or variant."""
    faults = []
    for name, recipe in recipes.items():
        places = {*bodies, PAPER_BODY}
        faults += find_unknown_name(("recipes", name, "body"), recipe.body, places)
    known = {"body": bodies, "network": NETWORKS.keys(), "table": read_paper().keys()}
    for name, experiment in experiments.items():
        variants = experiment.expansion.variants.keys()
        for kind, keys, found in _list_names(experiment):
            choices = variants if kind == "variant" else known[kind]
            faults += find_unknown_name(("experiments", name, *keys), found, choices)
    return faults


def _list_names(experiment: Experiment) -> Iterator[tuple[str, Keys, str]]:
    """Every name that an experiment mentions: kind, path of keys, name."""
    yield "body", ("paper_body",), experiment.paper_body
    for table in experiment.paper_table:
        yield "table", ("paper_table",), table
    if experiment.budget is not None:
        yield "variant", ("budget", "to"), experiment.budget.to
        for variant in experiment.budget.free:
            yield "variant", ("budget", "free"), variant
    for index, claim in enumerate(experiment.claims):
        for keys, variant in claim.list_names():
            yield "variant", ("claims", str(index), *keys), variant
    variants = experiment.expansion.variants.items()
    for place, settings in [
        (("base",), experiment.base),
        *((("variants", name), variant) for name, variant in variants),
    ]:
        for kind, keys, found in settings.list_names():
            yield kind, (*place, *keys), found


def _keys_of(section: Any) -> set[str]:
    return {str(key) for key in section} if isinstance(section, dict) else set()
