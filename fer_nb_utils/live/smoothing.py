"""Faces followed from frame to frame, so that their probabilities and labels neither flicker nor stick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..classes import CLASSES, NOT_SURE

SAME_FACE = 0.3  # least overlap of a face with itself in the frame before
# Of 2,872 validation images the calibrated embedded network is surer than this of 91 %, and right about 71 % of them;
# of the others about 30 %. From 0.5 on it would be 78 % and 75 %.
SURE = 0.4
FORGET = 1.0  # seconds after which a face that is out of sight is a new one


@dataclass
class Track:
    """One followed face: its number, the last box (x, y, width, height in pixels), smoothed probabilities float64 (7,),
    the expression that it is held for, one of CLASSES, and since when; `label`: that expression, or NOT_SURE."""

    number: int
    box: np.ndarray
    probabilities: np.ndarray
    expression: str
    since: float  # seconds
    seen: float  # seconds
    label: str = NOT_SURE

    @property
    def confidence(self) -> float:
        """The expression's probability, 0 to 1."""
        return float(self.probabilities[CLASSES.index(self.expression)])


class Smoother:
    """Exponential smoothing of each face's probabilities over time, and a label that stays for a while.

    `time_constant`: seconds until a lasting change is shown by 63 %; 0 shows each frame's own probabilities.
    `display_duration`: seconds that a face is held for the same expression at least, as in the paper. `threshold`: the
    probability, 0 to 1, below which an expression, held or not, is no label.
    """

    def __init__(self, time_constant: float = 0.3, display_duration: float = 0.5, threshold: float = SURE):
        self.time_constant = time_constant
        self.display_duration = display_duration
        self.threshold = threshold
        self.tracks: list[Track] = []
        self.count = 0

    def reset(self) -> None:
        """Forget all faces; numbers go on, so that none is given twice."""
        self.tracks.clear()

    def update(self, seconds: float, boxes: np.ndarray, probabilities: np.ndarray) -> list[Track]:
        """Boxes int (n, 4), in pixels, and probabilities float64 (n, 7) of the frame at `seconds` -> their n tracks, in
        the same order."""
        self.tracks = [track for track in self.tracks if seconds - track.seen <= FORGET]
        known = self._match(boxes)
        for row, (box, values) in enumerate(zip(boxes, probabilities, strict=True)):
            if row in known:
                self._follow(known[row], seconds, box, values)
            else:
                self.count += 1
                known[row] = Track(self.count, box, values, CLASSES[values.argmax()], seconds, seconds)
                self.tracks.append(known[row])
            known[row].label = known[row].expression if known[row].confidence >= self.threshold else NOT_SURE
        return [known[row] for row in range(len(boxes))]

    def _match(self, boxes: np.ndarray) -> dict[int, Track]:
        if not self.tracks or not len(boxes):
            return {}
        overlaps = overlap(boxes, [track.box for track in self.tracks])
        overlaps[overlaps < SAME_FACE] = 0  # so that no pair of strangers outweighs a face and itself
        pairs = zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
        return {row: self.tracks[column] for row, column in pairs if overlaps[row, column]}

    def _follow(self, track: Track, seconds: float, box: np.ndarray, probabilities: np.ndarray) -> None:
        passed = max(seconds - track.seen, 0.0)  # two threads may come in the wrong order
        weight = 1 - math.exp(-passed / self.time_constant) if self.time_constant else 1.0
        track.probabilities = track.probabilities + weight * (probabilities - track.probabilities)
        track.box, track.seen = box, seconds
        leading = CLASSES[track.probabilities.argmax()]
        if leading != track.expression and seconds - track.since >= self.display_duration:
            track.expression, track.since = leading, seconds


def overlap(boxes: Sequence, others: Sequence) -> np.ndarray:
    """Intersection over union of boxes (n, 4) with others (m, 4), each x, y, width, height: float (n, m), 0 to 1."""
    a, b = np.asarray(boxes, float)[:, None], np.asarray(others, float)[None]
    ends = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = (ends - np.maximum(a[..., :2], b[..., :2])).clip(0).prod(-1)
    return shared / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared)
