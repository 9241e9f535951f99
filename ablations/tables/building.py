"""A study -> the table's rows and headings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations.complexity.scales import Scales
from ablations.config import COLUMNS, PaperRow
from ablations.statistics import is_exploratory, summarise
from ablations.statistics.claims import judge_claims
from ablations.study.study import Study
from ablations.tables.comparison import Comparison, Measure, compare_variants, tabulate
from ablations.tables.notes import collect_notes
from ablations.tables.table import Table

PRINTED = {
    "top1_error": "error %",
    "top1_error_320": "error at 320 %",
    "top5_error": "top-5 error %",
    "cifar10_error": "CIFAR-10 error %",
    "cifar100_error": "CIFAR-100 error %",
    "params_m": "params M",
    "gflops": "GFLOPs (multiply-adds)",
    "mflops": "MFLOPs (multiply-adds)",
}
"""Headings of the papers' cells."""

FURTHER: tuple[Measure, ...] = ("top1_error_320", "top5_error")
"""Errors that are shown beside the top-1 error where a paper prints them."""


def build_table(study: Study) -> Table:
    """Compares the variants of a study; rows that were not asked for are left out."""
    comparison = compare_variants(study)
    rows = _build_rows(study, comparison)
    exploratory = is_exploratory(study.definition.seeds, study.looks)
    mark = ", exploratory" if exploratory else ""
    headings = _list_headings(study, list(rows.columns))
    return Table(
        title=f"{study.definition.experiment}, recipe {study.definition.recipe_name}{mark}",
        question=study.definition.question,
        rows=rows,
        headings=headings,
        claims=judge_claims(
            study.definition.claims,
            comparison.errors,
            baseline=study.definition.baseline,
            margin=study.definition.margin,
            broken=comparison.broken,
            variants=[row.name for row in study.definition.rows],
            scope=f"{study.definition.recipe_name}{mark}: {study.definition.recipe['dataset']}, {study.definition.body}",
        ),
        notes=tuple(collect_notes(study, comparison, is_exploratory=exploratory)),
        texts=_list_texts(study, list(rows.index)),
        only_printed=study.definition.only_printed,
    )


def _build_rows(study: Study, comparison: Comparison) -> pd.DataFrame:
    """One row for each variant that was asked for, and for each that is only printed."""
    settings = {row.name: row.settings for row in study.definition.rows}
    measured = _measure(study, comparison)
    unknown = dict.fromkeys(measured[study.definition.baseline], float("nan")) | {
        "n": 0,
        "verdict": None,
    }
    known = study.shown.union(study.definition.only_printed)
    shown = [name for name in study.definition.list_names() if name in known]
    nothing: Mapping[str, Any] = dict.fromkeys(study.definition.columns)
    rows = [
        {
            "variant": name,
            **settings.get(name, nothing),
            **_describe_paper(study, name, shown),
            **measured.get(name, unknown),
        }
        for name in shown
    ]
    frame = pd.DataFrame(rows).set_index("variant")
    for column in study.definition.columns:  # whole numbers stay whole, also where a row has none
        values = pd.Series([row[column] for row in rows], frame.index, dtype=object)
        frame[column] = values.infer_objects()
    return frame


def _measure(study: Study, comparison: Comparison) -> dict[str, dict[str, Any]]:
    """All that is ours of every variant."""
    further = {measure: tabulate(study, measure) for measure in _list_further(study)}
    return {
        row.name: {
            **_describe_complexity(study.scales[row.name], in_millions=_is_small(study)),
            **_describe_errors(comparison.errors.get(row.name)),
            **{key: _mean(errors.get(row.name)) for key, errors in further.items()},
            **_describe_difference(comparison, row.name),
        }
        for row in study.definition.rows
    }


