"""Configurations that would crash or stall a careless reader are refused, with their line."""

import json
import time
from pathlib import Path

import pytest
from conftest import EXPERIMENTS
from nasty import CONTROLS, TEXTS

from ablations.config import read_config
from ablations.config.text import DEEPEST, LARGEST_FILE, parse_value, read_yaml
from ablations.errors import InputError

LAUGHS = "\n".join(
    f"{name}: &{name} [{', '.join(9 * ['*' + above])}]"
    for above, name in zip("abcdefgh", "bcdefghi", strict=True)
)
"""Aliases of aliases: 9**8 values in 9 lines."""


def write(tmp_path: Path, text: str) -> Path:
    """Writes experiments.yaml; the synthetic dataset becomes a known one."""
    path = tmp_path / "experiments.yaml"
    path.write_text(text.replace("dataset: synthetic", "dataset: multiscale_digits"))
    return path


@pytest.mark.parametrize(
    ("value", "message"),
    [
        *(
            (value, "is not a value of the type int")
            for value in ("0x_", "0b_", "!!int a", "!!int ''")
        ),
        *((value, "is not a value of the type") for value in ("!!bool x", "!!float a", "5" * 5000)),
        ("0x" + "f" * 5000, "is not a value of the type int"),
        *(
            (value, "constructor for the tag")
            for value in ("!!set {a}", "!!timestamp x", "!!omap []")
        ),
        ("!!python/object/apply:os.system [id]", "constructor for the tag"),
        ("&a {x: *a}", "a contains itself"),
        ("&a [*a]", "a contains itself"),
        ("[" * 100_000, f"nested {DEEPEST} levels"),
        ("{a: " * 2000, f"nested {DEEPEST} levels"),
        ("[" + "1, " * 60_000 + "1]", "may hold 50000 keys and values"),
        ("{[1]: 2}", "unhashable key"),
        ("{<<: 3}", "merging"),
        ('"a\\x07b"', "control characters"),
        ('"\\ud800"', "invalid Unicode"),
    ],
    ids=lambda text: text[:20],
)
def test_odd_values_are_refused_with_their_line(tmp_path: Path, value: str, message: str) -> None:
    """PyYAML raises a dozen types of errors on them, recurses, or crashes."""
    path = tmp_path / "experiments.yaml"
    path.write_text(f"a: 1\nb: {value}\n")
    started = time.process_time()

    with pytest.raises(InputError, match=message) as error:
        read_yaml(path)

    assert str(error.value).startswith(f"{path}:2: ")
    assert str(error.value).isprintable()
    assert time.process_time() - started < 5


def test_aliases_of_aliases_are_counted_before_they_are_expanded(tmp_path: Path) -> None:
    """Otherwise nine lines fill the memory."""
    path = tmp_path / "experiments.yaml"
    path.write_text(f"a: &a [{', '.join(9 * 'x')}]\n{LAUGHS}\n")

    with pytest.raises(InputError, match=r"yaml:5: .* may hold 50000 keys"):
        read_yaml(path)


def test_a_file_is_measured_before_it_is_read(tmp_path: Path) -> None:
    """10 MB of comments took 20 seconds."""
    path = tmp_path / "experiments.yaml"
    path.write_text("#" * (LARGEST_FILE + 1))

    with pytest.raises(InputError, match="may have 1,048,576 bytes, got 1,048,577"):
        read_yaml(path)


@pytest.mark.parametrize("text", CONTROLS)
def test_control_characters_are_refused_wherever_they_are(tmp_path: Path, text: str) -> None:
    """They would reach terminals and files: names, questions, labels, settings."""
    escaped = json.dumps(text)
    text = EXPERIMENTS.replace("Does attention help?", escaped)

    with pytest.raises(InputError, match=r"yaml:\d+: invalid YAML: control characters"):
        read_config(write(tmp_path, text))


