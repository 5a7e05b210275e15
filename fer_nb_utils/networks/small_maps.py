"""Convolutions of very small feature maps as matrix products: the same numbers but for rounding, in less time."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 4  # places of the output, so `layer4` of images up to 64 px; above, a CPU's own convolutions are as fast


class MatrixConv2d(nn.Conv2d):
    """A convolution without bias, dilation or groups, for small outputs on a CPU.

    What a filter sees at each place becomes a row of a matrix, and all filters are one product with it (Chellapilla et
    al. 2006, "High performance convolutional neural networks for document processing").
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Float (n, channels, height, width) -> (n, filters, height, width), as of nn.Conv2d."""
        (size, _), (step, _), (margin, _) = self.kernel_size, self.stride, self.padding
        height, width = ((length + 2 * margin - size) // step + 1 for length in maps.shape[2:])
        if height * width > SMALL or maps.device.type != "cpu":
            return super().forward(maps)
        maps = F.pad(maps.permute(0, 2, 3, 1), (0, 0, margin, margin, margin, margin))
        offsets = [(down, right) for down in range(size) for right in range(size)]
        seen = [maps[:, y : y + step * height : step, x : x + step * width : step] for y, x in offsets]
        filters = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(torch.cat(seen, dim=3), filters).permute(0, 3, 1, 2)


@contextmanager
def small_maps_as_matrices(model: nn.Module) -> Iterator[None]:
    """Inside, the model's convolutions are MatrixConv2d; parameters, their names and hooks stay."""
    plain = [module for module in model.modules() if type(module) is nn.Conv2d]
    for module in plain:
        module.__class__ = MatrixConv2d
    try:
        yield
    finally:
        for module in plain:
            module.__class__ = nn.Conv2d
