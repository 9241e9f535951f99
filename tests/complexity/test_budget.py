"""Variants must cost as much as the budget's reference, within the tolerance."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Answer

from ablations.complexity.budget import check_budget, measure_distances
from ablations.complexity.counts import Complexity
from ablations.complexity.scales import Scales
from ablations.config import Budget, Config, read_config
from ablations.errors import InputError

COMPLEXITY = Complexity(
    params=1000,
    running_statistics=0,
    macs=2_000_000,
    rescaling_macs=0,
    fvcore_total=None,
    uncounted=(),
)
BUDGET = Budget(match="macs", to="sum", tolerance=0.06, free=("wee",))
BUDGETED = """
    budget: {match: macs, to: sum, tolerance: SHARE}
    variants:
      sum: {attention: sum}
      wide: {branches: [K3, K5, K7]}
"""


def make_scales(**macs: int) -> dict[str, Scales]:
    """Variants whose trained networks have the given multiply-adds."""
    counted = {name: replace(COMPLEXITY, macs=value) for name, value in macs.items()}
    return {name: Scales(paper=COMPLEXITY, trained=own) for name, own in counted.items()}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An experiment with a budget."""
    path = tmp_path / "experiments.yaml"
    path.write_text(
        "experiments:\n  fair:\n    question: Is it fair?\n    expect: Yes.\n    baseline: sum\n"
        "    budget: {match: macs, to: sum, tolerance: 6%, free: [wee]}\n    variants:\n"
        "      sum: {attention: sum}\n      near: {}\n      far: {}\n      low: {}\n      wee: {}\n"
    )
    return read_config(path)


def test_distances_are_relative_to_the_reference() -> None:
    """They are signed; a free variant has one too."""
    scales = make_scales(sum=2_000_000, near=2_120_000, far=2_284_000, wee=1_000_000)

    found = {distance.variant: distance for distance in measure_distances(BUDGET, scales)}

    shares = {name: round(distance.share, 4) for name, distance in found.items()}
    assert shares == {"sum": 0.0, "near": 0.06, "far": 0.142, "wee": -0.5}
    assert [name for name, distance in found.items() if not distance.is_within] == ["far", "wee"]
    assert [name for name, distance in found.items() if distance.is_free] == ["wee"]


def test_a_budget_may_match_parameters() -> None:
    """Multiply-adds are then ignored."""
    scales = make_scales(sum=2_000_000, far=4_000_000)

    found = measure_distances(BUDGET.model_copy(update={"match": "params"}), scales)

    assert [distance.share for distance in found] == [0.0, 0.0]


def test_all_variants_beyond_the_budget_are_reported(config: Config) -> None:
    """With their lines, whether above or below; free variants are exempt."""
    scales = make_scales(sum=2_000_000, near=2_119_000, far=2_284_000, low=1_500_000, wee=1)

    with pytest.raises(InputError) as caught:
        check_budget(config, "fair", scales, asked=scales)

    first, second = str(caught.value).splitlines()
    assert first == (
        f"{config.path}:10: experiments.fair.variants.far: must cost within 6% of sum "
        "(2.000 MFLOPs), got +14.2%; change its widths (see `ablations match`), or add it to "
        "budget.free."
    )
    assert ":11: experiments.fair.variants.low: " in second
    assert "got -25.0%" in second


def test_variants_that_are_not_requested_are_exempt(config: Config) -> None:
    """A table without them is fair."""
    scales = make_scales(sum=2_000_000, near=2_000_000, far=9_000_000, low=2_000_000, wee=1)

    check_budget(config, "fair", scales, asked={"sum", "near", "low"})


def set_budget(tmp_path: Path, share: str) -> None:
    """Gives the experiment `attention` a budget, and a variant that costs more than the others."""
    path = tmp_path / "experiments.yaml"
    head, _, _ = path.read_text().rpartition("    variants:")
    path.write_text(head + BUDGETED.removeprefix("\n").replace("SHARE", share))


def test_a_run_beyond_its_budget_is_refused(command: Callable[..., Answer], tmp_path: Path) -> None:
    """Like its plan, before anything is trained, prepared or printed."""
    set_budget(tmp_path, "6%")

    for verb in ("plan",), ("run", "--dry-run"), ("run",):
        answer = command("ablations", *verb, "attention")

        assert answer.code == 2
        assert "experiments.attention.variants.wide: must cost within 6% of sum" in answer.err
        assert answer.out == ""
    found = {path.name for path in (tmp_path / "runs").iterdir()}
    assert found == {"datasets", "complexity.json"}


def test_the_plan_shows_each_distance(command: Callable[..., Answer], tmp_path: Path) -> None:
    """In a separate column."""
    set_budget(tmp_path, "90%")

    answer = command("ablations", "plan", "attention", "--seeds", "0")

    assert "from the budget" in answer.out
    cells = [line.split()[-1] for line in answer.out.splitlines() if " to run  " in line]
    assert cells[0] == "+0.0%"
    assert float(cells[1].removesuffix("%")) > 6
