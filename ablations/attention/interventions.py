"""What becomes of a network whose selection weights are replaced: the error of each intervention.

Having several kernels is thereby told apart from choosing between them image by image.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ablations.attention.recording import Setting, list_extents
from ablations.attention.records import Intervention, find_ends
from ablations.data.batches import normalise
from sknet.selection import find_selective_units, record_selection, replace_selection


@torch.inference_mode()
def measure_interventions(
    network: nn.Module,
    setting: Setting,
    *,
    means: Mapping[str, Tensor],
    generator: torch.Generator,
) -> dict[Intervention, float]:
    """Measures the top-1 error in percent under each intervention.

    Args:
        network: A network in evaluation mode that has at least one unit which selects.
        setting: The test images, and how they are run.
        means: (M, C): mean weights of every unit over the test images.
        generator: Draws which image's weights every image gets.
    """
    units = find_selective_units(network)
    chosen: dict[Intervention, dict[str, Tensor]] = {
        "mean": {name: means[name].to(setting.device) for name in units},
        "smallest": {},
        "largest": {},
    }
    for name, unit in units.items():
        largest, smallest = find_ends(list_extents(unit))
        chosen["smallest"][name] = _choose_branch(means[name], smallest).to(setting.device)
        chosen["largest"][name] = _choose_branch(means[name], largest).to(setting.device)
    errors: dict[Intervention, float] = {}
    for intervention, weights in chosen.items():
        with replace_selection(network, weights):
            errors[intervention] = _measure_error(network, setting, lambda _: None)
    errors["shuffled"] = _shuffle(network, setting, generator)
    return errors


def _choose_branch(means: Tensor, branch: int) -> Tensor:
    """Weights (M, C) that are 1 for one branch."""
    weights = torch.zeros_like(means)
    weights[branch] = 1
    return weights


def _shuffle(network: nn.Module, setting: Setting, generator: torch.Generator) -> float:
    """The error if every image gets all weights of another one, drawn from all test images."""
    order = torch.randperm(len(setting.data.test), generator=generator)
    borrowed: dict[str, Tensor] = {}

    def borrow(places: Tensor) -> None:
        """Runs the donors of the images at `places`, and keeps their weights."""
        split, device = setting.data.test, setting.device
        borrowed.clear()  # so that the donors select as they were trained to
        with record_selection(network) as weights, setting.precision():
            for images, _ in split.iterate([order[places]], device=device):
                network(normalise(images, setting.data.dataset))
        borrowed.update(weights)

    with replace_selection(network, borrowed):
        return _measure_error(network, setting, borrow)


def _measure_error(
    network: nn.Module, setting: Setting, prepare: Callable[[Tensor], None]
) -> float:
    """Top-1 error in percent; `prepare` is called with the places of the images of each batch."""
    wrong = []
    seen = 0
    for images, labels in setting.iterate():
        prepare(torch.arange(seen, seen + len(labels)))
        seen += len(labels)
        with setting.precision():
            scores = network(images)
        wrong.append(int((scores.argmax(dim=1) != labels).sum()))
    return float(100 * np.sum(wrong) / seen)
