"""The LaTeX of a table compiles, whatever its names contain."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from example_table import COLUMNS, HOSTILE, make_rows, make_table
from hypothesis import given
from hypothesis import strategies as st

from ablations.tables import Table, format_cells
from ablations.tables.latex import escape, render_latex

LATEX = shutil.which("pdflatex") or shutil.which("tectonic")


def render_document(table: Table) -> str:
    """A whole document that contains one table, with the packages that the table needs."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage{booktabs}",
        r"\usepackage{graphicx}",
        r"\begin{document}",
        render_latex(table) + r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def list_rows(latex: str) -> list[str]:
    """Lines between the rules of the tabular: groups, headings and cells."""
    body = latex.split(r"\toprule")[1].split(r"\bottomrule")[0]
    return [line for line in body.splitlines() if line.endswith(r" \\")]


def count_columns(row: str) -> int:
    """Number of columns that a row of the tabular fills."""
    spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
    return len(re.findall(r"(?<!\\)&", row)) + 1 + sum(spans)


def test_every_row_fills_every_column() -> None:
    """LaTeX reports a missing cell far from its cause."""
    table = make_table()
    latex = render_latex(table)
    declared = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", latex)[0]

    assert {count_columns(row) for row in list_rows(latex)} == {len(table.headings)}
    assert declared == "lrrrrrrrrl"


def test_environments_are_balanced() -> None:
    """Each environment is closed, in the right order."""
    opened: list[str] = []
    for word, name in re.findall(r"\\(begin|end)\{(\w+)\}", render_document(make_table())):
        if word == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name

    assert opened == []


def test_headings_are_grouped_over_their_rules() -> None:
    """A group is printed once, over all of its columns."""
    latex = render_latex(make_table())
    groups, columns = list_rows(latex)[:2]

    assert groups.startswith(r" &  & \multicolumn{2}{c}{paper} & \multicolumn{1}{c}{trained")
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-5} \cmidrule(lr){6-10}" in render_latex(
        make_table()
    )
    assert columns.startswith(r"variant & D & error \% & params M & params & n &")


def test_without_groups_there_is_one_row_of_headings() -> None:
    """And no rule below groups."""
    latex = render_latex(make_table(columns=COLUMNS[:2]))

    assert r"\cmidrule" not in latex
    assert len(list_rows(latex)) == 1 + len(make_rows())


def test_latex_contains_everything_that_markdown_shows() -> None:
    """Title, question, cells, claims with their verdicts, notes."""
    table = make_table()
    latex = render_latex(table)
    cells = [cell for row in format_cells(table) for cell in row]
    texts = [table.title, table.question, *cells, "a claim: undecided", *table.notes]

    assert [text for text in texts if escape(text) not in latex] == []
    assert r"\label{tab:an-experiment-recipe-quick}" in latex


def test_no_claims_and_no_notes_leave_no_empty_list() -> None:
    """An empty list is an error in LaTeX."""
    assert "itemize" not in render_latex(make_table(claims=(), notes=()))


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("100 %", r"100 \%"),
        ("a_b & c#d$", r"a\_b \& c\#d\$"),
        ("x^2 ~ {y}", r"x\textasciicircum{}2 \textasciitilde{} \{y\}"),
        ("\\", r"\textbackslash{}"),
        ("-0.3 ± 0.1, 1-2", r"\(-\)0.3 \(\pm\) 0.1, 1-2"),
        ("a – b", r"a \textendash{} b"),
        ("--set", "-{}-set"),
        ("---", "-{}-{}-"),
        ("[M=2]", "{[}M=2]"),
        ("Müller", r"M\"{u}ller"),
        ("深", r"\texttt{U+6DF1}"),
        ("\x00", r"\texttt{U+0000}"),
        ("two\n lines", "two lines"),
    ],
)
def test_text_is_escaped(text: str, latex: str) -> None:
    """Text is set literally; a hyphen that is a sign becomes a minus."""
    assert escape(text) == latex


@given(text=st.text())
def test_no_text_contains_a_command(text: str) -> None:
    """Apart from our own macros, only plain ASCII without special characters is left."""
    ours = (
        r"\\(text\w+|ss|ae|o|O|l|ldots)\{\}|\\[&%$#_{}]|\\\(\\?[a-z-]+\\\)|\\[`'^~\"cv]\{[A-Za-z]\}"
    )
    rest = re.sub(
        rf"{ours}|\\texttt\{{U\+[0-9A-F]+\}}|-\{{\}}-|\{{[\[*]\}}|\{{\}}|~", "", escape(text)
    )

    assert rest.isascii()
    assert not set(rest) & set("&%$#_{}^\\")


@pytest.mark.skipif(LATEX is None, reason="needs pdflatex or tectonic")
@pytest.mark.parametrize("name", ["[a", "*", "é", "深", '"`', "ß", "a--b"])
def test_the_document_compiles(name: str, tmp_path: Path) -> None:
    """With hostile names in every place."""
    table = make_table(
        rows=make_rows().rename(index={"one seed": name}),
        question=f"{HOSTILE} {name}?",
        notes=(name, f"{HOSTILE} {name}", f"[{name}]"),
    )
    (tmp_path / "table.tex").write_text(render_document(table), encoding="utf-8")
    options = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in str(LATEX) else []

    run = subprocess.run(
        [str(LATEX), *options, "table.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout[-2000:]
    assert (tmp_path / "table.pdf").stat().st_size > 1000
