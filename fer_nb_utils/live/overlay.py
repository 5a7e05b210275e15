"""Boxes and labels drawn on a frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from ..classes import CLASS_COLORS, CLASSES
from .pipeline import Face

BGR = {name: tuple(bytes.fromhex(color[1:]))[::-1] for name, color in CLASS_COLORS.items()}


def annotate(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A BGR copy of a frame, uint8 (height, width) or (height, width, 3 or 4), with every face boxed and labelled."""
    if image.ndim == 2 or image.shape[2] == 1:
        drawn = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    else:
        drawn = image[:, :, :3].copy()
    height, width, _ = drawn.shape
    scale = min(height, 0.75 * width) / 480  # text and lines grow with the picture
    thickness = max(1, round(2 * scale))
    for face in faces:
        x, y, across, down = face.box
        color = BGR[face.label]
        cv2.rectangle(drawn, (x, y), (x + across, y + down), color, thickness)
        text = f"{face.label} {face.probabilities[CLASSES.index(face.label)]:.0%}"
        (length, tall), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, thickness)
        left = max(min(x, width - length - below), 0)
        top = max(y - tall - 2 * below, 0)
        cv2.rectangle(drawn, (left, top), (left + length + below, top + tall + 2 * below), color, cv2.FILLED)
        origin = (left + below // 2, top + tall + below // 2 + 1)
        cv2.putText(drawn, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, (0, 0, 0), thickness, cv2.LINE_AA)
    return drawn
