"""Features that people designed before networks learnt theirs: texture, edges and grey-level statistics on a grid.

Each function takes grey images, uint8 (n, height, width), and returns float32 (n, features).
"""

import numpy as np
from skimage.feature import hog, local_binary_pattern

CODES = 59  # of "nri_uniform" with eight neighbours: 58 uniform patterns, and one for all others


def lbp(images: np.ndarray, cell: int = 8) -> np.ndarray:
    """Local Binary Patterns (Ojala et al. 2002, doi 10.1109/TPAMI.2002.1017623): which of its eight neighbours are as
    light as a pixel; the square roots of the shares of the 59 patterns, in cells of `cell` x `cell` pixels."""
    codes = [local_binary_pattern(image, 8, 1, "nri_uniform") for image in images]
    cells = _cells(np.array(codes, np.uint8), cell)
    shares = np.stack([(cells == code).mean(axis=2, dtype=np.float32) for code in range(CODES)], axis=2)
    return np.sqrt(shares).reshape(len(images), -1)


def gradients(images: np.ndarray, cell: int = 6) -> np.ndarray:
    """HOG, histograms of oriented gradients (Dalal and Triggs 2005, doi 10.1109/CVPR.2005.177): nine directions in
    cells of `cell` x `cell` pixels, contrast evened out in blocks of 2x2 cells."""
    shape = {"orientations": 9, "pixels_per_cell": (cell, cell), "cells_per_block": (2, 2)}
    return np.array([hog(image, **shape) for image in images], np.float32)


def moments(images: np.ndarray, cell: int = 6) -> np.ndarray:
    """Higher-order statistics: mean, variance, skewness and kurtosis of the grey levels (0..1) in cells of `cell` x
    `cell` pixels; skewness and kurtosis of a constant cell are 0."""
    cells = _cells(images, cell).astype(np.float32) / 255
    mean, deviation = cells.mean(axis=2), cells.std(axis=2)
    varied = deviation > 1e-4
    z = (cells - mean[..., None]) / np.where(varied, deviation, 1)[..., None]
    skewness, kurtosis = (z**3).mean(axis=2), np.where(varied, (z**4).mean(axis=2) - 3, 0)
    return np.concatenate([mean, deviation**2, skewness, kurtosis], axis=1).astype(np.float32)


def _cells(images: np.ndarray, cell: int) -> np.ndarray:
    """(n, height, width) -> (n, cells, pixels of a cell); what is left at the right and below is cut off."""
    n, rows, columns = len(images), images.shape[1] // cell, images.shape[2] // cell
    grid = images[:, : rows * cell, : columns * cell].reshape(n, rows, cell, columns, cell)
    return grid.swapaxes(2, 3).reshape(n, rows * columns, cell * cell)
