"""What a training loop reads: fresh augmented images every epoch, or the frozen backbone's features, computed once."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

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

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Indices (b,) on the CPU -> float32 (b, 3, size, size), ready for the network."""
        chosen = self.images[indices.to(self.images.device)]
        if self.augment is None:
            return self.preprocess(chosen)
        return self.preprocess.normalize(self.augment(chosen, self.preprocess.image_size, generator))


class CachedFeatures:
    """Training input of the head alone: the frozen backbone's output for `views` augmented copies of each image.

    Features are float16 (views, n, ...), in memory up to MEMORY_LIMIT and in the file `spill` beyond it. An epoch draws
    one of the views for each image.
    """

    def __init__(
        self, source: AugmentedImages, backbone: nn.Module, views: int, seed: int, precision: str, spill: Path
    ):
        self.device = source.images.device
        generator = torch.Generator().manual_seed(seed)
        parts = batches(torch.arange(len(source.images)), 256)
        done = 0
        backbone.eval()
        with progress_bar(total=views * len(source.images), unit="image", desc="features") as bar, torch.no_grad():
            for view in range(views):
                for part in parts:
                    with autocast(self.device, precision):
                        features = backbone(source.batch(part, generator)).half().cpu()
                    if not done:
                        self.features = _allocate((views, len(source.images), *features.shape[1:]), spill)
                    self.features[view, part] = features
                    done += len(part)
                    bar.update(len(part))

    def batch(self, indices: Tensor, generator: torch.Generator) -> Tensor:
        """Indices (b,) on the CPU -> float32 features (b, ...), ready for the head."""
        view = torch.randint(len(self.features), indices.shape, generator=generator)
        return self.features[view, indices].to(self.device).float()


def _allocate(shape: tuple[int, ...], spill: Path) -> Tensor:
    if 2 * np.prod(shape) <= MEMORY_LIMIT:
        return torch.empty(shape, dtype=torch.float16)
    return torch.from_numpy(np.lib.format.open_memmap(spill, mode="w+", dtype=np.float16, shape=shape))
