"""What a training loop reads: fresh augmented images every epoch, or the frozen backbone's features, computed once."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from ..data.dataset import Dataset
from ..errors import UserError
from ..files import atomic_path
from ..networks.device import autocast
from ..networks.transforms import Augment, Preprocess, batches
from ..progress import progress_bar

MEMORY_LIMIT = 1024**3  # bytes of cached features kept in memory; more goes to disk


@dataclass(frozen=True)
class FeaturePool:
    """All Training images, and a folder where runs of several seeds and learning rates keep one set of features.

    `folder` None: the run keeps them to itself. The numbers are the same either way.
    """

    training: Dataset
    folder: Path | None = None


class AugmentedImages:
    """Training input made anew in every epoch: the whole network sees it.

    `images`: uint8 (n, height, width) on the device that computes; `augment` None leaves them as they are.
    """

    def __init__(self, images: Tensor, preprocess: Preprocess, augment: Augment | None):
        self.images, self.preprocess, self.augment = images, preprocess, augment

    def batch(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        """Indices (b,) on the CPU -> float32 (b, 3, size, size), ready for the network; `epoch` plays no part."""
        chosen = self.images[indices.to(self.images.device)]
        if self.augment is None:
            return self.preprocess(chosen)
        return self.preprocess.normalize(self.augment(chosen, self.preprocess.image_size, generator))


class CachedFeatures:
    """Training input of the head alone: the frozen backbone's output for several augmented copies of each image.

    `features`: float16 (views, n, ...); `rows`: int64 (m,), those of the m images that are trained on. Each epoch takes
    the next view of every image, from a start that `seed` draws: with as many views as epochs, each is used once, as
    fresh augmentation would.
    """

    def __init__(self, features: np.ndarray, rows: np.ndarray, device: torch.device, seed: int):
        self.features, self.rows, self.device = features, rows, device
        self.first_view = np.random.default_rng(seed).integers(len(features), size=len(rows))

    def batch(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        """Indices (b,) on the CPU -> float32 features (b, ...), ready for the head; nothing is drawn."""
        view = (self.first_view[indices.numpy()] + epoch) % len(self.features)
        return torch.from_numpy(self.features[view, self.rows[indices.numpy()]]).to(self.device).float()


def shared_features(
    source: AugmentedImages, backbone: nn.Module, views: int, precision: str, folder: Path
) -> np.ndarray:
    """`compute_features`, kept in a file of `folder` that is named by all that decides it, for the next run to read.

    Where several processes want the same, one computes and the others wait.
    """
    digest = hashlib.sha256(f"{source.preprocess} {source.augment} {views} {precision} {torch.__version__}".encode())
    for tensor in (source.images, *backbone.state_dict().values()):
        digest.update(tensor.detach().cpu().contiguous().numpy())
    path = folder / f"features-{digest.hexdigest()[:16]}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            with atomic_path(path) as temporary:
                compute_features(source, backbone, views, precision, temporary, on_disk=True)
    return np.load(path, mmap_mode="r")


def compute_features(
    source: AugmentedImages, backbone: nn.Module, views: int, precision: str, spill: Path, on_disk: bool = False
) -> np.ndarray:
    """The backbone's output for `views` augmented copies of each of n images: float16 (views, n, ...).

    In memory up to MEMORY_LIMIT, in the file `spill` beyond it or when `on_disk` asks for it. Raises UserError when the
    disk has no room for it.
    """
    device = source.images.device
    generator = torch.Generator().manual_seed(0)
    images, features = len(source.images), None
    backbone.eval()
    with progress_bar(total=views * images, unit="image", desc="features") as bar, torch.no_grad():
        for view in range(views):
            for part in batches(torch.arange(images), 256):
                with autocast(device, precision):
                    output = backbone(source.batch(part, view, generator)).half().cpu().numpy()
                if features is None:
                    features = _allocate((views, images, *output.shape[1:]), spill, on_disk)
                features[view, part.numpy()] = output
                bar.update(len(part))
    return features


def _allocate(shape: tuple[int, ...], spill: Path, on_disk: bool) -> np.ndarray:
    size = 2 * int(np.prod(shape))
    if size <= MEMORY_LIMIT and not on_disk:
        return np.empty(shape, np.float16)
    try:
        if shutil.disk_usage(spill.parent).free < size:
            raise OSError("too little is free")
        features = np.lib.format.open_memmap(spill, mode="w+", dtype=np.float16, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a sparse file on a disk that fills up would kill the process
            with spill.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, spill.stat().st_size)
    except OSError as error:
        spill.unlink(missing_ok=True)
        raise UserError(
            f"Cached features need {size / 1e9:.1f} GB in {spill.parent} ({error}): free some, or lower cached_views."
        ) from error
    return features
