"""Arguments and options: each declared once, the same in every command."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.errors import AblationError, InputError
from ablations.escapes import shorten

if TYPE_CHECKING:  # these load pydantic and more, which help and completion of options do without
    from ablations.config import Config
    from ablations.reconcile.plans import Selection, Shard


_SEEDS = re.compile("([0-9]{1,10})(?:-([0-9]{1,10}))?")
"""A seed or a range of seeds."""

MOST_GPUS = 1024
"""Most GPUs of a trial."""


def load_config(path: Path | None) -> "Config":
    """Reads the experiments file: `path`, else the working directory's, else the bundled one.

    Raises:
        InputError: With all of its faults, or if there is no such file.
    """
    from ablations.config import find_config, read_config

    return read_config(find_config(path, working_dir=Path()))


def _complete(
    list_names: "Callable[[Config], Iterable[str]]",
) -> Callable[[typer.Context, str], list[str]]:
    """Shell completion of names from the experiments file; none where it cannot be read."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            names = list_names(load_config(context.params.get("config")))
        except AblationError:
            return []
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _list_variants(config: "Config") -> Iterable[str]:
    for experiment in config.experiments.values():
        yield from experiment.expansion.variants


def complete_network(incomplete: str) -> list[str]:
    """Shell completion of the names of published networks."""
    from sknet.zoo import NETWORKS  # late: options do without it

    return [name for name in NETWORKS if name.startswith(incomplete)]


complete_experiment = _complete(lambda config: config.experiments)
complete_recipe = _complete(lambda config: config.recipes)
complete_variant = _complete(_list_variants)

Names = Annotated[
    list[str],
    typer.Argument(help="Experiments.", metavar="NAME...", autocompletion=complete_experiment),
]
SomeNames = Annotated[
    list[str] | None,
    typer.Argument(
        help="Experiments (default: all).",
        metavar="[NAME...]",
        autocompletion=complete_experiment,
    ),
]
ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config", help="Experiments file (default: ./experiments.yaml, then the bundled one)."
    ),
]
RunsDir = Annotated[Path, typer.Option(help="Working state: ledger, checkpoints, MLflow store.")]
ResultsDir = Annotated[Path, typer.Option(help="Records and tables of whole experiments.")]
DataDir = Annotated[Path, typer.Option(help="Folder of your datasets.")]
RecipeName = Annotated[
    str,
    typer.Option("--recipe", help="How networks are trained.", autocompletion=complete_recipe),
]
SomeRecipe = Annotated[
    str | None,
    typer.Option("--recipe", help="One recipe (default: all).", autocompletion=complete_recipe),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the recipe."),
]
Seeds = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Seeds, such as 0,2 or 0-4 (default: the recipe's)."),
]
Looks = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Plan other looks, such as 5,10,20 (default: the recipe's)."),
]
UntilDecided = Annotated[
    bool,
    typer.Option(
        "--until-decided",
        help="Take look after look: train seeds for what is undecided until nothing is.",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Run only variants that match this pattern.",
        autocompletion=complete_variant,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Leave out variants that match this pattern.",
        autocompletion=complete_variant,
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Run only the trials that have failed."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Run only the I-th of N equal parts of the trials, such as 2/8 in a job array.",
    ),
]
ReuseResults = Annotated[
    bool,
    typer.Option(
        "--reuse-results",
        help="Count the trials recorded in the results folder as trained, on whatever machine.",
    ),
]
MaxHours = Annotated[
    float | None,
    typer.Option(
        min=0, help="Refuse to run if the trials would take more core hours or GPU hours."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        help="MLflow store, or 'off' (default: MLFLOW_TRACKING_URI, then a file in --runs-dir)."
    ),
]


def find_uri(flag: str | None, runs_dir: Path) -> str:
    """The MLflow store to use: the flag's, else the environment's, else a file in `runs_dir`."""
    from ablations.tracking import choose_uri

    return choose_uri(flag, os.environ.get("MLFLOW_TRACKING_URI"), runs_dir)


