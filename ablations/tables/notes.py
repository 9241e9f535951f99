"""The notes below a table: trials, method, sources of printed cells, environment."""

from collections.abc import Iterator

from ablations.complexity.counts import FREE
from ablations.config import FEWEST_SEEDS, PaperRow
from ablations.evaluations import SHOWN_HASH
from ablations.formatting import format_level
from ablations.plans import PROCEDURE
from ablations.speed import compute_agreement, describe_agreement
from ablations.statistics import CORRECTION, SIGNIFICANCE, SeedsNeeded
from ablations.study import Source, Study
from ablations.tables.columns import COLUMNS
from ablations.tables.comparison import PRINTED_ERRORS, Comparison
from ablations.trial.records import Environment

PROVENANCES = {
    "printed": "",
    "secondary": "secondary, as quoted by another publication",
    "recomputed": "recomputed: recalled, not read, but confirmed by counting the construction",
    "unverified": "unverified: recalled, not read",
}
"""Warning on printed cells that were not read in the paper itself."""

UNEXPLAINED = "unverified: our count differs, and the printed number was not read in the paper"
"""Note on printed complexities that differ from ours for an unknown reason."""

METHOD = "docs/statistics.md"
"""Page that explains the method."""


PUBLISHED = (
    "errors on ImageNet of networks that others trained; their recipes need not be the paper's "
    "(timm's are not) nor each other's"
)
"""What the column of published weights holds."""


def collect_notes(study: Study, comparison: Comparison) -> list[str]:
    """Collects all notes in order."""
    definition = study.definition
    notes = [
        *_describe_run(study, is_exploratory=comparison.exploratory),
        *_describe_procedure(study),
        *_explain_statistics(comparison),
        *_explain_looks(comparison),
        *_list_seeds_needed(comparison),
        *_explain_images(comparison),
        *_explain_agreement(comparison),
        "Multiply-adds follow the papers' convention: convolutions, fully connected layers and the "
        "rescaling of channels. Only trainable parameters are counted.",
        *_describe_built(study),
        *_name_uncounted(study),
        *_describe_speeds(study),
        *_describe_published(study),
        *map(_describe_source, definition.sources),
        *_describe_provenance(study),
    ]
    if definition.only_printed:
        notes.append(f"Printed only, not trained here: {'; '.join(definition.only_printed)}.")
    return [*notes, *_explain_cells(study), _describe_origin(study)]


def _describe_procedure(study: Study) -> Iterator[str]:
    """Says that the trials are of an older version, if they are."""
    if study.definition.procedure != PROCEDURE:
        yield (
            f"Trained by procedure {study.definition.procedure}; this version trains by procedure "
            f"{PROCEDURE}, does not reuse these trials, and may give other errors."
        )


def collect_brief_notes(study: Study, comparison: Comparison) -> list[str]:
    """Collects the notes of the compact form: the run, ±, seeds needed, agreement."""
    notes = list(_describe_run(study, is_exploratory=comparison.exploratory))
    counts = comparison.errors.count()
    if len(counts) and counts.max() == 1:
        notes.append("One seed gives no interval and no verdict.")
    elif len(counts):
        least, most = int(counts.min()), int(counts.max())
        seeds = f"{most} seeds" if least == most else f"{least} to {most} seeds"
        is_planned = len(comparison.path.question.looks) > 1
        interval = "an interval" if is_planned else "a 95 % interval"
        notes.append(f"± is {interval} for retraining on this test set, over {seeds}.")
        notes += [_name_look(comparison)] if is_planned else []
    if any(verdict.within_margin for verdict in comparison.verdicts.values()):
        notes.append(f"* within the margin of ±{comparison.margin:g} points.")
    if needed := list(comparison.seeds_needed.values()):
        notes.append(f"To decide every row: {_find_most(needed)}.")
    if found := comparison.agreement:
        interval = f" ({found.interval_text} resampled)" if found.interval else ""
        notes.append(
            f"Agreement with the paper's ranking: tau-b = {found.tau:z.2f}{interval}, "
            f"{found.p_text}, {found.rows} rows."
        )
    if study.published:
        notes.append(f"published: {PUBLISHED}.")
    return [*notes, f"Method: {METHOD}"]


def _find_most(needed: list[SeedsNeeded]) -> SeedsNeeded:
    """The numbers of seeds that decide all rows; None stands for more than any number."""
    guaranteed = [seeds.guaranteed for seeds in needed]
    holds = [seeds.if_difference_holds for seeds in needed]
    return SeedsNeeded(
        guaranteed=None if None in guaranteed else max(filter(None, guaranteed)),
        if_difference_holds=None if None in holds else max(filter(None, holds)),
    )


