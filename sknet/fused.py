"""Batch normalisation, ReLU, Fuse and Select of an SK convolution in few passes over its branches.

Only the outputs of the convolutions are stored for backward; what follows from them is computed
again. It needs numba and a CPU; without them, SKConv computes by its readable definition.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]
Weigh = Callable[[Tensor], Tensor]
"""Computes the selection weights, (N, M, C), from the pooled sum of the branches, (N, C)."""

_is_enabled = True


@contextmanager
def readable_path() -> Iterator[None]:
    """Switches all fast paths off within the `with` block, to compare them with the definitions."""
    global _is_enabled
    before, _is_enabled = _is_enabled, False
    try:
        yield
    finally:
        _is_enabled = before


def is_fast() -> bool:
    """Whether fast paths may be used: not while a graph is compiled, exported or counted.

    Nor within the transforms of `torch.func`.
    """
    is_traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    return _is_enabled and not is_traced and not torch._C._are_functorch_transforms_active()


@cache
def has_kernels() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def can_fuse(x: Tensor, branches: Sequence[Any], *, gate: Sequence[nn.Module] = ()) -> bool:
    """Whether `fuse` can do what follows the convolutions in these branches, for an input `x`.

    Args:
        x: Input of the branches.
        branches: Sequences of convolution, batch normalisation and activation.
        gate: Modules that compute the weights of the branches.
    """
    return (
        len(branches) > 1  # a single one gains nothing
        and is_fast()
        and has_kernels()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and all(_is_plain(branch, x.dtype) for branch in branches)
        and (not torch.is_grad_enabled() or all(map(_is_trained_alone, gate)))
    )


def _is_plain(branch: Any, dtype: torch.dtype) -> bool:
    """Whether a branch is usual; in evaluation, `fuse` has no gradients."""
    if len(branch) != 3 or type(branch[1]) is not nn.BatchNorm2d or type(branch[2]) is not nn.ReLU:
        return False
    norm = branch[1]
    return (
        norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and norm.weight.dtype == dtype
        and (norm.training or not torch.is_grad_enabled())
        and not any(map(_has_hooks, (branch, norm, branch[2])))
    )


def _is_trained_alone(module: nn.Module) -> bool:
    """Whether the gradients that `fuse` computes for a part of the gate are all that are wanted.

    It computes them for every parameter. A hook may bring in further tensors, or detach the output.
    """
    return all(parameter.requires_grad for parameter in module.parameters()) and not any(
        map(_has_hooks, module.modules())
    )


def _has_hooks(module: nn.Module) -> bool:
    """Whether someone wants to see or change what the module computes, so it must be called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def fuse(
    features: Sequence[Tensor],
    norms: Sequence[nn.BatchNorm2d],
    *,
    weigh: Weigh | None = None,
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """Normalises and rectifies every branch, and adds the branches up, by weights if there are any.

    Shapes:
        features: M of (N, C, H, W) -> (N, C, H, W), channels_last

    Args:
        features: Outputs of the branches' convolutions.
        norms: The normalisation of every branch; in training, running statistics are updated.
        weigh: Computes the weights of the branches; None adds the branches up.
        parameters: Parameters of `weigh`.

    Raises:
        ValueError: If there is only one value per channel to train on.
    """
    affine = [parameter for norm in norms for parameter in (norm.weight, norm.bias)]
    needs_gradients = torch.is_grad_enabled()  # `apply` switches them off
    fused: Tensor = _Fuse.apply(
        tuple(norms), weigh, needs_gradients, *features, *affine, *parameters
    )
    return fused


class _Fuse(torch.autograd.Function):
    """See `fuse`."""

    @staticmethod
    def forward(
        ctx: Any,
        norms: tuple[nn.BatchNorm2d, ...],
        weigh: Weigh | None,
        needs_gradients: bool,
        *tensors: Tensor,
    ) -> Tensor:
        features, parameters = tensors[: len(norms)], tensors[3 * len(norms) :]
        branches = [
            _Branch(_view(feature), _prepare(_view(feature), norm))
            for feature, norm in zip(features, norms, strict=True)
        ]
        ctx.constants = [branch.constants for branch in branches]
        ctx.selection = None
        ctx.save_for_backward(*features)
        weights = None
        if weigh is not None:
            pooled = _pool(branches)
            with torch.set_grad_enabled(needs_gradients):
                weights = weigh(pooled.requires_grad_(needs_gradients))
            ctx.selection = (pooled, weights, parameters)
        output = torch.empty_like(features[0], memory_format=torch.channels_last)
        _add_up(branches, _split(weights, branches), _view(output))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # the graph of these gradients is wanted: create_graph=True
            raise RuntimeError("second derivatives need sknet.fused.readable_path()")
        branches = [
            _Branch(_view(feature), constants)
            for feature, constants in zip(ctx.saved_tensors, ctx.constants, strict=True)
        ]
        arriving = _view(gradient)
        weights, offset, others = None, None, []
        if ctx.selection is not None:
            pooled, weights, parameters = ctx.selection
            wanted = _differentiate_weights(branches, arriving)
            offset, *others = torch.autograd.grad(
                weights, (pooled, *parameters), wanted, retain_graph=True
            )
            offset /= gradient[0, 0].numel()  # of every pixel, through the pooling
        features, affine = [], []
        for branch, own in zip(branches, _split(weights, branches), strict=True):
            feature = torch.empty_like(gradient, memory_format=torch.channels_last)
            affine += _differentiate(branch, arriving, own, offset, _view(feature))
            features.append(feature)
        return (None, None, None, *features, *affine, *others)


class _Branch(NamedTuple):
    """A feature map and how it is normalised."""

    feature: Array
    """(N, H, W, C)"""

    constants: Array
    """(4, C), see `sknet.kernels`."""


def _view(feature: Tensor) -> Array:
    """A feature map as an array (N, H, W, C), which shares its memory if it is channels_last."""
    own = feature.detach().contiguous(memory_format=torch.channels_last)
    return own.permute(0, 2, 3, 1).numpy()


def _prepare(feature: Array, norm: nn.BatchNorm2d) -> Array:
    """The constants of a normalisation; in training, updates its running statistics."""
    from sknet import kernels

    mean, variance = (getattr(norm, name).numpy() for name in ("running_mean", "running_var"))
    if norm.training and norm.momentum is not None:
        count = feature.size // feature.shape[3]
        if count < 2:
            raise ValueError(f"training needs more than 1 value per channel, got {feature.shape}")
        statistics = kernels.measure(feature)
        kernels.update(statistics, count, norm.momentum, mean, variance)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        mean, variance = statistics
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    constants: Array = kernels.prepare(mean, variance, weight, bias, norm.eps)
    return constants


def _pool(branches: Sequence[_Branch]) -> Tensor:
    """Global average of the sum of the branches, (N, C)."""
    from sknet.kernels import pool

    images, _, _, channels = branches[0].feature.shape
    pooled = np.zeros((images, channels), branches[0].feature.dtype)
    for branch in branches:
        pool(*branch, pooled)
    return torch.from_numpy(pooled)


def _split(weights: Tensor | None, branches: Sequence[_Branch]) -> list[Array]:
    """The weights of every branch, (N, C); 1 without weights."""
    if weights is None:
        images, _, _, channels = branches[0].feature.shape
        return [np.ones((images, channels), branches[0].feature.dtype)] * len(branches)
    return [own.contiguous().numpy() for own in weights.detach().unbind(1)]


def _add_up(branches: Sequence[_Branch], weights: Sequence[Array], output: Array) -> None:
    """Writes the weighted sum of the branches."""
    from sknet.kernels import accumulate

    for i, (branch, own) in enumerate(zip(branches, weights, strict=True)):
        accumulate(*branch, own, output, i == 0)


def _differentiate_weights(branches: Sequence[_Branch], gradient: Array) -> Tensor:
    """Gradient of the weights of the branches, (N, M, C)."""
    from sknet.kernels import correlate

    images, _, _, channels = gradient.shape
    result = np.empty((len(branches), images, channels), gradient.dtype)
    for branch, own in zip(branches, result, strict=True):
        correlate(*branch, gradient, own)
    return torch.from_numpy(result).transpose(0, 1)


def _differentiate(
    branch: _Branch, gradient: Array, weights: Array, offset: Tensor | None, result: Array
) -> list[Tensor]:
    """Writes the gradient of a feature map; returns those of its normalisation's parameters."""
    from sknet.kernels import differentiate, sum_up

    added = np.zeros_like(weights) if offset is None else offset.numpy()
    sums = sum_up(*branch, gradient, weights, added)
    differentiate(*branch, gradient, weights, added, sums, result)
    product, total = torch.from_numpy(sums).to(torch.from_numpy(weights).dtype)
    return [product * torch.from_numpy(branch.constants[1]), total]
