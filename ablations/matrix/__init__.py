"""Turns the variants of an experiment into networks, on a body and at the paper's scale."""

from ablations.matrix.variants import Matrix, Variant, build_matrix

__all__ = ["Matrix", "Variant", "build_matrix"]
