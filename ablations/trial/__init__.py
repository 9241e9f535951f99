"""One trial: its records and environment (without torch), training, evaluation and running."""

from ablations.trial.records import Environment, EpochRecord, TrialRecord

__all__ = ["Environment", "EpochRecord", "TrialRecord"]
