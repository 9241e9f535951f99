"""Reads the selection weights of all SK units during a forward pass, or replaces them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeGuard

from torch import Tensor, nn

from sknet.resnext import Bottleneck, ResNeXt
from sknet.selective_kernel import SKConv, normalise_scores


def find_selective_units(network: nn.Module) -> dict[str, SKConv]:
    """Finds all units of `network` that select, by name, in the order in which they run.

    Units of a ResNeXt have the paper's names: SK_3_4 is the fourth unit of stage 3, where the stem
    is stage 1. Wrappers such as DataParallel and torch.compile do not change them. If `network`
    contains several ResNeXts that select, each name starts with the path of its own:
    student.SK_3_4. All other units have their module's path.
    """
    modules: dict[str, nn.Module] = dict(network.named_modules())
    found = {path: _name_units(m) for path, m in modules.items() if isinstance(m, ResNeXt)}
    resnexts = {path: units for path, units in found.items() if units}
    names: dict[nn.Module, str] = {
        unit: name if len(resnexts) == 1 else f"{path}.{name}"
        for path, units in resnexts.items()
        for unit, name in units.items()
    }
    return {names.get(m, path): m for path, m in modules.items() if _is_selective(m)}


def find_operators(network: ResNeXt) -> dict[str, nn.Module]:
    """Finds the spatial operators of all bottlenecks, by stage and position, in order.

    The name 3_4 is that of the fourth bottleneck of stage 3, whether its operator selects or not.
    Stages and blocks may be wrapped.
    """
    operators: dict[str, nn.Module] = {}
    for stage, blocks in enumerate(network.stages, start=2):
        bottlenecks = (module for module in blocks.modules() if isinstance(module, Bottleneck))
        for position, bottleneck in enumerate(bottlenecks, start=1):
            operators[f"{stage}_{position}"] = bottleneck.operator
    return operators


def _name_units(network: ResNeXt) -> dict[nn.Module, str]:
    """The paper's name of each unit that selects."""
    operators = find_operators(network)
    return {unit: f"SK_{name}" for name, unit in operators.items() if _is_selective(unit)}


def _is_selective(module: nn.Module) -> TypeGuard[SKConv]:
    return isinstance(module, SKConv) and module.score is not None


@contextmanager
def record_selection(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Records the selection weights of the last forward pass within the `with` block.

    The weights are detached; each pass replaces those of the previous one. If the network is
    compiled, call it for the first time within the block: a graph that was compiled before has no
    hooks and records nothing.

    Shapes:
        each value: (N, M, C), summing to 1 over M

    Examples:
        >>> import torch
        >>> from sknet import create_model
        >>> network = create_model("sknet_tiny").eval()
        >>> with torch.inference_mode(), record_selection(network) as weights:
        ...     logits = network(torch.zeros(1, 3, 32, 32))
        >>> {name: tuple(value.shape) for name, value in weights.items()}
        {'SK_2_1': (1, 2, 16), 'SK_3_1': (1, 2, 32), 'SK_4_1': (1, 2, 64)}
    """
    weights: dict[str, Tensor] = {}

    def keep_weights(name: str, unit: SKConv) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_layer: nn.Module, _inputs: object, scores: Tensor) -> None:
            weights[name] = normalise_scores(scores.detach(), len(unit.branches))

        return keep

    handles = [
        unit.score.register_forward_hook(keep_weights(name, unit))
        for name, unit in find_selective_units(network).items()
        if unit.score is not None
    ]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def replace_selection(network: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Replaces the selection weights of units within the `with` block.

    The mapping is read in every forward pass, so its tensors may be exchanged between passes. Units
    that it does not name select as they were trained to. If blocks are nested, the outer one
    decides about the units that it names. `record_selection`, within or around the block, records
    the weights that are applied.

    Shapes:
        each value: (M, C) for all images, or (N, M, C); at least 0, summing to 1 over M

    Examples:
        >>> import torch
        >>> from sknet import create_model
        >>> network = create_model("sknet_tiny").eval()
        >>> first = {"SK_2_1": torch.tensor([[1.0], [0.0]]).expand(2, 16)}
        >>> with torch.inference_mode(), replace_selection(network, first):
        ...     with record_selection(network) as weights:
        ...         logits = network(torch.zeros(1, 3, 32, 32))
        >>> weights["SK_2_1"][0].mean(dim=1)
        tensor([1., 0.])
    """

    def choose_scores(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
        def choose(_layer: nn.Module, _inputs: object, scores: Tensor) -> Tensor | None:
            if name not in weights:
                return None
            logarithms = weights[name].log().to(scores)  # the softmax of logarithms: the weights
            return logarithms.flatten(-2).expand_as(scores)

        return choose

    handles = [
        # Before all other hooks, so that those of record_selection see what it returns.
        unit.score.register_forward_hook(choose_scores(name), prepend=True)
        for name, unit in find_selective_units(network).items()
        if unit.score is not None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
