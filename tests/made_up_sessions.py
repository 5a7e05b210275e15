"""What tests of the live room share: a network that answers by brightness, faces made by hand, a video's frames."""

import cv2
import numpy as np
import torch
from torch import nn

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.live.smoothing import Face
from fer_nb_utils.networks.transforms import Preprocess


class Mean(nn.Module):
    """The brighter the face, the more likely each class than the one before."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.arange(7.0))

    def forward(self, inputs):
        return inputs.mean(dim=(1, 2, 3))[:, None] * self.slope


MODEL, TRANSFORM = Mean(), Preprocess(32)


def face(label, confidence, box=(100, 100, 50, 50), probable=None):
    """With a label that leads, or, where another expression is `probable`, one that is held."""
    probabilities = np.full(7, 0.0)
    if probable:
        probabilities[CLASSES.index(probable)] = 1
    probabilities[CLASSES.index(label)] = confidence
    return Face(1, box, probabilities, label, 0.0, 0.0, label)


def unsure(box):
    return Face(1, box, np.full(7, 1 / 7), "sad", 0.0, 0.0, NOT_SURE)


def read_video(path):
    """Its frames and their number a second."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)
