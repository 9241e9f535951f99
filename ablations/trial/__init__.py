"""One trial: records and environment, which need no torch; training, evaluation and the run."""

from ablations.trial.records import Environment, EpochRecord, TrialRecord

__all__ = ["Environment", "EpochRecord", "TrialRecord"]
