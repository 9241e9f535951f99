"""What an experiment declares -> its variants, as networks on a body and at the paper's scale."""

from ablations.matrix.building import Matrix, Variant, build_matrix
from ablations.matrix.columns import HEADINGS, describe_setting

__all__ = ["HEADINGS", "Matrix", "Variant", "build_matrix", "describe_setting"]
