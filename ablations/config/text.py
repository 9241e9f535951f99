"""YAML without surprises: numbers, booleans, duplicate keys, and the line of every key."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from ablations.errors import InputError, MachineError

Keys = tuple[str, ...]
"""Path to a value: the keys that lead to it; positions in lists are keys too."""


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """Numbers and booleans of YAML 1.2: `1e-4` is a number, `on` and `yes` are strings."""


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


class _ExactLoader(_Loader):
    """Keeps the precision of decimal fractions: 8.00 has two decimals."""


_ExactLoader.add_constructor(_FLOAT, lambda _, node: Decimal(node.value))


def read_yaml(path: Path, *, exact: bool = False) -> tuple[dict[str, Any], dict[Keys, int]]:
    """Reads a mapping, and the line number of each key.

    Args:
        path: The file.
        exact: Whether fractions become `Decimal`, with the precision of the text.

    Raises:
        InputError: If it is not a YAML mapping, or has a duplicate key.
        MachineError: If it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8 text, got {error}.") from error
    loader = (_ExactLoader if exact else _Loader)(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}:1: the file must hold a YAML mapping.")
        lines = _find_lines(root, path)
        content: dict[str, Any] = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(f"{path}:{line}: invalid YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: invalid YAML: {error}.") from None
    finally:
        loader.dispose()
    return content, lines


def parse_value(text: str) -> Any:
    """Parses one value as in experiments.yaml.

    Raises:
        yaml.YAMLError: If it is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def _find_lines(root: yaml.Node, path: Path) -> dict[Keys, int]:
    """Line of every key; duplicates are errors, since YAML would silently use the last."""
    lines: dict[Keys, int] = {}
    duplicates = []
    for keys, line in _walk(root, ()):
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
