"""A table as LaTeX, with booktabs and graphicx as the only packages."""

import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from textwrap import wrap

from pandas.api.types import is_numeric_dtype

from ablations.tables.rendering import format_cells, list_claims
from ablations.tables.table import Table

_ASCII = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the head of a row these two would belong to the row above
    "*": "{*}",
    **{special: rf"\{special}" for special in "&%$#_{}"},
}
"""What LaTeX would read as something else."""

_SIGNS = {
    "±": r"\(\pm\)",
    "×": r"\(\times\)",
    "−": r"\(-\)",
    "≤": r"\(\leq\)",
    "≥": r"\(\geq\)",
    "→": r"\(\rightarrow\)",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
}
"""What is not ASCII and has a macro; white space of any kind is a space."""

_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0308\u0327\u030c", "`'^~\"cv", strict=True))
"""Combining accents, and the macro that sets each on a letter."""

_MINUS = re.compile(r"(?<![\w)])-(?=\d)")
"""A hyphen that is a sign: before a digit, and behind nothing that it could join to it."""

_TIGHT = r"\setlength{\itemsep}{0pt}\setlength{\parskip}{0pt}\setlength{\parsep}{0pt}"
"""Opens a list without gaps."""

_LINE = 10
"""Characters in a line of a heading."""


def render_latex(table: Table) -> str:
    """The table as a float: headings in groups, claims and notes below in small type.

    The document needs `booktabs` and `graphicx`; a table that is wider than the text is shrunk.
    """
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(table.question)}}}",
        rf"\label{{tab:{_slug(table.title)}}}",
        r"\setlength{\tabcolsep}{3pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{_align(table)}}}",
        r"\toprule",
        *_list_headings(list(table.headings.values())),
        r"\midrule",
        *(_join(map(escape, cells)) for cells in format_cells(table)),
        r"\bottomrule",
        r"\end{tabular}}",
        *_list_foot(table),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def render_document(table: Table) -> str:
    """A whole document that holds one table, to be compiled by itself."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\usepackage{graphicx}",
        r"\begin{document}",
        render_latex(table) + r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Text that LaTeX sets as it stands; what no macro is known for shows its code point.

    >>> escape("-0.33 ± 0.1 of 5x5, D=1 & 50 %")
    '\\(-\\)0.33 \\(\\pm\\) 0.1 of 5x5, D=1 \\& 50 \\%'
    """
    plain = _MINUS.sub("−", " ".join(text.split()))
    return re.sub("-(?=-)", "-{}", "".join(map(_escape_character, plain)))  # two are no dash


def _escape_character(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isascii() and character.isprintable():
        return character
    letter, *accents = list(unicodedata.normalize("NFD", character))
    if letter.isascii() and len(accents) == 1 and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    return rf"\texttt{{U+{ord(character):04X}}}"


def _align(table: Table) -> str:
    """Texts to the left, numbers to the right."""
    numeric = {str(key) for key in table.rows if is_numeric_dtype(table.rows[key])}
    return "".join("r" if key in numeric else "l" for key in table.headings)


def _list_headings(headings: list[str]) -> list[str]:
    """A row of groups where there are any, with a rule below each, and the row of columns."""
    groups = [heading.rpartition(": ")[0] for heading in headings]
    columns = _join(_stack(heading.rpartition(": ")[2]) for heading in headings)
    cells, rules, first = [], [], 1
    for group, members in groupby(groups):
        width = len(list(members))
        if group:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        else:
            cells += [""] * width
        first += width
    return [_join(cells), " ".join(rules), columns] if rules else [columns]


def _stack(heading: str) -> str:
    """A heading in lines that are not too long."""
    lines = wrap(heading, _LINE, break_long_words=False) or [""]
    stack = r" \\ ".join(map(escape, lines))
    return stack if len(lines) == 1 else rf"\shortstack{{\strut {stack}}}"


def _join(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _list_foot(table: Table) -> list[str]:
    parts = (("Claims", list_claims(table)), ("Notes", table.notes))
    lines = []
    for heading, items in parts:
        if items:
            lines += [rf"{heading}:", r"\begin{itemize}", _TIGHT]
            lines += [rf"\item {{}}{escape(item)}" for item in items]
            lines += [r"\end{itemize}"]
    if not lines:
        return []
    return [
        r"\par\medskip",
        r"\begin{minipage}{\linewidth}\scriptsize\setlength{\leftmargini}{1.5em}",
        *lines,
        r"\end{minipage}",
    ]


def _slug(title: str) -> str:
    """What may stand in a label.

    >>> _slug("dilation_group, recipe quick")
    'dilation-group-recipe-quick'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
