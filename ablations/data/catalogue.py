"""What is known about each dataset without reading it: shape, classes, checksum, source."""

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

Crop = Literal["none", "pad", "resized"]
"""Random crop: none, of the padded image, or of random size and resized (ImageNet)."""

CropFill = Literal["black", "mean"]
"""Colour of the padding of a `pad` crop: black, or the mean of the training images, which is 0
after normalisation."""

ARRAY_CROPS: tuple[Crop, ...] = ("none", "pad")
"""Random crops of images of one size, such as those of a dataset of the user's own."""

FOLDER_CROPS: tuple[Crop, ...] = ("none", "resized")
"""Random crops of a folder of images of any size."""

CROP_SCALE = 0.08
"""Usual smallest area of a `resized` crop relative to the image."""


CIFAR10_MD5 = (
    ("cifar-10-batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
    ("cifar-10-batches-py/data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
    ("cifar-10-batches-py/data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
    ("cifar-10-batches-py/data_batch_4", "634d18415352ddfa80567beed471001a"),
    ("cifar-10-batches-py/data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ("cifar-10-batches-py/test_batch", "40351d587109b95175f43aff81a1287e"),
)
"""MD5 of the files of CIFAR-10's Python layout, as its authors publish them."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The facts of a dataset, and where its images come from."""

    name: str
    """Name in experiments.yaml; `package.module:function` for a dataset of the user's own."""

    channels: int
    """Channels of an image: 1 for grey, 3 for RGB."""

    image_size: int
    """Side in pixels of the square images that the network receives."""

    num_classes: int
    """Number of labels."""

    train_size: int
    """Number of training images."""

    test_size: int
    """Number of test images."""

    mean: tuple[float, ...]
    """Mean of each channel over the training images, on a scale from 0 (black) to 1 (white)."""

    std: tuple[float, ...]
    """Standard deviation of each channel over the training images, on the same scale."""

    reader: str = ""
    """Function that reads the arrays, as `module:function`, so that plans need not import it. It
    takes the dataset and the data directory. Unused for a folder of images."""

    download: str | None = None
    """Class of `torchvision.datasets` that downloads the files; None if nothing is downloaded."""

    checksum: str | None = None
    """SHA-256 of the prepared arrays. None for a folder of images, which has no fixed content, and
    for published files whose arrays nobody has hashed yet (see `published_md5`)."""

    published_md5: tuple[tuple[str, str], ...] = ()
    """Pickled files below the data directory with their published MD5, which is verified before
    they are opened. Without `checksum` they identify the images in the key of a trial."""

    unpublished: tuple[str, ...] = ()
    """The same images in files without a published MD5; read if the pickled files are missing."""

    is_folder: bool = False
    """Whether it is a folder of images, with one folder per class in train/ and in val/."""

    found: str | None = None
    """SHA-256 of what `identify_dataset` found on this machine: of a folder's sorted paths and
    sizes, or of the files without a published MD5. None if they are missing."""

    @property
    def crops(self) -> tuple[Crop, ...]:
        """Random crops that a recipe can ask for."""
        return FOLDER_CROPS if self.is_folder else ARRAY_CROPS

    @property
    def is_own(self) -> bool:
        """Whether a function of the user's own loads it; the name is `package.module:function`."""
        return ":" in self.name

    @property
    def identity(self) -> str:
        """What identifies the images in the key of a trial."""
        if self.checksum is not None:
            return self.checksum
        if self.found is not None:
            return f"found:{self.found}"
        return " ".join(f"{name}:{md5}" for name, md5 in self.published_md5) or "not found"

    @property
    def cache_name(self) -> str:
        """Name of the folder that holds the prepared arrays."""
        digest = self.checksum or hashlib.sha256(self.identity.encode()).hexdigest()
        return f"{re.sub(r'[^A-Za-z0-9_.]', '_', self.name)}-{digest[:12]}"


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
            reader="ablations.data.digits:draw_digits",
            checksum="d7f8cbc2fdaa3b37160aed26ed209d77d390c582145157632f801325b960777c",
        ),
        # For tuning: both splits are drawn from the training originals of multiscale_digits.
        Dataset(
            name="multiscale_digits_validation",
            channels=1,
            image_size=32,
            num_classes=10,
            train_size=6000,
            test_size=2000,
            mean=(0.1659,),
            std=(0.2468,),
            reader="ablations.data.digits:draw_validation_digits",
            checksum="fe5c573d1bb48971ae06f2952e6afe520b84339d154342814027c77d4b521815",
        ),
        Dataset(
            name="fashion_mnist",
            channels=1,
            image_size=28,
            num_classes=10,
            train_size=60_000,
            test_size=10_000,
            mean=(0.2860,),
            std=(0.3530,),
            reader="ablations.data.fashion_mnist:read_fashion_mnist",
            download="FashionMNIST",
            checksum="3dbcecbb29d9ed5c0576e5ba3f423876bce8da0032f60df01404c0308a7459d3",
        ),
        # For tuning: its test images are the last 10,000 training images of fashion_mnist.
        Dataset(
            name="fashion_mnist_validation",
            channels=1,
            image_size=28,
            num_classes=10,
            train_size=50_000,
            test_size=10_000,
            mean=(0.2855,),
            std=(0.3528,),
            reader="ablations.data.fashion_mnist:read_validation",
            download="FashionMNIST",
            checksum="28a33dc58739a3a3614087544ea25665f6e85aba06236362c9598757b138d086",
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
            reader="ablations.data.cifar:read_cifar",
            download="CIFAR10",
            checksum="97ae52245421cddc4d838dcc082cd1ca9464ae6bd72006d15138907b8b0518c4",
            published_md5=CIFAR10_MD5,
        ),
        Dataset(
            name="cifar10_validation",
            channels=3,
            image_size=32,
            num_classes=10,
            train_size=40_000,
            test_size=10_000,
            mean=(0.4915, 0.4821, 0.4462),
            std=(0.2472, 0.2437, 0.2617),
            reader="ablations.data.cifar:read_cifar",
            download="CIFAR10",
            checksum="f37da23399553bc8ce1e32dbf1a1678a060d11dfdac5331665c8dd9761281c7a",
            published_md5=CIFAR10_MD5,
        ),
        # Nobody has hashed its arrays yet: mean and standard deviation are those in common use.
        # Once `prepare_data` has read the published files, the checksum.txt that it writes beside
        # the arrays can be pinned here in place of the MD5; this changes the keys of its trials.
        Dataset(
            name="cifar100",
            channels=3,
            image_size=32,
            num_classes=100,
            train_size=50_000,
            test_size=10_000,
            mean=(0.5071, 0.4865, 0.4409),
            std=(0.2673, 0.2564, 0.2762),
            reader="ablations.data.cifar:read_cifar",
            download="CIFAR100",
            published_md5=(
                ("cifar-100-python/train", "16019d7e3df5f24257cddd939b257f8d"),
                ("cifar-100-python/test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            ),
            unpublished=("cifar-100-binary/train.bin", "cifar-100-binary/test.bin"),
        ),
        # Classes and sizes are the published ones; `identify_dataset` fills in those of the copy.
        Dataset(
            name="imagenet",
            channels=3,
            image_size=224,
            num_classes=1000,
            train_size=1_281_167,
            test_size=50_000,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            is_folder=True,
        ),
    )
}
"""Every dataset by name. To add one, write its reader and its entry here."""
