"""Faces followed from frame to frame, so that their probabilities and labels neither flicker nor stick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..classes import CLASSES, NOT_SURE
from ..errors import UserError

SAME_FACE = 0.3  # least overlap of a face with itself in the frame before
# Of 2,872 validation images the calibrated embedded network is surer than this of 93 %, and right about 69 % of them;
# of the others about 37 %. From 0.5 on it would be 81 % and 73 %.
SURE = 0.4
FORGET = 1.0  # seconds after which a face that is out of sight is a new one


@dataclass
class Face:
    """One face, followed from frame to frame.

    `number`: the same in all of them; `box`: x, y, width, height in pixels; `probabilities`: smoothed, float64 (7,);
    `expression`: what it is held for, one of CLASSES; `since`, `seen`: seconds when that began, and of the last frame;
    `label`: the expression, or NOT_SURE; `crop`: what the network saw, uint8 (48, 48); `problem`: see `crop_problem`.
    """

    number: int
    box: tuple[int, int, int, int]
    probabilities: np.ndarray
    expression: str
    since: float
    seen: float
    label: str = NOT_SURE
    crop: np.ndarray | None = None
    problem: str = ""

    @property
    def confidence(self) -> float:
        """The expression's probability, 0 to 1."""
        return float(self.probabilities[CLASSES.index(self.expression)])

    @property
    def caption(self) -> str:
        """What is written at the face: "happy 87%", "not sure", and what is wrong with its crop."""
        said = self.label if self.label == NOT_SURE else f"{self.label} {self.confidence:.0%}"
        return f"{said}, {self.problem}" if self.problem else said


class Smoother:
    """Exponential smoothing of each face's probabilities over time, and a label that stays for a while.

    `time_constant`: seconds until a lasting change is shown by 63 %; 0 shows each frame's own probabilities.
    `display_duration`: seconds that a face is held for the same expression at least, as in the paper. `threshold`: the
    probability, 0 to 1, below which an expression, held or not, is no label. Raises UserError for others.
    """

    def __init__(self, time_constant: float = 0.3, display_duration: float = 0.5, threshold: float = SURE):
        if min(time_constant, display_duration) < 0 or not 0 <= threshold <= 1:
            raise UserError("Smoothing and display duration are seconds from 0 on, the threshold lies between 0 and 1.")
        self.time_constant = time_constant
        self.display_duration = display_duration
        self.threshold = threshold
        self.faces: list[Face] = []
        self.count = 0

    def reset(self) -> None:
        """Forget all faces; numbers go on, so that none is given twice."""
        self.faces.clear()

    def update(self, seconds: float, boxes: np.ndarray, probabilities: np.ndarray) -> list[Face]:
        """Boxes int (n, 4), in pixels, and probabilities float64 (n, 7) of the frame at `seconds` -> the n faces, in
        the same order; they go on changing with later frames."""
        self.faces = [face for face in self.faces if seconds - face.seen <= FORGET]
        overlaps = overlap(boxes, [face.box for face in self.faces])
        overlaps[overlaps < SAME_FACE] = 0  # so that no pair of strangers outweighs a face and itself
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        known = {row: self.faces[column] for row, column in pairs if overlaps[row, column]}
        for row, (box, values) in enumerate(zip(boxes, probabilities, strict=True)):
            if row not in known:
                self.count += 1
                known[row] = Face(self.count, (), values, CLASSES[values.argmax()], seconds, seconds)
                self.faces.append(known[row])
            self._see(known[row], seconds, tuple(map(int, box)), values)
        return [known[row] for row in range(len(boxes))]

    def _see(self, face: Face, seconds: float, box: tuple, probabilities: np.ndarray) -> None:
        passed = max(seconds - face.seen, 0.0)  # two threads may come in the wrong order
        weight = 1 - math.exp(-passed / self.time_constant) if self.time_constant else 1.0
        face.probabilities = face.probabilities + weight * (probabilities - face.probabilities)
        face.box, face.seen = box, seconds
        leading = CLASSES[face.probabilities.argmax()]
        if leading != face.expression and seconds - face.since >= self.display_duration:
            face.expression, face.since = leading, seconds
        face.label = face.expression if face.confidence >= self.threshold else NOT_SURE


def overlap(boxes: Sequence, others: Sequence) -> np.ndarray:
    """Intersection over union of boxes (n, 4) with others (m, 4), each x, y, width, height: float (n, m), 0 to 1."""
    a, b = np.reshape(boxes, (-1, 1, 4)).astype(float), np.reshape(others, (1, -1, 4)).astype(float)
    ends = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = (ends - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared)
