"""Attention of an experiment's trained networks, or of a checkpoint: recorded and kept."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.attention import ATTENTION, RECORDS, Analysis, Recording
from ablations.choices import DeviceKind
from ablations.config import Config, Recipe
from ablations.data import DATASETS, Dataset, identify_dataset
from ablations.errors import IncompleteError, InputError, suggest
from ablations.evaluations import hash_checkpoint
from ablations.files import check_writable, write_changed
from ablations.ledger import Findings, Ledger
from ablations.plans import Plan, PlannedTrial, TrialSpec
from ablations.reconcile.benchmarks import Show, choose_device
from ablations.reconcile.plans import Selection, draw_plan, list_keys, mark_plan
from ablations.report import render_attention, render_report
from ablations.study import is_exported, read_export
from ablations.tables import build_table
from ablations.trial.environment import count_cores, describe_environment, find_commit
from ablations.workspace import Workspace
from sknet.spec import NetworkSpec, SelectiveKernel
from sknet.zoo import NETWORKS

if TYPE_CHECKING:  # loads torch
    from ablations.attention.measurement import Source

CHECKPOINT_MARGIN = 0.5
"""Points of error below which a difference does not matter, without an experiment to say so."""


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """How networks are recorded."""

    workspace: Workspace = Workspace()
    """Where the ledger, the datasets and the results are."""

    device: DeviceKind | None = None
    """Where networks run; None for a GPU if there is one."""

    show: Show = lambda _: nullcontext(lambda: None)
    """Shows progress."""


@dataclass(frozen=True, kw_only=True)
class Attended:
    """A recording with what is derived from it."""

    analysis: Analysis
    """What the recording says."""

    folder: Path
    """Where its files are."""

    written: tuple[str, ...]
    """Names of the files that changed."""


def record_experiment(
    config: Config, experiment: str, selection: Selection, *, settings: RecordSettings
) -> Attended:
    """Records the attention of every finished trial of an experiment that selects its kernels.

    Args:
        config: The content of experiments.yaml.
        experiment: Name of the experiment.
        selection: Recipe, seeds and variants.
        settings: How networks are recorded.

    Raises:
        InputError: If a name is wrong, or no variant selects its kernels.
        IncompleteError: If no trial of such a variant is finished.
        MachineError: If the machine lacks a GPU, the dataset, weights or a folder to write into.
    """
    workspace = settings.workspace
    plan = draw_plan(config, experiment, selection, workspace=workspace)
    ledger = Ledger(workspace.runs_dir)
    findings = ledger.examine(list_keys([plan]))
    plan = mark_plan(plan, findings)
    unsuitable = _list_unsuitable(plan)
    trials = [trial for trial in plan.trials if trial.state == "finished"]
    skipped = _list_skipped(plan, trials, unsuitable)
    if all(trial.variant.name in unsuitable for trial in trials):
        raise _complain(plan, skipped, unsuitable)
    folder = workspace.find_results(experiment, recipe_name=plan.recipe_name, changes=plan.changes)
    check_writable(folder, flag="--results-dir")
    sources = list(_list_sources(trials, findings, ledger, unsuitable))
    describe = partial(
        Recording,
        experiment=experiment,
        recipe_name=plan.recipe_name,
        body=plan.recipe.body,
        margin=config.experiment(experiment).margin,
        skipped=skipped,
    )
    dataset = trials[0].spec.dataset
    recording = _record(sources, dataset, settings, recipe=plan.recipe, describe=describe)
    return _keep(recording, folder)


def record_checkpoint(
    weights: Path, *, network: str, dataset: str, settings: RecordSettings
) -> Attended:
    """Records the attention of one published network; its files are below `runs_dir`.

    Args:
        weights: A checkpoint that `sknet.load_weights` reads.
        network: Name of the network in the zoo.
        dataset: Name of the dataset whose test images are used.
        settings: How the network is recorded.

    Raises:
        InputError: If a name is wrong, the network selects no kernels, or the checkpoint is another
            network's.
        MachineError: If the machine lacks a GPU, the dataset, or the file.
    """
    spec, images = _find_network(network, dataset, settings.workspace)
    if reason := _find_unsuitable(spec):
        raise InputError(f"--network must select among its kernels, got {network}: {reason}.")
    from ablations.attention.measurement import Source  # these load torch
    from ablations.trial.networks import load_published

    source = Source(
        variant=weights.name,
        seed=0,
        key=hash_checkpoint(weights),
        role="trained",
        load=lambda device: load_published(spec, weights, device=device)[0],
    )
    describe = partial(
        Recording,
        experiment=network,
        recipe_name="",
        body="",
        margin=CHECKPOINT_MARGIN,
        skipped={},
    )
    recording = _record([source], images, settings, recipe=None, describe=describe)
    label = f"{network}-{source.key[:12]}"
    return _keep(recording, settings.workspace.runs_dir / "tables" / label)


def _find_network(network: str, dataset: str, workspace: Workspace) -> tuple[NetworkSpec, Dataset]:
    """The network of a checkpoint for the images of a dataset."""
    if network not in NETWORKS:
        raise InputError(
            f"--network must be one of sknet.list_models(), got {network!r}"
            f"{suggest(network, NETWORKS)}."
        )
    if dataset not in DATASETS:
        raise InputError(
            f"--dataset must be one of {', '.join(DATASETS)}, got {dataset!r}"
            f"{suggest(dataset, DATASETS)}."
        )
    images = identify_dataset(DATASETS[dataset], workspace.data_dir)
    spec = replace(NETWORKS[network], in_channels=images.channels, num_classes=images.num_classes)
    return spec, images


def _list_unsuitable(plan: Plan) -> dict[str, str]:
    """Variants whose networks have no larger and smaller kernel to attend to, and why."""
    reasons = {variant.name: _find_unsuitable(variant.network) for variant in plan.variants}
    return {name: reason for name, reason in reasons.items() if reason}


def _find_unsuitable(network: NetworkSpec) -> str:
    """Why a network has no attention to record; empty if it has."""
    operator = network.operator
    if not isinstance(operator, SelectiveKernel):
        return "there is no SK unit"
    if len(operator.branches) == 1:
        return "there is a single kernel"
    if operator.attention == "sum":
        return "kernels that are added up have no selection weights"
    if len({branch.extent for branch in operator.branches}) == 1:
        return "all kernels cover squares of the same size, so none is larger"
    return ""


def _list_skipped(
    plan: Plan, trials: Sequence[PlannedTrial], unsuitable: Mapping[str, str]
) -> dict[str, str]:
    """The variants that were asked for and are not recorded, and why."""
    recorded = {trial.variant.name for trial in trials} - unsuitable.keys()
    asked = dict.fromkeys(t.variant.name for t in plan.trials if t.state != "skipped")
    return {n: unsuitable.get(n, "no finished trial") for n in asked if n not in recorded}


def _list_sources(
    trials: Sequence[PlannedTrial],
    findings: Findings,
    ledger: Ledger,
    unsuitable: Collection[str],
) -> "Iterator[Source]":
    """The networks of finished trials with their controls, by variant, seed and role."""
    from ablations.attention.measurement import Source  # these load torch
    from ablations.trial.networks import load_trained
    from ablations.trial.run import start_network

    controls = {trial.spec.key: _shuffle_labels(trial.spec) for trial in trials}
    known = ledger.examine(control.key for control in controls.values()).records

    for trial in trials:
        spec, control = trial.spec, controls[trial.spec.key]
        named = partial(Source, variant=trial.variant.name, seed=spec.seed)
        yield named(
            key=spec.key,
            role="trained",
            load=partial(load_trained, spec, ledger.find_weights(spec.key)),
            error=findings.records[spec.key].last.top1_error,
            has_choice=trial.variant.name not in unsuitable,
        )
        if trial.variant.name in unsuitable:
            continue
        yield named(key=spec.key, role="untrained", load=partial(start_network, spec))
        if control.key in known and known[control.key].state == "finished":
            weights = ledger.find_weights(control.key)
            load = partial(load_trained, control, weights)
            yield named(key=control.key, role="shuffled labels", load=load)


def _shuffle_labels(spec: TrialSpec) -> TrialSpec:
    """The same trial on shuffled labels."""
    recipe = spec.recipe.model_copy(update={"shuffled_labels": True})
    return replace(spec, recipe=recipe)


def _complain(
    plan: Plan, skipped: Mapping[str, str], reasons: Mapping[str, str]
) -> InputError | IncompleteError:
    if skipped.keys() <= reasons.keys():
        listed = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        return InputError(
            f"{plan.experiment} must have a variant that selects among its kernels, got {listed}."
        )
    return IncompleteError(
        f"no trial of {plan.experiment} that selects among its kernels is finished; train with "
        f"`run-ablation {plan.experiment} --recipe {plan.recipe_name}`."
    )


def _record(
    sources: "Sequence[Source]",
    dataset: Dataset,
    settings: RecordSettings,
    *,
    recipe: Recipe | None,
    describe: Callable[..., Recording],
) -> Recording:
    """Records all networks on the dataset's test images.

    Args:
        sources: The networks.
        dataset: The dataset.
        settings: How networks are recorded.
        recipe: The recipe, for its precision; None for fp32.
        describe: Makes a recording of what is measured.
    """
    import torch  # slow to import: wrong names are reported before

    from ablations.attention.measurement import measure_sources
    from ablations.attention.recording import Setting
    from ablations.data.arrays import load_data, prepare_data

    workspace, device = settings.workspace, torch.device(choose_device(settings.device))
    check_writable(workspace.runs_dir, flag="--runs-dir")
    prepare_data(dataset, data_dir=workspace.data_dir, cache_dir=workspace.cache_dir)
    workers = count_cores() if dataset.is_folder else 0
    data = load_data(dataset, cache_dir=workspace.cache_dir, device=device, workers=workers)
    setting = Setting(data=data, device=device, recipe=recipe)
    with settings.show(len(sources)) as advance:
        measured = measure_sources(sources, setting, advance=advance)
    return describe(
        dataset=dataset.name,
        test_images=len(data.test),
        sizes=measured.sizes,
        networks=measured.networks,
        examples=measured.examples,
        fields=measured.fields,
        environment=describe_environment(device, commit=find_commit()),
    )


def _keep(recording: Recording, folder: Path) -> Attended:
    """Writes a recording below a study's folder, with everything that is derived from it.

    If the study is there, its report shows the recording.
    """
    own = folder / ATTENTION
    files = render_attention(recording, own)
    if not is_exported(folder):
        changed = write_changed(files.contents, own)
        return Attended(analysis=files.analysis, folder=own, written=tuple(changed))
    study = read_export(folder)
    written = write_changed({RECORDS: files.contents[RECORDS]}, own)
    written += write_changed(render_report(study, build_table(study), folder), folder)
    return Attended(analysis=files.analysis, folder=own, written=tuple(written))
