"""From grey uint8 images to network input: one preprocessing for training, evaluation and the live camera."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# ImageNet statistics of torchvision's pretrained ResNets, https://docs.pytorch.org/vision/stable/models.html
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """Resize, repeat grey to three channels, normalise.

    `image_size`: side of the square network input in pixels.
    """

    image_size: int = 64

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (n, height, width) -> float32 (n, 3, image_size, image_size), on the same device."""
        return self.normalize(self.resize(images))

    def resize(self, images: Tensor) -> Tensor:
        """uint8 (n, height, width) -> float32 (n, 1, image_size, image_size) in 0..1."""
        grey = images[:, None].float() / 255
        size = (self.image_size, self.image_size)
        return grey if grey.shape[2:] == size else F.interpolate(grey, size, mode="bilinear", antialias=True)

    def normalize(self, grey: Tensor) -> Tensor:
        """float32 (n, 1, size, size) in 0..1 -> float32 (n, 3, size, size), about zero mean and unit variance."""
        mean = torch.tensor(IMAGENET_MEAN, device=grey.device)[:, None, None]
        std = torch.tensor(IMAGENET_STD, device=grey.device)[:, None, None]
        return (grey - mean) / std


@dataclass(frozen=True)
class Augment:
    """Random flips, affine changes and lighting: the paper's list, with strengths of our own choice.

    Every strength is the largest change; each image draws its own, uniformly.
    """

    flip: float = 0.5  # probability of a mirror image
    rotation: float = 10.0  # degrees
    shift: float = 0.08  # share of the width and height
    scale: float = 0.1  # share, so 0.1 means 0.9 to 1.1
    shear: float = 5.0  # degrees
    brightness: float = 0.2  # added to grey values in 0..1
    contrast: float = 0.2  # share, about the image's own mean

    def __call__(self, images: Tensor, image_size: int, generator: torch.Generator) -> Tensor:
        """uint8 (n, height, width) -> float32 (n, 1, image_size, image_size) in 0..1.

        `generator` lives on the CPU, so the draws are the same on every device. Resizing happens in the same
        resampling step as the affine change, which keeps the image sharp.
        """
        n, device = len(images), images.device
        draw = (torch.rand(n, 8, generator=generator) * 2 - 1).to(device)
        angle = torch.deg2rad(draw[:, 0] * self.rotation)
        shear = torch.tan(torch.deg2rad(draw[:, 1] * self.shear))
        scale = 1 / (1 + draw[:, 2] * self.scale)
        mirror = 1 - 2 * ((draw[:, 3] + 1) / 2 < self.flip).float()
        # affine_grid maps output to input coordinates in -1..1, hence the inverse scale and the factor 2 of the shift
        cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
        row_x = torch.stack([cos * mirror, cos * shear - sin, 2 * self.shift * draw[:, 4]], dim=1)
        row_y = torch.stack([sin * mirror, sin * shear + cos, 2 * self.shift * draw[:, 5]], dim=1)
        grid = F.affine_grid(torch.stack([row_x, row_y], dim=1), [n, 1, image_size, image_size], align_corners=False)
        grey = F.grid_sample(images[:, None].float() / 255, grid, padding_mode="border", align_corners=False)
        brightness = (draw[:, 6] * self.brightness)[:, None, None, None]
        contrast = (1 + draw[:, 7] * self.contrast)[:, None, None, None]
        mean = grey.mean(dim=(2, 3), keepdim=True)
        return ((grey - mean) * contrast + mean + brightness).clamp_(0, 1)


def steps_in(count: int, batch_size: int) -> int:
    """Number of batches that `count` images make."""
    return math.ceil(count / batch_size)


def batches(order: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Indices (n,) -> batches of nearly equal size: no last batch of one image, which batch norm rejects."""
    return torch.tensor_split(order, steps_in(len(order), batch_size))
