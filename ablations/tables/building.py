"""Plan, records and printed cells -> the table's rows and headings."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from ablations.claims import judge_claims
from ablations.config import Claim, PaperRow, PaperTable
from ablations.plan import Plan
from ablations.records import TrialRecord
from ablations.statistics import is_exploratory, summarise
from ablations.tables.comparison import Comparison, compare_variants
from ablations.tables.notes import collect_notes
from ablations.tables.table import Scales, Table


def build_table(
    plan: Plan,
    records: Mapping[str, TrialRecord],
    *,
    question: str,
    baseline: str,
    margin: float,
    claims: Sequence[Claim] = (),
    paper_table: PaperTable | None,
    scales: Mapping[str, Scales],
    looks: Sequence[Sequence[int]] = (),
) -> Table:
    """Compares the variants of a plan.

    Args:
        plan: What was asked.
        records: All known records of the experiment's declared trials, by key; of variants that
            were not asked for too, since they belong to the family.
        question: What the table answers.
        baseline: The variant that the others are compared with.
        margin: Points of error below which a difference does not matter.
        claims: Statements that the trials are held against.
        paper_table: The papers' cells; their rows are found by the variants' names.
        scales: Complexities by variant.
        looks: Seeds of all looks at this table, in order; too many make it exploratory.
    """
    comparison = compare_variants(plan, records, baseline=baseline, margin=margin)
    shown = {trial.variant.name for trial in plan.trials if trial.state != "skipped"}
    rows = []
    for variant in plan.variants:
        if variant.name not in shown:
            continue
        printed = paper_table.rows.get(variant.name) if paper_table else None
        row: dict[str, Any] = {"variant": variant.name, **variant.settings}
        row |= _describe_paper(printed) if paper_table else {}
        row |= _describe_complexity(scales[variant.name])
        row |= _describe_errors(comparison.errors.get(variant.name))
        row |= _describe_difference(comparison, variant.name)
        rows.append(row)
    headings = _headings(plan, baseline)
    recipe = plan.recipe
    exploratory = ", exploratory" if is_exploratory(recipe.seeds, looks) else ""
    return Table(
        title=f"{plan.experiment}, recipe {plan.recipe_name}{exploratory}",
        question=question,
        rows=pd.DataFrame(rows).set_index("variant"),
        headings={key: heading for key, heading in headings.items() if key in rows[0]},
        claims=judge_claims(
            claims,
            comparison.errors,
            baseline=baseline,
            margin=margin,
            broken=comparison.broken,
            variants=[variant.name for variant in plan.variants],
            scope=f"{plan.recipe_name}{exploratory}: {recipe.dataset}, {recipe.body}",
        ),
        notes=tuple(
            collect_notes(
                plan,
                records,
                comparison,
                paper_table=paper_table,
                is_exploratory=bool(exploratory),
            )
        ),
    )


def list_trials(plan: Plan, records: Mapping[str, TrialRecord]) -> pd.DataFrame:
    """One row for each trial that was asked for: the way back from a number to its trials."""
    rows = []
    for trial in plan.trials:
        record = records.get(trial.spec.key)
        row: dict[str, Any] = {
            "trial": trial.spec.key,
            "variant": trial.variant.name,
            "seed": trial.spec.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if record is not None:
            row |= {
                "top1_error": record.last.top1_error,
                "top5_error": record.last.top5_error,
                "train_loss": record.last.train_loss,
                "epochs": len(record.epochs),
                "commit": record.environment.commit,
                "dirty": record.environment.dirty,
                "torch": record.environment.torch,
                "device": record.environment.device,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def _describe_paper(printed: PaperRow | None) -> dict[str, Any]:
    row = printed or PaperRow()
    return {
        "paper_top1_error": _or_nan(row.top1_error),
        "paper_params_m": _or_nan(row.params_m),
        "paper_gflops": _or_nan(row.gflops),
    }


def _or_nan(value: Decimal | None) -> float:
    return float("nan") if value is None else float(value)


def _describe_complexity(scales: Scales) -> dict[str, Any]:
    return {
        "paper_scale_params_m": scales.paper.params / 1e6,
        "paper_scale_gflops": scales.paper.macs / 1e9,
        "trained_params": scales.trained.params,
        "trained_mflops": scales.trained.macs / 1e6,
    }


def _describe_errors(errors: pd.Series | None) -> dict[str, Any]:
    known = None if errors is None else errors.dropna()
    if known is None or known.empty:
        return {"n": 0} | dict.fromkeys(
            ("top1_error", "top1_error_half_width", "top1_error_std"), float("nan")
        )
    mean = summarise(known)
    return {
        "n": mean.n,
        "top1_error": mean.mean,
        "top1_error_half_width": mean.half_width,
        "top1_error_std": mean.std,
    }


def _describe_difference(comparison: Comparison, variant: str) -> dict[str, Any]:
    difference = comparison.differences.get(variant)
    verdict = comparison.verdicts.get(variant)
    disagreement = comparison.disagreements.get(variant)
    nothing = 0.0 if variant == comparison.baseline else float("nan")
    return {
        "difference": difference.mean if difference else nothing,
        "difference_half_width": difference.half_width if difference else float("nan"),
        "difference_p_holm": difference.p_holm if difference else float("nan"),
        "difference_image_error": comparison.image_errors.get(variant, float("nan")),
        "mcnemar_p": disagreement.p if disagreement else float("nan"),
        "verdict": verdict.text if verdict else None,
    }


def _headings(plan: Plan, baseline: str) -> dict[str, str]:
    settings = {
        "kernel": "kernel",
        "dilation": "D",
        "groups": "G",
        "resulting_kernel": "resulting kernel",
        "kernels": "kernels",
        "attention": "attention",
        "reduction": "r",
        "L": "L",
    }
    declared = plan.variants[0].settings
    first = {key: settings[key] for key in declared} if declared else {"variant": "variant"}
    measured = f"{plan.recipe_name}"
    return first | {
        "paper_top1_error": "paper: error %",
        "paper_params_m": "paper: params M",
        "paper_gflops": "paper: GFLOPs (multiply-adds)",
        "paper_scale_params_m": "ours, paper's scale: params M",
        "paper_scale_gflops": "ours, paper's scale: GFLOPs (multiply-adds)",
        "trained_params": "trained network: params",
        "trained_mflops": "trained network: MFLOPs (multiply-adds)",
        "n": f"{measured}: n",
        "top1_error": f"{measured}: error %",
        "top1_error_std": f"{measured}: std",
        "difference": f"{measured}: difference from {baseline}",
        "verdict": f"{measured}: verdict",
    }
