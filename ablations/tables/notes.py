"""The foot of a table: what was asked and what became of it, method, origin."""

from ablations.complexity.counts import FREE
from ablations.config import PaperRow
from ablations.statistics import FEWEST_SEEDS
from ablations.study.study import Source, Study
from ablations.tables.comparison import Comparison
from ablations.trial.records import Environment

PROVENANCES = {
    "printed": "",
    "secondary": "secondary, as quoted by another publication",
    "recomputed": "recomputed, recalled and not read, but confirmed by a count of the construction",
    "unverified": "unverified, recalled and not read",
}
"""What a reader must know of printed cells that were not read in the paper itself."""


def collect_notes(study: Study, comparison: Comparison, *, is_exploratory: bool) -> list[str]:
    """All that stands below a table, in order."""
    parts = " + ".join(
        f"{n} {state}" for state, n in study.count().items() if n or state == "finished"
    )
    notes = [f"Trials: {len(study.trials)} asked = {parts}."]
    notes += [
        f"{trial.variant}, seed {trial.seed}: {trial.state}, {trial.reason}."
        for trial in study.trials
        if trial.state in ("failed", "diverged")
    ]
    if study.changes:
        notes.append(f"Narrowed or altered: {'; '.join(study.changes)}.")
    if is_exploratory:
        notes.append(
            "Exploratory: the seeds were not planned. The table was looked at with other seeds "
            "before, more often than one extension; its verdicts err more often than 5 %."
        )
    notes += _explain_statistics(comparison)
    notes.append(
        "Multiply-adds are the papers' convention: convolutions, fully connected layers and the "
        "rescaling of channels. Parameters are the trainable ones."
    )
    notes += _describe_built(study)
    notes += _name_uncounted(study)
    notes += [_describe_source(source) for source in study.definition.sources]
    if study.definition.only_printed:
        notes.append(f"Printed only, not trained here: {'; '.join(study.definition.only_printed)}.")
    notes += _explain_cells(study)
    notes.append(_describe_origin(study))
    return notes


def _explain_statistics(comparison: Comparison) -> list[str]:
    margin = f"{comparison.margin:g} points"
    notes = [
        "Error: top-1 error of the last epoch, percent, mean over n seeds ± its 95 % t-interval. "
        f"Difference: from {comparison.baseline}, in points, paired by seed ± the 95 % interval of "
        "that one row with a guarded variance, not corrected over the table. Intervals speak of "
        "retraining on this test set; row intervals may overlap where a difference is clear.",
        f"Verdict: better or worse by Holm's correction over {comparison.family} row(s) at 5 %; "
        f"equivalent if the row's interval lies within the margin of ±{margin}; else undecided, as "
        f"always with fewer than {FEWEST_SEEDS} seeds.",
    ]
    notes += [
        f"Undecided: {name}: {verdict.reason}."
        for name, verdict in comparison.verdicts.items()
        if verdict.reason
    ]
    needed = [
        f"{name}: {verdict.seeds_needed}"
        for name, verdict in comparison.verdicts.items()
        if verdict.seeds_needed
    ]
    if needed:
        notes.append(f"Seeds needed to decide, at the observed spread: {'; '.join(needed)}.")
    notes += _explain_images(comparison)
    return notes


def _explain_images(comparison: Comparison) -> list[str]:
    notes = []
    if comparison.disagreements:
        tests = "; ".join(
            f"{name} alone is right on {found.only_row}, {comparison.baseline} alone on "
            f"{found.only_baseline}, p = {found.p:.3f}"
            for name, found in comparison.disagreements.items()
        )
        notes.append(
            "One seed has no interval and no verdict. McNemar's exact test, of each two trained "
            f"networks only and not of their retraining, images: {tests}."
        )
    if comparison.image_errors:
        errors = "; ".join(
            f"{name}: {error:.2f}" for name, error in comparison.image_errors.items()
        )
        notes.append(
            "Image noise, the standard error of a difference over test images of these networks "
            f"(points, bootstrap over the {comparison.test_images} images): {errors}. More images, "
            "not more seeds, make it smaller."
        )
    return notes


def _describe_built(study: Study) -> list[str]:
    """What rows are on a body that gives them in its own numbers, equal ones together."""
    built: dict[str, list[str]] = {}
    for row in study.definition.rows:
        if row.as_built:
            built.setdefault(row.as_built, []).append(row.name)
    return [
        f"On {study.definition.body}, {'; '.join(names)}: {text}." for text, names in built.items()
    ]


def _name_uncounted(study: Study) -> list[str]:
    """Operators that nobody has decided on, such as those of a user's own module."""
    counted = [scale for own in study.scales.values() for scale in (own.paper, own.trained)]
    names = sorted({name for scale in counted for name in scale.uncounted} - FREE)
    if not names:
        return []
    return [f"Not counted, and taken as free, though they may compute: {', '.join(names)}."]


def _describe_source(source: Source) -> str:
    provenance = PROVENANCES[source.provenance]
    parts = [part for part in (source.source, source.recipe, provenance) if part]
    return f"Printed: {'; '.join(parts)}."


def _explain_cells(study: Study) -> list[str]:
    """Why printed complexities differ from ours, cells of the same reason together."""
    cells: dict[str, list[str]] = {}
    for variant in study.definition.rows:
        row = study.definition.printed_cells.get(variant.name, PaperRow())
        for column, explanation in sorted(row.explained.items()):  # files keep no order of keys
            heading = {"params_m": "params", "gflops": "GFLOPs", "mflops": "MFLOPs"}[column]
            cell = f"{variant.name}: {heading} {getattr(row, column)}"
            cells.setdefault(explanation.reason, []).append(cell)
    return [f"Printed {'; '.join(names)}: {reason}." for reason, names in cells.items()]


def _describe_origin(study: Study) -> str:
    environments = [trial.record.environment for trial in study.trials if trial.record]
    devices = sorted({e.device for e in environments})
    mixed = " (mixed: differences may owe to the device)" if len(devices) > 1 else ""
    commits = sorted({_describe_commit(e) for e in environments})
    torches = sorted({e.torch for e in environments})
    dataset = study.definition.dataset
    identity = f"SHA-256 {dataset.identity[:12]}" if dataset.is_pinned else dataset.identity[:60]
    return (
        f"Trained on {', '.join(devices) or 'nothing yet'}{mixed}; torch "
        f"{', '.join(torches) or '–'}; commit {', '.join(commits) or '–'}; matrix "
        f"{study.definition.matrix_hash[:12]}; dataset {dataset.name}, {identity}."
    )


def _describe_commit(environment: Environment) -> str:
    if environment.commit is None:
        return f"unknown (package {environment.package})"
    return f"{environment.commit[:12]}{' with changes' if environment.dirty else ''}"
