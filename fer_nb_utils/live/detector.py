"""Faces in a frame by OpenCV's cascades, and the cut-outs that look like images of FER-2013."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

DEFAULT = "haarcascade_frontalface_default.xml"  # the paper's

# Measured with the default cascade on 400 pictures that each hold one image of FER-2013 (many faces are turned, tilted
# or half hidden), on 400 without a face, and with one frontal face at twelve sizes. A frame of 640x480 takes 8 ms
# (median, one thread of a busy machine), one of 4K 3 ms more.
REDUCED_HEIGHT = 160  # pixels; 180 finds no more faces (68 instead of 67 %) but four times as many false ones
SCALE_FACTOR = 1.2  # 1.1 finds 73 %, but takes 5 ms more and brings seven times as many false faces
MIN_NEIGHBORS = 4  # 67 % and 6 false faces in 1000 pictures; 3: 70 % and 18, 5: 64 % and 4
SMALLEST_FACE = 0.15  # share of the frame's height: the 24 pixels the cascades were trained with; reliable from 0.27

# An image of FER-2013 is hardly more than the cascade's box of its face: its side is 1.03 times the box's (median of
# 1355 faces found in 2000 test images within a mirrored border, quartiles 0.98 and 1.11), and their middles agree
# (median 0, quartiles 2 % of a side). So does an earlier network's accuracy: 70 % with 0.01, 66 with 0.1, 60 with 0.2.
MARGIN = 0.01  # share of the box's side, on each side

# When a label is worth little. 66 % of 1,436 validation images are classified rightly; reduced to 32, 24 and 20 pixels
# 64, 60 and 55 %; darkened to a mean grey of 60, 40 and 20, with noise of 3 grey values, 55, 46 and 30 %.
LEAST_SIDE = 32  # pixels of a box's side; in pictures of over 213 lines SMALLEST_FACE is more
EDGE = 0.04  # of a box's side: so near to the frame's edge, chin or forehead are mostly beyond it
DARKEST = 40  # mean grey of a crop, 0 to 255

# A face that is alone is looked for round its last box only, at about its size. The grid of the search begins elsewhere
# than that of the whole frame, so boxes differ by a few pixels.
SEARCH_ALL = 0.2  # seconds after which the whole frame is searched again, for faces that have come
ALONE = 1.0  # seconds after which a face counts as alone: until then one that has gone may come back
NEAR = 0.25  # of a box's side in which it may have moved on each side since the last frame
SIZES = 0.75, 1.35  # of the last box's side


class FaceDetector:
    """Finds faces with one of the cascade files that come with OpenCV, by its name.

    Not to be called from two threads at once: OpenCV's cascade keeps its state in the object; the caller locks.
    Raises UserError when the cascade cannot be loaded.
    """

    def __init__(self, cascade: str = DEFAULT):
        self._cascade = _load(cascade)
        self.forget()

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) BGR -> boxes int64 (n, 4), the largest first: x, y, width, height in pixels."""
        return self._search(frame, len(frame), 0, len(frame))

    def follow(self, frame: np.ndarray, seconds: float) -> np.ndarray:
        """The same for the frame of a film, taken at `seconds`; a face that is alone is searched round its last box.

        The whole frame is searched every SEARCH_ALL seconds, until a face has been ALONE for so long, and whenever its
        place does not hold exactly one face. So no face is lost that a search of the whole frame finds; a new one may
        come SEARCH_ALL seconds later.
        """
        recent = 0 <= seconds - self._searched < SEARCH_ALL
        alone = seconds - self._others > ALONE and frame.shape == self._shape
        boxes = self._near(frame) if recent and alone else ()
        if len(boxes) != 1:
            boxes, self._searched = self(frame), seconds
        if len(boxes) != 1:
            self._others = seconds
        self._last, self._shape = boxes, frame.shape
        return boxes

    def forget(self) -> None:
        """Search the whole of the next frame: before another film."""
        self._searched = self._others = -np.inf  # when the whole frame was searched, when there was not one face
        self._last, self._shape = np.empty((0, 4), int), ()

    def _near(self, frame: np.ndarray) -> np.ndarray:
        """Boxes int64 (n, 4) round the place of the last frame's only face."""
        x, y, side, _ = self._last[0]
        room = round(NEAR * side)
        left, top = max(x - room, 0), max(y - room, 0)
        part = frame[top : y + side + room, left : x + side + room]
        return self._search(part, len(frame), *(side * size for size in SIZES)) + (left, top, 0, 0)

    def _search(self, part: np.ndarray, height: int, least: float, most: float) -> np.ndarray:
        """Boxes in a part of a frame of this height, with sides of `least` to `most` of its pixels."""
        shrink = min(REDUCED_HEIGHT / height, 1.0)
        sides = (round(shrink * max(least, SMALLEST_FACE * height)), round(shrink * most))
        sizes = ((side, side) for side in sides)
        down, across = (max(round(side * shrink), 1) for side in part.shape[:2])
        # in two steps: the first costs the same for a frame of any size, where INTER_AREA takes 30 ms for 4K
        double = cv2.resize(part, (2 * across, 2 * down), interpolation=cv2.INTER_LINEAR)
        reduced = cv2.resize(double, (across, down), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(reduced, cv2.COLOR_BGR2GRAY)
        found = self._cascade.detectMultiScale(grey, SCALE_FACTOR, MIN_NEIGHBORS, 0, *sizes)
        boxes = np.rint(np.reshape(found, (-1, 4)) / shrink).astype(int)
        return boxes[np.lexsort((boxes[:, 0], -boxes[:, 2]))]  # of equals the left first, whoever found it


def square(frame: np.ndarray, box: Sequence[int], margin: float) -> np.ndarray:
    """The square round a box, enlarged on each side by `margin` (a share of the box's side): uint8 (side, side, 3).

    The frame's border is repeated where the square leaves it; elsewhere the result is a view of the frame.
    """
    x, y, width, height = (int(value) for value in box)
    side = max(round(max(width, height) * (1 + 2 * margin)), 1)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    cut = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    beyond = max(-top, 0), max(top + side - len(frame), 0), max(-left, 0), max(left + side - frame.shape[1], 0)
    return cv2.copyMakeBorder(cut, *beyond, cv2.BORDER_REPLICATE) if any(beyond) else cut


def face_crop(frame: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """A face like an image of FER-2013: grey uint8 (48, 48), from a BGR frame and the face's box."""
    grey = cv2.cvtColor(square(frame, box, MARGIN), cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (48, 48), interpolation=cv2.INTER_AREA if len(grey) > 48 else cv2.INTER_CUBIC)


def crop_problem(crop: np.ndarray, box: Sequence[int], shape: Sequence[int]) -> str:
    """What is wrong with the crop of a face in a frame of this shape: "too small", "cut off", "too dark", or ""."""
    x, y, width, height = box
    if width < LEAST_SIDE:
        return "too small"
    if min(x, y, shape[1] - x - width, shape[0] - y - height) < EDGE * width:
        return "cut off"
    return "too dark" if crop.mean() < DARKEST else ""


def _load(name: str) -> "cv2.CascadeClassifier":
    """By way of the file's text, for OpenCV cannot open every path on Windows."""
    with suppress(AttributeError, StopIteration, cv2.error, SystemError, UnicodeDecodeError):
        folder = Path(cv2.data.haarcascades)
        path = next(filter(Path.is_file, (folder / name, folder / f"haarcascade_{name}.xml")))
        storage = cv2.FileStorage(path.read_text(encoding="utf-8"), cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        cascade = cv2.CascadeClassifier()
        if cascade.read(storage.getFirstTopLevelNode()):
            return cascade
    remedy = "choose another, such as frontalface_alt2, and an OpenCV below 5 (pip install -r requirements.txt)."
    raise UserError(f"The cascade {name} cannot be loaded; {remedy}")
