"""Evaluations of published weights for tests."""

from pathlib import Path
from typing import Any

from recordings import ENVIRONMENT

from ablations.evaluations import Checkpoint, Errors, Evaluation, Images, write_evaluation
from ablations.speed import identify_network
from sknet.zoo import NETWORKS

IMAGES = Images(
    name="imagenet",
    sha256="ab" * 32,
    count=50_000,
    num_classes=1000,
    resize="bilinear, antialiased",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def make_evaluation(network: str = "sknet50", **changes: Any) -> Evaluation:
    """An evaluation of a network of the zoo: top-1 errors of 20 and 19 %, top-5 of 5 and 4.5 %."""
    spec = NETWORKS[network]
    known: dict[str, Any] = {
        "network": network,
        "identity": identify_network(spec, spec.body.input_size),
        "checkpoint": Checkpoint(
            file=f"{network}.pth", sha256="cd" * 32, library="torchvision or timm"
        ),
        "images": IMAGES,
        "precision": "fp32",
        "errors": (
            Errors(image_size=224, shorter_side=256, top1=10_000, top5=2_500),
            Errors(image_size=320, shorter_side=366, top1=9_500, top5=2_250),
        ),
        "environment": ENVIRONMENT,
        "evaluated_at": 1.0,
    }
    return Evaluation(**{**known, **changes})


def keep(*evaluations: Evaluation, runs_dir: Path) -> None:
    """Writes evaluations where commands look for them."""
    for evaluation in evaluations:
        write_evaluation(evaluation, runs_dir / "evaluations")
