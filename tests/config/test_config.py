"""Every fault in experiments.yaml is reported with its place, the rule, and what was found."""

import json
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest
from conftest import EXPERIMENTS, ROOT

from ablations.config import (
    AttentionSettings,
    BodySettings,
    PaperRow,
    PaperTable,
    Recipe,
    alter_recipe,
    find_config,
    read_config,
    read_paper,
)
from ablations.errors import InputError, MachineError
from sknet.spec import ATTENTIONS, FAMILIES, Branch


def write(tmp_path: Path, text: str) -> Path:
    """Writes experiments.yaml; the synthetic dataset becomes a known one."""
    path = tmp_path / "experiments.yaml"
    path.write_text(text.replace("dataset: synthetic", "dataset: multiscale_digits"))
    return path


def test_the_bundled_file_is_valid() -> None:
    """It has the recipes and experiments of the README."""
    config = read_config(ROOT / "experiments.yaml")

    assert {"quick", "smoke", "cifar10", "imagenet"} <= config.recipes.keys()
    assert config.experiment("dilation_group").baseline == "3x3, D=2, G=32"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epochs: 0", r"yaml:14: recipes.quick.epochs: .*greater than 0, got '0'"),
        ("epochs: 2", "epohcs: 2", r"recipes.quick.epohcs: unknown key.*did you mean epochs\?"),
        ("epochs: 2", "epochs: two", r"recipes.quick.epochs: .*valid integer.*got 'two'"),
        (
            "epochs: 2",
            "epochs: 2\n    epochs: 3",
            r"yaml:15: recipes.quick.epochs: duplicate key, f",
        ),
        ("seeds: [0, 1, 2]", "seeds: [0, 1", r"yaml:\d+: invalid YAML"),
        ("seeds: [0, 1, 2]", "seeds: [0, 0]", r"recipes.quick: seeds must differ, got \[0, 0\]"),
        (
            "epochs: 2",
            "epochs: 2\n    nesterov: true\n    momentum: 0",
            r"quick: nesterov needs a momentum above 0",
        ),
        ("seeds: [0, 1, 2]", "seeds: []", r"recipes.quick.seeds: .*at least 1 item"),
        ("weight_decay: 1e-4", "weight_decay: -1", r"weight_decay: .*greater than or equal to 0"),
        ("body: wee", "body: we", r"recipes.quick.body: must be one of .*did you mean wee\?"),
        (
            "batch_size: 16",
            "batch_size: 16\n    replicas: 3",
            r"yaml:16: recipes.quick.replicas: batch_size must be divisible by replicas, got 16 im",
        ),
        (
            "batch_size: 16",
            "batch_size: 16\n    batch_norm: synchronised",
            r"yaml:16: recipes.quick.batch_norm: synchronised needs at least 2 replicas",
        ),
        (
            "epochs: 2",
            "epochs: 2\n    replicas: 0",
            r"quick.replicas: .*greater than or equal to 1",
        ),
        ("schedule: cosine", "schedule: step", r"recipes.quick: step_epochs must be given if"),
        ("schedule: cosine", "schedule: linear", r"quick.schedule: .*'cosine' or 'step'"),
        ("dataset: synthetic", "dataset: mnist", r"recipes.quick.dataset: must be one of .*'mnist"),
        ("baseline: sum", "baseline: none", r"experiments.attention: baseline must be one of"),
        ("branches: [K3, K3]", "branches: [K3, K9]", r"branches.1: must be one of K3, K5, K7"),
        ("{branches: [K3, K3]}", "{branch: [K3]}", r"unknown key.*did you mean branches\?"),
        ("[K3, K3]", "[K3, {kernel: 4}]", r"branches.1: kernel must be odd and positive, got 4"),
        ("attention: sum}", "attention: max}", r"variants.sum.attention: .*'softmax' or 'sum'"),
        ("sknet.table6_dilation_group", "table6", r"paper_table: must be one of"),
        ("  wee:", "  tiny:", r"bodies.tiny: must not have the name of one of sknet.s"),
        ("depths: [1]", "depths: [1, 2]", r"bodies.wee: depths, mid_widths, out_widths must"),
        ("recipes:", "recipe:", r"yaml:10: recipe: unknown key.*did you mean recipes\?"),
        ("kernel: 3", "kernl: 3", r"yaml:4: bodies.wee.stem.kernl: unknown.*did you mean kernel\?"),
        ("divisor: 8", "divisr: 8", r"yaml:9: bodies.wee.divisr: unknown key.*mean divisor\?"),
        ("divisor: 8", "famly: resnext", r"bodies.wee.famly: unknown key.*did you mean family\?"),
        ("divisor: 8", "family: resnxt", r"yaml:9: bodies.wee.family: must be.*mean resnext\?"),
        ("divisor: 8", "family: [resnext]", r"yaml:9: bodies.wee.family: must be one of mobile"),
        ("divisor: 8", "family: {a: b}", r"bodies.wee.family: must be one of mobilenet_v2, resn"),
        ("width: 8", "width: 0", r"yaml:4: bodies.wee.stem: width must be at least 1, got 0"),
        ("stride: 2", "stride: -1", r"bodies.wee.stem: stride must be at least 1, got -1"),
        ("kernel: 3", "kernel: 4", r"bodies.wee.stem: kernel must be odd and positive, got 4"),
        ("[K3, K3]", "[K3, {kernl: 3}]", r"branches.1.kernl: unknown key.*did you mean kernel\?"),
        (
            "{branches: [K3, K3]}",
            "{body: {stem: {strid: 1}}}",
            r"body.BodySettings.stem.strid: unknown key.*did you mean stride\?",
        ),
    ],
)
def test_faults_are_reported(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each with its place; there is no stack trace and no default is used instead."""
    assert old in EXPERIMENTS
    path = write(tmp_path, EXPERIMENTS.replace(old, new, 1))

    with pytest.raises(InputError, match=message):
        read_config(path)


@pytest.mark.parametrize("section", ["bodies", "recipes", "experiments"])
@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "..", ".hidden", "../evil", "/abs/path", "a/b", "a\\b", "-x", " a", "a "),
        *("a\nb", "a\n", "b" * 81, "b" * 80 + " ", "README.md", "readme.MD", "Benchmarks"),
    ],
)
def test_names_that_are_not_valid_folder_names_are_refused(
    tmp_path: Path, section: str, name: str
) -> None:
    """Experiments and recipes name folders of results, which must stay inside results/."""
    entry = f"  {json.dumps(name)}: {{}}\n"
    path = write(tmp_path, EXPERIMENTS.replace(f"{section}:\n", f"{section}:\n{entry}", 1))
    line = path.read_text()[: path.read_text().index(entry)].count("\n") + 1

    with pytest.raises(InputError) as error:
        read_config(path)

    (message,) = (
        text for text in str(error.value).splitlines() if "a name must consist of" in text
    )
    assert message.startswith(f"{path}:{line}: {section}.")
    assert str(error.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["a", "0", "_x", "3x3, D=2 + K5", "cifar-10_v1.5", "b" * 80])
def test_plain_names_are_accepted(tmp_path: Path, name: str) -> None:
    """They may contain spaces and the punctuation of variants."""
    text = EXPERIMENTS.replace("  attention:\n", f"  {json.dumps(name)}:\n")

    assert name in read_config(write(tmp_path, text)).experiments


@pytest.mark.parametrize("name", ["1", "0x1", "true", "null", "1.5"])
def test_names_must_be_strings(tmp_path: Path, name: str) -> None:
    """1 and 0x1 would be the same experiment, and the first would be lost."""
    text = EXPERIMENTS.replace("  attention:\n", f"  {name}:\n")

    with pytest.raises(
        InputError, match=r"experiments\..*: a name must be a string, got .*quote it"
    ):
        read_config(write(tmp_path, text))


@pytest.mark.parametrize("name", ["", "a\tb", "a\nb", "a" * 121])
def test_names_of_variants_and_claims_must_be_printable(tmp_path: Path, name: str) -> None:
    """They appear on one line in files, figures and terminals."""
    quoted = json.dumps(name)
    claims = f"    claims: [{{name: {quoted}, better: SK, than: sum}}]\n    baseline: sum"
    labels = f"    grid: {{reduction: {{{quoted}: 8}}}}\n    baseline: sum"
    texts = (
        EXPERIMENTS.replace("      SK:", f"      {quoted}:"),
        EXPERIMENTS.replace("    baseline: sum", labels),
        EXPERIMENTS.replace("    baseline: sum", claims),
    )

    for text in texts:
        with pytest.raises(InputError, match="1 to 120 printable characters") as error:
            read_config(write(tmp_path, text))
        assert str(error.value).isprintable()


@pytest.mark.parametrize("family", ["shufflenet_v2", "mobilenet_v2"])
def test_a_misspelt_key_of_a_lightweight_body_is_reported(tmp_path: Path, family: str) -> None:
    """Otherwise the default width would be trained."""
    body = f"  thin: {{family: {family}, stem_wdth: 12}}\n"
    text = EXPERIMENTS.replace("bodies:\n", f"bodies:\n{body}")

    with pytest.raises(InputError, match=r"bodies.thin.stem_wdth: unknown.*mean stem_width\?"):
        read_config(write(tmp_path, text))


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ("[{name: c, better: SK, than: sun}]", r"attention.claims.0.than: .*did you mean sum\?"),
        ("[{name: c, better: SK}]", r"claims.0: a claim needs exactly one of"),
        ("[{name: c}]", r"claims.0: a claim needs exactly one of"),
        ("[{name: c, better: SK, than: sum, best: SK}]", r"claims.0: a claim needs exactly one of"),
        ("[{name: c, better: SK, then: sum}]", r"claims.0.then: unknown key.*mean than\?"),
        (
            "[{name: c, better: SK, than: SK}]",
            r"claims.0: must compare two different variants, got 'SK'",
        ),
        ("[{better: SK, than: sum}]", r"claims.0.name: Field required"),
        ("[{name: c, best: [SK, sum]}]", r"attention: best must leave a variant to compare with"),
        ("[{name: c, best: SKN}]", r"claims.0.best.0: must be one of .*did you mean SK\?"),
        ("[{name: c, for_every: [{better: SK}]}]", r"for_every.0: a statement needs either"),
        (
            "[{name: c, at_least_one: [{equivalent: SX, to: sum}]}]",
            r"yaml:\d+: experiments.attention.claims.0.at_least_one.0.equivalent: must be one of",
        ),
        (
            "[{name: c, best: SK}, {name: c, best: sum}]",
            r"attention: claims must have distinct names, got \['c', 'c'\]",
        ),
    ],
)
def test_faults_of_claims_are_reported(tmp_path: Path, claims: str, message: str) -> None:
    """A claim about a missing variant would stay undecided forever."""
    text = EXPERIMENTS.replace("    baseline: sum", f"    claims: {claims}\n    baseline: sum")

    with pytest.raises(InputError, match=message):
        read_config(write(tmp_path, text))


def test_every_form_of_a_claim_is_read(tmp_path: Path) -> None:
    """`best` takes one variant or several."""
    claims = """
      - {name: a, better: SK, than: sum}
      - {name: b, equivalent: SK, to: sum}
      - {name: c, for_every: [{better: SK, than: sum}]}
      - {name: d, at_least_one: [{better: SK, than: sum}]}
      - {name: e, best: SK}
      - {name: f, best: [SK]}"""
    text = EXPERIMENTS.replace("    baseline: sum", f"    claims: {claims}\n    baseline: sum")

    experiment = read_config(write(tmp_path, text)).experiment("attention")

    assert experiment.margin == 0.5
    assert [next(claim.list_names())[1] for claim in experiment.claims] == ["SK"] * 6
    assert experiment.claims[4].best == experiment.claims[5].best == ("SK",)


def test_the_margin_must_be_positive(tmp_path: Path) -> None:
    """Otherwise nothing could be equivalent."""
    text = EXPERIMENTS.replace("    baseline: sum", "    margin: 0\n    baseline: sum")

    with pytest.raises(InputError, match=r"attention.margin: .*greater than 0"):
        read_config(write(tmp_path, text))


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    """Users should not have to fix them one run at a time."""
    text = EXPERIMENTS.replace("epochs: 2", "epochs: 0").replace("[K3, K3]", "[K9]")
    path = write(tmp_path, text.replace("learning_rate: 0.1", "learning_rate: -1"))

    with pytest.raises(InputError) as error:
        read_config(path)

    assert len(str(error.value).splitlines()) == 3


@pytest.mark.parametrize("content", [b"- a\n", b"", b"just a text\n"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    """Such as a list, a string or an empty file."""
    path = tmp_path / "experiments.yaml"
    path.write_bytes(content)

    with pytest.raises(InputError, match="must hold a YAML mapping"):
        read_config(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    """It is not UTF-8 text."""
    path = tmp_path / "experiments.yaml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(InputError, match="UTF-8"):
        read_config(path)


def test_an_unreadable_file_is_a_machine_error(tmp_path: Path) -> None:
    """Such as a folder of that name."""
    with pytest.raises(MachineError, match="must be readable"):
        read_config(tmp_path)


def test_numbers_without_a_decimal_point_are_numbers(tmp_path: Path) -> None:
    """PyYAML by default reads 1e-4 as a string."""
    config = read_config(write(tmp_path, EXPERIMENTS))

    assert config.recipe("quick").weight_decay == 1e-4


def test_kernels_have_short_names(tmp_path: Path) -> None:
    """K5 is a 3x3 kernel of dilation 2, as in the paper's Table 7."""
    config = read_config(write(tmp_path, EXPERIMENTS))

    variants = config.experiment("kernels").variants
    assert variants["3x3, D=2, G=32"].branches == (Branch(3, 1, 32), Branch(3, 2, 32))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": "3"}, r"--set epoch: unknown key.*did you mean epochs\?"),
        ({"epochs": "-3"}, r"--set epochs: .*greater than 0"),
        ({"epochs": "[1"}, r"--set epochs: must be a YAML value"),
        ({"looks": "[5,3]"}, r"--looks looks must increase from at least 3 seeds"),
        ({"looks": "[a]"}, r"--looks looks\.0: Input should be a valid integer"),
        ({"dataset": "mnist"}, r"--set dataset: must be one of"),
    ],
)
def test_faults_of_set_are_reported(recipe: Recipe, settings: dict[str, str], message: str) -> None:
    """Like those of the file."""
    with pytest.raises(InputError, match=message):
        alter_recipe(recipe, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_fill": "grey"}, r"crop_fill: .*'black' or 'mean'"),
        ({"crop": "none", "crop_padding": "0", "crop_fill": "mean"}, r"mean needs crop: pad, got"),
        ({"crop_scale": "0.5"}, r"crop_scale needs crop: resized, got pad"),
        ({"crop_scale": "2"}, r"crop_scale: .*less than or equal to 1"),
        ({"rotation": "181"}, r"rotation: .*less than or equal to 180"),
        ({"pixel_jitter": "-1"}, r"pixel_jitter: .*greater than or equal to 0"),
    ],
)
def test_faults_of_augmentations_are_reported(
    recipe: Recipe, settings: dict[str, str], message: str
) -> None:
    """A setting that has no effect is a mistake."""
    with pytest.raises(InputError, match=message):
        alter_recipe(recipe, settings)


