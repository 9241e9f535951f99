"""One network after the other -> a recording: weights, interventions and examples."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ablations.attention.examples import Attention, attend, choose_examples, describe_examples
from ablations.attention.interventions import measure_interventions
from ablations.attention.receptive_field import measure_fields
from ablations.attention.recording import Setting, record_network
from ablations.attention.records import Example, FieldRecord, NetworkRecord, Role
from ablations.errors import MachineError
from ablations.trial.run import full_precision, keep_freed_memory, make_generator, one_thread

LARGEST_DEVIATION = 0.5
"""Points by which a network's error may deviate from its record: devices round differently."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network to record, and where it is from."""

    variant: str
    """Name of the variant, or of the checkpoint."""

    seed: int
    """Seed of the trial; 0 for a checkpoint."""

    key: str
    """Key of the trial; SHA-256 of a checkpoint."""

    role: Role
    """Whether it is trained, or a control."""

    load: Callable[..., nn.Module]
    """Returns the network on the device that it is given as `device`."""

    error: float | None = None
    """Top-1 error in percent as its record says; None if there is no record."""

    has_choice: bool = True
    """Whether it selects among kernels of different sizes; of others, only receptive fields are
    measured."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured of several networks on the same test images."""

    networks: tuple[NetworkRecord, ...]
    """The records in the order of the sources."""

    examples: tuple[Example, ...]
    """A few test images."""

    fields: tuple[FieldRecord, ...]
    """Receptive fields of the trained networks."""

    sizes: Mapping[int, int]
    """Number of test images by the size of their object; empty if sizes are unknown."""


def measure_sources(
    sources: Iterable[Source], setting: Setting, *, advance: Callable[[], object] = lambda: None
) -> Measured:
    """Records networks one after the other; of controls, only their selection weights.

    Args:
        sources: The networks.
        setting: The test images, and how networks are run.
        advance: Called after each network.

    Raises:
        MachineError: If weights cannot be loaded, or do not give the error of their record.
    """
    keep_freed_memory()
    records: list[NetworkRecord] = []
    attention: dict[str, list[Attention]] = {}
    fields: list[FieldRecord] = []
    indices = choose_examples(setting)
    with one_thread(), full_precision():
        for source in sources:
            network = source.load(device=setting.device).eval()
            if source.role == "trained":
                fields += measure_fields(
                    network,
                    setting,
                    variant=source.variant,
                    seed=source.seed,
                    source=source.key,
                )
            if source.has_choice:
                records.append(_record(source, network, setting))
                if source.role == "trained" and source.variant not in attention:
                    attention[source.variant] = attend(network, setting, indices)
            advance()
    return Measured(
        networks=tuple(records),
        examples=describe_examples(setting, indices, attention),
        fields=tuple(fields),
        sizes=_count_sizes(setting),
    )


def _record(source: Source, network: nn.Module, setting: Setting) -> NetworkRecord:
    recorded = record_network(network, setting)
    found = recorded.errors[0]
    if source.error is not None and abs(found - source.error) > LARGEST_DEVIATION:
        raise MachineError(
            f"the weights of trial {source.key} must give an error of {source.error:.2f} %, as its "
            f"record says, got {found:.2f} %. Remove its folder to train it again."
        )
    generator = make_generator(source.seed, "shuffled selection")
    return NetworkRecord(
        variant=source.variant,
        seed=source.seed,
        source=source.key,
        role=source.role,
        units=recorded.units,
        errors=recorded.errors,
        replaced=measure_interventions(network, setting, means=recorded.means, generator=generator)
        if source.role == "trained"
        else {},
    )


def _count_sizes(setting: Setting) -> dict[int, int]:
    sizes = setting.data.test.object_sizes
    if sizes is None:
        return {}
    counted: Any = zip(*np.unique(sizes.cpu().numpy(), return_counts=True), strict=True)
    return {int(size): int(count) for size, count in counted}