def _describe_run(study: Study, *, is_exploratory: bool) -> Iterator[str]:
    """What became of the trials, and how the run differs from a planned one."""
    states = dict(study.count())
    finished = f"{states.pop('finished')} of {len(study.trials)} finished"
    others = (f"{number} {state}" for state, number in states.items() if number)
    yield f"Trials: {', '.join([finished, *others])}."
    for trial in study.trials:
        if trial.state in ("failed", "diverged"):
            yield f"{trial.variant}, seed {trial.seed}: {trial.state}, {trial.reason}."
    if study.changes:
        yield f"Narrowed or altered: {'; '.join(study.changes)}."
    if is_exploratory:
        yield (
            "Exploratory: its seeds are not those of the planned looks, or someone had looked with "
            "others before, so the chance that it contains a false verdict may be above 5 %."
        )


def _explain_statistics(comparison: Comparison) -> Iterator[str]:
    question, family = comparison.path.question, comparison.family
    level = question.level
    rows = f"{family} {'row' if family == 1 else 'rows'}"
    if len(question.looks) > 1:
        rows += ", without those that an earlier look called better or worse"
    yield (
        "Error: top-1 error after the last epoch in percent, mean over n seeds ± its 95 % "
        f"t-interval. Difference: from {comparison.baseline} in points, paired by seed, ± the "
        f"{format_level(1 - level)} interval of that row with a guarded variance, not corrected "
        "over the table. Intervals describe retraining on this test set; the intervals of two rows "
        "may overlap even if their difference is clear."
    )
    yield (
        f"Verdict: better or worse at {format_level(level)} after {CORRECTION.name}'s correction "
        f"over {rows}; otherwise equivalent if the row's interval lies within the margin of "
        f"±{comparison.margin:g} points; otherwise undecided, as is every row with fewer than "
        f"{FEWEST_SEEDS} seeds. Method: {METHOD}."
    )
    for name, verdict in comparison.verdicts.items():
        if verdict.reason:
            yield f"Undecided: {name}: {verdict.reason}."


def _explain_looks(comparison: Comparison) -> Iterator[str]:
    """Which looks were planned, which was the last, and what that does to errors and intervals."""
    looks = comparison.path.question.looks
    if len(looks) > 1:
        yield (
            f"{_name_look(comparison)} Every look tests at "
            f"{format_level(comparison.path.question.level)}, so that all looks together keep "
            f"{format_level(SIGNIFICANCE)}; intervals of differences hold at all looks together. "
            "A decided row keeps the numbers of the look that decided it and gets no further "
            "seeds, except for claims; the difference of a row that was decided early overstates "
            "the true one on average."
        )


def _name_look(comparison: Comparison) -> str:
    looks = comparison.path.question.looks
    place = looks.index(comparison.path.n) + 1
    return f"Look {place} of {len(looks)}, planned at n = {', '.join(map(str, looks))}."


def _list_seeds_needed(comparison: Comparison) -> Iterator[str]:
    needed = [f"{name}: {seeds}" for name, seeds in comparison.seeds_needed.items()]
    if needed:
        yield f"Seeds needed at the observed spread. {'. '.join(needed)}."


def _explain_images(comparison: Comparison) -> Iterator[str]:
    if comparison.disagreements:
        tests = "; ".join(
            f"{name}: {found.only_row} only by it, {found.only_baseline} only by "
            f"{comparison.baseline}, p = {found.p:.3f}"
            for name, found in comparison.disagreements.items()
        )
        yield (
            "One seed gives no interval and no verdict. Images classified correctly by one network "
            f"only, with McNemar's exact test of these two networks, not of retraining: {tests}."
        )
    if comparison.image_errors:
        errors = "; ".join(
            f"{name}: {error:.2f}" for name, error in comparison.image_errors.items()
        )
        yield (
            "Image noise: standard error of each difference over test images, in points, for these "
            f"networks (bootstrap over {comparison.test_images} images): {errors}. Only more "
            "images reduce it, not more seeds."
        )


def _explain_agreement(comparison: Comparison) -> Iterator[str]:
    if found := comparison.agreement:
        error = PRINTED_ERRORS[found.reference]
        yield (
            f"Agreement with the paper's ranking by {error}: {found}. It tells how far this recipe "
            "ranks the variants as the paper's training does; it is no verdict on the paper."
        )


def _describe_built(study: Study) -> Iterator[str]:
    """Rows for which experiments.yaml gives the body's own numbers, equal ones together."""
    built: dict[str, list[str]] = {}
    for row in study.definition.rows:
        if row.as_built:
            built.setdefault(row.as_built, []).append(row.name)
    for text, names in built.items():
        yield f"On {study.definition.body}, {'; '.join(names)}: {text}."


