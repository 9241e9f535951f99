"""Loads checkpoints of torchvision, timm, the authors' PyTorch release, and this package."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from sknet.build import Network
from sknet.spec import AnyBody, Body, MobileNetV2Body, ShuffleNetV2Body

EXAMPLES = 5
"""How many keys an error lists for each kind of mismatch."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The names that a library gives to our tensors; patterns match the beginning of our keys."""

    name: str
    """The library, and its networks if their names differ."""

    outside: Mapping[str, str]
    """Replacements in the keys of layers before and after the stages."""

    block: str
    """Prefix of a block, from its `stage` (the first is 1), `stage_after_stem` (the first is 2),
    `position` in the stage (from 0) and `index` among all blocks (from 1)."""

    inside: Mapping[str, str]
    """Replacements in the keys of layers within a block."""

    inside_narrow: Mapping[str, str] = field(default_factory=dict)
    """The same for MobileNetV2 blocks that do not expand their input, if different."""

    def rename(self, key: str, body: AnyBody) -> str:
        """Returns the library's name for our `key`."""
        match = re.fullmatch(r"stages\.(\d+)\.(\d+)\.(.+)", key)
        if match is None:
            return _replace_beginning(key, self.outside)
        stage, position, rest = int(match[1]), int(match[2]), match[3]
        stages = body.stages()
        if position == len(stages[stage]):  # attention between stages, which no library has
            return key
        place = self.block.format(
            stage=stage + 1,
            stage_after_stem=stage + 2,
            position=position,
            index=sum(map(len, stages[:stage])) + position + 1,
        )
        block = stages[stage][position]
        narrow = self.inside_narrow and block.mid_width == block.in_width
        return f"{place}.{_replace_beginning(rest, self.inside_narrow if narrow else self.inside)}"


_RESNET = {r"stem\.0": "conv1", r"stem\.1": "bn1", "classifier": "fc"}

_BOTTLENECK = {
    r"reduce\.0": "conv1",
    r"reduce\.1": "bn1",
    r"operator\.branches\.0\.0": "conv2",
    r"operator\.branches\.0\.1": "bn2",
    r"expand\.0": "conv3",
    r"expand\.1": "bn3",
    "shortcut": "downsample",
}

_RESNEXT_LAYOUTS = (
    Layout(
        name="torchvision or timm",
        outside=_RESNET,
        block="layer{stage}.{position}",
        inside={**_BOTTLENECK, r"attention\.reduce": "se.fc1", r"attention\.expand": "se.fc2"},
    ),
    Layout(
        name="timm's SK networks",
        outside=_RESNET,
        block="layer{stage}.{position}",
        inside={
            r"reduce\.0": "conv1.conv",
            r"reduce\.1": "conv1.bn",
            r"operator\.branches\.(\d+)\.0": r"conv2.paths.\1.conv",
            r"operator\.branches\.(\d+)\.1": r"conv2.paths.\1.bn",
            r"operator\.squeeze\.0": "conv2.attn.fc_reduce",
            r"operator\.squeeze\.1": "conv2.attn.bn",
            r"operator\.score": "conv2.attn.fc_select",
            r"expand\.0": "conv3.conv",
            r"expand\.1": "conv3.bn",
            "shortcut": "downsample",
        },
    ),
    Layout(
        name="PytorchInsight",
        outside=_RESNET,
        block="layer{stage}.{position}",
        inside={
            **_BOTTLENECK,
            r"operator\.branches\.1\.0": "conv2g",
            r"operator\.branches\.1\.1": "bn2g",
            r"operator\.squeeze\.0": "conv_fc1",
            r"operator\.squeeze\.1": "bn_fc1",
            r"operator\.score": "conv_fc2",
        },
    ),
)

_SHUFFLENET_LAYOUT = Layout(
    name="torchvision",
    outside={r"stem\.0": "conv1", "head": "conv5", "classifier": "fc"},
    block="stage{stage_after_stem}.{position}",
    inside={
        r"shortcut\.0\.0": "branch1.0",
        r"shortcut\.0\.1": "branch1.1",
        r"shortcut\.1\.0": "branch1.2",
        r"shortcut\.1\.1": "branch1.3",
        r"reduce\.0": "branch2.0",
        r"reduce\.1": "branch2.1",
        r"operator\.branches\.0\.0": "branch2.3",
        r"operator\.branches\.0\.1": "branch2.4",
        r"expand\.0": "branch2.5",
        r"expand\.1": "branch2.6",
    },
)

_MOBILENET_LAYOUT = Layout(
    name="torchvision",
    outside={"stem": "features.0", "head": "features.18", "classifier": "classifier.1"},
    block="features.{index}.conv",
    inside={
        "expand": "0",
        r"operator\.branches\.0": "1",
        r"project\.0": "2",
        r"project\.1": "3",
    },
    inside_narrow={
        r"operator\.branches\.0": "0",
        r"project\.0": "1",
        r"project\.1": "2",
    },
)

LAYOUTS: Mapping[type[AnyBody], tuple[Layout, ...]] = {
    Body: _RESNEXT_LAYOUTS,
    ShuffleNetV2Body: (_SHUFFLENET_LAYOUT,),
    MobileNetV2Body: (_MOBILENET_LAYOUT,),
}
"""Layouts of the libraries that have networks of a body, by its class."""


