"""Finds the plain network as complex as another: deeper, wider, or of higher cardinality.

Candidates are compared by a formula that is exact for plain networks; the proposal is counted like
any other network.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import ceil, gcd, log

from ablations.choices import By, Match
from ablations.complexity.budget import get_cost
from ablations.complexity.counts import Complexity
from ablations.errors import InputError
from sknet.spec import Body, Branch, NetworkSpec, SelectiveKernel
from sknet.zoo import BODIES, NETWORKS

Count = Callable[[NetworkSpec], Complexity]
"""Counts a network on the images that its body is made for."""

LARGEST_FACTOR = 4
"""Maximum factor of depth, width or cardinality."""
LARGEST_CHANGE = 1.5
"""Maximum factor of the width of groups, if groups of the same width are too coarse."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A network with one kernel and no attention: a ResNet or a ResNeXt."""

    body: Body
    """Depths, widths and stem."""

    branch: Branch
    """Kernel."""

    in_channels: int
    """Channels of the images."""

    num_classes: int
    """Outputs of the classifier."""

    @property
    def spec(self) -> NetworkSpec:
        """The network as a spec."""
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
    """A network with its complexity, compared with the target."""

    network: Plain
    """The network."""

    complexity: Complexity
    """Its complexity."""

    share: float
    """Relative difference from the target in the matched quantity; negative if smaller."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Size of a plain network, computed by a formula."""

    macs: int
    """Multiply-adds of one forward pass on one image."""

    params: int
    """Trainable parameters."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Result of a search."""

    target: Complexity
    """Complexity to match."""

    body: Body
    """Body of the target."""

    start: Sizing
    """Network that the search started from."""

    found: Sizing
    """Network closest to the target."""

    note: str
    """Other effects of the change; empty if there are none."""


