"""What an experiment declares -> its variants, as networks on a body and at the paper's scale."""

from ablations.matrix.columns import HEADINGS, describe_setting
from ablations.matrix.variants import Matrix, Variant, build_matrix

__all__ = ["HEADINGS", "Matrix", "Variant", "build_matrix", "describe_setting"]
