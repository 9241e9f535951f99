"""What all further looks at a table take: at best, on average and at worst."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ablations.statistics.differences import fit_additive_model
from ablations.statistics.looks import Path, Sample, follow_looks, list_active, select_seeds

SIMULATIONS = 30
"""Simulated futures; the standard error of the mean is a fifth of their standard deviation."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """Seconds of one core or GPU until everything is decided."""

    best: float
    """If the next look decides everything."""

    expected: float | None
    """Mean over simulated futures; None before the first look, when nothing is known, or without
    simulations."""

    worst: float
    """If the last look is reached with everything that is undecided now."""


def price_looks(
    path: Path, sample: Sample, seconds: Mapping[str, float], *, simulations: int = SIMULATIONS
) -> Price:
    """Prices the looks that follow.

    Args:
        path: The looks that were taken; the first one may lack trials.
        sample: What is known of the trials.
        seconds: Duration of a trial, by variant.
        simulations: Number of simulated futures; 0 for the bounds alone, which are sums of
            durations and so the same on every machine.
    """
    last = path.question.looks[-1]
    at_last = dict.fromkeys(path.question.variants, 0) | dict.fromkeys(list_active(path), last)
    is_first = bool(sample.select(path.seeds).pending.to_numpy().any())
    return Price(
        best=_sum_pending(sample, path.needed, seconds),
        expected=_simulate(path, sample, seconds, simulations)
        if simulations and not is_first
        else None,
        worst=_sum_pending(sample, at_last, seconds),
    )


def _simulate(path: Path, sample: Sample, seconds: Mapping[str, float], simulations: int) -> float:
    """Mean price of futures that are drawn from what is known."""
    generator = np.random.default_rng(0)
    futures = (_draw_future(path, sample, generator) for _ in range(simulations))
    prices = (
        _sum_pending(sample, follow_looks(path.question, future).seeds, seconds)
        for future in futures
    )
    return sum(prices) / simulations


def _draw_future(path: Path, sample: Sample, generator: np.random.Generator) -> Sample:
    """Draws the errors that are not known yet: around means that are uncertain themselves."""
    errors = select_seeds(sample.errors, path.seeds, otherwise=np.nan)
    mse, df = fit_additive_model(errors.dropna(axis="columns", how="all"))
    spread = np.sqrt(mse) if df else 0.0
    means, counts = errors.mean(), errors.count().clip(lower=1)
    centres = means + spread / np.sqrt(counts) * generator.standard_normal(len(means))
    drawn = centres.to_numpy() + spread * generator.standard_normal(errors.shape)
    filled = errors.where(errors.notna(), pd.DataFrame(drawn, errors.index, errors.columns))
    return Sample(errors=filled, broken=sample.broken, pending=sample.pending & False)


def _sum_pending(sample: Sample, seeds: Mapping[str, int], seconds: Mapping[str, float]) -> float:
    """Seconds of the trials that the first seeds of each variant still need."""
    if not seeds:
        return 0.0
    pending = sample.select(seeds).pending.sum()
    usual = sum(seconds.values()) / max(1, len(seconds))
    return float(sum(n * seconds.get(str(name), usual) for name, n in pending.items()))
