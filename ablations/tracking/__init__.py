"""Ledger -> MLflow: a view of what is known, which can be made again at any time."""

from ablations.tracking.artifacts import AnyArtifact, Artifact
from ablations.tracking.mirror import OFF, Mirror, choose_uri

__all__ = ["OFF", "AnyArtifact", "Artifact", "Mirror", "choose_uri"]
