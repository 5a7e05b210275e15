"""How far a network's probabilities may be believed: temperature scaling, and the expected calibration error.

Both after Guo et al. 2017, doi 10.48550/arXiv.1706.04599.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature, of 0.05 to 20, that makes the labels likeliest; above 1: the probabilities were too sure.

    `probabilities`: float (n, 7); `labels`: int (n,), index into CLASSES. Probabilities serve as well as logits: these
    are their logarithms, up to a constant that softmax takes away.
    """
    logits = np.log(np.clip(probabilities, 1e-12, 1))

    def loss(log_temperature: float) -> float:
        return -log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, 0..1: by how much confidence and accuracy differ in bins of equal width, on average.

    `probabilities`: float (n, 7); `labels`: int (n,), index into CLASSES.
    """
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == labels) - confidence
    slot = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(slot, weights=gap)).sum() / len(gap))
