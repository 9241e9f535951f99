"""Datasets that users wrote are loaded once, checked, and identified by their images."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import EXPERIMENTS, Answer

from ablations.data.arrays import load_data, prepare_data
from ablations.data.catalogue import Dataset
from ablations.data.user_arrays import check_arrays, describe_arrays, measure_channels
from ablations.data.user_datasets import (
    INDEX_FILE,
    OwnDataset,
    identify_user_dataset,
    recall_user_dataset,
)
from ablations.errors import MachineError
from ablations.plans import TrialSpec
from ablations.trial.run import run_trial

NAME = "their_dataset:load"

MODULE = '''
"""Squares whose place tells the label; every call is counted in a file."""

from pathlib import Path

import numpy as np

SEED = 0


def load(data_dir: Path) -> dict:
    with Path(__file__).with_name("calls.txt").open("a") as calls:
        calls.write("call\\n")
    generator = np.random.default_rng(SEED)
    arrays = {}
    for split, count in (("train", 64), ("test", 40)):
        labels = np.arange(count) % 4
        images = generator.integers(0, 100, (count, 1, 32, 32), dtype=np.uint8)
        for image, label in zip(images, labels):
            image[:, 8 * label : 8 * label + 8, :8] += 150
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    return arrays
'''

RECIPE = """
recipes:
  own:
    dataset: "their_dataset:load"
    body: wee
    epochs: 2
    batch_size: 16
    learning_rate: 0.1
    schedule: cosine
    crop: pad
    crop_padding: 2
    seeds: [0, 1, 2]
