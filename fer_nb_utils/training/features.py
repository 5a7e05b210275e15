"""What a training loop reads: fresh augmented images every epoch, or the frozen backbone's features, computed once."""

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..networks.device import autocast
from ..networks.transforms import Augment, Preprocess, batches
from ..progress import progress_bar

MEMORY_LIMIT = 1024**3  # bytes of cached features kept in memory; more goes to disk


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

    `features`: float16 (views, n, ...). Each epoch takes the next view of every image, from a start that `seed` draws:
    with as many views as epochs, each is used once, as fresh augmentation would.
    """

    def __init__(self, features: np.ndarray, device: torch.device, seed: int):
        self.features, self.device = features, device
        views, images = features.shape[:2]
        self.first_view = np.random.default_rng(seed).integers(views, size=images)

    def batch(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Tensor:
        """Indices (b,) on the CPU -> float32 features (b, ...), ready for the head; nothing is drawn."""
        rows = indices.numpy()
        view = (self.first_view[rows] + epoch) % len(self.features)
        return torch.from_numpy(self.features[view, rows]).to(self.device).float()


def compute_features(
    source: AugmentedImages, backbone: nn.Module, views: int, seed: int, precision: str, spill: Path
) -> np.ndarray:
    """The backbone's output for `views` augmented copies of each of n images: float16 (views, n, ...).

    In memory up to MEMORY_LIMIT, in the file `spill` beyond it. Raises UserError when the disk has no room for it.
    """
    device = source.images.device
    generator = torch.Generator().manual_seed(seed)
    images, features = len(source.images), None
    backbone.eval()
    with progress_bar(total=views * images, unit="image", desc="features") as bar, torch.no_grad():
        for view in range(views):
            for part in batches(torch.arange(images), 256):
                with autocast(device, precision):
                    output = backbone(source.batch(part, view, generator)).half().cpu().numpy()
                if features is None:
                    features = _allocate((views, images, *output.shape[1:]), spill)
                features[view, part.numpy()] = output
                bar.update(len(part))
    return features


def _allocate(shape: tuple[int, ...], spill: Path) -> np.ndarray:
    size = 2 * int(np.prod(shape))
    if size <= MEMORY_LIMIT:
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
