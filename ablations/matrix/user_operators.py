"""Operators that users wrote: imported, settings validated, source files hashed, shapes tested."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ablations.files import hash_file
from ablations.matrix.user_modules import import_current
from ablations.user_code import calling_user_code, import_from
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
        path: `package.module:Class`; `folder` is searched first.
        settings: Arguments besides channels and stride.
        sources: Other files that it depends on, relative to `folder`.
        folder: Folder of experiments.yaml.

    Raises:
        ValueError: If it is no module, a setting does not match the annotations of the class, or a
            file is missing.
        UserCodeError: If the module raises.
    """
    from sknet.operators import hash_definition, load_class  # loads torch

    import_from(folder)
    plain = UserOperator(path=path)
    with calling_user_code(f"importing {path}"):
        import_current(path, sources=[folder / name for name in sources], folder=folder)
    found = load_class(plain)
    own = hash_definition(found)
    if own is None:
        raise ValueError(f"{path} must be defined in a file, got the module {found.__module__!r}")
    return UserOperator(
        path=path,
        settings=tuple(sorted(check_settings(found, settings).items())),
        sources=(
            (f"{found.__module__}.py", own),
            *((name, _hash_source(folder / name)) for name in dict.fromkeys(sources)),
        ),
    )


def check_settings(found: "type[nn.Module]", settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Validates settings by the annotations of the class's `__init__`, and adds the defaults.

    Raises:
        ValueError: With every setting that is missing, unknown, or of the wrong type.
        UserCodeError: If the annotations cannot be understood.
    """
    with calling_user_code(f"reading the annotations of {found.__name__}.__init__"):
        model, names = _build_model(found)
    try:
        checked = model.model_validate(dict(settings))
    except ValidationError as error:
        reasons = "; ".join(
            f"settings.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        )
        raise ValueError(f"{found.__name__} does not accept these settings: {reasons}") from None
    return {name: _freeze(getattr(checked, name)) for name in names}


def _build_model(found: "type[nn.Module]") -> tuple[type[BaseModel], list[str]]:
    """The arguments of a class as a model that validates them, and their names."""
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
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    return create_model("Settings", __config__=config, **wanted), list(wanted)


def check_shapes(operator: UserOperator, widths: Iterable[int]) -> None:
    """Builds the operator for each width and both strides, and tests its output shape.

    Raises:
        ValueError: If its output is no tensor of floats, or has the wrong shape.
        UserCodeError: If it cannot be built or called.
    """
    import torch

    from sknet.operators import build_operator

    for channels in dict.fromkeys(widths):
        for stride in (1, 2):
            expected = (2, channels, PROBE_SIZE // stride, PROBE_SIZE // stride)
            image = torch.zeros(2, channels, PROBE_SIZE, PROBE_SIZE)
            what = f"building {operator} for {channels} channels with stride {stride}"
            with calling_user_code(what), torch.random.fork_rng(devices=[]):
                output = build_operator(operator, channels, stride=stride)(image)
            if not isinstance(output, torch.Tensor) or output.dtype != image.dtype:
                found = getattr(output, "dtype", type(output).__name__)
                raise ValueError(f"{operator} must return a tensor of {image.dtype}, got {found}")
            if (shape := tuple(output.shape)) != expected:
                raise ValueError(
                    f"{operator} must map {tuple(image.shape)} to {expected} with stride {stride}, "
                    f"got {shape}"
                )


def _freeze(value: Any) -> Setting:
    if isinstance(value, list | tuple):
        return tuple(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a setting must be a finite number, got {value}")
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(f"a setting must be a string, number, boolean, null or list, got {value!r}")


def _hash_source(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"sources must name files, got {path}, which is not a file")
    return hash_file(path)
