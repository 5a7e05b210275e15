"""The paper's Fig. 5: the most confident look of each expression during a session, in memory only."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..classes import NOT_SURE
from .detector import square
from .smoothing import Face

ROOM = 0.35  # shown round the face, as a share of its box on each side


@dataclass(frozen=True)
class Snapshot:
    """A face with some room round it, uint8 (side, side, 3) BGR, the probability of its label, 0 to 1,
    and when it was seen, in seconds since the source began."""

    image: np.ndarray
    probability: float
    seconds: float


class Snapshots(dict[str, Snapshot]):
    """The most confident snapshot of each label seen so far, by label."""

    def add(self, image: np.ndarray, faces: Iterable[Face], seconds: float) -> None:
        """Keep those of a frame's faces that are the most confident yet, and whose label is not only held."""
        for face in faces:
            leads = face.label != NOT_SURE and face.confidence == face.probabilities.max()
            if leads and (face.label not in self or face.confidence > self[face.label].probability):
                self[face.label] = Snapshot(square(image, face.box, ROOM).copy(), face.confidence, seconds)
