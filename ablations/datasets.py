"""What is known of each dataset without reading it: sizes, classes, checksum."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset's facts; its images are read by `ablations.data`."""

    name: str
    """Its name in experiments.yaml."""

    channels: int
    """Channels of an image: 1 for grey, 3 for RGB."""

    image_size: int
    """Side of the square images that a network sees, in pixels."""

    num_classes: int
    """Number of labels."""

    train_size: int
    """Number of training images."""

    test_size: int
    """Number of test images."""

    mean: tuple[float, ...]
    """Mean of each channel over the training images, black being 0 and white 1."""

    std: tuple[float, ...]
    """Standard deviation of each channel over the training images, in the same unit."""

    checksum: str | None
    """SHA-256 of the prepared arrays; None for a folder of images, which has no fixed content."""


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="multiscale_digits",
            channels=1,
            image_size=32,
            num_classes=10,
            train_size=6000,
            test_size=2000,
            mean=(0.1678,),
            std=(0.2481,),
            checksum="d7f8cbc2fdaa3b37160aed26ed209d77d390c582145157632f801325b960777c",
        ),
        # For tuning: both parts come from the training originals of multiscale_digits.
        Dataset(
            name="multiscale_digits_validation",
            channels=1,
            image_size=32,
            num_classes=10,
            train_size=6000,
            test_size=2000,
            mean=(0.1659,),
            std=(0.2468,),
            checksum="fe5c573d1bb48971ae06f2952e6afe520b84339d154342814027c77d4b521815",
        ),
        Dataset(
            name="cifar10",
            channels=3,
            image_size=32,
            num_classes=10,
            train_size=50_000,
            test_size=10_000,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            checksum="97ae52245421cddc4d838dcc082cd1ca9464ae6bd72006d15138907b8b0518c4",
        ),
        Dataset(
            name="imagenet",
            channels=3,
            image_size=224,
            num_classes=1000,
            train_size=1_281_167,
            test_size=50_000,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            checksum=None,
        ),
    )
}
"""Every dataset that a recipe can name."""