def _list_further(study: Study) -> list[Measure]:
    """Kinds of error, besides top-1, that a paper prints for a row and that our trials measure."""
    return [
        measure
        for measure in FURTHER
        if any(getattr(row.cells, measure) is not None for row in study.definition.printed)
        and any(getattr(r.last, measure) is not None for _, r in study.list_finished())
    ]


def _is_small(study: Study) -> bool:
    """Whether the papers print this experiment's multiply-adds in millions."""
    cells = [row.cells for row in study.definition.printed]
    return any(c.mflops is not None for c in cells) and all(c.gflops is None for c in cells)


def _describe_paper(study: Study, name: str, shown: Sequence[str]) -> dict[str, Any]:
    """The row's printed cells, of the kinds that are printed for any row that is shown."""
    cells = [study.definition.printed_cells.get(other, PaperRow()) for other in shown]
    own = study.definition.printed_cells.get(name, PaperRow())
    kinds = [kind for kind in PRINTED if any(getattr(row, kind) is not None for row in cells)]
    return {f"paper_{kind}": _or_nan(getattr(own, kind)) for kind in kinds}


def _or_nan(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _describe_complexity(scales: Scales, *, in_millions: bool) -> dict[str, Any]:
    unit, factor = ("mflops", 1e6) if in_millions else ("gflops", 1e9)
    return {
        "paper_scale_params_m": scales.paper.params / 1e6,
        f"paper_scale_{unit}": scales.paper.macs / factor,
        "trained_params": scales.trained.params,
        "trained_mflops": scales.trained.macs / 1e6,
    }


def _mean(errors: pd.Series | None) -> float:
    return float("nan") if errors is None else float(errors.mean())


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
        "difference_p_holm": difference.p_corrected if difference else float("nan"),
        "difference_image_error": comparison.image_errors.get(variant, float("nan")),
        "mcnemar_p": disagreement.p if disagreement else float("nan"),
        "verdict": verdict.text if verdict else None,
    }


def _list_headings(study: Study, columns: Sequence[str]) -> dict[str, str]:
    """What stands above the columns that are shown, in order."""
    measured = study.definition.recipe_name
    known: dict[str, str] = {
        **{column: COLUMNS[column].heading for column in study.definition.columns},
        **{f"paper_{kind}": f"paper: {heading}" for kind, heading in PRINTED.items()},
        "paper_scale_params_m": "ours, paper's scale: params M",
        "paper_scale_gflops": "ours, paper's scale: GFLOPs (multiply-adds)",
        "paper_scale_mflops": "ours, paper's scale: MFLOPs (multiply-adds)",
        "trained_params": "trained network: params",
        "trained_mflops": "trained network: MFLOPs (multiply-adds)",
        "n": f"{measured}: n",
        "top1_error": f"{measured}: error %",
        "top1_error_std": f"{measured}: std",
        **{measure: f"{measured}: {PRINTED[measure]}" for measure in FURTHER},
        "difference": f"{measured}: difference from {study.definition.baseline}",
        "verdict": f"{measured}: verdict",
    }
    name: dict[str, str] = {} if _tell_apart(study) else {"variant": "variant"}
    return name | {key: heading for key, heading in known.items() if key in columns}


def _tell_apart(study: Study) -> bool:
    """Whether the settings that the table shows differ in every row."""
    settings = {
        str([row.settings[column] for column in study.definition.columns])
        for row in study.definition.rows
    }
    return bool(study.definition.columns) and len(settings) == len(study.definition.list_names())


def _list_texts(study: Study, names: Sequence[str]) -> dict[tuple[str, str], str]:
    """Cells whose text does not follow from their number."""
    texts = {("difference", study.definition.baseline): "baseline"}
    for name in names:
        cells = study.definition.printed_cells.get(name, PaperRow())
        texts |= {
            (f"paper_{kind}", name): str(value)
            for kind in PRINTED
            if (value := getattr(cells, kind)) is not None
        }
        if name in study.definition.only_printed:
            texts["n", name] = "–"
    return texts
