"""`ablations match`: proposes a plain network as complex as another one."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.choices import By, Match
from ablations.cli.display import add_row, make_table, print_json, print_line, print_table
from ablations.cli.options import AsJson, RunsDir, parse_share
from ablations.errors import IncompleteError
from ablations.formatting import format_share

if TYPE_CHECKING:  # loaded when the command runs: help and completion do without them
    from ablations.complexity import Complexity
    from ablations.complexity.match import Proposal, Sizing
    from sknet.spec import NetworkSpec


def match(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="Network to match.")],
    by: Annotated[By, typer.Option(help="What to increase in the plain network.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="Network to start from (default: its plain ResNeXt)."
        ),
    ] = None,
    cost: Annotated[
        Match, typer.Option("--match", help="What to match: multiply-adds or parameters.")
    ] = "macs",
    tolerance: Annotated[
        str, typer.Option(help="Largest relative distance, as 6% or 0.06.")
    ] = "6%",
    as_json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Propose the ResNeXt that matches another network in multiply-adds or parameters."""
    # Late: help and completion do without them.
    from ablations.complexity import Sized, count_complexities
    from ablations.complexity.match import choose_start, propose
    from ablations.workspace import Workspace

    largest = parse_share(tolerance)
    first = choose_start(to, start)
    size, cache_file = first.body.input_size, Workspace(runs_dir=runs_dir).complexity_file

    def count(network: "NetworkSpec") -> "Complexity":
        sized = Sized(network, size)
        return count_complexities([sized], cache_file=cache_file)[sized]

    proposal = propose(to, first, by=by, match=cost, tolerance=largest, count=count)
    if as_json:
        print_json(_describe(proposal, to, tolerance=largest))
    else:
        _print(proposal, to, cost)
    if abs(proposal.found.share) > largest:
        raise IncompleteError(
            f"no network by {by} is within {100 * largest:g}% of {to}; the nearest is at "
            f"{format_share(proposal.found.share)}. Try another --by, --from or --tolerance."
        )


def _print(proposal: "Proposal", to: str, cost: Match) -> None:
    from ablations.complexity.match import render_yaml
    from sknet.zoo import NETWORKS

    table = make_table("", "body", "kernel", "params", "MFLOPs", f"{cost} from {to}")
    add_row(table, to, *_show_spec(NETWORKS[to]), *_show_complexity(proposal.target), "")
    for label, sizing in (("start", proposal.start), ("proposal", proposal.found)):
        cells = (*_show_spec(sizing.network.spec), *_show_complexity(sizing.complexity))
        add_row(table, label, *cells, format_share(sizing.share))
    print_table(table)
    print_line(render_yaml(proposal))
    if proposal.note:
        print_line(f"\n{proposal.note}")


def _show_spec(network: "NetworkSpec") -> tuple[str, str]:
    attention = "" if network.attention is None else f" + {type(network.attention).__name__}"
    return str(network.body), f"{network.operator}{attention}"


def _show_complexity(complexity: "Complexity") -> tuple[str, str]:
    return f"{complexity.params:,}", f"{complexity.macs / 1e6:.3f}"


def _describe(proposal: "Proposal", to: str, *, tolerance: float) -> dict[str, Any]:
    from ablations.complexity.match import render_yaml

    return {
        "target": {"network": to, **asdict(proposal.target)},
        "start": _describe_sizing(proposal.start),
        "proposal": _describe_sizing(proposal.found),
        "is_within": abs(proposal.found.share) <= tolerance,
        "note": proposal.note,
        "yaml": render_yaml(proposal),
    }


def _describe_sizing(sizing: "Sizing") -> dict[str, Any]:
    body = sizing.network.body
    return {
        "depths": body.depths,
        "mid_widths": body.mid_widths,
        "out_widths": body.out_widths,
        "groups": sizing.network.branch.groups,
        "share": sizing.share,
        **asdict(sizing.complexity),
    }
