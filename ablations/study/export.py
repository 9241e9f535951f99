"""A study as four files, from which tables, figures and reports are derived.

`trials.csv` has one row per trial with its environment, `curves.csv` one row per epoch,
`outcomes.npz` one bit per test image (correct or not), and `provenance.json` everything else, with
the checksums of the other three.
"""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ablations.complexity.scales import Scales
from ablations.errors import IncompleteError, MachineError
from ablations.escapes import escape_formula, unescape_formula
from ablations.evaluations import Evaluation
from ablations.files import read_regular
from ablations.plans import make_key
from ablations.speed import Benchmark
from ablations.study.study import Definition, Row, StudiedTrial, Study
from ablations.trial.records import (
    ENVIRONMENT_CODEC,
    Environment,
    EpochRecord,
    TrialRecord,
    check_curve,
)

T = TypeVar("T")

FORMAT = 1
"""Version of the files' layout."""

LARGEST_FILE = 2**28
"""Most bytes of a file."""

TRIALS, CURVES, OUTCOMES, PROVENANCE = EXPORTED = (
    "trials.csv",
    "curves.csv",
    "outcomes.npz",
    "provenance.json",
)
"""Names of the files."""

_EPOCH = tuple(field.name for field in fields(EpochRecord) if field.name != "correct")
_list_measurements = attrgetter(*_EPOCH)
_PLACE = tuple(field.name for field in fields(Environment) if field.name != "kernels")
_MEASURES = ("top1_error", "top5_error", "top1_error_320", "train_loss")
_TRIAL_COLUMNS = (
    *("trial", "variant", "seed", "state", "reason"),
    *_MEASURES,
    *("epochs", "seconds", "test_images"),
    *_PLACE,
    "finished_at",
)


@dataclass(frozen=True, kw_only=True)
class _Provenance:
    """Content of provenance.json."""

    format: int
    """Version of the layout."""

    definition: Definition
    """The definition; its rows lack the facts that all of them share."""

    facts: dict[str, Any]
    """Facts that all trials share."""

    matrix_hash: str
    """Hash of the definition."""

    counts: dict[str, int]
    """Number of trials in each state, as in trials.csv."""

    scales: dict[str, Scales]
    """Complexities by variant."""

    looks: tuple[tuple[int, ...], ...]
    """Seeds of all looks at the table."""

    changes: tuple[str, ...]
    """How the run was narrowed or altered."""

    is_narrowed: bool
    """Whether seeds or variants were chosen."""

    sha256: dict[str, str]
    """Checksums of the other files."""

    benchmark: Benchmark | None = None
    """Measured speeds; absent if there are none."""

    evaluations: tuple[Evaluation, ...] = ()
    """Published weights; absent if there are none."""


_PROVENANCE = TypeAdapter(_Provenance)
_TRIAL = TypeAdapter(StudiedTrial)
_EPOCHS = TypeAdapter(list[EpochRecord])


def is_exported(folder: Path) -> bool:
    """Whether a folder contains a study."""
    return (folder / PROVENANCE).is_file()


