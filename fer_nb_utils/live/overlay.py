"""Boxes and labels drawn on a frame."""

from collections.abc import Sequence

import cv2
import numpy as np

from ..classes import CLASS_COLORS, NOT_SURE
from .smoothing import Face

LEAST = 640  # pixels of a picture's longer side, so that its labels can be read
COLORS = CLASS_COLORS | {NOT_SURE: "#E6E6E6"}
BGR = {name: tuple(bytes.fromhex(color[1:]))[::-1] for name, color in COLORS.items()}


def annotate(image: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of a frame, uint8 (height, width, 3) BGR, with every face boxed and labelled.

    A frame whose longer side has less than LEAST pixels is enlarged.
    """
    enlarged = max(1, LEAST / max(image.shape[:2]))
    drawn = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)  # a copy in any case
    height, width, _ = drawn.shape
    scale = min(height, 0.75 * width) / 480  # text and lines grow with the picture
    thickness = max(1, round(2 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale
    for face in faces:
        x, y, across, down = (round(enlarged * value) for value in face.box)
        color = BGR[face.label]
        cv2.rectangle(drawn, (x, y), (x + across, y + down), color, thickness)
        (length, tall), below = cv2.getTextSize(face.caption, *font, thickness)
        left = max(min(x, width - length - below), 0)
        top = max(y - tall - 2 * below, 0)
        cv2.rectangle(drawn, (left, top), (left + length + below, top + tall + 2 * below), color, cv2.FILLED)
        origin = (left + below // 2, top + tall + below // 2 + 1)
        cv2.putText(drawn, face.caption, origin, *font, (0, 0, 0), thickness, cv2.LINE_AA)
    return drawn
