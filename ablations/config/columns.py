"""The settings of an operator that a table can show, one column each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sknet.spec import Operator, SelectiveKernel, UserOperator


@dataclass(frozen=True, kw_only=True)
class SettingColumn:
    """A column of a table that shows a setting in the papers' terms."""

    heading: str
    """Heading of the column."""

    show: Callable[[SelectiveKernel], str | int]
    """Reads the cell from an operator."""

    names_user_operators: bool = False
    """Whether the column shows an operator of the user's own as a whole; others show a dash."""


COLUMNS: Mapping[str, SettingColumn] = {
    "kernel": SettingColumn(
        heading="kernel",
        show=lambda sk: f"{sk.branches[-1].kernel}x{sk.branches[-1].kernel}",
        names_user_operators=True,
    ),
    "dilation": SettingColumn(heading="D", show=lambda sk: sk.branches[-1].dilation),
    "groups": SettingColumn(heading="G", show=lambda sk: sk.branches[-1].groups or "depthwise"),
    "resulting_kernel": SettingColumn(
        heading="resulting kernel",
        show=lambda sk: f"{sk.branches[-1].extent}x{sk.branches[-1].extent}",
    ),
    "kernels": SettingColumn(
        heading="kernels",
        show=lambda sk: " + ".join(f"{branch.extent}x{branch.extent}" for branch in sk.branches),
        names_user_operators=True,
    ),
    "attention": SettingColumn(
        heading="attention", show=lambda sk: "SK" if sk.attention == "softmax" else "-"
    ),
    "reduction": SettingColumn(
        heading="r", show=lambda sk: sk.reduction if sk.attention == "softmax" else "-"
    ),
    "L": SettingColumn(
        heading="L", show=lambda sk: sk.min_width if sk.attention == "softmax" else "-"
    ),
    "descriptor": SettingColumn(
        heading="descriptor", show=lambda sk: sk.descriptor if sk.attention == "softmax" else "-"
    ),
    "score_bias": SettingColumn(
        heading="score bias",
        show=lambda sk: ("yes" if sk.score_bias else "no") if sk.attention == "softmax" else "-",
    ),
}
"""Every setting column by its name in experiments.yaml; the first four show the last branch."""


def describe_setting(operator: Operator, column: str) -> str | int:
    """The cell of a setting column for an operator.

    >>> describe_setting(SelectiveKernel(), "resulting_kernel")
    '5x5'
    """
    if isinstance(operator, UserOperator):
        return str(operator) if COLUMNS[column].names_user_operators else "-"
    return COLUMNS[column].show(operator)
