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
"""Products of matrices, which a user's own operator may hold besides."""
COUNTED_BY_FVCORE_ONLY = frozenset({"batch_norm", "adaptive_avg_pool2d"})
"""Operators that fvcore counts and the papers do not."""
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
"""Operators that fvcore does not know and that are taken as free; any other is an error."""


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
    """The part of `macs` that is rescaling; it follows from shapes, not from how it is done."""

    fvcore_total: int | None
    """fvcore's own total, which counts batch normalisation and not the rescaling; None if PyTorch's
    counter stood in for it."""

    uncounted: tuple[str, ...]
    """Operators that fvcore does not know and takes as free."""


@dataclass(frozen=True)
class TorchvisionNetwork:
    """A network that sknet does not build, to be counted as torchvision builds it."""

    name: str
    """torchvision's name."""

    in_channels: ClassVar[int] = 3

    def architecture(self) -> dict[str, str]:
        """What tells it from others in the cache."""
        return {"torchvision": self.name}


@dataclass(frozen=True)
class Sized:
    """A network and the side of the square images that it is counted on."""

    network: NetworkSpec | TorchvisionNetwork
    """The architecture."""

    image_size: int
    """Side in pixels."""


def count_complexities(
    networks: Iterable[Sized], *, cache_file: Path
) -> Mapping[Sized, Complexity]:
    """The complexity of each network, from the cache where it is known.

    A cache that cannot be written is done without: it only saves time.
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
    """Builds the network and counts it; takes about a second for a large one.

    Where fvcore is not installed PyTorch's own counter stands in for it: of convolutions and fully
    connected layers both count the same.

    In a user's own operator products of matrices count too, its `count_rescaling(output)` is asked
    if it has one, and what nobody counts is told in `uncounted`.

    Raises:
        RuntimeError: If one of our networks uses an operator that is neither counted nor free.
    """
    # Late, so that what finds everything in the cache need not load torch.
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
    """Multiplications of channels by weights, from the output shapes of the units that do it.

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
        from torchvision.models import get_model  # only where one is asked for: it takes seconds

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # on how Inception will be initialised
            return get_model(network.name, weights=None)
    from sknet import build_network

    return build_network(network)


def _count_macs(
    network: Any, image: Any, *, is_users: bool
) -> tuple[int, int | None, tuple[str, ...]]:
    """Multiply-adds of convolutions and linear layers, fvcore's total, what it took as free."""
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
    """Fvcore's multiply-adds by operator, and the operators that it does not know."""
    with warnings.catch_warnings():
        # fvcore traces the network, which PyTorch has deprecated but keeps.
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
    """SHA-256 of the package that builds the networks, and of this module."""
    import sknet

    digest = hashlib.sha256()
    for path in [*sorted(Path(sknet.__file__).parent.rglob("*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_cache(cache_file: Path) -> dict[str, Any]:
    try:
        cache = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no cache yet, or a damaged one: it is made anew
        return {}
    return cache if isinstance(cache, dict) else {}


def _parse_complexity(values: dict[str, Any]) -> Complexity:
    return Complexity(**{**values, "uncounted": tuple(values["uncounted"])})