def make_selection(
    recipe: str,
    settings: list[str] | None,
    seeds: str | None,
    only: list[str] | None,
    exclude: list[str] | None,
    *,
    looks: str | None = None,
    shard: str | None = None,
    until_decided: bool = False,
    retry_failed: bool = False,
) -> "Selection":
    """What the options ask for.

    Raises:
        InputError: If a text is not a setting, a list of seeds or looks, or a shard; or if options
            exclude each other.
    """
    from ablations.reconcile.plans import Selection

    if looks is not None and seeds is not None:
        raise InputError("--looks and --seeds exclude each other, got both. Pass one of them.")
    if shard is not None and until_decided:
        raise InputError(
            "--shard and --until-decided exclude each other, got both: a look needs the trials of "
            "all shards. Merge them, then decide."
        )
    if retry_failed and until_decided:
        raise InputError(
            "--retry-failed and --until-decided exclude each other, got both: a look needs all of "
            "its trials. Pass one of them."
        )
    planned = [] if looks is None else [f"looks=[{looks}]"]
    return Selection(
        recipe_name=recipe,
        settings=_parse_settings([*(settings or ()), *planned]),
        shard=None if shard is None else parse_shard(shard),
        until_decided=until_decided,
        retry_failed=retry_failed,
        seeds=None if seeds is None else parse_seeds(seeds),
        only=tuple(only or ()),
        exclude=tuple(exclude or ()),
    )


def _parse_settings(settings: list[str]) -> dict[str, str]:
    parsed: dict[str, str] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise InputError(f"--set must be key=value, got {setting!r}.")
        if key.strip() in parsed:
            raise InputError(f"{key.strip()!r} must be set once, got two values. Pass one of them.")
        parsed[key.strip()] = value.strip()
    return parsed


def parse_seeds(text: str) -> tuple[int, ...]:
    """Reads a list of seeds.

    >>> parse_seeds("0,2-4")
    (0, 2, 3, 4)

    Raises:
        InputError: If the text is not such a list, or a seed appears twice, or there are too many.
    """
    from ablations.config import MOST_SEEDS  # late: help and completion do without it

    seeds: list[int] = []
    for part in text.split(","):
        found = _SEEDS.fullmatch(part.strip())
        if found is None:
            raise InputError(f"--seeds must be a list like 0,2 or 0-4, got {shorten(text, 80)!r}.")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise InputError(f"--seeds must be a list of rising ranges, got {part!r}.")
        if last - first + len(seeds) >= MOST_SEEDS:
            raise InputError(f"--seeds may name {MOST_SEEDS} seeds, got {shorten(text, 80)!r}.")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds must name each seed once, got {shorten(text, 80)!r}.")
    return tuple(seeds)


def parse_shard(text: str) -> "Shard":
    """Reads a part of all trials.

    >>> str(parse_shard("2/8"))
    '2/8'

    Raises:
        InputError: If the text is not such a part.
    """
    from ablations.reconcile.plans import Shard

    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise InputError(f"--shard must be I/N, such as 2/8, got {text!r}.")
    return Shard(number=int(number), count=int(count))


def parse_gpus(text: str | None) -> float | None:
    """Reads a number of GPUs; None for as many as there are, or if the run is to choose it.

    >>> parse_gpus("0.25"), parse_gpus("auto")
    (0.25, None)

    Raises:
        InputError: If the text is not such a number.
    """
    if text is None or text == "auto":
        return None
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_GPUS:
        raise InputError(
            f"--gpus-per-trial must be a number from 0 to {MOST_GPUS}, or auto, got "
            f"{shorten(text, 80)!r}."
        )
    return number


def parse_share(text: str) -> float:
    """Reads a share.

    >>> parse_share("6%"), parse_share("0.06")
    (0.06, 0.06)

    Raises:
        InputError: If the text is not a share between 0 and 1.
    """
    number, percent, rest = text.partition("%")
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        share = 0.0
    if rest.strip() or not 0 < share < 1:
        raise InputError(f"--tolerance must be a share like 6% or 0.06, got {text!r}.")
    return share
