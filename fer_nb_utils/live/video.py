"""An annotated video, whole or not at all."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..files import atomic_path, check_writable


class VideoError(UserError):
    """A video that could not be written whole, as is seen when it is finished."""


CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
LONGEST = 1.0  # seconds that a frame is shown


@contextmanager
def video_writer(path: str | Path, rate: float) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Yield a function that appends a frame, uint8 (height, width, 3) BGR, to a new video of `rate` frames a second.

    It also takes when the frame was taken, in seconds, and repeats it or leaves it out to keep that pace. The first
    frame sets the size; others are fitted into it. Nothing is written without frames. Raises UserError for a name that
    ends neither in .mp4 nor in .avi and where no video can be written, and at the end VideoError for one not whole.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in CODECS:
        raise UserError(f"The video {path} must end in {' or '.join(CODECS)}.")
    check_writable(path)
    code = cv2.VideoWriter.fourcc(*CODECS[path.suffix.lower()])
    writer, temporary, size, last, due, written = None, None, (0, 0), 0.0, 0.0, 0

    def write(image: np.ndarray, seconds: float) -> None:
        nonlocal writer, temporary, size, last, due, written
        if writer is None:
            size, last, due = image.shape[1::-1], seconds, 1.0
            temporary = str(stack.enter_context(atomic_path(path)))
            writer = cv2.VideoWriter(temporary, code, rate, size)
            stack.callback(writer.release)
            if not writer.isOpened():
                raise UserError(f"The video {path} cannot be written; choose another place or a name ending in .avi.")
        due += rate * min(seconds - last, LONGEST)
        last = seconds
        while due >= 0.5:
            writer.write(image if image.shape[1::-1] == size else _fitted(image, size))
            due -= 1
            written += 1

    with ExitStack() as stack:
        yield write
        if writer is not None:
            writer.release()
            if cv2.VideoCapture(temporary).get(cv2.CAP_PROP_FRAME_COUNT) < written:  # OpenCV does not tell
                raise VideoError(f"The video {path} could not be written whole; is the disk full?")


def _fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scaled to fit into (width, height), in the middle of black."""
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    small = cv2.resize(image, [max(1, round(side * scale)) for side in image.shape[1::-1]])
    down, across = height - len(small), width - small.shape[1]
    border = down // 2, down - down // 2, across // 2, across - across // 2
    return cv2.copyMakeBorder(small, *border, cv2.BORDER_CONSTANT)
