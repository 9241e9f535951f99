"""Whatever experiments.yaml holds, it is accepted, or refused with a message that says where."""

import os
import re
import time
from pathlib import Path
from typing import Any

import yaml
from conftest import EXPERIMENTS, ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nasty import TEXTS

from ablations.config import read_config
from ablations.data import DATASETS
from ablations.errors import InputError
from ablations.matrix import build_matrix

BUNDLED = (ROOT / "experiments.yaml").read_text(encoding="utf-8")
OWN = EXPERIMENTS.replace("dataset: synthetic", "dataset: multiscale_digits")
KEYS = sorted(set(re.findall(r"\w+(?=:)", BUNDLED + OWN)))
"""Keys that mean something somewhere."""

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "400"))
"""Number of files; CI tries more."""

SECONDS = 10
"""More than any file may take, of this process's own time: most take a hundredth of a second."""

SCALARS = st.one_of(
    st.sampled_from(
        ["0x_", "!!int x", "!!set {a}", "2024-13-45", ".nan", ".inf", "-1", "0", "1e400"]
    ),
    st.sampled_from(
        ["~", "true", "K3", "sum", "sk", "paper", "[1, 1]", "{}", "[]", "*quick", "&a [*a]"]
    ),
    st.sampled_from(["9" * 30, "9" * 5000, "-9999999999", "65537", "1000000007", "0.5", '"\\x07"']),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(TEXTS).map(lambda text: yaml.dump(text, width=10**6).splitlines()[0]),
    st.text(max_size=8),
)
"""Texts in the place of a value."""

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*KEYS, *TEXTS]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
"""Structures of known keys with values that they rarely expect."""


@st.composite
def mutate(draw: st.DrawFn) -> str:
    """One of our files with a few values, keys or lines replaced, doubled or removed."""
    lines = draw(st.sampled_from([BUNDLED, OWN])).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        line = lines[place]
        kind = draw(st.sampled_from(["value", "key", "inner", "drop", "double", "indent", "swap"]))
        if kind == "value":
            lines[place] = f"{line.partition(':')[0]}: {draw(SCALARS)}"
        elif kind == "key":
            lines[place] = re.sub(r"\w+(?=:)", lambda _: draw(st.sampled_from(KEYS)), line, count=1)
        elif kind == "inner":
            lines[place] = re.sub(r"(?<=[:,[] )[\w.]+|\d+", lambda _: draw(SCALARS), line, count=1)
        elif kind == "drop":
            del lines[place]
        elif kind == "double":
            lines.insert(place, line)
        elif kind == "indent":
            lines[place] = " " * draw(st.integers(0, 8)) + line.lstrip()
        else:
            other = draw(st.integers(0, len(lines) - 1))
            lines[place], lines[other] = lines[other], line
    return "\n".join(lines)


@st.composite
def build(draw: st.DrawFn) -> str:
    """A file of our sections, with entries of known keys and any values."""
    content: dict[str, Any] = yaml.safe_load(OWN)
    for _ in range(draw(st.integers(1, 4))):
        inner: Any = content
        while isinstance(inner, dict) and inner and draw(st.integers(0, 3)):
            parent, key = inner, draw(st.sampled_from(list(inner)))
            inner = inner[key]
        if inner is content:
            content[draw(st.sampled_from(["bodies", "recipes", "experiments"]))] = draw(PLAIN)
        elif isinstance(inner, dict) and draw(st.booleans()):
            inner[draw(st.sampled_from(KEYS))] = draw(PLAIN)
        else:
            parent[key] = draw(PLAIN)
    return yaml.dump(content, allow_unicode=True, width=10**6, sort_keys=False)


def check(text: str, folder: Path) -> None:
    """Reads a file and builds what it declares: accepted or refused, in time, writing nothing."""
    path = folder / "experiments.yaml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    before = set(folder.rglob("*"))
    started = time.process_time()

    message = ""
    try:
        config = read_config(path)
        recipe = next(iter(config.recipes.values()), None)
        for name in list(config.experiments)[-3:] if recipe else ():
            dataset = DATASETS[recipe.dataset]
            build_matrix(config, name, body_name=recipe.body, dataset=dataset)
    except InputError as error:  # anything else is a fault of ours
        message = str(error)

    lines = message.splitlines()
    assert all(line.startswith(str(path)) and line.isprintable() for line in lines)
    assert time.process_time() - started < SECONDS
    assert set(folder.rglob("*")) == before


@given(text=mutate() | build() | st.text())
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_file_is_accepted_or_refused(text: str, tmp_path: Path) -> None:
    """Never a stack trace, a hang, or a file written."""
    check(text, tmp_path)