def test_set_reads_values_as_yaml(recipe: Recipe) -> None:
    """Values mean the same on the command line as in the file."""
    altered = alter_recipe(recipe, {"weight_decay": "5e-4", "flip": "false", "seeds": "[4, 5]"})

    assert (altered.weight_decay, altered.flip, altered.seeds) == (5e-4, False, (4, 5))


def test_the_experiments_file_is_found(tmp_path: Path) -> None:
    """The given one, or that of the working directory, or the bundled one."""
    assert find_config(None, working_dir=tmp_path) == ROOT / "experiments.yaml"
    own = write(tmp_path, EXPERIMENTS)
    assert find_config(None, working_dir=tmp_path) == own
    with pytest.raises(InputError, match="no such file"):
        find_config(tmp_path / "other.yaml", working_dir=tmp_path)


def test_every_variant_has_its_printed_cells() -> None:
    """Table 6 has the rows of dilation_group, with their printed precision."""
    rows = read_paper()["sknet.table6_dilation_group"].rows
    variants = read_config(ROOT / "experiments.yaml").experiment("dilation_group").variants

    assert list(rows) == list(variants)
    assert [row.top1_error for row in rows.values()] == [
        Decimal(text) for text in ("20.97", "20.79", "20.91", "20.80", "21.18")
    ]
    assert str(rows["5x5, D=1, G=64"].top1_error) == "20.80"