def _name_uncounted(study: Study) -> Iterator[str]:
    """Operators that may compute something but are not counted, such as those of user modules."""
    counted = [scale for own in study.scales.values() for scale in (own.paper, own.trained)]
    names = sorted({name for scale in counted for name in scale.uncounted} - FREE)
    if names:
        yield f"Not counted, though they may compute something: {', '.join(names)}."


def _describe_speeds(study: Study) -> Iterator[str]:
    """How the speeds were measured, and whether multiply-adds order the rows as latency does."""
    benchmark, speeds = study.benchmark, study.speeds
    if benchmark is None or not speeds:
        return
    conditions, environment = benchmark.conditions, benchmark.environment
    deviation = max(speed.deviation for speed in speeds.values())
    yield (
        f"Speed: {benchmark.describe()}; batch size {conditions.batch_size}, latency with 1; "
        f"medians of {conditions.rounds} alternating rounds, which deviate by up to "
        f"{deviation:.0%}; memory is the peak of all tensors in a training step; torch "
        f"{environment.torch}; commit {_describe_commit(environment)}."
    )
    agreement = compute_agreement(speeds, study.scales, scale=conditions.scale)
    yield describe_agreement(agreement, variants=len(speeds))


def _describe_published(study: Study) -> Iterator[str]:
    """Names the checkpoint of each row, and how it was evaluated."""
    if study.published:
        yield f"Published weights: {PUBLISHED}. No trained error, difference or verdict uses them."
    for name, evaluation in study.published.items():
        checkpoint = evaluation.checkpoint
        yield (
            f"Published weights of {name}: {checkpoint.file}, SHA-256 "
            f"{checkpoint.sha256[:SHOWN_HASH]}, tensors named as in {checkpoint.library}; "
            f"{evaluation.describe()}; commit {_describe_commit(evaluation.environment)}."
        )


def _describe_source(source: Source) -> str:
    parts = (source.source, source.recipe, PROVENANCES[source.provenance])
    return f"Printed: {'; '.join(filter(None, parts))}."


def _describe_provenance(study: Study) -> Iterator[str]:
    """Printed cells whose provenance is not that of their table, by provenance."""
    headings = {column.key.removeprefix("paper_"): column.heading for column in COLUMNS}
    cells: dict[str, list[str]] = {}
    for row in study.definition.printed:
        for provenance in PROVENANCES:
            names = [
                headings[c] for c, own in sorted(row.cells.provenance.items()) if own == provenance
            ]
            if names:
                cells.setdefault(provenance, []).append(f"{row.name} ({', '.join(names)})")
    for provenance, rows in cells.items():
        text = PROVENANCES[provenance] or "read in the paper itself"
        yield f"Other provenance than their table's: {'; '.join(rows)}: {text}."


def _explain_cells(study: Study) -> Iterator[str]:
    """Why printed complexities differ from ours, cells with the same reason together."""
    cells: dict[str, list[str]] = {}
    for variant in study.definition.rows:
        row = study.definition.printed_cells.get(variant.name, PaperRow())
        for column, explanation in sorted(row.explained.items()):  # files keep no order of keys
            heading = {"params_m": "params", "gflops": "GFLOPs", "mflops": "MFLOPs"}[column]
            cell = f"{variant.name}: {heading} {getattr(row, column)}"
            cells.setdefault(explanation.reason or UNEXPLAINED, []).append(cell)
    for reason, names in cells.items():
        yield f"Printed {'; '.join(names)}: {reason}."


def _describe_origin(study: Study) -> str:
    """Where the trials ran, and what identifies the matrix and the dataset."""
    environments = [trial.record.environment for trial in study.trials if trial.record]
    devices = sorted({e.device for e in environments})
    mixed = " (mixed: differences may be due to the device)" if len(devices) > 1 else ""
    commits = sorted({_describe_commit(e) for e in environments})
    torches = sorted({_describe_torch(e) for e in environments})
    dataset = study.definition.dataset
    identity = f"SHA-256 {dataset.identity[:12]}" if dataset.is_pinned else dataset.identity[:60]
    return (
        f"Trained on {', '.join(devices) or 'no device yet'}{mixed}; torch "
        f"{', '.join(torches) or '–'}; commit {', '.join(commits) or '–'}; matrix "
        f"{study.definition.matrix_hash[:12]}; dataset {dataset.name}, {identity}."
    )


def _describe_torch(environment: Environment) -> str:
    kernels = environment.kernels
    return environment.torch if kernels in (None, "none") else f"{environment.torch} with {kernels}"


def _describe_commit(environment: Environment) -> str:
    if environment.commit is None:
        return f"unknown (package {environment.package})"
    return f"{environment.commit[:12]}{' with changes' if environment.dirty else ''}"
