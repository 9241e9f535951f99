"""Finds a plain network that costs as much as another: deeper, wider, or of higher cardinality.

Candidates are compared by a formula, which is exact for plain networks; the proposal is counted
like any other network.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, gcd, log
from typing import Any

from ablations.choices import By, Match
from ablations.complexity.budget import get_cost
from ablations.complexity.counts import Complexity
from ablations.errors import InputError, suggest
from sknet.spec import Body, Branch, NetworkSpec, SelectiveKernel
from sknet.zoo import BODIES, NETWORKS

Count = Callable[[NetworkSpec], Complexity]
"""Counts a network on images of its body's input size."""

LARGEST_FACTOR = 4
"""Largest factor by which a proposal may exceed the start in depth, width or cardinality."""
LARGEST_CHANGE = 1.5
"""Largest factor by which the width of groups may change if steps are too coarse otherwise."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A network with one kernel and no attention: a ResNet or a ResNeXt."""

    body: Body
    """Depths, widths and stem."""

    branch: Branch
    """The kernel."""

    in_channels: int
    """Channels of the images."""

    num_classes: int
    """Outputs of the classifier."""

    @property
    def spec(self) -> NetworkSpec:
        """Spec of the network."""
        return NetworkSpec(
            body=self.body,
            operator=SelectiveKernel(branches=(self.branch,), attention="sum"),
            in_channels=self.in_channels,
            num_classes=self.num_classes,
        )

    @property
    def group_width(self) -> int:
        """Channels per group in the first stage."""
        return self.body.mid_widths[0] // (self.branch.groups or self.body.mid_widths[0])


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """A network, its complexity, and its distance from the target."""

    network: Plain
    """The network."""

    complexity: Complexity
    """Its complexity."""

    share: float
    """Difference from the target in the matched cost, relative to it; negative if cheaper."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The result of a search."""

    target: Complexity
    """Complexity to be matched."""

    body: Body
    """Body of the target, which variants change."""

    start: Sizing
    """Network that the search started from."""

    found: Sizing
    """The variation of it whose cost is nearest to the target's."""

    note: str
    """Side effects of the variation; empty if there are none."""


def choose_start(to: str, start: str | None = None) -> Plain:
    """The network to start from, with the input and the classes of the network `to`.

    Args:
        to: A network of the zoo.
        start: Another one, with one kernel and no attention. By default the ResNeXt on the body of
            `to`: one 3x3 kernel with as many groups as its first branch.

    Raises:
        InputError: If a name is unknown, or its network cannot be varied like this.
    """
    target, target_body, branches = _find_network(to, flag="--to")
    if start is None:
        body, branch = target_body, Branch(groups=branches[0].groups)
    else:
        network, body, (branch, *others) = _find_network(start, flag="--from")
        if others or network.attention is not None:
            raise InputError(
                f"--from must be a network with one kernel and no attention, got {start!r}. "
                "Name a ResNet or a ResNeXt."
            )
        if body.input_size != target_body.input_size:
            raise InputError(
                f"--from must be made for images of {target_body.input_size} pixels, like {to}, "
                f"got {start!r}, which is made for {body.input_size}."
            )
    return Plain(
        body=body,
        branch=branch,
        in_channels=target.in_channels,
        num_classes=target.num_classes,
    )


def propose(
    to: str, start: Plain, *, by: By, match: Match, tolerance: float, count: Count
) -> Proposal:
    """The variation of `start` whose cost is nearest to that of the network `to`.

    By depth, one stage gets more bottlenecks, or fewer: of the stages that come within the
    tolerance, the one that is also nearest in the other cost; if there is none, the nearest one.
    By width, all widths except the stem's change; by cardinality, only those of the spatial
    operator. Groups keep their width; if the steps are then too coarse for the tolerance, groups
    up to half as wide again are tried too.

    Args:
        to: Network of the zoo to be matched.
        start: Network to vary.
        by: What to vary.
        match: Cost that is matched.
        tolerance: Largest acceptable relative difference.
        count: Counts a network.
    """
    network, body, _ = _find_network(to, flag="--to")
    target = count(network)
    if by == "depth":
        found = _search_depths(start, target, match=match, tolerance=tolerance)
    else:
        found = _find_nearest([*_widen(start, by), start], target, match)
        if abs(_compare(found, target, match)) > tolerance:
            found = _find_nearest([found, *_widen_freely(start, by)], target, match)

    def size(network: Plain) -> Sizing:
        complexity = count(network.spec)
        share = get_cost(complexity, match) / get_cost(target, match) - 1
        return Sizing(network=network, complexity=complexity, share=share)

    return Proposal(
        target=target,
        body=body,
        start=size(start),
        found=size(found),
        note=_describe_groups(start, found),
    )


