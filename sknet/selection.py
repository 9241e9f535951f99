"""Reads the selection weights of every SK unit while a network runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from sknet.resnext import ResNeXt
from sknet.selective_kernel import SKConv, normalise_scores


def find_selective_units(network: nn.Module) -> dict[str, SKConv]:
    """Every unit of `network` that selects, by name, in the order in which they run.

    In a ResNeXt the names are the paper's: SK_3_4 is the fourth unit of stage 3, the stem
    counting as stage 1. Elsewhere they are the modules' own.
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
    """Fills a mapping with the selection weights of the last forward pass within the block.

    The weights are detached; each pass replaces those of the one before. A compiled network must
    be compiled within the block.

    Shapes:
        each value: (N, M, C), over M they sum to 1

    >>> import torch
    >>> from sknet import create_model
    >>> network = create_model("sknet_tiny").eval()
    >>> with torch.inference_mode(), record_selection(network) as weights:
    ...     logits = network(torch.zeros(1, 3, 32, 32))
    >>> {name: tuple(value.shape) for name, value in weights.items()}
    {'SK_2_1': (1, 2, 16), 'SK_3_1': (1, 2, 32), 'SK_4_1': (1, 2, 64)}
    """
    weights: dict[str, Tensor] = {}
    handles = [
        unit.score.register_forward_hook(_Recorder(weights, name, len(unit.branches)))
        for name, unit in find_selective_units(network).items()
        if unit.score is not None
    ]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


class _Recorder:
    """Forward hook that turns a unit's scores into weights, and keeps them under its name."""

    def __init__(self, weights: dict[str, Tensor], name: str, num_branches: int) -> None:
        self._weights = weights
        self._name = name
        self._num_branches = num_branches

    def __call__(self, _layer: nn.Module, _inputs: object, scores: Tensor) -> None:
        self._weights[self._name] = normalise_scores(scores.detach(), self._num_branches)
