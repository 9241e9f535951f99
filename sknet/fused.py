"""Batch normalisation, ReLU, Fuse, Select and residual sums in few passes over the feature maps.

Only the outputs of convolutions are stored for backward; everything that follows from them channel
by channel is computed again. Needs numba and a CPU; otherwise the readable definitions are used.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    """Whether fast paths may be used: not while a graph is compiled, exported or counted."""
    return _is_enabled and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


@cache
def has_kernels() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def can_fuse(x: Tensor, norm: nn.Module) -> bool:
    """Whether `fuse` has kernels for feature maps like `x`, and can do what this layer does.

    In evaluation it has no gradients.
    """
    return (
        is_fast()
        and has_kernels()
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.weight.dtype == x.dtype
        and norm.running_mean is not None
        and norm.momentum is not None
        and (norm.training or not torch.is_grad_enabled())
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether someone wants to see what the module computes, so that it must be called."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def fuse(
    features: Sequence[Tensor],
    norms: Sequence[nn.BatchNorm2d],
    *,
    weigh: Weigh | None = None,
    parameters: Sequence[Tensor] = (),
) -> Tensor:
    """Normalises and rectifies every branch, and adds the branches up, by weights if there are any.

    Shapes:
        features: M of (N, C, H, W) -> (N, C, H, W)

    Args:
        features: Outputs of the branches' convolutions.
        norms: The normalisation of every branch; in training, running statistics are updated.
        weigh: Computes the weights of the branches; None adds the branches up.
        parameters: Parameters of `weigh`.
    """
    affine = [parameter for norm in norms for parameter in (norm.weight, norm.bias)]
    fused: Tensor = _Fuse.apply(tuple(norms), weigh, *features, *affine, *parameters)  # type: ignore[no-untyped-call]
    return fused


def fuse_residual(
    features: Sequence[Tensor], norms: Sequence[nn.BatchNorm2d], identity: Tensor | None = None
) -> Tensor:
    """Normalises every feature map, adds them up together with `identity`, and applies ReLU.

    Shapes:
        features: M of (N, C, H, W); identity: (N, C, H, W) -> (N, C, H, W)
    """
    affine = [parameter for norm in norms for parameter in (norm.weight, norm.bias)]
    fused: Tensor = _FuseResidual.apply(tuple(norms), identity, *features, *affine)  # type: ignore[no-untyped-call]
    return fused


class _Fuse(torch.autograd.Function):
    """See `fuse`."""

    @staticmethod
    def forward(
        ctx: Any, norms: tuple[nn.BatchNorm2d, ...], weigh: Weigh | None, *tensors: Tensor
    ) -> Tensor:
        count = len(norms)
        branches = _normalise_all(norms, tensors[:count])
        ctx.selection = None
        weights = None
        if weigh is not None:
            with torch.enable_grad():
                pooled = _pool(branches).requires_grad_()
                weights = weigh(pooled)
            ctx.selection = (pooled, weights, tensors[3 * count :])
        _save(ctx, branches)
        return _add_up(branches, _split_weights(weights, branches), rectify=True)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        branches = _restore(ctx)
        weights, offset, others = None, None, ()
        arriving = _view(gradient)
        if ctx.selection is not None:
            pooled, weights, parameters = ctx.selection
            offset, *others = torch.autograd.grad(
                weights,
                (pooled, *parameters),
                _differentiate_weights(branches, arriving),
                retain_graph=True,
            )
            offset = offset / arriving.shape[1]
        results = [
            _differentiate(branch, arriving, own, offset, rectify=True)
            for branch, own in zip(branches, _split_weights(weights, branches), strict=True)
        ]
        return (None, None, *_arrange(results), *others)


class _FuseResidual(torch.autograd.Function):
    """See `fuse_residual`."""

    @staticmethod
    def forward(
        ctx: Any, norms: tuple[nn.BatchNorm2d, ...], identity: Tensor | None, *tensors: Tensor
    ) -> Tensor:
        branches = _normalise_all(norms, tensors[: len(norms)])
        total = _add_up(branches, _split_weights(None, branches), rectify=False)
        if identity is not None:
            total += identity
        output = total.relu_()
        ctx.has_identity = identity is not None
        _save(ctx, branches, output)
        return output

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        branches = _restore(ctx)
        passed = torch.ops.aten.threshold_backward(gradient, ctx.saved_tensors[-1], 0)
        results = [
            _differentiate(branch, _view(passed), own, None, rectify=False)
            for branch, own in zip(branches, _split_weights(None, branches), strict=True)
        ]
        return (None, passed if ctx.has_identity else None, *_arrange(results))


@dataclass(frozen=True)
class _Branch:
    """One branch: y = scale * x + shift, with scale = weight / deviation, and perhaps ReLU."""

    feature: Tensor
    """(N, C, H, W), x."""

    mean: Tensor
    """(C,), over the batch in training."""

    inverse_deviation: Tensor
    """(C,)"""

    weight: Tensor
    """(C,), of the normalisation."""

    bias: Tensor
    """(C,), of the normalisation."""

    def arrays(self) -> tuple[Array, Array, Array]:
        """x, scale and shift."""
        scale = self.inverse_deviation * self.weight
        shift = self.bias - self.mean * scale
        return _view(self.feature), scale.numpy(), shift.numpy()


def _save(ctx: Any, branches: Sequence[_Branch], *others: Tensor) -> None:
    columns = [(b.feature, b.mean, b.inverse_deviation, b.weight, b.bias) for b in branches]
    ctx.count = len(branches)
    ctx.save_for_backward(*(tensor for column in columns for tensor in column), *others)


def _restore(ctx: Any) -> list[_Branch]:
    saved = [tensor.detach() for tensor in ctx.saved_tensors]
    return [_Branch(*saved[5 * i : 5 * i + 5]) for i in range(ctx.count)]


def _view(feature: Tensor) -> Array:
    """A feature map as an array (N, H * W, C); it shares memory if it is channels_last."""
    pixels = feature.detach().permute(0, 2, 3, 1).flatten(1, 2)
    return pixels.contiguous().numpy()


def _new_feature(like: Tensor) -> Tensor:
    """An uninitialised feature map in channels_last, of which `_view` is no copy."""
    count, channels, height, width = like.shape
    return like.new_empty(count, height, width, channels).permute(0, 3, 1, 2)


def _normalise_all(
    norms: Sequence[nn.BatchNorm2d], features: Sequence[Tensor]
) -> list[_Branch]:
    return [_normalise(norm, feature) for norm, feature in zip(norms, features, strict=True)]


def _normalise(norm: nn.BatchNorm2d, feature: Tensor) -> _Branch:
    """Takes the statistics of the batch, and updates the running ones; or takes the latter."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = norm.running_mean, norm.running_var
    if norm.training:
        mean, variance = _update_statistics(norm, feature)
    inverse_deviation = (variance + norm.eps).rsqrt()
    return _Branch(
        feature.detach(), mean, inverse_deviation, norm.weight.detach(), norm.bias.detach()
    )


