"""Operators that users wrote: found, their settings checked, their files hashed, tried out.

What they are made of is theirs, so that all faults of theirs become messages.
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
"""Arguments that an operator gets from the body, not from its settings."""

PROBE_SIZE = 8
"""Side in pixels of the image that an operator is tried out on."""


def describe_operator(
    path: str, settings: Mapping[str, Any], *, sources: Sequence[str], folder: Path
) -> UserOperator:
    """The operator that experiments.yaml describes, with checked settings and hashed files.

    Args:
        path: `package.module:Class`; looked for in `folder`, too.
        settings: Its arguments besides channels and stride.
        sources: Further files that it is made of, below `folder`.
        folder: Where experiments.yaml is.

    Raises:
        ValueError: If it cannot be loaded, a setting is not what the class's annotations say, or a
            file is missing.
    """
    from sknet.operators import load_class  # the user's module loads torch

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
    """The settings as the annotations of the class's `__init__` want them, defaults filled in.

    Raises:
        ValueError: With every setting that is missing, unknown, or of another type.
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
        told = "; ".join(
            f"settings.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r}"
            for fault in error.errors()
        )
        raise ValueError(f"{found.__name__} does not take these settings: {told}") from None
    return {name: _freeze(getattr(checked, name)) for name in wanted}


def check_shapes(operator: UserOperator, widths: Iterable[int]) -> None:
    """Builds the operator for each width, with both strides, and tries it out.

    Raises:
        ValueError: If it cannot be built, or gives another shape than a spatial operator must.
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
            except Exception as error:  # whatever a user's code raises
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
    raise ValueError(f"a setting must be a text, a number, a truth value or a list, got {value!r}")


def _hash_source(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"sources must name files, got {path}, which is none")
    return hash_file(path)
