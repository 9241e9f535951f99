"""Reads the selection weights of all SK units during a forward pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from sknet.resnext import ResNeXt
from sknet.selective_kernel import SKConv, normalise_scores


def find_selective_units(network: nn.Module) -> dict[str, SKConv]:
    """Finds all units of `network` that select, by name, in the order in which they run.

    Units of a ResNeXt have the paper's names: SK_3_4 is the fourth unit of stage 3, where the stem
    is stage 1. Units of other networks have their module's name.
    """
    names: dict[str, str] = {}
    if isinstance(network, ResNeXt):
        names = {
            f"stages.{stage}.{position}.operator": f"SK_{stage + 2}_{position + 1}"
            for stage, blocks in enumerate(network.stages)
            for position, _ in enumerate(blocks.children())
        }
    return {
        names.get(path, path): module
        for path, module in network.named_modules()
        if isinstance(module, SKConv) and module.score is not None
    }


@contextmanager
def record_selection(network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Records the selection weights of the last forward pass within the `with` block.

    The weights are detached; each pass replaces those of the previous one. Compile the network
    within the block, if at all.

    Shapes:
        each value: (N, M, C), summing to 1 over M

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
