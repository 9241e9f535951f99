"""The trials behind a table: their results, learning curves and environments."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ablations.study import StudiedTrial, Study
from ablations.trial.records import TrialRecord


def list_trials(study: Study) -> pd.DataFrame:
    """Lists all trials, one row per trial, so that every number leads back to its trials."""
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
    """Lists the learning curves of all selected trials with a record, one row per epoch."""
    columns = ["variant", "seed", "epoch", "train_loss", "top1_error"]
    rows = [
        (trial.variant, trial.seed, epoch.epoch, epoch.train_loss, epoch.top1_error)
        for trial, record in _iterate_selected(study)
        for epoch in record.epochs
    ]
    return pd.DataFrame(rows, columns=columns)


def list_environments(study: Study) -> pd.DataFrame:
    """Counts the selected trials by environment, one row per environment."""
    places = pd.DataFrame([vars(record.environment) for _, record in _iterate_selected(study)])
    if places.empty:
        return places
    if places["kernels"].isna().all():  # records of older versions do not know them
        places = places.drop(columns="kernels")
    counted = places.groupby(list(places.columns), dropna=False, sort=True).size()
    return counted.rename("trials").reset_index()


def _iterate_selected(study: Study) -> Iterator[tuple[StudiedTrial, TrialRecord]]:
    for trial in study.trials:
        if trial.record is not None and trial.state != "skipped":
            yield trial, trial.record
