"""What a table's columns show of a network's operator, in the papers' terms."""

from collections.abc import Mapping

from ablations.config import Column
from sknet.spec import Operator, UserOperator

HEADINGS: Mapping[Column, str] = {
    "kernel": "kernel",
    "dilation": "D",
    "groups": "G",
    "resulting_kernel": "resulting kernel",
    "kernels": "kernels",
    "attention": "attention",
    "reduction": "r",
    "L": "L",
}
"""What a reader sees above each column."""


def describe_setting(operator: Operator, column: Column) -> str | int:
    """What a column shows of an operator; a dash of what only SK has.

    >>> from sknet.spec import SelectiveKernel
    >>> describe_setting(SelectiveKernel(), "resulting_kernel")
    '5x5'
    """
    if isinstance(operator, UserOperator):
        return str(operator) if column in ("kernel", "kernels") else "-"
    last = operator.branches[-1]
    selects = operator.attention == "softmax"
    values: dict[Column, str | int] = {
        "kernel": f"{last.kernel}x{last.kernel}",
        "dilation": last.dilation,
        "groups": "depthwise" if last.groups is None else last.groups,
        "resulting_kernel": f"{last.extent}x{last.extent}",
        "kernels": " + ".join(f"{branch.extent}x{branch.extent}" for branch in operator.branches),
        "attention": "SK" if selects else "-",
        "reduction": operator.reduction if selects else "-",
        "L": operator.min_width if selects else "-",
    }
    return values[column]
