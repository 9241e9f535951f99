"""Checkpoints: outputs equal those of published implementations; misfits are refused."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers.selective_kernel import SelectiveKernel as TimmSelectiveKernel
from torch import Tensor, nn

from sknet import Branch, SKConv, create_model, load_weights

TORCHVISION = [
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
]
TIMM = {
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50_32x4d",
    "resnext101_32x4d": "resnext101_32x4d",
    "seresnext50_32x4d": "senet50",
    "skresnext50_32x4d": "sknet50",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_weights_reproduce_its_outputs(name: str, tmp_path: Path) -> None:
    """The plain networks are the published ones."""
    theirs = torchvision.models.get_model(name, weights=None)

    assert_same_outputs(theirs, name, tmp_path)


@pytest.mark.parametrize("name", TIMM)
def test_timm_weights_reproduce_its_outputs(name: str, tmp_path: Path) -> None:
    """SE and SK agree with an independent implementation."""
    theirs = timm.create_model(name, pretrained=False)

    assert_same_outputs(theirs, TIMM[name], tmp_path)


@pytest.mark.parametrize("stride", [1, 2])
def test_sk_unit_agrees_with_that_of_timm(stride: int) -> None:
    """Outputs and gradients are equal, with timm's splitting of channels turned off."""
    theirs = TimmSelectiveKernel(64, stride=stride, groups=8, rd_divisor=32, split_input=False)
    ours = SKConv(64, (Branch(groups=8), Branch(groups=8, dilation=2)), stride=stride)
    randomise(theirs, seed=0)
    tensors = theirs.state_dict()
    ours.load_state_dict(
        {
            ours_name: tensors[theirs_name].reshape(value.shape)
            for (ours_name, value), theirs_name in zip(
                ours.state_dict().items(), tensors, strict=True
            )
        }
    )
    images = torch.randn(4, 64, 9, 11, generator=torch.Generator().manual_seed(1))

    outputs = []
    for unit in (theirs, ours):
        x = images.clone().requires_grad_()
        y = unit(x)
        y.square().sum().backward()
        outputs.append((y.detach(), x.grad))

    torch.testing.assert_close(outputs[1], outputs[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("wrapped", [False, True])
def test_checkpoints_of_the_authors_release_load(depth: int, wrapped: bool, tmp_path: Path) -> None:
    """Keys are torchvision's except in the unit, and may be prefixed and nested."""
    network = create_model(f"sk_resnet{depth}_insight").eval()
    randomise(network, seed=0)
    tensors = name_as_insight(network.state_dict())
    if wrapped:
        tensors = {"state_dict": {f"module.{key}": value for key, value in tensors.items()}}
    torch.save(tensors, tmp_path / "insight.pth")
    fresh = create_model(f"sk_resnet{depth}_insight").eval()

    load_weights(fresh, tmp_path / "insight.pth")

    for key, value in network.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[key], value, atol=0, rtol=0)


def test_sk_unit_agrees_with_the_authors_release() -> None:
    """The dense kernel comes first, and the second layer's outputs are branch by branch."""
    network = create_model("sk_resnet50_insight").eval()
    randomise(network, seed=0)
    unit = network.stages[1][1].operator
    x = torch.randn(2, 128, 10, 10, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        dense, grouped = (branch(x) for branch in unit.branches)
        descriptor = dense.mean((2, 3)) + grouped.mean((2, 3))
        scores = unit.score(unit.squeeze(descriptor)).view(2, 2, 128, 1, 1).softmax(dim=1)

        y = unit(x)

    assert [branch[0].groups for branch in unit.branches] == [1, 32]
    torch.testing.assert_close(y, dense * scores[:, 0] + grouped * scores[:, 1])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_own_weights_load(suffix: str, tmp_path: Path) -> None:
    """The final weights of a trial can be reused, from both file formats."""
    path = tmp_path / f"weights{suffix}"
    network = create_model("sknet_tiny")
    randomise(network, seed=0)
    if suffix == ".safetensors":
        safetensors = pytest.importorskip("safetensors.torch")
        safetensors.save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    fresh = create_model("sknet_tiny")

    load_weights(fresh, path)

    assert all(torch.equal(fresh.state_dict()[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("name", ["resnext50_bam", "resnext50_cbam", "shufflenet_v2_x0_5_sk"])
def test_networks_unknown_to_libraries_load_their_own_weights(name: str, tmp_path: Path) -> None:
    """Recognising the names of libraries must not break our own."""
    network = create_model(name, num_classes=2)
    randomise(network, seed=0)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    fresh = create_model(name, num_classes=2)

    load_weights(fresh, tmp_path / "weights.pth")

    assert all(torch.equal(fresh.state_dict()[k], v) for k, v in network.state_dict().items())


def test_num_batches_tracked_may_be_missing(tmp_path: Path) -> None:
    """Checkpoints from before PyTorch 0.4.1 lack it, and inference does not need it."""
    network = create_model("sknet_tiny")
    tensors = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    torch.save(tensors, tmp_path / "old.pth")
    fresh = create_model("sknet_tiny")

    load_weights(fresh, tmp_path / "old.pth")

    assert all(torch.equal(fresh.state_dict()[key], value) for key, value in tensors.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("fc.bias"), r"missing: fc\.bias$"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "unexpected: extra$"),
        (
            lambda tensors: tensors.update({"fc.weight": torch.zeros(5, 2048)}),
            r"of another shape: fc\.weight \(5, 2048\) for \(1000, 2048\)$",
        ),
        (
            lambda tensors: [tensors.pop(key) for key in list(tensors) if "bn1.bias" in key],
            r"missing: bn1\.bias, layer1\.0\.bn1\.bias, .* and 12 more$",
        ),
    ],
)
def test_misfits_are_listed_and_nothing_is_loaded(
    change: Any, message: str, tmp_path: Path
) -> None:
    """The outputs of a partly loaded network would look plausible."""
    tensors = torchvision.models.resnet50(weights=None).state_dict()
    change(tensors)
    torch.save(tensors, tmp_path / "weights.pth")
    network = create_model("resnet50")
    before = {key: value.clone() for key, value in network.state_dict().items()}

    with pytest.raises(ValueError, match=message):
        load_weights(network, tmp_path / "weights.pth")

    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    """Weights of a ResNeXt do not fit an SKNet, although most of their keys agree."""
    torch.save(create_model("resnext_tiny").state_dict(), tmp_path / "weights.pth")

    with pytest.raises(ValueError, match=r"read as sknet, must fit the network; missing: stages"):
        load_weights(create_model("sknet_tiny"), tmp_path / "weights.pth")


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Payload(), "must be a checkpoint of tensors, got 'Weights only load failed"),
        ([1, 2], "must hold a mapping of names to tensors, got list"),
        ({}, "must hold a mapping of names to tensors, got an empty mapping"),
        ({"fc.weight": 1}, r"must hold tensors only, got fc\.weight: int"),
    ],
)
def test_files_without_tensors_are_refused(
    value: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code in a file is not run."""
    torch.save(value, tmp_path / "weights.pth")

    with pytest.raises(ValueError, match=message):
        load_weights(create_model("sknet_tiny"), tmp_path / "weights.pth")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [("weights.pth", "must be a checkpoint"), ("weights.safetensors", "must be a safetensors")],
)
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_damaged_files_are_refused(name: str, message: str, content: bytes, tmp_path: Path) -> None:
    """An interrupted download leads to a clear message."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=message):
        load_weights(create_model("sknet_tiny"), tmp_path / name)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_missing_files_are_reported(name: str, tmp_path: Path) -> None:
    """As by any function that opens a file."""
    with pytest.raises(FileNotFoundError, match=name):
        load_weights(create_model("sknet_tiny"), tmp_path / name)


def assert_same_outputs(theirs: nn.Module, name: str, folder: Path) -> None:
    """With their checkpoint, our network gives the outputs of theirs."""
    randomise(theirs, seed=0)
    torch.save(theirs.state_dict(), folder / "weights.pth")
    ours = create_model(name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    load_weights(ours, folder / "weights.pth")

    with torch.inference_mode():
        expected = theirs.eval()(images)
        assert expected.std() > 0.05  # networks with constant outputs would agree, too
        torch.testing.assert_close(ours.eval()(images), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def randomise(network: nn.Module, *, seed: int) -> None:
    """Randomises the parameters and statistics of normalisation, which start at 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                tensor.uniform_(0.7, 1.1, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.normal_(0, 0.1, generator=generator)


def name_as_insight(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names and shapes tensors as the authors' release does, written independently of ours."""
    names = {
        "reduce.0": "conv1",
        "reduce.1": "bn1",
        "operator.branches.0.0": "conv2",
        "operator.branches.0.1": "bn2",
        "operator.branches.1.0": "conv2g",
        "operator.branches.1.1": "bn2g",
        "operator.squeeze.0": "conv_fc1",
        "operator.squeeze.1": "bn_fc1",
        "operator.score": "conv_fc2",
        "expand.0": "conv3",
        "expand.1": "bn3",
        "shortcut.0": "downsample.0",
        "shortcut.1": "downsample.1",
    }
    outside = {"stem.0": "conv1", "stem.1": "bn1", "classifier": "fc"}
    renamed = {}
    for key, value in tensors.items():
        module, _, kind = key.rpartition(".")
        if key.startswith("stages."):
            _, stage, position, rest = module.split(".", 3)
            module = f"layer{int(stage) + 1}.{position}.{names[rest]}"
        else:
            module = outside[module]
        is_layer = module.endswith(("conv_fc1", "conv_fc2"))
        renamed[f"{module}.{kind}"] = value[..., None, None] if is_layer else value
    return renamed


@pytest.mark.parametrize(
    "content",
    [
        *(b"hello world", b"a,b\n1,2\n", b"", b"\x80\x02}q\x00.", b"PK\x03\x04" + bytes(40)),
        *(b"\x80\x02]q\x00(K\x01e.", b"cos\nsystem\n(S'id'\ntR.", bytes(range(256)), b"0" * 5000),
        b"\x80\x02cbuiltins\nexit\n(K\x00tR.",
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_is_one_error(tmp_path: Path, content: bytes, suffix: str) -> None:
    """PyTorch raises a dozen types of errors, most without the path."""
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)

    with pytest.raises(ValueError, match="must ") as error:
        load_weights(create_model("resnext_tiny"), path)

    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_one_error(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A folder, a pipe that would block, a link to itself."""
    path = tmp_path / "weights.pt"
    make(path)

    with pytest.raises(ValueError, match=r"weights.pt: must be a checkpoint of tensors"):
        load_weights(create_model("resnext_tiny"), path)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about sparse and quantised tensors
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to("meta"), "dense tensors with values, got another in classifier.weight"),
        (lambda t: t.to_sparse(), "dense tensors with values"),
        (
            lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
            "dense tensors|must be a che",
        ),
        (lambda t: t.to(torch.complex64), "of another type: classifier.weight torch.complex64"),
        (lambda t: t.to(torch.int32), "of another type: classifier.weight torch.int32 for torch.f"),
    ],
)
def test_odd_tensors_change_nothing(
    tmp_path: Path, change: Callable[[Tensor], Tensor], message: str
) -> None:
    """Everything is checked before anything is loaded."""
    network = create_model("resnext_tiny")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    other = {key: torch.zeros_like(value) for key, value in before.items()}
    torch.save(
        {**other, "classifier.weight": change(other["classifier.weight"])}, tmp_path / "w.pt"
    )

    with pytest.raises(ValueError, match=message):
        load_weights(network, tmp_path / "w.pt")

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    """The later one would win in silence."""
    tensors = create_model("resnext_tiny").state_dict()
    torch.save({**tensors, "module.classifier.bias": tensors["classifier.bias"]}, tmp_path / "w.pt")

    with pytest.raises(ValueError, match="must hold each tensor once"):
        load_weights(create_model("resnext_tiny"), tmp_path / "w.pt")
