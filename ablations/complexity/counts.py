"""Parameters and multiply-adds of networks, counted by fvcore and cached."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from ablations.files import hash_value, read_cache, write_cache
from ablations.user_code import calling_user_code
from sknet.spec import NetworkSpec, UserOperator

COUNTED = frozenset({"conv", "linear"})
"""Operators whose multiply-adds the papers count."""
COUNTED_OF_USERS = frozenset({"addmm", "bmm", "einsum", "matmul"})
"""Matrix products, which are counted too in operators of the user's own."""
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
"""Operators that fvcore does not count and that are considered free; any other is an error."""


@dataclass(frozen=True, kw_only=True)
class Complexity:
    """Parameters of a network, and multiply-adds of one forward pass on one image."""

    params: int
    """Trainable parameters."""

    running_statistics: int
    """Elements of the running means and variances of batch normalisation."""

    macs: int
    """Multiply-adds by the papers' convention, who call them FLOPs: convolutions, fully connected
    layers, and the rescaling of channels in Select."""

    rescaling_macs: int
    """The part of `macs` that is rescaling; it depends on shapes, not on the implementation."""

    fvcore_total: int | None
    """Total of fvcore, which counts batch normalisation but not rescaling; None if PyTorch's
    counter was used instead."""

    uncounted: tuple[str, ...]
    """Operators that were not counted."""


_COMPLEXITY = TypeAdapter(Complexity)


@dataclass(frozen=True)
class TorchvisionNetwork:
    """A network of torchvision, which sknet does not build."""

    name: str
    """Name in torchvision."""

    in_channels: ClassVar[int] = 3

    def architecture(self) -> dict[str, str]:
        """What distinguishes it from other networks in the cache."""
        return {"torchvision": self.name}


@dataclass(frozen=True)
class Sized:
    """A network, and the size of the images that it is counted on."""

    network: NetworkSpec | TorchvisionNetwork
    """The network."""

    image_size: int
    """Side of the square images in pixels."""


def count_complexities(
    networks: Iterable[Sized], *, cache_file: Path
) -> Mapping[Sized, Complexity]:
    """The complexity of each network, from the cache where possible.

    Raises:
        UserCodeError: If an operator of the user's own raises.
    """
    source = _hash_source()
    keys = {network: _make_key(network, source) for network in networks}
    cache = read_cache(cache_file)
    known = {key: found for key in keys.values() if (found := _parse_complexity(cache.get(key)))}
    unknown = {key: network for network, key in keys.items() if key not in known}
    known |= {key: _count(network) for key, network in unknown.items()}
    if unknown:
        write_cache(cache_file, cache | {key: asdict(known[key]) for key in unknown})
    return {network: known[key] for network, key in keys.items()}


def count_complexity(sized: Sized) -> Complexity:
    """Builds a network and counts its complexity; a large one takes about a second.

    If fvcore is not installed, PyTorch's own counter is used; both agree on convolutions and fully
    connected layers.

    In operators of the user's own, matrix products are counted too, and `count_rescaling(output)`
    is called if the module has it. Operators that were not counted are listed in `uncounted`.

    Raises:
        RuntimeError: If one of sknet's networks uses an operator that is neither counted nor free.
    """
    # Imported late: if all networks are cached, torch is not loaded.
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
    """Multiplications of channels by weights, from the output shapes of the modules that do it.

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
    if wrong := [count for count in counts if not isinstance(count, int) or count < 0]:
        raise ValueError(f"count_rescaling must return a number of products, got {wrong[0]!r}")
    return sum(counts)


def _count(sized: Sized) -> Complexity:
    operator = getattr(sized.network, "operator", None)
    if not isinstance(operator, UserOperator):
        return count_complexity(sized)
    with calling_user_code(f"counting the multiply-adds of {operator}"):
        return count_complexity(sized)


def _build(network: NetworkSpec | TorchvisionNetwork) -> Any:
    if isinstance(network, TorchvisionNetwork):
        from torchvision.models import get_model  # takes seconds, and rarely needed

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about the initialisation of Inception
            return get_model(network.name, weights=None)
    from sknet import build_network

    return build_network(network)


def _count_macs(
    network: Any, image: Any, *, is_users: bool
) -> tuple[int, int | None, tuple[str, ...]]:
    """Counted multiply-adds, fvcore's total, and the operators that were not counted."""
    if find_spec("fvcore") is None:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(image)
        return counter.get_total_flops() // 2, None, ()  # it counts two operations per multiply-add
    by_operator, uncounted = _analyse(network, image)
    counted = COUNTED | (COUNTED_OF_USERS if is_users else set())
    unknown = (by_operator.keys() - counted - COUNTED_BY_FVCORE_ONLY) | (uncounted - FREE)
    if unknown and not is_users:
        raise RuntimeError(
            f"every operator must be counted or known as free, got {sorted(unknown)}. "
            "Add it to one of the sets in ablations/complexity/counts.py."
        )
    macs = sum(by_operator.get(name, 0) for name in counted)
    free = uncounted | (by_operator.keys() - counted - COUNTED_BY_FVCORE_ONLY)
    return macs, sum(by_operator.values()), tuple(sorted(free))


def _analyse(network: Any, image: Any) -> tuple[dict[str, int], set[str]]:
    """Multiply-adds by operator, and the operators that fvcore does not know."""
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
    return hash_value([sized.network.architecture(), sized.image_size, source])


def _hash_source() -> str:
    """SHA-256 of the code that builds and counts networks."""
    import sknet

    digest = hashlib.sha256()
    for path in [*sorted(Path(sknet.__file__).parent.rglob("*.py")), Path(__file__)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _parse_complexity(values: Any) -> Complexity | None:
    """A cached complexity; None if it is missing or damaged."""
    try:
        return _COMPLEXITY.validate_python(values)
    except ValidationError:
        return None
