"""Where labelled frames go: drawn, shown in a window of the desktop, written as a video, listed in a table."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from ..classes import CLASS_COLORS, NOT_SURE
from ..errors import UserError
from ..files import atomic_path, check_writable
from .smoothing import Face

LEAST = 640  # pixels of a picture's longer side, so that its labels can be read
COLORS = CLASS_COLORS | {NOT_SURE: "#E6E6E6"}
BGR = {name: tuple(bytes.fromhex(color[1:]))[::-1] for name, color in COLORS.items()}
SHARE = 0.9  # of the screen's width and height that a picture may take
CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
LONGEST = 1.0  # seconds that a frame of a video is shown
TABLES = (".csv", ".parquet")


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


class Window(AbstractContextManager):
    """Shows one picture after another until it is closed or Escape or Q is pressed; a context.

    Made of tkinter, which comes with most Pythons, because this project's OpenCV has no windows. Raises UserError where
    there is no display or no tkinter.
    """

    def __init__(self, title: str):
        try:
            import tkinter  # here, for some Pythons come without

            from PIL import ImageTk

            self.root, self.new_photo = tkinter.Tk(), ImageTk.PhotoImage
        except Exception as error:  # ImportError, or tkinter's own, which is not there then
            raise UserError(f"There can be no window here ({error}); write a video instead.") from error
        self.is_open = True
        self.root.title(title)
        self.root.protocol("WM_DELETE_WINDOW", self._leave)
        for key in ("<Escape>", "q"):
            self.root.bind(key, self._leave)
        self.label = tkinter.Label(self.root)
        self.label.pack()

    def show(self, image: np.ndarray) -> None:
        """Show a picture, uint8 (height, width, 3) BGR, and notice keys and clicks; `wait` tells afterwards."""
        picture = Image.fromarray(image[:, :, ::-1])
        picture.thumbnail((SHARE * self.root.winfo_screenwidth(), SHARE * self.root.winfo_screenheight()))
        self.photo = self.new_photo(picture)  # tkinter keeps no reference of its own
        self.label.configure(image=self.photo)
        self.root.update()

    def wait(self, seconds: float = float("inf")) -> bool:
        """Keep the picture for so many seconds, or until the window is closed; whether it is still open."""
        end = time.perf_counter() + seconds
        while self.is_open and (left := end - time.perf_counter()) > 0:
            time.sleep(min(left, 0.02))
            self.root.update()
        return self.is_open

    def _leave(self, _event: object = None) -> None:
        self.is_open = False

    def __exit__(self, *_: object) -> None:
        self.root.destroy()


class VideoError(UserError):
    """A video that could not be written whole, as is seen when it is finished."""


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
            size, last, due = image.shape[1::-1], seconds, 1.5  # half a frame more, to round
            temporary = str(stack.enter_context(atomic_path(path)))
            writer = cv2.VideoWriter(temporary, code, rate, size)
            stack.callback(writer.release)
            if not writer.isOpened():
                raise UserError(f"The video {path} cannot be written; choose another place or a name ending in .avi.")
        if image.shape[1::-1] != size:
            image = np.array(ImageOps.pad(Image.fromarray(image), size))  # scaled to fit, in the middle of black
        due += rate * min(seconds - last, LONGEST)
        last = seconds
        while written < int(due):
            writer.write(image)
            written += 1

    with ExitStack() as stack:
        yield write
        if writer is not None:
            writer.release()
            if cv2.VideoCapture(temporary).get(cv2.CAP_PROP_FRAME_COUNT) < written:  # OpenCV does not tell
                raise VideoError(f"The video {path} could not be written whole; is the disk full?")


def check_table(path: Path) -> None:
    """Raise UserError for a name that `write_table` cannot write to."""
    if path.suffix.lower() not in TABLES:
        raise UserError(f"The table {path} must end in {' or '.join(TABLES)}.")
    if path.suffix.lower() == ".parquet" and not find_spec("pyarrow"):
        raise UserError(f"Parquet needs pyarrow (pip install pyarrow); or give {path.name} the ending .csv.")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write `realtime_prediction`'s table as CSV (six digits) or Parquet, by the ending of `path`."""
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, index=False, float_format="%.6g")
