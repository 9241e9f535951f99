"""Published weights, evaluated on the user's copy of ImageNet and kept, one network at a time."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.choices import DeviceKind, Precision
from ablations.data import DATASETS, Dataset
from ablations.data.identification import Listing, describe_folder, scan_images
from ablations.errors import InputError, suggest
from ablations.evaluations import (
    Checkpoint,
    Errors,
    Evaluation,
    Images,
    describe_checkpoint,
    write_evaluation,
)
from ablations.files import check_writable
from ablations.reconcile.benchmarks import Show, choose_device
from ablations.speed import identify_network
from ablations.trial.environment import describe_environment, find_commit
from ablations.workspace import Workspace
from sknet.spec import NetworkSpec
from sknet.zoo import NETWORKS

if TYPE_CHECKING:  # these load torch
    import torch
    from torch import nn

    from ablations.data.image_folder import FolderSplit

DATASET = DATASETS["imagenet"]
"""What published weights are evaluated on; of a copy, only val/ is needed."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How networks are evaluated."""

    workspace: Workspace = Workspace()
    """Where the images are, and where evaluations are kept."""

    device: DeviceKind | None = None
    """Where networks run; None for a GPU if there is one."""

    precision: Precision = "fp32"
    """Numbers that networks compute with."""

    loader_workers: int = 0
    """Processes that decode images; 0 decodes in this one. Errors do not depend on it."""

    show: Show = lambda _: nullcontext(lambda: None)
    """Shows progress."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation that is kept."""

    evaluation: Evaluation
    """The evaluation."""

    file: Path
    """Where it is kept."""

    @property
    def is_published(self) -> bool:
        """Whether the network is the zoo's own, which tables may have a row for."""
        return self.evaluation.identity == _identify(NETWORKS[self.evaluation.network])


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A network with its weights, ready to evaluate."""

    name: str
    """Name in the zoo."""

    spec: NetworkSpec
    """The network, with as many classes as the images have."""

    network: "nn.Module"
    """The network."""

    checkpoint: Checkpoint
    """Its weights."""


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What every network is run on, and how."""

    dataset: Dataset
    """The images."""

    splits: "Sequence[FolderSplit]"
    """The images at every size."""

    steps: int
    """Number of batches."""

    device: "torch.device"
    """Where networks run."""

    precision: Precision
    """Numbers that networks compute with."""


def evaluate_weights(
    weights: Sequence[tuple[str, Path]], *, settings: EvaluationSettings
) -> list[Evaluated]:
    """Measures the top-1 and top-5 errors of networks with published weights.

    Everything is checked before anything is measured. Each evaluation is kept once it is complete.

    Args:
        weights: Names of networks in the zoo, each with a checkpoint that `sknet.load_weights`
            reads.
        settings: How networks are evaluated.

    Raises:
        InputError: If a name is wrong, or a file is no checkpoint, or that of another network.
        MachineError: If the machine lacks the images, a checkpoint, a GPU or a folder to write
            into.
    """
    _check_names([name for name, _ in weights])
    workspace = settings.workspace
    root = workspace.data_dir / DATASET.name
    listing = scan_images(root, with_train=False)
    check_writable(workspace.runs_dir, flag="--runs-dir")
    run = _prepare(root, listing, settings)
    sources = _load(weights, run.dataset, root)
    with settings.show(len(sources) * run.steps) as advance:
        evaluations = (_evaluate(source, run, advance) for source in sources)
        return [
            Evaluated(evaluation=own, file=write_evaluation(own, workspace.evaluations_dir))
            for own in evaluations
        ]


def _check_names(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in NETWORKS]:
        raise InputError(
            f"a network must be one of sknet.list_models(), got {unknown[0]!r}"
            f"{suggest(unknown[0], NETWORKS)}."
        )
    sizes = {name: NETWORKS[name].body.input_size for name in names}
    if small := [name for name, size in sizes.items() if size != DATASET.image_size]:
        raise InputError(
            f"a network must be one for images of {DATASET.image_size} pixels, got {small[0]}, "
            f"which is for {sizes[small[0]]} pixels."
        )


def _prepare(root: Path, listing: Listing, settings: EvaluationSettings) -> _Pass:
    import torch  # slow to import: wrong names and missing images are reported before

    from ablations.data.image_folder import build_splits, list_arrays
    from ablations.trial.evaluation import count_batches
    from ablations.trial.run import keep_freed_memory

    keep_freed_memory()
    arrays = list_arrays(root, listing)
    splits = build_splits(arrays, image_size=DATASET.image_size, workers=settings.loader_workers)
    chosen = (splits["test"], splits["test_320"])
    return _Pass(
        dataset=describe_folder(DATASET, listing),
        splits=chosen,
        steps=sum(map(count_batches, chosen)),
        device=torch.device(choose_device(settings.device)),
        precision=settings.precision,
    )


def _load(weights: Sequence[tuple[str, Path]], dataset: Dataset, root: Path) -> list[_Source]:
    """Loads all networks; all that do not fit are reported at once."""
    import torch

    from ablations.trial.networks import load_published

    sources, faults = [], []
    images = f"the {dataset.num_classes} classes in {root / 'val'}"
    for name, path in weights:
        spec = replace(NETWORKS[name], num_classes=dataset.num_classes)
        try:
            network, library = load_published(spec, path, device=torch.device("cpu"))
        except InputError as error:
            faults.append(f"{name} for {images}: {error}")
            continue
        checkpoint = describe_checkpoint(path, library=library)
        sources.append(_Source(name=name, spec=spec, network=network, checkpoint=checkpoint))
    if faults:
        raise InputError("\n".join(faults))
    return sources


def _evaluate(source: _Source, run: _Pass, advance: Callable[[], object]) -> Evaluation:
    started = time.time()
    network = source.network.to(run.device)
    return Evaluation(
        network=source.name,
        identity=_identify(source.spec),
        checkpoint=source.checkpoint,
        images=Images(
            name=run.dataset.name,
            sha256=run.dataset.found or "",
            count=run.dataset.test_size,
            num_classes=run.dataset.num_classes,
            resize="bilinear, antialiased",
            mean=run.dataset.mean,
            std=run.dataset.std,
        ),
        precision=run.precision,
        errors=tuple(_count_errors(network, split, run, advance) for split in run.splits),
        environment=describe_environment(run.device, commit=find_commit()),
        evaluated_at=started,
    )


def _count_errors(
    network: "nn.Module", split: "FolderSplit", run: _Pass, advance: Callable[[], object]
) -> Errors:
    from ablations.data.image_folder import compute_shorter_side
    from ablations.trial.evaluation import find_hits
    from ablations.trial.run import full_precision

    with full_precision():
        hits = find_hits(
            network,
            split,
            run.dataset,
            precision=run.precision,
            device=run.device,
            advance=advance,
        )
    return Errors(
        image_size=split.image_size,
        shorter_side=compute_shorter_side(split.image_size),
        top1=int((~hits[:, 0]).sum()),
        top5=int((~hits.any(dim=1)).sum()),
    )


def _identify(network: NetworkSpec) -> str:
    return identify_network(network, network.body.input_size)
