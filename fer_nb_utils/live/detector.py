"""Faces in a frame by OpenCV's cascades, and the cut-outs that look like images of FER-2013."""

from collections.abc import Sequence
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
# 1355 faces found in 2000 test images within a mirrored border, quartiles 0.98 and 1.11; 1.02 with finer steps on 2480
# of 3000 images), and their middles agree (median 0, quartiles 2 % of a side). The network's accuracy agrees: 70.0 % on
# these crops, 70.5 with margin 0, 66.4 with 0.1, 59.8 with 0.2, and 71.8 on the images themselves.
MARGIN = 0.01  # share of the box's side, on each side


class FaceDetector:
    """Finds faces with one of the cascade files that come with OpenCV, by its name.

    Not to be called from two threads at once: OpenCV's cascade keeps its state in the object; the caller locks.
    Raises UserError when the cascade cannot be loaded.
    """

    def __init__(self, cascade: str = DEFAULT):
        self._cascade = _load(cascade)

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """uint8 (height, width, 3) BGR or (height, width) grey -> boxes int64 (n, 4), the largest first.

        A box is x, y, width, height in the frame's pixels.
        """
        shrink = min(REDUCED_HEIGHT / len(frame), 1.0)
        small = _grey(_reduced(frame, shrink))
        side = round(SMALLEST_FACE * len(small))
        found = self._cascade.detectMultiScale(small, SCALE_FACTOR, MIN_NEIGHBORS, minSize=(side, side))
        boxes = np.rint(np.reshape(found, (-1, 4)) / shrink).astype(int)
        return boxes[np.argsort(-boxes[:, 2], kind="stable")]


def square(frame: np.ndarray, box: Sequence[int], margin: float) -> np.ndarray:
    """The square round a box, enlarged on each side by `margin` (a share of the box's side): uint8 (side, side[, 3]).

    The frame's border is repeated where the square leaves it; elsewhere the result is a view of the frame.
    """
    x, y, width, height = (int(value) for value in box)
    side = max(round(max(width, height) * (1 + 2 * margin)), 1)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    cut = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    beyond = max(-top, 0), max(top + side - len(frame), 0), max(-left, 0), max(left + side - frame.shape[1], 0)
    return cv2.copyMakeBorder(cut, *beyond, cv2.BORDER_REPLICATE) if any(beyond) else cut


def face_crop(frame: np.ndarray, box: Sequence[int], margin: float = MARGIN, size: int = 48) -> np.ndarray:
    """A face like an image of FER-2013: grey uint8 (size, size), from a BGR or grey frame and the face's box.

    `margin`: see `square`; it may be negative.
    """
    grey = _grey(square(frame, box, margin))
    flag = cv2.INTER_AREA if len(grey) > size else cv2.INTER_CUBIC
    return cv2.resize(grey, (size, size), interpolation=flag)


def _reduced(frame: np.ndarray, shrink: float) -> np.ndarray:
    """In two steps, for the first costs the same for a frame of any size, where INTER_AREA takes 30 ms for 4K."""
    height, width = (max(round(side * shrink), 1) for side in frame.shape[:2])
    double = cv2.resize(frame, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(double, (width, height), interpolation=cv2.INTER_AREA)


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)


def _load(name: str) -> "cv2.CascadeClassifier":
    try:
        folder = Path(cv2.data.haarcascades)
        path = next(filter(Path.is_file, (folder / name, folder / f"haarcascade_{name}.xml")), None)
        cascade = cv2.CascadeClassifier()
        loaded = path is not None and (_read(cascade, path) or cascade.load(str(path)))
    except (AttributeError, cv2.error, SystemError, UnicodeDecodeError):
        loaded = False
    if not loaded:
        raise UserError(
            f"The cascade {name} cannot be loaded; choose another, such as frontalface_alt2, and an OpenCV below 5 "
            "(pip install -r requirements.txt)."
        )
    return cascade


def _read(cascade: "cv2.CascadeClassifier", path: Path) -> bool:
    """By way of its text, for OpenCV cannot open every path on Windows; not all old files can be read this way."""
    text = path.read_text(encoding="utf-8")
    storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
    return cascade.read(storage.getFirstTopLevelNode())
