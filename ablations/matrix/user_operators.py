"""Operators that users wrote: imported, settings validated, source files hashed, shapes tested.

Faults of the user's code become messages.
"""

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ConfigDict, ValidationError, create_model

from ablations.files import hash_file
from sknet.spec import Setting, UserOperator

if TYPE_CHECKING:
    from torch import nn

GIVEN = ("self", "channels", "stride")
"""Arguments that the body passes to an operator; the others are settings."""

PROBE_SIZE = 8
"""Side in pixels of the image that operators are tested on."""


def describe_operator(
    path: str, settings: Mapping[str, Any], *, sources: Sequence[str], folder: Path
) -> UserOperator:
    """Imports the operator that experiments.yaml names, validates its settings, hashes its files.

    Args:
        path: `package.module:Class`; `folder` is searched too.
        settings: Arguments besides channels and stride.
        sources: Other files that it depends on, relative to `folder`.
        folder: Folder of experiments.yaml.

    Raises:
        ValueError: If it cannot be imported, a setting does not match the annotations of the class,
            or a file is missing.
    """
    from sknet.operators import load_class  # loads torch

    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    plain = UserOperator(path=path)
    found = load_class(plain)
    module = sys.modules[found.__module__]
    return UserOperator(
        path=path,
        settings=tuple(sorted(check_settings(found, settings).items())),
        sources=(
            (f"{module.__name__}.py", hash_file(Path(str(module.__file__)))),
            *((name, _hash_source(folder / name)) for name in dict.fromkeys(sources)),
        ),
    )


def check_settings(found: "type[nn.Module]", settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Validates settings by the annotations of the class's `__init__`, and adds the defaults.

    Raises:
        ValueError: With every setting that is missing, unknown, or of the wrong type.
    """
    hints = get_type_hints(found.__init__)
    parameters = [
        parameter
        for name, parameter in inspect.signature(found.__init__).parameters.items()
        if name not in GIVEN
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    wanted: dict[str, Any] = {
        parameter.name: (
            hints.get(parameter.name, Any),
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in parameters
    }
    model = create_model("Settings", __config__=ConfigDict(extra="forbid"), **wanted)
    try:
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        reasons = "; ".join(
            f"settings.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        )
        raise ValueError(f"{found.__name__} does not accept these settings: {reasons}") from None
    return {name: _freeze(getattr(checked, name)) for name in wanted}


def check_shapes(operator: UserOperator, widths: Iterable[int]) -> None:
    """Builds the operator for each width and both strides, and tests its output shape.

    Raises:
        ValueError: If it cannot be built, or its output has the wrong shape.
    """
    import torch

    from sknet.operators import build_operator

    for channels in dict.fromkeys(widths):
        for stride in (1, 2):
            expected = (2, channels, PROBE_SIZE // stride, PROBE_SIZE // stride)
            image = torch.zeros(2, channels, PROBE_SIZE, PROBE_SIZE)
            try:
                with torch.random.fork_rng(devices=[]):
                    shape = tuple(build_operator(operator, channels, stride=stride)(image).shape)
            except Exception as error:  # the user's code may raise anything
                raise ValueError(
                    f"{operator} cannot be built for {channels} channels with stride {stride}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if shape != expected:
                raise ValueError(
                    f"{operator} must map {tuple(image.shape)} to {expected} with stride {stride}, "
                    f"got {shape}"
                )


def _freeze(value: Any) -> Setting:
    if isinstance(value, list | tuple):
        return tuple(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"a setting must be a string, number, boolean, null or list, got {value!r}")


def _hash_source(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"sources must name files, got {path}, which is not a file")
    return hash_file(path)