def _update_statistics(norm: nn.BatchNorm2d, feature: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of a batch; the running variance is unbiased, as in PyTorch."""
    from sknet.kernels import measure

    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.momentum is not None
    count = feature.numel() // feature.shape[1]
    if count == 1:
        raise ValueError(f"expected more than 1 value per channel when training, got {feature.shape}")
    mean, variance = torch.from_numpy(measure(_view(feature))).to(feature.dtype)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    return mean, variance


def _pool(branches: Sequence[_Branch]) -> Tensor:
    """Global average of the sum of the branches, (N, C)."""
    from sknet.kernels import pool

    pooled = branches[0].mean.new_zeros(branches[0].feature.shape[:2])
    for branch in branches:
        pool(*branch.arrays(), pooled.numpy())
    return pooled


def _split_weights(weights: Tensor | None, branches: Sequence[_Branch]) -> list[Array]:
    """The weights of every branch, (N, C); 1 without weights."""
    if weights is None:
        first = branches[0].feature
        return [np.ones(first.shape[:2], _view(first).dtype)] * len(branches)
    return [own.contiguous().numpy() for own in weights.detach().unbind(1)]


def _add_up(branches: Sequence[_Branch], weights: Sequence[Array], *, rectify: bool) -> Tensor:
    from sknet.kernels import add, write

    total = _new_feature(branches[0].feature)
    for i, (branch, own) in enumerate(zip(branches, weights, strict=True)):
        (add if i else write)(*branch.arrays(), own, _view(total), rectify)
    return total


def _differentiate_weights(branches: Sequence[_Branch], gradient: Array) -> Tensor:
    """Gradient of the weights of the branches, (N, M, C)."""
    from sknet.kernels import correlate

    result = branches[0].mean.new_empty(len(branches), gradient.shape[0], gradient.shape[2])
    for branch, own in zip(branches, result, strict=True):
        correlate(*branch.arrays(), gradient, own.numpy())
    return result.transpose(0, 1)


def _differentiate(
    branch: _Branch, gradient: Array, weights: Array, offset: Tensor | None, *, rectify: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the feature map, and of weight and bias of its normalisation.

    Args:
        branch: The branch, with the statistics of the batch.
        gradient: Gradient of the sum of the branches.
        weights: (N, C), weights of the branch.
        offset: (N, C), what is added to the gradient of every pixel; nothing if None.
        rectify: Whether ReLU follows the normalisation.

    Reference:
        Ioffe and Szegedy, Batch Normalization, ICML 2015, section 3.
    """
    from sknet.kernels import differentiate, sum_gradients

    x, scale, shift = branch.arrays()
    added = np.zeros_like(weights) if offset is None else offset.numpy()
    arriving = (gradient, weights, added)
    sums = sum_gradients(x, scale, shift, branch.mean.numpy(), *arriving, rectify)
    bias_gradient, centred = torch.from_numpy(sums).to(branch.mean.dtype)
    weight_gradient = centred * branch.inverse_deviation
    # scale * (d - mean(d) - normalised x * mean(d * normalised x)) = scale * d + slope * x + base
    count = x.shape[0] * x.shape[1]
    slope = -branch.weight * branch.inverse_deviation**2 * weight_gradient / count
    base = -branch.weight * branch.inverse_deviation * bias_gradient / count - branch.mean * slope
    result = _new_feature(branch.feature)
    differentiate(
        x, scale, shift, slope.numpy(), base.numpy(), *arriving, _view(result), rectify
    )
    return result, weight_gradient, bias_gradient


def _arrange(results: Sequence[tuple[Tensor, Tensor, Tensor]]) -> list[Tensor]:
    """Gradients in the order of inputs: feature maps, then weight and bias of every branch."""
    features = [feature for feature, _, _ in results]
    return features + [tensor for _, *affine in results for tensor in affine]
