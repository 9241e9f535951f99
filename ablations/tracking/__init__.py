"""Ledger -> MLflow: a view of what is known, which can be made again at any time."""

from ablations.tracking.mirror import Mirror, choose_uri

__all__ = ["Mirror", "choose_uri"]
