"""Parameters and multiply-adds of a network spec, counted by fvcore and cached."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ablations.files import write_atomically
from sknet.spec import NetworkSpec, UserOperator

COUNTED = frozenset({"conv", "linear"})
"""Operators whose multiply-adds the papers count."""
COUNTED_OF_USERS = frozenset({"addmm", "bmm", "einsum", "matmul"})
"""Products of matrices, which are counted in operators of users."""
COUNTED_BY_FVCORE_ONLY = frozenset({"batch_norm", "adaptive_avg_pool2d"})
"""Operators that fvcore counts but the papers do not."""
FREE = frozenset(
    {
        "aten::add",
        "aten::amax",
        "aten::avg_pool2d",
        "aten::hardtanh_",
        "aten::lerp",
        "aten::max_pool2d",
        "aten::mean",
        "aten::mul",
        "aten::sigmoid",
        "aten::softmax",
        "aten::tanh",
        "aten::unbind",
        "aten::unsqueeze",
    }
)
"""Operators unknown to fvcore that are considered free; any other is an error."""


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Size and arithmetic of one forward pass on one image."""

    params: int
    """Trainable parameters."""

    running_statistics: int
    """Elements of batch normalisation's running means and variances."""

    macs: int
    """Multiply-adds by the papers' convention, the unit that they call FLOPs: convolutions,
    fully connected layers, and the rescaling of channels in Select."""

    rescaling_macs: int
    """The part of `macs` for rescaling, computed from shapes."""

    fvcore_total: int | None
    """fvcore's total, which includes batch normalisation but not rescaling; None if PyTorch's
    counter was used instead."""

    uncounted: tuple[str, ...]
    """Operators that are unknown to fvcore and not counted."""


@dataclass(frozen=True)
class TorchvisionNetwork:
    """A network of torchvision that sknet does not build."""

    name: str
    """Name in torchvision."""

    in_channels: ClassVar[int] = 3

    def architecture(self) -> dict[str, str]:
        """Key of the network in the cache."""
        return {"torchvision": self.name}


@dataclass(frozen=True)
class Sized:
    """A network and the size of the square images that it is counted on."""

    network: NetworkSpec | TorchvisionNetwork
    """Network to count."""

    image_size: int
    """Side of the images in pixels."""


def count_complexities(
    networks: Iterable[Sized], *, cache_file: Path
) -> Mapping[Sized, Complexity]:
    """Counts the complexity of each network, unless it is in the cache.

    A cache that cannot be written is ignored, since it only saves time.
    """
    source = _hash_source()
    cache = _read_cache(cache_file)
    keys = {network: _make_key(network, source) for network in networks}
    unknown = {key: network for network, key in keys.items() if key not in cache}
    for key, network in unknown.items():
        cache[key] = asdict(count_complexity(network))
    if unknown:
        try:
            write_atomically(cache_file, json.dumps(cache, indent=1))
        except OSError as error:
            logging.getLogger(__name__).info("%s is not writable: %s", cache_file, error)
    return {network: _parse_complexity(cache[key]) for network, key in keys.items()}


def count_complexity(sized: Sized) -> Complexity:
    """Builds the network and counts it; a large one takes about a second.

    Without fvcore, PyTorch's own counter is used; both agree on convolutions and fully connected
    layers. In an operator of a user, products of matrices count too, as does what its method
    `count_rescaling(output)` returns, if it has one. Other operators are listed in `uncounted`.

    Raises:
        RuntimeError: If one of our networks uses an operator that is neither counted nor free.
    """
    # Late: not needed if everything is in the cache.
    import torch
    from torch import nn

    network = _build(sized.network).eval()
    image = torch.zeros(1, sized.network.in_channels, sized.image_size, sized.image_size)
    is_users = isinstance(getattr(sized.network, "operator", None), UserOperator)
    macs, total, uncounted = _count_macs(network, image, is_users=is_users)
    rescaling = count_rescaling(network, image)
    statistics = sum(
        module.running_mean.numel() + module.running_var.numel()
        for module in network.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        and module.running_mean is not None
        and module.running_var is not None
    )
    return Complexity(
        params=sum(p.numel() for p in network.parameters() if p.requires_grad),
        running_statistics=statistics,
        macs=macs + rescaling,
        rescaling_macs=rescaling,
        fvcore_total=total,
        uncounted=uncounted,
    )


def count_rescaling(network: Any, image: Any) -> int:
    """Counts multiplications of channels by weights from the output shapes of their units.

    Shapes:
        image: (1, C, H, W)
    """
    import torch

    counts: list[int] = []
    hooks = [
        module.register_forward_hook(
            lambda unit, _inputs, output: counts.append(unit.count_rescaling(output))
        )
        for module in network.modules()
        if hasattr(module, "count_rescaling")
    ]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def _build(network: NetworkSpec | TorchvisionNetwork) -> Any:
    if isinstance(network, TorchvisionNetwork):
        from torchvision.models import get_model  # slow to import

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about the initialisation of Inception
            return get_model(network.name, weights=None)
    from sknet import build_network

    return build_network(network)


def _count_macs(
    network: Any, image: Any, *, is_users: bool
) -> tuple[int, int | None, tuple[str, ...]]:
    """Multiply-adds of convolutions and linear layers, fvcore's total, uncounted operators."""
    if find_spec("fvcore") is None:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(image)
        return counter.get_total_flops() // 2, None, ()  # it counts two operations for each
    by_operator, uncounted = _analyse(network, image)
    counted = COUNTED | (COUNTED_OF_USERS if is_users else set())
    unknown = (by_operator.keys() - counted - COUNTED_BY_FVCORE_ONLY) | (uncounted - FREE)
    if unknown and not is_users:
        raise RuntimeError(
            f"every operator must be counted or known as free, got {sorted(unknown)}; "
            "decide which it is in ablations/complexity.py."
        )
    macs = sum(by_operator.get(name, 0) for name in counted)
    free = uncounted | (by_operator.keys() - counted - COUNTED_BY_FVCORE_ONLY)
    return macs, sum(by_operator.values()), tuple(sorted(free))


def _analyse(network: Any, image: Any) -> tuple[dict[str, int], set[str]]:
    """Multiply-adds by operator from fvcore, and the operators that it does not know."""
    with warnings.catch_warnings():
        # fvcore traces the network, which PyTorch has deprecated.
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(network, image)
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        by_operator = {name: int(count) for name, count in analysis.by_operator().items()}
        return by_operator, set(analysis.unsupported_ops())


def _make_key(sized: Sized, source: str) -> str:
    facts = [sized.network.architecture(), sized.image_size, source]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _hash_source() -> str:
    """SHA-256 of the sources of sknet and of this module."""
    import sknet

    digest = hashlib.sha256()
    for path in [*sorted(Path(sknet.__file__).parent.rglob("*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_cache(cache_file: Path) -> dict[str, Any]:
    try:
        cache = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no cache yet, or a damaged one
        return {}
    return cache if isinstance(cache, dict) else {}


def _parse_complexity(values: dict[str, Any]) -> Complexity:
    return Complexity(**{**values, "uncounted": tuple(values["uncounted"])})
