"""Counts equal the printed ones, and agree with an independent counter."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

from ablations.complexity import counts as complexity
from ablations.complexity.counts import Sized, count_complexities, count_complexity
from ablations.config import read_config, read_paper
from ablations.data.catalogue import DATASETS
from ablations.matrix import Variant, build_matrix
from sknet import build_network
from sknet.spec import NetworkSpec
from sknet.zoo import NETWORKS

PRINTED = read_paper()["sknet.table6_dilation_group"].rows


def build_table6() -> tuple[Variant, ...]:
    """The five variants of Table 6."""
    return build_matrix(
        read_config(ROOT / "experiments.yaml"),
        "dilation_group",
        body_name="tiny",
        dataset=DATASETS["multiscale_digits"],
    ).variants


@pytest.fixture(scope="module")
def table6(tmp_path_factory: pytest.TempPathFactory) -> dict[str, complexity.Complexity]:
    """Complexities of the five variants at the paper's scale."""
    cache = tmp_path_factory.mktemp("complexity") / "complexity.json"
    sizes = {variant.name: Sized(variant.paper_network, 224) for variant in build_table6()}
    counted = count_complexities(sizes.values(), cache_file=cache)
    return {name: counted[sized] for name, sized in sizes.items()}


@pytest.mark.parametrize("name", PRINTED)
def test_multiply_adds_are_the_printed_ones(
    table6: dict[str, complexity.Complexity], name: str
) -> None:
    """4.47, 4.47, 4.47, 4.56, 4.55 GFLOPs."""
    assert round(table6[name].macs / 1e9, 2) == float(PRINTED[name].gflops)


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_are_the_printed_ones(
    table6: dict[str, complexity.Complexity], name: str
) -> None:
    """At the printed precision, with running statistics where the explanation says so."""
    found = table6[name]
    statistics = found.running_statistics if PRINTED[name].explained else 0
    printed = float(PRINTED[name].params_m)

    assert round((found.params + statistics) / 1e6, 1) == printed
    assert round(found.params / 1e6, 1) == pytest.approx(printed, abs=0.1001)


def test_known_integers_of_sknet50(table6: dict[str, complexity.Complexity]) -> None:
    """Independent counts of SKNet-50 at 224x224."""
    found = table6["3x3, D=2, G=32"]

    assert found.params == 27_479_784
    assert found.macs - found.rescaling_macs == 4_462_710_784
    assert round(found.fvcore_total / 1e9, 3) == 4.497


@pytest.mark.parametrize("name", PRINTED)
def test_the_counter_of_pytorch_agrees(table6: dict[str, complexity.Complexity], name: str) -> None:
    """It counts two operations per multiply-add, and no rescaling."""
    [spec] = [variant.paper_network for variant in build_table6() if variant.name == name]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build_network(spec).eval()(torch.empty(1, 3, 224, 224))

    found = table6[name]

    assert counter.get_total_flops() == 2 * (found.macs - found.rescaling_macs)


def test_rescaling_follows_from_shapes() -> None:
    """One per element of both branches: 16x16, 8x8 and 4x4 maps in the tiny SKNet."""
    found = count_complexity(Sized(NETWORKS["sknet_tiny"], 32))

    assert found.rescaling_macs == 2 * (16 * 16 * 16 + 32 * 8 * 8 + 64 * 4 * 4)
    assert count_complexity(Sized(NETWORKS["resnext_tiny"], 32)).rescaling_macs == 0


def test_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is counted once per version of the code."""
    sized, cache = Sized(NETWORKS["sknet_tiny"], 32), tmp_path / "complexity.json"
    first = count_complexities([sized], cache_file=cache)

    def refuse(_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(complexity, "count_complexity", refuse)

    assert count_complexities([sized], cache_file=cache) == first


def test_a_changed_source_is_counted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of different versions of the code must not be mixed."""
    sized, cache = Sized(NETWORKS["sknet_tiny"], 32), tmp_path / "complexity.json"
    count_complexities([sized], cache_file=cache)
    monkeypatch.setattr(complexity, "_hash_source", lambda: "another")
    count_complexities([sized], cache_file=cache)

    assert len(json.loads(cache.read_text())) == 2


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "\xff", '{"KEY": null}', '{"KEY": {"macs": "x"}}']
)
def test_a_damaged_cache_is_replaced(tmp_path: Path, content: str) -> None:
    """It only saves time."""
    cache = tmp_path / "complexity.json"
    sized = Sized(NETWORKS["sknet_tiny"], 32)
    expected = count_complexities([sized], cache_file=cache)
    [key] = json.loads(cache.read_text())
    cache.write_text(content.replace("KEY", key), encoding="latin-1")

    found = count_complexities([sized], cache_file=cache)

    assert found == expected
    assert list(json.loads(cache.read_text())) == [key]


def test_unknown_operators_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operators are considered free by decision, not by accident."""
    monkeypatch.setattr(complexity, "FREE", complexity.FREE - {"aten::softmax"})

    with pytest.raises(RuntimeError, match=r"known as free, got \['aten::softmax'\]"):
        count_complexity(Sized(NETWORKS["sknet_tiny"], 32))


@pytest.mark.parametrize("name", ["sknet_tiny", "senet29", "shufflenet_v2_x0_5_sk"])
def test_without_fvcore_the_count_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that only trains does not need it; PyTorch's own counter is used."""
    sized = Sized(NETWORKS[name], 32)
    whole = count_complexity(sized)
    monkeypatch.setattr(complexity, "find_spec", lambda _: None)

    found = count_complexity(sized)

    assert found == replace(whole, fvcore_total=None, uncounted=())


def test_the_network_of_the_paper_is_the_default() -> None:
    """A spec without settings is SKNet-50."""
    assert NetworkSpec() == NETWORKS["sknet50"]