def choose_start(to: str, start: str | None = None) -> Plain:
    """Chooses the network to start from, for the images and classes of the network `to`.

    Args:
        to: Name of a network of the zoo.
        start: Name of another one, with one kernel and no attention; if None, the ResNeXt on the
            body of `to`, with one 3x3 kernel and the groups of its first branch.

    Raises:
        InputError: If a name is unknown, or its network cannot be changed in this way.
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
                f"--from must be made for images of {target_body.input_size} pixels, as {to} is, "
                f"got {start!r}, which is for {body.input_size}."
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
    """Proposes the change of `start` that is closest to the network `to`.

    By depth, the number of bottlenecks changes in one stage: among the stages that come within the
    tolerance, the one that is also closest in the other quantity; if there is none, the closest. By
    width, all widths except the stem's grow; by cardinality, only those of the spatial operator. In
    both cases the width of groups is kept; if that is too coarse for the tolerance, groups of up to
    1.5 times the width are tried too.

    Args:
        to: Name of the network to match.
        start: Network to change.
        by: What to increase.
        match: Quantity to match.
        tolerance: Largest acceptable relative distance.
        count: Counts networks.
    """
    network, body, _ = _find_network(to, flag="--to")
    target = count(network)
    goal = Size(macs=target.macs, params=target.params)
    if by == "depth":
        found = _search_depths(start, goal, match=match, tolerance=tolerance)
    else:
        found = _find_nearest([*_widen(start, by), start], goal, match)
        if abs(_compare(found, goal, match)) > tolerance:
            found = _find_nearest([found, *_widen_freely(start, by)], goal, match)

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


def compute_size(network: Plain) -> Size:
    """Computes multiply-adds and parameters from the convolutions and the classifier.

    >>> body = Body(depths=(1,), mid_widths=(4,), out_widths=(64,))
    >>> branch = Branch(groups=2)
    >>> compute_size(Plain(body=body, branch=branch, in_channels=3, num_classes=10)).params
    10914
    """
    macs = params = 0
    for weights, outputs, side in _list_convolutions(network):
        macs += weights * side**2
        params += weights + 2 * outputs  # batch normalisation follows each
    features, classes = network.body.out_widths[-1], network.num_classes
    return Size(macs=macs + features * classes, params=params + (features + 1) * classes)


def _list_convolutions(network: Plain) -> Iterator[tuple[int, int, int]]:
    """Weights and outputs of every convolution, and the side of its square output."""
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
    """Renders the settings of a variant that is the proposal, on the target's body.

    On a body that is narrower than the paper's they are below `on`, in the body's own numbers.
    """
    network, body = proposal.found.network, proposal.body
    lines = [f"branches: [{{{_describe_kernel(network.branch)}}}]", "attention: sum"]
    changes = ", ".join(
        f"{name}: {list(getattr(network.body, name))}"
        for name in ("depths", "mid_widths", "out_widths")
        if getattr(network.body, name) != getattr(body, name)
    )
    if changes:
        lines.insert(0, f"body: {{{changes}}}")
    if body.divisor == 1:
        return "\n".join(lines)
    name = next((name for name, known in BODIES.items() if known == body), "BODY")
    return "\n".join(["on:", f"  {name}:", *(f"    {line}" for line in lines)])


def _describe_kernel(branch: Branch) -> str:
    settings = {"kernel": branch.kernel, "dilation": branch.dilation, "groups": branch.groups}
    default = {"dilation": 1, "groups": None}
    return ", ".join(f"{k}: {v}" for k, v in settings.items() if default.get(k, ()) != v)


def _find_network(name: str, *, flag: str) -> tuple[NetworkSpec, Body, tuple[Branch, ...]]:
    """A network of the zoo, its body and its kernels."""
    if name not in NETWORKS:
        close = get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; sknet.list_models() names all."
        raise InputError(f"{flag} must be a network of the zoo, got {name!r}{hint}")
    network = NETWORKS[name]
    if not isinstance(network.body, Body) or not isinstance(network.operator, SelectiveKernel):
        raise InputError(f"{flag} must be a network on a ResNet's body, got {name!r}.")
    return network, network.body, network.operator.branches


def _search_depths(start: Plain, goal: Size, *, match: Match, tolerance: float) -> Plain:
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


def _find_nearest(networks: Iterable[Plain], goal: Size, match: Match) -> Plain:
    return min(networks, key=lambda network: abs(_compare(network, goal, match)))


def _compare(network: Plain, goal: Size, match: Match) -> float:
    """Relative difference of a network from the goal; negative if smaller."""
    cost: int = getattr(compute_size(network), match)
    measure: int = getattr(goal, match)
    return cost / measure - 1


def _widen(start: Plain, by: By) -> Iterator[Plain]:
    """Yields networks with more and more groups of the same width."""
    groups = start.branch.groups
    if (
        groups is None or groups == 1
    ):  # with one channel or all channels per group, their number means nothing
        return
    for number in range(1, LARGEST_FACTOR * groups + 1):
        body = _scale(start.body, number, groups, by)
        if body is not None:
            yield replace(start, body=body, branch=replace(start.branch, groups=number))


def _widen_freely(start: Plain, by: By) -> Iterator[Plain]:
    """Yields wider and wider networks, with the number of groups that best keeps their width."""
    widths = start.body.mid_widths + (start.body.out_widths if by == "width" else ())
    unit = gcd(*widths)
    for number in range(1, LARGEST_FACTOR * unit + 1):
        body = _scale(start.body, number, unit, by)
        if body is None:
            continue
        for groups in _choose_groups(start, body):
            yield replace(start, body=body, branch=replace(start.branch, groups=groups))


def _choose_groups(start: Plain, body: Body) -> list[int | None]:
    """Numbers of groups for the wider body; empty if none roughly keeps their width."""
    if start.branch.groups in (None, 1):
        return [start.branch.groups]
    common = gcd(*body.mid_widths)

    def change(groups: int) -> float:
        return abs(log(body.mid_widths[0] / groups / start.group_width))

    best = min((n for n in range(1, common + 1) if common % n == 0), key=change)
    return [best] if change(best) <= log(LARGEST_CHANGE) else []


def _scale(body: Body, numerator: int, denominator: int, by: By) -> Body | None:
    """The body with widths multiplied by a fraction; None if a width would not be whole."""
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
        f"Groups are {found.group_width} channels wide in the first stage, {start.group_width} in "
        "what it starts from: with the same width the steps are too coarse for the tolerance."
    )
