"""YAML without surprises: plain values only, bounded, and with the line of every key."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from ablations.errors import InputError, MachineError
from ablations.escapes import is_control, shorten
from ablations.files import read_regular

Keys = tuple[str, ...]
"""Path to a value: the keys that lead to it; positions in lists are keys too."""

LARGEST_FILE = 2**20
"""Most bytes of a file."""

MOST_VALUES = 50_000
"""Most keys and values of a file, with those that its aliases repeat."""

DEEPEST = 32
"""Deepest nesting; experiments need 9 levels."""

LONGEST_NUMBER = 100
"""Most characters of a number."""

_KINDS = ("null", "bool", "int", "float", "str", "seq", "map")
_BOOLEAN, _INTEGER, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float"))
_UNWANTED = (_BOOLEAN, _FLOAT, "tag:yaml.org,2002:timestamp")


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Scalars of YAML 1.2: `1e-4` is a number; `on`, `yes` and dates are strings.

    There are no sets, binary data or other tags, and whatever a value raises is an error of YAML.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            if node.tag in (_INTEGER, _FLOAT) and len(node.value) > LONGEST_NUMBER:
                raise ValueError(f"a number may have {LONGEST_NUMBER} characters")
            return super().construct_object(node, deep=deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{shorten(str(node.value), 40)!r} is not a value of the type {kind}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


_Loader.yaml_constructors = {
    tag: constructor
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _KINDS
}
_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag not in _UNWANTED]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+.0123456789"),
)


class _ExactLoader(_Loader):
    """Keeps the precision of decimal fractions: 8.00 has two decimals."""


_ExactLoader.add_constructor(_FLOAT, lambda _, node: Decimal(node.value))


def read_yaml(path: Path, *, exact: bool = False) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Reads a mapping, and the line number of each key.

    Args:
        path: The file.
        exact: Whether fractions become `Decimal`, with the precision of the text.

    Raises:
        InputError: If it is not a YAML mapping of plain values, is too large, or has a duplicate
            key or control characters.
        MachineError: If it cannot be read.
    """
    try:
        text = read_regular(path, most=LARGEST_FILE).decode()
    except OSError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, got {error}.") from error
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    try:
        content, places = _parse(text, _ExactLoader if exact else _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: invalid YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: invalid YAML: {' '.join(str(error).split())}.") from None
    lines = _find_lines(places, path)
    if not isinstance(content, dict):
        raise InputError(f"{path}:1: the file must hold a YAML mapping.")
    return content, lines


def parse_value(text: str) -> Any:
    """Parses one value as in experiments.yaml.

    Raises:
        yaml.YAMLError: If it is not YAML, or more than experiments.yaml may hold.
    """
    return _parse(text, _Loader)[0]


def _parse(text: str, loader_class: type[_Loader]) -> tuple[Any, list[tuple[Keys, int]]]:
    """The value of a document, and the place and line of every key, also of duplicate ones."""
    loader = None
    try:
        _check_events(text)
        loader = loader_class(text)
        root = loader.get_single_node()
        if root is None:
            return None, []
        places = list(_walk(root, ()))  # first, since constructing merges `<<` into the tree
        return loader.construct_document(root), places
    except UnicodeEncodeError:
        raise yaml.YAMLError("it must be Unicode without surrogates") from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_events(text: str) -> None:
    """Refuses what would take too long or crash, before a tree of it is built.

    Raises:
        yaml.YAMLError: If it nests too deeply, holds too much once its aliases are expanded, an
            alias that contains itself, or control characters.
    """
    sizes: dict[str | None, int] = {}  # of what each anchor stands for
    opened: list[tuple[str | None, int]] = []
    size = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: size - before} if anchor else {}
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, size))
            size += sizes.get(event.anchor, 1) if isinstance(event, yaml.AliasEvent) else 1
            if problem := _find_problem(event, [anchor for anchor, _ in opened], size):
                mark: Any = event.start_mark  # libyaml's, which the types of PyYAML do not know
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _find_problem(event: yaml.NodeEvent, anchors: list[str | None], size: int) -> str:
    """What is wrong with a value inside of `anchors`; empty if nothing is."""
    if isinstance(event, yaml.AliasEvent) and event.anchor in anchors:
        return f"*{event.anchor} contains itself"
    text = event.value if isinstance(event, yaml.ScalarEvent) else ""
    if any(is_control(character) and character not in "\n\t" for character in text):
        return "control characters are not allowed"
    if len(anchors) > DEEPEST:
        return f"values may be nested {DEEPEST} levels deep"
    return f"the file may hold {MOST_VALUES} keys and values" if size > MOST_VALUES else ""


def _find_lines(places: Iterable[tuple[Keys, int]], path: Path) -> dict[Keys, int]:
    """Line of every key; duplicates are errors, since YAML would silently use the last."""
    lines: dict[Keys, int] = {}
    duplicates = []
    for keys, line in places:
        if keys in lines:
            duplicates.append(
                f"{path}:{line}: {'.'.join(keys)}: duplicate key, first defined on line "
                f"{lines[keys]}; remove one."
            )
        lines.setdefault(keys, line)
    if duplicates:
        raise InputError("\n".join(duplicates))
    return lines


def _walk(node: yaml.Node, prefix: Keys) -> Iterator[tuple[Keys, int]]:
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
