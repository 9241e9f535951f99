"""What the replicas of a trial exchange: gradients, statistics of batches, losses and outcomes.

A replica that is alone exchanges nothing, and computes as if this module did not exist.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ablations.data.batches import Replica
from ablations.errors import InputError

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def average_gradients(
    network: nn.Module, replica: Replica, *, device: torch.device, may_skip: bool
) -> nn.Module:
    """Makes backward average the gradients over the replicas.

    Args:
        network: The network, with equal weights in every replica.
        replica: This process.
        device: Where the network is.
        may_skip: Whether some parameters may be unused in a forward pass, which costs time.

    Returns:
        What to call in training; the network itself if the replica is alone.
    """
    if replica.count == 1:
        return network
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=may_skip)


def add_up(values: Tensor, replica: Replica) -> Tensor:
    """Adds up the values of the replicas, in place; all get the same sum, to the bit."""
    if replica.count > 1:
        dist.all_reduce(values)
    return values


def have_same(value: int, replica: Replica) -> bool:
    """Whether every replica has the same value, which all of them learn."""
    if replica.count == 1:
        return True
    values: list[int | None] = [None] * replica.count
    dist.all_gather_object(values, value)
    return len(set(values)) == 1


def copy_buffers(network: nn.Module, replica: Replica) -> None:
    """Gives every replica the buffers of the first one, such as running statistics."""
    if replica.count > 1:
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


def synchronise_norms(network: nn.Module, *, device: torch.device) -> None:
    """Makes batch normalisation compute means and variances of the whole batch in training.

    Parameters are copied, so this comes before an optimiser is built.

    Raises:
        InputError: If the network has a batch normalisation of the user's own.
    """
    kind = nn.SyncBatchNorm if device.type == "cuda" else SynchronisedBatchNorm
    copies = {
        norm: _copy_norm(norm, kind, device)
        for norm in network.modules()
        if isinstance(norm, _NORMS)
    }
    for module in list(network.modules()):
        for name, child in module.named_children():
            if child in copies:
                setattr(module, name, copies[child])


def _copy_norm(norm: Any, kind: Any, device: torch.device) -> nn.Module:
    if type(norm) not in _NORMS:
        raise InputError(
            "batch_norm: synchronised needs PyTorch's own batch normalisation, got "
            f"{type(norm).__name__}. Use batch_norm: replica."
        )
    settings = (norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    copy: nn.Module = kind(*settings).to(device)
    copy.load_state_dict(norm.state_dict())
    return copy


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """`nn.SyncBatchNorm` for a CPU, where PyTorch does not implement it.

    In training, means and variances are those of the batches of all replicas, which have the same
    size. It equals `nn.BatchNorm2d` on the whole batch up to rounding.

    Shapes:
        x: (N, C, ...) -> (N, C, ...)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises a replica's part of a batch."""
        if not self.training:
            return super().forward(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, [0, *range(2, x.ndim)], correction=0)
        overall = _Average.apply(mean)
        variance = _Average.apply(variance + (mean - overall).square())
        self._track(overall, variance, count=x.numel() // x.shape[1] * dist.get_world_size())
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -overall * scale
        if self.affine:
            shift = shift + self.bias
        sizes = (1, -1, *[1] * (x.ndim - 2))
        normalised: Tensor = exact * scale.view(sizes) + shift.view(sizes)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        """Moves the running statistics towards those of a batch with this many values."""
        if (
            self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accepts any number of dimensions."""


class _Average(torch.autograd.Function):
    """The mean over the replicas, whose gradient is the mean of the replicas' gradients."""

    @staticmethod
    def forward(_ctx: Any, values: Tensor) -> Tensor:
        return _average(values)

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        return _average(gradient)


def _average(values: Tensor) -> Tensor:
    total = values.contiguous().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()