def render_export(study: Study) -> dict[str, bytes]:
    """Renders the four files by name; equal studies give equal bytes."""
    columns = _list_trial_columns(study)
    contents = {
        TRIALS: _render_csv(columns, (_describe_trial(t)[: len(columns)] for t in study.trials)),
        CURVES: _render_csv(
            ("trial", *_EPOCH),
            (
                (trial.key, *_list_measurements(epoch))
                for trial in study.trials
                for epoch in (trial.record.epochs if trial.record else ())
            ),
        ),
        OUTCOMES: _pack_outcomes(study),
    }
    shared = _list_shared_facts(study.definition.rows)
    rows = tuple(
        replace(row, facts={k: v for k, v in row.facts.items() if k not in shared})
        for row in study.definition.rows
    )
    provenance = _Provenance(
        format=FORMAT,
        definition=replace(study.definition, rows=rows),
        facts=shared,
        matrix_hash=study.definition.matrix_hash,
        counts={str(state): number for state, number in study.count().items()},
        scales=dict(study.scales),
        looks=study.looks,
        changes=study.changes,
        is_narrowed=study.is_narrowed,
        sha256={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        benchmark=study.benchmark,
        evaluations=study.evaluations,
    )
    plain = _PROVENANCE.dump_python(provenance, mode="json", exclude_defaults=True)
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return {**contents, PROVENANCE: f"{text}\n".encode()}


def read_export(folder: Path, *, with_trials: bool = True) -> Study:
    """Reads the study that `render_export` rendered.

    Args:
        folder: Where its files are.
        with_trials: Whether to read its trials; otherwise their files are only verified.

    Raises:
        IncompleteError: If a file is missing, was edited or damaged, or is of another version.
        MachineError: If a file cannot be read.
    """
    provenance = _parse(folder / PROVENANCE, _parse_provenance)
    for name, expected in provenance.sha256.items():
        if hashlib.sha256(_read(folder / name)).hexdigest() != expected:
            raise _complain(folder / name, f"another checksum than in {PROVENANCE}")
    definition = provenance.definition
    facts = {row.name: row.facts for row in definition.rows}
    return Study(
        definition=definition,
        scales=provenance.scales,
        trials=_read_trials(folder, facts) if with_trials else (),
        looks=provenance.looks,
        changes=provenance.changes,
        is_narrowed=provenance.is_narrowed,
        benchmark=provenance.benchmark,
        evaluations=provenance.evaluations,
    )


def _read_trials(folder: Path, facts: Mapping[str, Mapping[str, Any]]) -> tuple[StudiedTrial, ...]:
    epochs = _parse(folder / CURVES, _parse_curves)
    bits = _parse(folder / OUTCOMES, _parse_outcomes)

    def parse_trials(content: bytes) -> tuple[StudiedTrial, ...]:
        return tuple(
            _parse_trial(row, facts[row["variant"]], epochs.get(row["trial"], []), bits)
            for row in _parse_csv(content)
        )

    return _parse(folder / TRIALS, parse_trials)


def _describe_trial(trial: StudiedTrial) -> tuple[Any, ...]:
    """One row of trials.csv."""
    asked = (trial.key, trial.variant, trial.seed, trial.state, trial.reason)
    record = trial.record
    if record is None:
        return asked + (None,) * (len(_TRIAL_COLUMNS) + 1 - len(asked))
    last = record.last
    return (
        *asked,
        *(getattr(last, measure) for measure in _MEASURES),
        len(record.epochs),
        record.seconds,
        None if last.correct is None else len(last.correct),
        *(getattr(record.environment, name) for name in _PLACE),
        record.finished_at,
        record.environment.kernels,
    )


def _list_trial_columns(study: Study) -> tuple[str, ...]:
    """The columns of trials.csv; records of older versions do not know their kernels."""
    known = any(t.record and t.record.environment.kernels for t in study.trials)
    return (*_TRIAL_COLUMNS, *(("kernels",) if known else ()))


def _pack_outcomes(study: Study) -> bytes:
    """An archive without compression and timestamps, so that equal outcomes give equal bytes."""
    arrays = {
        trial.key: np.packbits(np.frombuffer(trial.record.last.correct, bool))
        for trial in study.trials
        if trial.record and trial.record.last.correct is not None
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, arrays[key], version=(1, 0))
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), content.getvalue())
    return buffer.getvalue()


def _list_shared_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """Facts that all rows share."""
    first = rows[0].facts
    return {key: v for key, v in first.items() if all(row.facts.get(key) == v for row in rows)}


def _render_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Renders numbers with all digits, unknown values as empty cells, and no formulas."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [escape_formula(cell) if isinstance(cell, str) else cell for cell in row] for row in rows
    )
    return buffer.getvalue().encode()


def _parse_csv(content: bytes) -> Iterator[dict[str, str]]:
    """One mapping per row; `csv.DictReader` takes several times longer."""
    columns, *rows = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    return (dict(zip(columns, map(unescape_formula, row), strict=True)) for row in rows)