@pytest.mark.parametrize("text", TEXTS)
def test_every_printable_text_is_a_name_and_a_question(tmp_path: Path, text: str) -> None:
    """Renderers escape; the configuration does not forbid what only one of them minds."""
    quoted = json.dumps(text, ensure_ascii=False)
    changed = EXPERIMENTS.replace("Does attention help?", quoted).replace("SK:", f"{quoted}:")

    experiment = read_config(write(tmp_path, changed)).experiments["attention"]

    assert experiment.question == text
    assert text in experiment.variants


def test_a_question_of_several_lines_becomes_one(tmp_path: Path) -> None:
    """Tables and indexes show it on one line."""
    changed = EXPERIMENTS.replace("Does attention help?", "|\n      Does it\n      help?")

    assert (
        read_config(write(tmp_path, changed)).experiments["attention"].question == "Does it help?"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 0.1", "learning_rate: .inf", "learning_rate: .*finite"),
        ("learning_rate: 0.1", "learning_rate: 1e400", "learning_rate: .*finite"),
        ("weight_decay: 1e-4", "weight_decay: .nan", "weight_decay: .*finite"),
        ("epochs: 2", "epochs: 1000000000000", "epochs: .*less than or equal to 100000"),
        ("batch_size: 16", "batch_size: 1000000000000", "batch_size: .*less than"),
        ("seeds: [0, 1, 2]", "seeds: [4294967296]", "seeds.0: .*less than or equal to 4294967295"),
        ("kernel: 3", "kernel: 0", "kernel must be odd and positive"),
        ("kernel: 3", "kernel: 99999", "at most 255 pixels, got 99999"),
        ("width: 8", "width: 1000000000000", "width must be at most 65536"),
        ("stride: 2", "stride: 0", "stride must be at least 1"),
        ("depths: [1]", "depths: [1000000000]", r"depths must be at most 65536"),
        ("depths: [1]", "depths: [1001]", r"depths must add up to at most 1000 blocks"),
        ("[K3, K3]", "[{dilation: 1000000000}]", "dilation must be at most 65536"),
        ("[K3, K3]", "[{dilation: 1000}]", "at most 255 pixels, got 2001"),
    ],
)
def test_numbers_have_bounds(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Infinities broke JSON, and sizes like these filled the memory or stalled."""
    assert old in EXPERIMENTS

    with pytest.raises(InputError, match=message):
        read_config(write(tmp_path, EXPERIMENTS.replace(old, new, 1)))


def test_a_grid_is_counted_before_it_is_expanded(tmp_path: Path) -> None:
    """Four axes of 100 values are a hundred million variants."""
    values = list(range(1, 101))
    grid = dict.fromkeys(("reduction", "min_width", "a", "b"), values)
    text = EXPERIMENTS.replace(
        "    baseline: sum", f"    baseline: sum\n    grid: {json.dumps(grid)}"
    )
    started = time.process_time()

    with pytest.raises(InputError, match="may have 2000 variants, got 100000002"):
        read_config(write(tmp_path, text))

    assert time.process_time() - started < 5


@pytest.mark.parametrize("keys", [("body", "body.divisor"), ("body.divisor", "body")])
def test_a_setting_and_a_part_of_it_are_refused(tmp_path: Path, keys: tuple[str, str]) -> None:
    """One of them would be lost, or the text of one taken for a mapping."""
    grid = f"    grid: {{{keys[0]}: [x], {keys[1]}: [1]}}\n    baseline: sum"

    with pytest.raises(InputError, match="a part of it cannot both be set"):
        read_config(write(tmp_path, EXPERIMENTS.replace("    baseline: sum", grid)))


@pytest.mark.parametrize("text", ["0x_", "!!bool x", "5" * 5000, "[" * 5000, "&a [*a]", "\ud800"])
def test_values_of_the_command_line_have_the_same_bounds(text: str) -> None:
    """`--set` reads YAML too."""
    import yaml

    with pytest.raises(yaml.YAMLError):
        parse_value(text)
