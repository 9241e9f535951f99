"""A table as LaTeX, which needs only the packages booktabs and graphicx."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from textwrap import wrap

from ablations.tables.columns import Column
from ablations.tables.table import Table
from ablations.tables.texts import format_cells, list_claims

_ASCII = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the start of a row, \\\\ would read these two as arguments
    "*": "{*}",
    **{special: rf"\{special}" for special in "&%$#_{}"},
}
"""ASCII characters that LaTeX would interpret."""

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
"""Other characters with a macro."""

_ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0308\u0327\u030c", "`'^~\"cv", strict=True))
"""Macros of combining accents."""

_MINUS = re.compile(r"(?<![\w)])-(?=\d)")
"""A hyphen that is a minus sign: before a digit and not after a word."""

_TIGHT = r"\setlength{\itemsep}{0pt}\setlength{\parskip}{0pt}\setlength{\parsep}{0pt}"
"""Removes the vertical space of a list."""

_LINE = 10
"""Maximum number of characters in a line of a heading."""


def render_latex(table: Table) -> str:
    """Renders the table as a float, with claims and notes below it in small type.

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
        *_list_headings(table.shown),
        r"\midrule",
        *(_join(map(escape, cells)) for cells in format_cells(table)),
        r"\bottomrule",
        r"\end{tabular}}",
        *_list_foot(table),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Escapes text for LaTeX; characters without a known macro become their code point.

    >>> escape("-0.33 ± 0.1 of 5x5, D=1 & 50 %")
    '\\(-\\)0.33 \\(\\pm\\) 0.1 of 5x5, D=1 \\& 50 \\%'
    """
    plain = _MINUS.sub("−", " ".join(text.split()))
    return re.sub("-(?=-)", "-{}", "".join(map(_escape_character, plain)))  # two would be a dash


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
    """Texts are aligned left, numbers right."""
    return "".join("r" if column.key in table.numeric else "l" for column in table.shown)


def _list_headings(columns: Sequence[Column]) -> list[str]:
    """The row of groups, if there are any, with a rule below each; then the row of headings."""
    headings = _join(_stack(column.heading) for column in columns)
    cells, rules, first = [], [], 1
    for group, members in groupby(column.group for column in columns):
        width = len(list(members))
        if group:
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escape(group)}}}")
            rules.append(rf"\cmidrule(lr){{{first}-{first + width - 1}}}")
        else:
            cells += [""] * width
        first += width
    return [_join(cells), " ".join(rules), headings] if rules else [headings]


def _stack(heading: str) -> str:
    """A heading, wrapped."""
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
    """A title as a label.

    >>> _slug("dilation_group, recipe quick")
    'dilation-group-recipe-quick'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