def _parse_provenance(content: bytes) -> _Provenance:
    plain = json.loads(content, parse_constant=_refuse_constant)
    if plain["format"] != FORMAT:
        raise ValueError(f"format {plain['format']} instead of {FORMAT}")
    provenance = _PROVENANCE.validate_python(plain)
    if {*provenance.sha256} != {*EXPORTED} - {PROVENANCE}:
        raise ValueError(f"checksums of {', '.join(sorted(provenance.sha256))}")
    columns = provenance.definition.columns  # keys are sorted in JSON, but ordered in the table
    rows = tuple(
        replace(
            row,
            settings={key: row.settings[key] for key in columns},
            facts={**provenance.facts, **row.facts},
        )
        for row in provenance.definition.rows
    )
    definition = replace(provenance.definition, rows=rows)
    _check_definition(definition, provenance)
    return replace(provenance, definition=definition)


def _check_definition(definition: Definition, provenance: _Provenance) -> None:
    """Makes sure that the parts of a definition agree with each other."""
    names = [row.name for row in definition.rows]
    if len(set(names)) < len(names) or definition.baseline not in names:
        raise ValueError("rows with the same name, or no row of the baseline")
    if provenance.scales.keys() != set(names):
        raise ValueError("complexities of other variants than its rows")
    if definition.procedure < 1 or definition.matrix_hash != provenance.matrix_hash:
        raise ValueError("another matrix hash than that of its definition")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the number {name}")


def _parse_curves(content: bytes) -> dict[str, list[EpochRecord]]:
    rows = list(_parse_csv(content))
    known = [{name: cell for name, cell in row.items() if cell} for row in rows]
    epochs: dict[str, list[EpochRecord]] = {}
    for row, epoch in zip(rows, _EPOCHS.validate_python(known), strict=True):
        epochs.setdefault(row["trial"], []).append(epoch)
    return epochs


def _parse_outcomes(content: bytes) -> Mapping[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def _parse_trial(
    row: Mapping[str, str],
    facts: Mapping[str, Any],
    epochs: Sequence[EpochRecord],
    bits: Mapping[str, Any],
) -> StudiedTrial:
    trial = _TRIAL.validate_python(
        {
            "key": row["trial"],
            **{name: row[name] for name in ("variant", "seed", "state", "reason")},
        }
    )
    own = {**facts, "seed": trial.seed}
    if make_key(own) != trial.key:
        raise ValueError(f"trial {trial.key}, but its facts have the key {make_key(own)}")
    if not epochs:
        return trial
    correct = None
    if images := row["test_images"]:
        correct = np.unpackbits(bits[trial.key], count=int(images)).tobytes()
    record = TrialRecord(
        key=trial.key,
        facts=own,
        epochs=(*epochs[:-1], replace(epochs[-1], correct=correct)),
        environment=ENVIRONMENT_CODEC.validate_python(
            {
                **{name: row[name] or None for name in _PLACE},
                "kernels": row.get("kernels") or None,
            }
        ),
        finished_at=float(row["finished_at"]),
    )
    check_curve(record)
    return replace(trial, record=record)


def _parse(path: Path, parse: Callable[[bytes], T]) -> T:
    """Parses a file; any failure becomes one error with the name of the file."""
    try:
        return parse(_read(path))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(key) for key in fault["loc"])
        raise _complain(path, f"{place}: {fault['msg']}") from error
    except (IncompleteError, MachineError):
        raise
    except Exception as error:
        raise _complain(path, f"{type(error).__name__}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, most=LARGEST_FILE)
    except FileNotFoundError:
        raise _complain(path, "no such file") from None
    except PermissionError as error:
        raise MachineError(f"{path} must be readable, got {error.strerror}.") from error
    except (OSError, ValueError) as error:
        raise _complain(path, getattr(error, "strerror", None) or str(error)) from error


def _complain(path: Path, found: str) -> IncompleteError:
    return IncompleteError(
        f"{path} is not what `ablations report` wrote: {found}. Restore it from version control, "
        f"or remove {path.parent} and regenerate it."
    )