def compute_complexity(network: Plain) -> Complexity:
    """The complexity by formula, from the sizes of all convolutions and the classifier.

    >>> body = Body(depths=(1,), mid_widths=(4,), out_widths=(64,))
    >>> branch = Branch(groups=2)
    >>> plain = Plain(body=body, branch=branch, in_channels=3, num_classes=10)
    >>> compute_complexity(plain).params
    10914
    """
    features, classes = network.body.out_widths[-1], network.num_classes
    macs, params, norms = features * classes, (features + 1) * classes, 0
    for weights, outputs, side in _list_convolutions(network):
        macs += weights * side**2
        params += weights
        norms += 2 * outputs  # batch normalisation follows each convolution
    return Complexity(
        params=params + norms,
        running_statistics=norms,
        macs=macs,
        rescaling_macs=0,
        fvcore_total=None,
        uncounted=(),
    )


def _list_convolutions(network: Plain) -> Iterator[tuple[int, int, int]]:
    """Yields weights and outputs of every convolution, and the side of its output map."""
    body, branch = network.body, network.branch
    stem = body.stem
    side = ceil(body.input_size / stem.stride)
    yield stem.kernel**2 * network.in_channels * stem.width, stem.width, side
    side = ceil(side / 2) if stem.pool else side
    for block in (block for blocks in body.stages() for block in blocks):
        before, side = side, ceil(side / block.stride)
        mid, out = block.mid_width, block.out_width
        yield block.in_width * mid, mid, before if body.stride_place == "operator" else side
        yield branch.kernel**2 * mid * (mid // (branch.groups or mid)), mid, side
        yield mid * out, out, side
        if block.stride != 1 or block.in_width != out:
            yield block.in_width * out, out, side


def render_yaml(proposal: Proposal) -> str:
    """The settings of a variant that is the proposal, in an experiment on the target's body.

    For a body narrower than the paper's they are nested under `on`, in that body's own numbers.
    """
    network, body = proposal.found.network, proposal.body
    lines = [f"branches: [{{{_describe_kernel(network.branch)}}}]", "attention: sum"]
    before, after = asdict(body), asdict(network.body)
    changes = {
        name: value
        for name, value in after.items()
        if value != before[name] and name not in ("input_size", "divisor")
    }
    if changes:
        lines.insert(0, f"body: {_render_value(changes)}")
    if body.divisor == 1:
        return "\n".join(lines)
    name = next((name for name, known in BODIES.items() if known == body), "BODY")
    return "\n".join(["on:", f"  {name}:", *(f"    {line}" for line in lines)])


def _render_value(value: Any) -> str:
    """A setting in the flow style of YAML.

    >>> _render_value({"depths": (3, 4), "stem": {"width": 64, "pool": True}})
    '{depths: [3, 4], stem: {width: 64, pool: true}}'
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_render_value(own)}" for key, own in value.items()) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_render_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _describe_kernel(branch: Branch) -> str:
    settings = {"kernel": branch.kernel, "dilation": branch.dilation, "groups": branch.groups}
    default = {"dilation": 1, "groups": None}
    return ", ".join(f"{k}: {v}" for k, v in settings.items() if default.get(k, ()) != v)


def _find_network(name: str, *, flag: str) -> tuple[NetworkSpec, Body, tuple[Branch, ...]]:
    """A network of the zoo, its body and its kernels."""
    if name not in NETWORKS:
        hint = suggest(name, NETWORKS) or "; sknet.list_models() lists all."
        raise InputError(f"{flag} must be a network of the zoo, got {name!r}{hint}")
    network = NETWORKS[name]
    if not isinstance(network.body, Body) or not isinstance(network.operator, SelectiveKernel):
        raise InputError(f"{flag} must be a network on a ResNet's body, got {name!r}.")
    return network, network.body, network.operator.branches


def _search_depths(start: Plain, goal: Complexity, *, match: Match, tolerance: float) -> Plain:
    """The best number of bottlenecks in one stage."""
    largest = LARGEST_FACTOR * sum(start.body.depths)
    found = [
        _find_nearest([_deepen(start, stage, depth) for depth in range(1, largest)], goal, match)
        for stage in range(len(start.body.depths))
    ]
    near = [one for one in found if abs(_compare(one, goal, match)) <= tolerance]
    if near:
        return _find_nearest(near, goal, "params" if match == "macs" else "macs")
    return _find_nearest(found, goal, match)


def _deepen(start: Plain, stage: int, depth: int) -> Plain:
    depths = (*start.body.depths[:stage], depth, *start.body.depths[stage + 1 :])
    return replace(start, body=replace(start.body, depths=depths))


def _find_nearest(networks: Iterable[Plain], goal: Complexity, match: Match) -> Plain:
    return min(networks, key=lambda network: abs(_compare(network, goal, match)))


def _compare(network: Plain, goal: Complexity, match: Match) -> float:
    """The relative difference of the network's cost from the goal's."""
    return get_cost(compute_complexity(network), match) / get_cost(goal, match) - 1


def _widen(start: Plain, by: By) -> Iterator[Plain]:
    """Yields networks with more and more groups, all as wide as the start's."""
    groups = start.branch.groups
    if groups is None or groups == 1:  # depthwise or dense: the number of groups is fixed
        return
    for number in range(1, LARGEST_FACTOR * groups + 1):
        body = _scale(start.body, number, groups, by)
        if body is not None:
            yield replace(start, body=body, branch=replace(start.branch, groups=number))


def _widen_freely(start: Plain, by: By) -> Iterator[Plain]:
    """Yields wider and wider networks, with groups as nearly as wide as the start's."""
    widths = start.body.mid_widths + (start.body.out_widths if by == "width" else ())
    unit = gcd(*widths)
    for number in range(1, LARGEST_FACTOR * unit + 1):
        body = _scale(start.body, number, unit, by)
        if body is None:
            continue
        for groups in _choose_groups(start, body):
            yield replace(start, body=body, branch=replace(start.branch, groups=groups))


def _choose_groups(start: Plain, body: Body) -> list[int | None]:
    """The number of groups for a wider body; empty if none keeps their width nearly constant."""
    if start.branch.groups in (None, 1):
        return [start.branch.groups]
    common = gcd(*body.mid_widths)

    def change(groups: int) -> float:
        return abs(log(body.mid_widths[0] / groups / start.group_width))

    best = min((n for n in range(1, common + 1) if common % n == 0), key=change)
    return [best] if change(best) <= log(LARGEST_CHANGE) else []


def _scale(body: Body, numerator: int, denominator: int, by: By) -> Body | None:
    """The body with widths multiplied by a fraction; None if one is not whole then."""
    chosen = body.mid_widths + (body.out_widths if by == "width" else ())
    if any(width * numerator % denominator for width in chosen):
        return None
    scaled = tuple(width * numerator // denominator for width in chosen)
    stages = len(body.depths)
    return replace(body, mid_widths=scaled[:stages], out_widths=scaled[stages:] or body.out_widths)


def _describe_groups(start: Plain, found: Plain) -> str:
    if start.branch.groups in (None, 1) or found.group_width == start.group_width:
        return ""
    return (
        f"Groups are {found.group_width} channels wide in the first stage instead of "
        f"{start.group_width}: with the same width, steps are too coarse for the tolerance."
    )
