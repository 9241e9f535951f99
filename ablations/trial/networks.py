"""Trained networks: of a trial's record, or of anybody's checkpoint; ready to evaluate."""

from pathlib import Path

import torch
from torch import nn

from ablations.errors import InputError, MachineError
from ablations.plans import TrialSpec
from ablations.trial.run import start_network
from sknet import build_network, load_weights
from sknet.spec import NetworkSpec


def load_trained(spec: TrialSpec, weights: Path, *, device: torch.device) -> nn.Module:
    """Builds the network of a finished trial, in evaluation mode.

    Args:
        spec: The trial.
        weights: File of its weights in the ledger.
        device: Where it will be used.

    Raises:
        MachineError: If the file is missing, damaged, or not of this network.
    """
    network = start_network(spec, device=device)
    try:
        network.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise MachineError(
            f"{weights} must hold the weights of trial {spec.key}, got {reason}. Remove "
            f"{weights.parent} to train the trial again."
        ) from error
    return network.eval()


def load_published(
    network: NetworkSpec, weights: Path, *, device: torch.device
) -> tuple[nn.Module, str]:
    """Builds a network with the weights of a checkpoint that `sknet.load_weights` reads.

    Returns the network, in evaluation mode, and the library whose names its tensors have.

    Args:
        network: What the checkpoint was trained as.
        weights: The checkpoint.
        device: Where it will be used.

    Raises:
        InputError: If the file is not a checkpoint, or one of another network.
        MachineError: If it is missing or unreadable, or safetensors is needed and not installed.
    """
    built = build_network(network)
    try:
        library = load_weights(built, weights)
    except ValueError as error:
        raise InputError(f"{error}.") from error
    except (OSError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MachineError(f"{weights} must be a readable checkpoint, got {reason}.") from error
    return built.to(device).to(memory_format=torch.channels_last).eval(), library
