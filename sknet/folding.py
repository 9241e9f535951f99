"""Folds batch normalisation into convolutions, for inference."""

import copy
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

M = TypeVar("M", bound=nn.Module)


def fold_normalisation(network: M) -> M:
    """A copy of the network for inference, with batch normalisation folded into other layers.

    This is the normalisation that follows a convolution or a fully connected layer in a sequence of
    layers; that inside of units of `SqueezeExcitation(batch_norm=True)` stays. Outputs are equal up
    to rounding. The copy is in evaluation mode and must stay there, and it has other parameters
    than the network that it was made of.

    Examples:
        >>> import torch
        >>> from sknet import create_model
        >>> network = create_model("sknet_tiny").eval()
        >>> images = torch.rand(2, 3, 32, 32)
        >>> with torch.inference_mode():
        ...     torch.allclose(fold_normalisation(network)(images), network(images), atol=1e-5)
        True
    """
    folded = copy.deepcopy(network).eval()
    for layers in folded.modules():
        if not isinstance(layers, nn.Sequential):
            continue
        for i, (layer, norm) in enumerate(zip(list(layers), list(layers)[1:], strict=False)):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[i], layers[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
            elif isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
                layers[i], layers[i + 1] = fuse_linear_bn_eval(layer, norm), nn.Identity()
    return folded