"""


def make_arrays(**changes: Any) -> dict[str, Any]:
    """What a function may return, with changes; an array that is None is left out."""
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    arrays = {
        "train_images": images,
        "train_labels": np.arange(12) % 3,
        "test_images": images[:6],
        "test_labels": np.arange(6) % 3,
        **changes,
    }
    return {key: array for key, array in arrays.items() if array is not None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's module, which is unloaded after the test."""
    (tmp_path / "their_dataset.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def locate(folder: Path, name: str = NAME, *, data: str = "data") -> OwnDataset:
    """The dataset, and where everything is."""
    return OwnDataset(
        name=name, folder=folder, data_dir=folder / data, cache_dir=folder / "runs" / "datasets"
    )


def identify(folder: Path, **changes: str) -> Dataset:
    """The dataset as a plan identifies it."""
    return identify_user_dataset(locate(folder, **changes))


def count_calls(folder: Path) -> int:
    """How often the function ran."""
    path = folder / "calls.txt"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def edit(folder: Path, old: str, new: str) -> None:
    """Changes the user's module."""
    path = folder / "their_dataset.py"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_facts_are_computed_from_the_training_images(folder: Path) -> None:
    """Nothing but the arrays has to be stated."""
    found = identify(folder)

    assert (found.channels, found.image_size, found.num_classes) == (1, 32, 4)
    assert (found.train_size, found.test_size) == (64, 40)
    assert found.is_own
    data = load_data(found, cache_dir=folder / "runs" / "datasets", device=torch.device("cpu"))
    images = data.train.images.double() / 255
    assert found.mean == pytest.approx([images.mean().item()])
    assert found.std == pytest.approx([images.std(correction=0).item()])
    assert data.test.labels.dtype == torch.int64


def test_the_function_is_called_once(folder: Path) -> None:
    """Plans are fast, and need neither the function nor its data again."""
    first = identify(folder)
    sys.modules.pop("their_dataset")

    second = identify(folder)

    assert first == second == recall_user_dataset(locate(folder))
    assert count_calls(folder) == 1
    assert "their_dataset" not in sys.modules


def test_equal_images_have_equal_identities_everywhere(folder: Path, tmp_path: Path) -> None:
    """The identity is the checksum of the images: two machines share trials."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "their_dataset.py").write_text(MODULE + "# another machine\n")

    assert identify(folder).identity == identify(other).identity


def test_a_changed_module_is_loaded_again(folder: Path) -> None:
    """Also in a process that has imported it before, as in a notebook."""
    first = identify(folder)
    edit(folder, "SEED = 0", "SEED = 1")

    second = identify(folder)

    assert first.identity != second.identity
    assert first.cache_name != second.cache_name
    assert count_calls(folder) == 2


def test_a_changed_comment_keeps_the_identity(folder: Path) -> None:
    """The function runs again, but finished trials stay valid."""
    first = identify(folder)
    edit(folder, "SEED = 0", "SEED = 0  # chosen by a fair roll of the die")

    assert identify(folder) == first
    assert count_calls(folder) == 2


def test_a_changed_file_of_the_user_is_noticed(folder: Path) -> None:
    """Files that the function names are watched; others cannot be known."""
    edit(folder, "    return arrays", '    return {**arrays, "files": ["seed.txt"]}')
    edit(folder, "SEED = 0", 'SEED = int(Path(__file__).with_name("seed.txt").read_text())')
    (folder / "seed.txt").write_text("3")
    first = identify(folder)
    assert identify(folder) == first
    (folder / "seed.txt").write_text("44")

    second = identify(folder)

    assert first.identity != second.identity
    assert count_calls(folder) == 2


@pytest.mark.parametrize("files", ["'seed.txt'", "(p for p in [Path('seed.txt')])"])
def test_files_may_be_given_in_any_form(files: str, folder: Path) -> None:
    """One path alone, or what a search of a folder yields."""
    edit(folder, "    return arrays", f'    return {{**arrays, "files": {files}}}')
    (folder / "seed.txt").write_text("3")
    identify(folder)
    (folder / "seed.txt").write_text("44")

    identify(folder)

    assert count_calls(folder) == 2


@pytest.mark.parametrize("damage", ["{", '{"x": 1}', "[]", "null"])
def test_a_damaged_index_costs_only_time(damage: str, folder: Path) -> None:
    """It is a cache."""
    first = identify(folder)
    (folder / "runs" / "datasets" / INDEX_FILE).write_text(damage)

    assert identify(folder) == first
    assert identify(folder) == first
    assert count_calls(folder) == 2


def test_another_data_directory_is_loaded_on_its_own(folder: Path) -> None:
    """It may hold other images."""
    edit(folder, "default_rng(SEED)", "default_rng(len(str(data_dir)))")

    assert identify(folder).identity != identify(folder, data="other_data").identity
    assert count_calls(folder) == 2


def test_removed_arrays_are_loaded_again(folder: Path) -> None:
    """A user may empty `runs/datasets`."""
    first = identify(folder)
    shutil.rmtree(folder / "runs" / "datasets" / first.cache_name)

    assert identify(folder) == first
    assert count_calls(folder) == 2


def test_damaged_arrays_are_removed_and_reported(folder: Path) -> None:
    """Before any training; the next plan loads them again."""
    found = identify(folder)
    cache_dir = folder / "runs" / "datasets"
    np.save(cache_dir / found.cache_name / "train_labels.npy", np.zeros(64, np.int64))

    with pytest.raises(MachineError, match=r"damaged or removed after planning\. Run the command"):
        prepare_data(found, data_dir=folder / "data", cache_dir=cache_dir)

    assert identify(folder) == found
    prepare_data(found, data_dir=folder / "data", cache_dir=cache_dir)


def test_an_unwritable_cache_is_reported(folder: Path) -> None:
    """What is asked for is possible, but not on this machine."""
    (folder / "runs").write_text("a file")

    with pytest.raises(MachineError, match="must be a writable folder"):
        identify(folder)


def test_a_module_in_a_package_may_import_its_neighbours(folder: Path) -> None:
    """As in any project."""
    package = folder / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "seeds.py").write_text("SEED = 5\n")
    (package / "images.py").write_text(
        MODULE.replace("SEED = 0", "from their_package.seeds import SEED").replace(
            "import numpy as np", "import numpy as np\nfrom . import seeds"
        )
    )

    found = identify(folder, name="their_package.images:load")

    assert found.name == "their_package.images:load"
    assert identify(folder, name="their_package.images:load") == found
    assert len((package / "calls.txt").read_text().splitlines()) == 1


def test_two_projects_may_use_the_same_name(folder: Path, tmp_path: Path) -> None:
    """In one process, as in a notebook; each gets its own module."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "their_dataset.py").write_text(MODULE.replace("SEED = 0", "SEED = 1"))

    first, second = identify(folder), identify(other)

    assert first.identity != second.identity
    edit(folder, "SEED = 0", "SEED = 0  # again")
    assert identify(folder).identity == first.identity


def test_printing_does_not_spoil_the_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan --json` stays JSON."""
    edit(folder, "SEED = 0", 'SEED = 0\nprint("loading")')

    identify(folder)

    assert capsys.readouterr() == ("", "loading\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "def load(",
            "def lode(",
            r"must define load, got no such function; did you mean lode\?",
        ),
        ("SEED = 0", "SEED = 0 +", r"got an error: .*their_dataset\.py:8: SyntaxError"),
        (
            "SEED = 0",
            "import absent",
            r"error: .*their_dataset\.py:8: ModuleNotFoundError: No module",
        ),
        ("SEED = 0", "raise SystemExit(0)", r"error: .*their_dataset\.py:8: SystemExit: 0"),
        ("arrays = {}", "{}['x']", r"error: .*their_dataset\.py:15: KeyError: 'x'"),
        ("arrays = {}", "np.zeros(2).reshape(3)", r"their_dataset\.py:15: ValueError: cannot"),
        ("(data_dir: Path)", "()", "must take one argument, the data directory, got TypeError"),
        ("def load(", "load = 3\ndef lode(", "their_dataset:load must be a function, got 3"),
        ("return arrays", "return None", "must return a mapping with train_images, .*got NoneType"),
        ("return arrays", "yield arrays", "must return a mapping with train_images, .*got generat"),
        ("return arrays", "return {**arrays, 'files': 3}", "files must be a list of paths, got 3"),
        (
            "return arrays",
            "return {**arrays, 'files': ['no.npz']}",
            r"files must name files, got .*no\.npz, which is none",
        ),
    ],
)
def test_faults_of_the_function_are_reported(
    old: str, new: str, message: str, folder: Path
) -> None:
    """With the line that raised, and nothing is kept."""
    edit(folder, old, new)

    with pytest.raises(ValueError, match=message):
        identify(folder)

    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "their_datasets:load",
            r"no file their_datasets\.py in .* did you mean their_dataset\?",
        ),
        ("absent.package:load", "must be importable, got ModuleNotFoundError"),
        ("sys:exit", "must be importable, got no file"),
        ("json:loads", r"json:loads must return a dataset, got an error: .*json"),
    ],
)
def test_a_module_that_is_not_the_users_is_reported(name: str, message: str, folder: Path) -> None:
    """A misspelt module has a suggestion."""
    with pytest.raises(ValueError, match=message):
        identify(folder, name=name)


IMAGES = make_arrays()["train_images"]
LABELS = make_arrays()["train_labels"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": None, "train_image": IMAGES},
            "'train_image'; did you mean train_im",
        ),
        ({"test_labels": None}, "got no test_labels"),
        ({"train_images": IMAGES.tolist()}, "NumPy array, got list; convert it with numpy.asarray"),
        ({"train_images": torch.from_numpy(IMAGES)}, "must be a NumPy array, got Tensor"),
        ({"train_images": np.ma.array(IMAGES)}, "must be a NumPy array, got MaskedArray"),
        ({"train_images": IMAGES / 255}, "must be uint8 from 0 (black) to 255, got float64 from 0"),
        ({"train_images": np.full(IMAGES.shape, np.nan)}, "got float64 with 768 NaN; scale"),
        ({"train_images": IMAGES.astype(int)}, "must be uint8 from 0 (black) to 255, got int64"),
        ({"train_images": IMAGES.astype(object)}, "got object; scale"),
        ({"train_images": IMAGES[:, 0, 0]}, "must have the shape (N, C, H, H) with 1 or 3"),
        ({"train_images": IMAGES.repeat(2, axis=1)}, "or (N, H, H), got (12, 2, 8, 8)"),
        ({"train_images": np.zeros((12, 8, 8, 3), np.uint8)}, ".transpose(0, 3, 1, 2)"),
        ({"train_images": IMAGES[..., :7]}, "train_images must be square, got 8x7 pixels"),
        ({"test_images": IMAGES[:0]}, "test_images must hold at least one image"),
        ({"test_images": IMAGES[:6, :, :4, :4]}, "shape of train_images, 1x8x8, got 1x4x4; resize"),
        ({"train_labels": LABELS[:5]}, "train_labels must hold one label per image, got 5 of 12"),
        ({"train_labels": LABELS[:, None]}, "train_labels must have the shape (N,), got (12, 1)"),
        ({"train_labels": LABELS.astype(float)}, "train_labels must be integers, got float64 from"),
        ({"train_labels": LABELS > 0}, "train_labels must be integers, got bool"),
        ({"train_labels": LABELS.astype(str)}, "train_labels must be integers, got <U21"),
        ({"train_labels": LABELS - 1}, "train_labels must be 0 or more, got -1"),
        ({"train_labels": LABELS * 2, "test_labels": LABELS[:6] * 2}, "got 4 but no 1; renumber"),
        ({"train_labels": LABELS + 10**12}, "without gaps, got 1000000000002 but no 0"),
        ({"train_labels": LABELS.astype(np.uint64) + 2**63}, "but no 0; renumber"),
        ({"train_labels": LABELS * 0, "test_labels": LABELS[:6] * 0}, "at least two classes"),
        ({"train_labels": LABELS % 2}, "classes that have training images, got 2"),
    ],
)
def test_faults_of_arrays_are_reported(changes: dict[str, Any], message: str) -> None:
    """Where, what must hold, what was found, and where it is not obvious what to do."""
    with pytest.raises(ValueError, match=re.escape(message)):
        check_arrays(NAME, make_arrays(**changes))


def test_all_faults_of_arrays_are_reported_at_once() -> None:
    """One per line."""
    with pytest.raises(ValueError, match="train_images") as caught:
        check_arrays(NAME, make_arrays(train_images=IMAGES / 255, test_labels=LABELS[:6] / 2))

    assert [line.split()[1] for line in str(caught.value).splitlines()] == [
        "train_images",
        "test_labels",
    ]


def test_a_constant_channel_is_reported() -> None:
    """It could not be normalised."""
    images = np.concatenate([IMAGES, IMAGES * 0, IMAGES], axis=1)
    arrays = check_arrays(NAME, make_arrays(train_images=images, test_images=images[:6]))

    with pytest.raises(ValueError, match="got the same value everywhere in channel 1"):
        describe_arrays(NAME, arrays, checksum="")


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">i4", "uint64"])
def test_types_of_labels_make_no_difference(dtype: str) -> None:
    """Images without an axis of channels, and views of other arrays, are kept alike too."""
    usual = check_arrays(NAME, make_arrays())

    other = check_arrays(
        NAME,
        make_arrays(
            train_images=np.asfortranarray(IMAGES[:, 0]), train_labels=LABELS.astype(dtype)
        ),
    )

    assert all(np.array_equal(usual[key], other[key]) for key in usual)
    assert {key: array.dtype for key, array in usual.items()} == {
        key: array.dtype for key, array in other.items()
    }
    assert all(array.flags.c_contiguous for array in other.values())


def test_an_archive_of_numpy_may_be_returned(tmp_path: Path) -> None:
    """`numpy.load` of an .npz file is a mapping."""
    np.savez(tmp_path / "mine.npz", **make_arrays())

    with np.load(tmp_path / "mine.npz") as archive:
        assert len(check_arrays(NAME, archive)["train_images"]) == 12


def test_a_closed_archive_is_reported(tmp_path: Path) -> None:
    """It reads its arrays only when they are asked for."""
    np.savez(tmp_path / "mine.npz", **make_arrays())
    with np.load(tmp_path / "mine.npz") as archive:
        pass

    with pytest.raises(ValueError, match=r"the arrays must be readable, got .*in a dict"):
        check_arrays(NAME, archive)


def test_moments_are_exact_over_many_images() -> None:
    """Sums of integers, taken a part at a time."""
    images = np.random.default_rng(1).integers(0, 256, (5000, 3, 4, 4), dtype=np.uint8)

    mean, std = measure_channels(images)

    assert mean == pytest.approx((images / 255).mean(axis=(0, 2, 3)), rel=1e-12)
    assert std == pytest.approx((images / 255).std(axis=(0, 2, 3)), rel=1e-12)


@pytest.fixture
def project(folder: Path, command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Runs a command in a folder whose recipe `own` names the user's dataset."""
    text = EXPERIMENTS.replace("\nrecipes:", RECIPE.rstrip())
    (folder / "experiments.yaml").write_text(text)
    return command


RUN = ("run-ablation", "attention", "--recipe", "own", "--tracking-uri", "off")


def test_a_user_dataset_is_trained_like_any_other(
    project: Callable[..., Answer], folder: Path
) -> None:
    """From the YAML to the table; a second run trains nothing and loads nothing."""
    first = project(*RUN, "--backend", "local", "--notes")
    second = project(*RUN, "--backend", "local")

    assert first.code == 0, first.err
    assert "Trials: 6 of 6 finished." in first.out
    assert "dataset their_dataset:load, SHA-256" in first.out
    assert "nothing to train" in second.err
    assert count_calls(folder) == 1


def test_training_needs_only_the_prepared_arrays(folder: Path, spec: TrialSpec) -> None:
    """The module may be missing on the nodes of a cluster."""
    found = identify(folder)
    (folder / "their_dataset.py").unlink()
    del sys.modules["their_dataset"]
    own = replace(
        spec,
        dataset=found,
        network=replace(spec.network, num_classes=4),
        recipe=spec.recipe.model_copy(update={"dataset": NAME}),
    )

    records = list(
        run_trial(
            own,
            cache_dir=folder / "runs" / "datasets",
            checkpoint=folder / "trial.pt",
            device=torch.device("cpu"),
        )
    )

    assert records[-1].is_last
    assert "their_dataset" not in sys.modules


@pytest.mark.slow
def test_workers_of_ray_never_import_the_users_module(
    project: Callable[..., Answer], folder: Path
) -> None:
    """Only the process that plans does."""
    note = "Path(__file__).with_name(f'imported-{os.getpid()}').touch()"
    edit(folder, "SEED = 0", f"SEED = 0\nimport os\n{note}")

    answer = project(*RUN, "--seeds", "0", "--backend", "ray")

    assert answer.code == 0, answer.err
    assert [path.name for path in folder.glob("imported-*")] == [f"imported-{os.getpid()}"]


def test_a_key_depends_on_the_images_alone(project: Callable[..., Answer], folder: Path) -> None:
    """Not on the source: a comment trains nothing again."""

    def plan() -> str:
        return project("ablations", "plan", "attention", "--recipe", "own").out

    first = plan()
    edit(folder, "SEED = 0", "SEED = 0  # a comment")
    second = plan()
    edit(folder, "SEED = 0", "SEED = 1")

    assert second == first
    assert plan() != first


def test_faults_have_their_place_in_the_file(project: Callable[..., Answer], folder: Path) -> None:
    """Exit code 2 and one line per fault, before anything is trained."""
    edit(folder, "    return arrays", "    return {k: v / 2 for k, v in arrays.items()}")

    answer = project(*RUN, "--backend", "local")

    assert answer.code == 2
    lines = answer.err.strip().splitlines()
    assert len(lines) == 4
    assert all(
        re.search(r"experiments\.yaml:12: recipes\.own\.dataset: their_dataset:load: t", line)
        for line in lines
    )
    assert not (folder / "results").exists()


def test_a_dataset_of_the_command_line_is_placed_there(project: Callable[..., Answer]) -> None:
    """It is in no line of the file."""
    answer = project("ablations", "plan", "attention", "--set", "dataset=their_dataset:lod")

    assert answer.code == 2
    assert "--set dataset: " in answer.err
    assert "did you mean load?" in answer.err


@pytest.mark.parametrize("name", ["their_dataset.load", "their_dataset:", ":load", "a b:load"])
def test_a_name_of_another_form_is_reported(
    name: str, project: Callable[..., Answer], folder: Path
) -> None:
    """With the form that is expected."""
    path = folder / "experiments.yaml"
    path.write_text(path.read_text().replace(NAME, name))

    answer = project("ablations", "list")

    assert answer.code == 2
    assert "or package.module:function of your own, got" in answer.err


def test_listing_runs_no_code_of_the_user(project: Callable[..., Answer], folder: Path) -> None:
    """Only what plans trials needs the images."""
    answer = project("ablations", "list")

    assert answer.code == 0
    assert "their_dataset:load" in answer.out
    assert count_calls(folder) == 0


def test_images_of_another_size_are_refused(project: Callable[..., Answer], folder: Path) -> None:
    """The body is made for 32 pixels; half and twice that are allowed."""
    edit(folder, "(count, 1, 32, 32)", "(count, 1, 12, 12)")
    refused = project("ablations", "plan", "attention", "--recipe", "own")
    edit(folder, "(count, 1, 12, 12)", "(count, 1, 48, 48)")
    allowed = project("ablations", "plan", "attention", "--recipe", "own")

    assert refused.code == 2
    assert "of their_dataset:load have 12; resize them, or choose another body" in refused.err
    assert allowed.code == 0


def test_results_need_neither_module_nor_images(
    project: Callable[..., Answer], folder: Path
) -> None:
    """A clone regenerates and checks them, and counts what they hold."""
    assert project(*RUN, "--backend", "local").code == 0
    shutil.rmtree(folder / "runs")
    (folder / "their_dataset.py").unlink()

    written = project("ablations", "report", "attention", "--recipe", "own")
    checked = project("ablations", "report", "--all", "--check")
    status = project("ablations", "status", "attention", "--recipe", "own")

    (folder / "results").rename(folder / "elsewhere")
    moved = project(
        "ablations", "status", "attention", "--recipe", "own", "--results-dir", "elsewhere"
    )

    assert written.code == checked.code == status.code == 0, (written, checked, status)
    assert (moved.code, moved.out) == (0, status.out)
    assert not (folder / "runs" / "datasets").exists()
