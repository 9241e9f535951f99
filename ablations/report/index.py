"""The index of all results."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ablations.study import Study
from ablations.tables import Table, list_claims

HEAD = """# Results

Made by `run-ablation` and `ablations report` from the trials' own records, and checked by
`ablations report --all --check`; never edited by hand. Each folder holds the records (`trials.csv`,
`curves.csv`, `outcomes.npz`, `provenance.json`) and what is derived from them alone.
"""


def render_index(entries: Sequence[tuple[Study, Table]]) -> str:
    """Renders the index as Markdown: one row per study, then the claims with their verdicts."""
    columns = ("experiment", "question", "recipe", "n", "trials", "verdicts", "claims", "report")
    lines = [HEAD, _join(columns), _join(["---"] * len(columns))]
    lines += [_join(_describe(study, table)) for study, table in entries]
    if any(table.claims for _, table in entries):
        lines += ["", "## Claims"]
    for study, table in entries:
        if table.claims:
            lines += ["", f"{_link(study)}, {study.definition.recipe_name}:", ""]
            lines += [f"- {claim}" for claim in list_claims(table)]
    return "\n".join(lines) + "\n"


def _describe(study: Study, table: Table) -> list[str]:
    states = " + ".join(f"{number} {state}" for state, number in study.count().items() if number)
    folder = f"{study.definition.experiment}/{study.definition.recipe_name}"
    return [
        _link(study),
        study.definition.question,
        study.definition.recipe_name,
        _describe_seeds(study, table),
        states,
        count_words(verdict for verdict in table.rows["verdict"] if isinstance(verdict, str)),
        count_words(claim.word for claim in table.claims),
        f"[report]({folder}/report.html), [trials]({folder}/trials.csv)",
    ]


def count_words(words: Iterable[str]) -> str:
    """Counts words, the most frequent first.

    >>> count_words(["better", "undecided", "better"])
    '2 better, 1 undecided'
    """
    counted = sorted(Counter(words).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {word}" for word, number in counted) or "–"


def _describe_seeds(study: Study, table: Table) -> str:
    """Number of finished seeds of the trained rows, or its range."""
    numbers = [int(table.rows.loc[name, "n"]) for name in table.rows.index if name in study.shown]
    least, most = min(numbers), max(numbers)
    return str(most) if least == most else f"{least} to {most}"


def _link(study: Study) -> str:
    name = study.definition.experiment
    return f"[{name}]({name}/{study.definition.recipe_name}/table.md)"


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
