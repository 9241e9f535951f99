"""A study -> the trials behind a table: what each measured, how it came to it, and where."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ablations.study.study import StudiedTrial, Study
from ablations.trial.records import TrialRecord


def list_trials(study: Study) -> pd.DataFrame:
    """One row for each trial that was asked for: the way back from a number to its trials."""
    rows = []
    for trial in study.trials:
        row: dict[str, Any] = {
            "trial": trial.key,
            "variant": trial.variant,
            "seed": trial.seed,
            "state": trial.state,
            "reason": trial.reason,
        }
        if (record := trial.record) is not None:
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


def list_curves(study: Study) -> pd.DataFrame:
    """One row for each epoch of the trials that were asked for and have ended."""
    columns = ["variant", "seed", "epoch", "train_loss", "top1_error"]
    rows = [
        (trial.variant, trial.seed, epoch.epoch, epoch.train_loss, epoch.top1_error)
        for trial, record in _iterate_shown(study)
        for epoch in record.epochs
    ]
    return pd.DataFrame(rows, columns=columns)


def list_environments(study: Study) -> pd.DataFrame:
    """One row for each environment that trials which were asked for ran in, with their number."""
    places = pd.DataFrame([vars(record.environment) for _, record in _iterate_shown(study)])
    if places.empty:
        return places
    counted = places.groupby(list(places.columns), dropna=False, sort=True).size()
    return counted.rename("trials").reset_index()


def _iterate_shown(study: Study) -> Iterator[tuple[StudiedTrial, TrialRecord]]:
    for trial in study.trials:
        if trial.record is not None and trial.state != "skipped":
            yield trial, trial.record
