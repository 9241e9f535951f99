"""The command that proposes a network of a given cost."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ablations.cli.display import make_table, print_json, stdout
from ablations.cli.options import AsJson, RunsDir, parse_share
from ablations.complexity.counts import Complexity, Sized, count_complexities
from ablations.complexity.match import (
    By,
    Proposal,
    Sizing,
    choose_start,
    propose,
    render_yaml,
)
from ablations.config import Match
from ablations.errors import IncompleteError
from ablations.formatting import format_share
from ablations.workspace import Workspace
from sknet.spec import NetworkSpec
from sknet.zoo import NETWORKS


def match(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Network to be matched.")],
    by: Annotated[By, typer.Option(help="What to add to the plain network.")],
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="What to change; else its plain ResNeXt."),
    ] = None,
    cost: Annotated[Match, typer.Option("--match", help="Which cost is matched.")] = "macs",
    tolerance: Annotated[str, typer.Option(help="Largest distance, as 6% or 0.06.")] = "6%",
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Propose the ResNeXt that costs as much as another network."""
    largest = parse_share(tolerance)
    first = choose_start(to, start)
    size, cache_file = first.body.input_size, Workspace(runs_dir=runs_dir).complexity_file

    def count(network: NetworkSpec) -> Complexity:
        sized = Sized(network, size)
        return count_complexities([sized], cache_file=cache_file)[sized]

    proposal = propose(to, first, by=by, match=cost, tolerance=largest, count=count)
    if as_json:
        print_json(_describe(proposal, to, tolerance=largest))
    else:
        _print(proposal, to, cost)
    if abs(proposal.found.share) > largest:
        raise IncompleteError(
            f"no network by {by} costs within {100 * largest:g}% of {to}; the nearest is at "
            f"{format_share(proposal.found.share)}. Try another --by, --from or --tolerance."
        )


def _print(proposal: Proposal, to: str, cost: Match) -> None:
    table = make_table("", "body", "kernel", "params", "MFLOPs", f"{cost} from {to}")
    table.add_row(to, *_show_spec(NETWORKS[to]), *_show_complexity(proposal.target), "")
    for label, sizing in (("start", proposal.start), ("proposal", proposal.found)):
        cells = (*_show_spec(sizing.network.spec), *_show_complexity(sizing.complexity))
        table.add_row(label, *cells, format_share(sizing.share))
    stdout.print(table)
    stdout.print(render_yaml(proposal), markup=False, soft_wrap=True)
    if proposal.note:
        stdout.print(f"\n{proposal.note}", soft_wrap=True)


def _show_spec(network: NetworkSpec) -> tuple[str, str]:
    attention = "" if network.attention is None else f" + {type(network.attention).__name__}"
    return str(network.body), f"{network.operator}{attention}"


def _show_complexity(complexity: Complexity) -> tuple[str, str]:
    return f"{complexity.params:,}", f"{complexity.macs / 1e6:.3f}"


def _describe(proposal: Proposal, to: str, *, tolerance: float) -> dict[str, Any]:
    return {
        "target": {"network": to, **asdict(proposal.target)},
        "start": _describe_sizing(proposal.start),
        "proposal": _describe_sizing(proposal.found),
        "is_within": abs(proposal.found.share) <= tolerance,
        "note": proposal.note,
        "yaml": render_yaml(proposal),
    }


def _describe_sizing(sizing: Sizing) -> dict[str, Any]:
    body = sizing.network.body
    return {
        "depths": body.depths,
        "mid_widths": body.mid_widths,
        "out_widths": body.out_widths,
        "groups": sizing.network.branch.groups,
        "share": sizing.share,
        **asdict(sizing.complexity),
    }