def load_weights(network: Network, path: Path | str) -> str:
    """Loads the checkpoint at `path` into `network`, whichever library wrote it.

    Supported are checkpoints of torchvision (ResNet, ResNeXt, ShuffleNetV2, MobileNetV2), of timm
    (the same ResNets and ResNeXts, SE-ResNeXt, SK-ResNeXt), of the SK authors' later PyTorch
    release (for `sk_resnet50_insight` and `sk_resnet101_insight`), and of this package. The
    tensors may be nested in `state_dict` or `model`, and prefixed by `module.`. Everything is
    checked before anything is loaded.

    Args:
        network: A network with as many classes as the checkpoint.
        path: A file of `torch.save`, opened without running code from it, or a safetensors file.

    Returns:
        The library whose names the tensors have: one of `LAYOUTS`, or `sknet`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If it is a safetensors file, and safetensors is not installed.
        ValueError: If the file is not a checkpoint, or does not fit the network. The message lists
            keys that are missing, unexpected, or of another shape.

    Examples:
        >>> import torch
        >>> from sknet import create_model
        >>> torch.save(create_model("sknet_tiny").state_dict(), "sknet_tiny.pth")
        >>> load_weights(create_model("sknet_tiny"), "sknet_tiny.pth")
        'sknet'
    """
    path = Path(path)
    tensors = read_checkpoint(path)
    ours = network.state_dict()
    body = network.spec.body
    names_by_layout = {
        layout.name: {key: layout.rename(key, body) for key in ours}
        for layout in LAYOUTS[type(body)]
    }
    names_by_layout["sknet"] = {key: key for key in ours}
    # The checkpoint comes from the library whose names match most of its keys.
    library, names = max(
        names_by_layout.items(), key=lambda item: len(tensors.keys() & set(item[1].values()))
    )
    faults = find_faults(ours, tensors, names=names)
    if faults:
        raise ValueError(
            f"{path}: checkpoint, read as {library}, must fit the network; {'; '.join(faults)}"
        )
    network.load_state_dict(
        {
            key: tensors[theirs].reshape(ours[key].shape) if theirs in tensors else ours[key]
            for key, theirs in names.items()
        }
    )
    return library


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a checkpoint by name, without the entries that wrap them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ImportError: If it is a safetensors file, and safetensors is not installed.
        ValueError: If the file does not hold a mapping of names to tensors.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: must be a checkpoint of tensors, got no regular file")
    values = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in ("state_dict", "model"):
        if isinstance(values, Mapping) and isinstance(values.get(wrapper), Mapping):
            values = values[wrapper]
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            f"{path}: must hold a mapping of names to tensors, got {_describe(values)}"
        )
    strange = [key for key, value in values.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(
            f"{path}: must hold tensors only, got {strange[0]}: {_describe(values[strange[0]])}"
        )
    if odd := [key for key, value in values.items() if not _is_plain(value)]:
        raise ValueError(f"{path}: must hold dense tensors with values, got another in {odd[0]}")
    tensors = {str(key).removeprefix("module."): value for key, value in values.items()}
    if len(tensors) < len(values):
        raise ValueError(f"{path}: must hold each tensor once, got some also as module.NAME")
    return tensors


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor's values can be copied: not sparse, nested, quantised, or without any."""
    return (
        tensor.layout == torch.strided
        and not (tensor.is_nested or tensor.is_quantized)
        and tensor.device.type != "meta"
        and (tensor.element_size() > 1 or not tensor.is_floating_point())
    )


def find_faults(
    ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor], *, names: Mapping[str, str]
) -> list[str]:
    """Lists why the checkpoint does not fit, one entry per kind of mismatch.

    `num_batches_tracked` may be missing, as it is in old checkpoints. The weights of a fully
    connected layer may be those of a 1x1 convolution, and vice versa.

    Args:
        ours: The network's tensors.
        tensors: The checkpoint's.
        names: The checkpoint's name for each of ours.
    """
    keys = {theirs: key for key, theirs in names.items()}
    missing = [
        theirs
        for theirs in keys
        if theirs not in tensors and not theirs.endswith("num_batches_tracked")
    ]
    misshapen = [
        f"{theirs} {tuple(tensors[theirs].shape)} for {tuple(ours[key].shape)}"
        for theirs, key in keys.items()
        if theirs in tensors
        and _drop_kernel(tensors[theirs].shape) != _drop_kernel(ours[key].shape)
    ]
    mistyped = [
        f"{theirs} {tensors[theirs].dtype} for {ours[key].dtype}"
        for theirs, key in keys.items()
        if theirs in tensors
        and tensors[theirs].is_floating_point() != ours[key].is_floating_point()
    ]
    kinds = {
        "missing": missing,
        "unexpected": [theirs for theirs in tensors if theirs not in keys],
        "of another shape": misshapen,
        "of another type": mistyped,
    }
    return [f"{kind}: {_shorten(found)}" for kind, found in kinds.items() if found]


def _replace_beginning(key: str, replacements: Mapping[str, str]) -> str:
    for pattern, replacement in replacements.items():
        renamed, count = re.subn(rf"^{pattern}(?=\.)", replacement, key)
        if count:
            return renamed
    return key


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).partition("\n")[0]
        raise ValueError(f"{path}: must be a checkpoint of tensors, got {reason!r}") from error


def _read_safetensors(path: Path) -> Any:
    # Imported late, since safetensors is optional: only files of this format need it.
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: must be a safetensors file, got {str(error)!r}") from error


def _drop_kernel(shape: Size) -> tuple[int, ...]:
    """Removes the two sides of a 1x1 kernel from the shape."""
    return tuple(shape[:2]) if len(shape) == 4 and shape[2:] == (1, 1) else tuple(shape)


def _shorten(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - EXAMPLES} more" if len(keys) > EXAMPLES else ""
    return ", ".join(keys[:EXAMPLES]) + more


def _describe(value: Any) -> str:
    return "an empty mapping" if value == {} else type(value).__name__
