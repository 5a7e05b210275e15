"""What is remembered of a session, in memory only: the best looks, and how expressions shown on purpose were named."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..classes import CLASSES, NOT_SURE
from .detector import square
from .smoothing import Face

ROOM = 0.35  # shown round the face, as a share of its box on each side
READY, WATCHED = 1.0, 3.0  # seconds to make a face, and to keep it


@dataclass(frozen=True)
class Snapshot:
    """A face with room round it, uint8 (side, side, 3) BGR, its label's probability, and the second it was seen at."""

    image: np.ndarray
    probability: float
    seconds: float


class Snapshots(dict[str, Snapshot]):
    """The paper's Fig. 5: the most confident snapshot of each label seen so far, by label."""

    def add(self, image: np.ndarray, faces: Iterable[Face], seconds: float) -> None:
        """Keep those of a frame's faces that are the most confident yet, and whose label is not only held."""
        for face in faces:
            leads = face.label != NOT_SURE and face.confidence == face.probabilities.max()
            if leads and (face.label not in self or face.confidence > self[face.label].probability):
                self[face.label] = Snapshot(square(image, face.box, ROOM).copy(), face.confidence, seconds)


class Tries:
    """How the network labels the expressions that somebody shows on purpose: a confusion table, one count a try.

    `counts`: a row for each expression shown, a column for each label.
    """

    def __init__(self):
        columns = pd.Index([*CLASSES, NOT_SURE], name="label")
        self.counts = pd.DataFrame(0, index=pd.Index(CLASSES, name="shown"), columns=columns)
        self._expression, self._start, self._seen = "", 0.0, []

    def begin(self, expression: str, seconds: float) -> None:
        """From `seconds` on, somebody shows this expression; a try that has not ended is dropped."""
        self._expression, self._start, self._seen = expression, seconds, []

    def see(self, label: str | None, seconds: float) -> bool:
        """The label of the largest face of a frame, None without one. Whether a try has just ended.

        It counts under the label that most of its frames had; a try without a face does not count.
        """
        passed = seconds - self._start
        if not self._expression or passed < READY:
            return False
        if passed < READY + WATCHED:
            self._seen += [label] if label else []
            return False
        if self._seen:
            self.counts.loc[self._expression, max(self._seen, key=self._seen.count)] += 1
        self._expression = ""
        return True

    def html(self) -> str:
        """The expressions tried so far as a table, and how many tries were labelled as meant."""
        tried = self.counts[self.counts.any(axis=1)]
        if not len(tried):
            return "No face was seen in that try, so it does not count: look into the camera and press again."
        right = sum(tried.loc[name, name] for name in tried.index)
        return f"{tried.to_html()}{right} of {tried.to_numpy().sum()} tries were labelled as meant."