def test_provenance_is_given_by_table_row_or_cell() -> None:
    """A cell overrides its row's table; one word for a row stands for all its cells."""
    rows = {
        "as the table": PaperRow(top1_error=Decimal("1")),
        "quoted": PaperRow.model_validate({"depths": (1,), "provenance": "secondary"}),
        "mixed": PaperRow(params_m=Decimal("1"), provenance={"params_m": "recomputed"}),
    }
    table = PaperTable(source="A paper", provenance="printed", rows=rows)

    assert table.find_provenance("as the table", "top1_error") == "printed"
    assert table.find_provenance("quoted", "depths") == "secondary"
    assert table.find_provenance("mixed", "params_m") == "recomputed"
    assert table.find_provenance("mixed", "gflops") == "printed"


def test_cells_that_were_only_recalled_are_marked() -> None:
    """Table 5's errors of 16x32d, and SENet-29's on CIFAR-10, were not read anywhere."""
    table = read_paper()["sknet.table5_cifar"]

    unverified = [
        (name, cell)
        for name in table.rows
        for cell in ("params_m", "cifar10_error", "cifar100_error")
        if table.find_provenance(name, cell) == "unverified"
    ]

    assert unverified == [
        ("ResNeXt-29, 16x32d", "cifar10_error"),
        ("ResNeXt-29, 16x32d", "cifar100_error"),
        ("SENet-29", "cifar10_error"),
    ]


def test_settings_of_attentions_and_bodies_are_those_of_their_specs() -> None:
    """A new kind or family needs no change of the schema."""
    attentions = {field.name for kind in ATTENTIONS.values() for field in fields(kind)}
    bodies = {field.name for family in FAMILIES.values() for field in fields(family)}

    assert AttentionSettings.model_fields.keys() == {"kind", *attentions}
    assert BodySettings.model_fields.keys() == bodies - {"input_size", "divisor"}
