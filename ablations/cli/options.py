"""Arguments and options: one declaration each, the same in every command."""

from pathlib import Path
from typing import Annotated

import typer

from ablations.errors import InputError
from ablations.reconcile.reconcile import Selection

Names = Annotated[list[str], typer.Argument(help="Experiments, by name.", metavar="NAME...")]
SomeNames = Annotated[
    list[str] | None, typer.Argument(help="Experiments; all if none.", metavar="[NAME...]")
]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="File of experiments; else ./experiments.yaml, else our own."),
]
RunsDir = Annotated[Path, typer.Option(help="Working state: ledger, MLflow, checkpoints.")]
ResultsDir = Annotated[Path, typer.Option(help="Where whole tables are written.")]
DataDir = Annotated[Path, typer.Option(help="Where your datasets are.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="How networks are trained.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe's field.")
]
Seeds = Annotated[
    str | None, typer.Option(metavar="LIST", help="Seeds instead of the recipe's: 0,2 or 0-4.")
]
Only = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Only variants of such a name.")
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="No variants of such a name.")
]
MaxHours = Annotated[
    float | None,
    typer.Option(min=0, help="Refuse if the trials would take more hours of cores, or of GPUs."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(help="MLflow store; 'off' for none. Else MLFLOW_TRACKING_URI, else a file."),
]


def select(
    recipe: str,
    settings: list[str] | None,
    seeds: str | None,
    only: list[str] | None,
    exclude: list[str] | None,
) -> Selection:
    """What the options ask for.

    Raises:
        InputError: If a text is no setting, or no list of seeds.
    """
    return Selection(
        recipe_name=recipe,
        settings=_parse_settings(settings or []),
        seeds=None if seeds is None else parse_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
    )


def _parse_settings(settings: list[str]) -> dict[str, str]:
    parsed = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise InputError(f"--set must be key=value, got {setting!r}.")
        parsed[key.strip()] = value.strip()
    return parsed


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a list of seeds.

    >>> parse_seeds("0,2-4")
    (0, 2, 3, 4)

    Raises:
        InputError: If the text is no such list, or a seed stands twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, sign, last = part.strip().partition("-")
        if not first.isdecimal() or (sign and not last.isdecimal()):
            raise InputError(f"--seeds must be a list like 0,2 or 0-4, got {text!r}.")
        seeds += range(int(first), int(last if sign else first) + 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds must name each seed once, got {text!r}.")
    return tuple(seeds)


def parse_share(text: str) -> float:
    """Reads a share.

    >>> parse_share("6%"), parse_share("0.06")
    (0.06, 0.06)

    Raises:
        InputError: If the text is none between 0 and 1.
    """
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if rest.strip() or not 0 < share < 1:
        raise InputError(f"--tolerance must be a share like 6% or 0.06, got {text!r}.")
    return share
