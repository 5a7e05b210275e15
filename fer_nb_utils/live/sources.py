"""Where frames come from: a camera, a video file, a folder of images, or the demo clip."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .demo import SECONDS, Frame, demo_clip

# quiet: a source says itself what is wrong
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # silent; before 4.13 it stands in cv2 itself

DEMO = "demo"
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FASTEST = 240  # frames a second; browsers record at a varying rate and write 1000
MISSING = 0.5  # seconds at the end of a video that nobody misses
HICCUP = 2.0  # seconds that a camera may give nothing


class Source(AbstractContextManager):
    """Frames to iterate over once, as a context that gives the camera or file back.

    `name`: what to call it; `rate`: frames per second of a video made from it; `is_film`: whether each frame follows
    from the one before; `together`: how many may be labelled at once; `frames`: how many there are, None where nobody
    knows; `problems`: what went wrong on the way, a sentence each.
    """

    rate = 25.0
    is_film = True
    together = 1
    frames: int | None = None
    capture: cv2.VideoCapture | None = None

    def __init__(self, name: str):
        self.name = name
        self.problems: list[str] = []

    def __exit__(self, *_: object) -> None:
        if self.capture:
            self.capture.release()


class Camera(Source):
    """A camera of the machine that Python runs on, by its number."""

    def __init__(self, index: int):
        super().__init__(f"camera {index}")
        if 0 <= index < 100:  # OpenCV crashes on -1, and takes 200 for camera 0 of some driver
            self.capture = cv2.VideoCapture(index)
        if not self.capture or not self.capture.isOpened():
            remedy = "another program uses it, or the system's settings for privacy forbid it; choose another source."
            raise UserError(f"There is no camera {index} on the machine that Python runs on, {remedy}")
        self.capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited

    def __iter__(self) -> Iterator[Frame]:
        start = latest = time.monotonic()
        while True:
            there, image = self.capture.read()
            now = time.monotonic()
            if there:
                latest = now
                yield Frame(now - start, image)
            elif now - latest > HICCUP:
                self.problems.append(f"The {self.name} gave no picture for {HICCUP:g} s; is it still plugged in?")
                return
            else:
                time.sleep(0.02)


class Video(Source):
    """A video file, at its own pace whatever the speed of the machine."""

    together = 8  # one face in each takes the network half as long as one by one; 16 save another tenth

    def __init__(self, path: Path):
        super().__init__(path.name)
        self.capture = cv2.VideoCapture(str(path))
        if not self.capture.isOpened():
            raise UserError(f"{path} is no video that OpenCV can read; convert it, or copy it again.")
        rate = self.capture.get(cv2.CAP_PROP_FPS)
        frames = self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.length = frames / rate if rate > 0 else 0.0  # seconds, as it claims
        self.frames = round(frames) if frames > 0 else None  # as it claims, too
        if 0 < rate <= FASTEST:
            self.rate = rate

    def __iter__(self) -> Iterator[Frame]:
        seconds = 0.0
        for number in count():
            there, image = self.capture.read()
            if not there:
                break
            position = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000  # 0 where OpenCV does not know
            seconds = max(seconds, position or number / self.rate)
            yield Frame(seconds, image)
        if number == 0 or self.length - 1 / self.rate - seconds > MISSING:
            self.problems.append(f"{self.name} ended after {seconds:.1f} of {self.length:.1f} s: cut off or damaged.")


class Images(Source):
    """Image files in the order of their names, a second each; every one stands for itself."""

    rate = 1.0
    is_film = False

    def __init__(self, name: str, paths: list[Path]):
        super().__init__(name)
        self.paths = paths
        self.frames = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        seconds = count()
        for path in self.paths:
            try:  # cv2.imread cannot read every path on Windows
                image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
            except (OSError, cv2.error):  # not ours to read; empty, or larger than OpenCV takes
                image = None
            if image is None:
                self.problems.append(f"{path.name} is no image that can be read.")
            else:
                yield Frame(float(next(seconds)), image, path.name)


class Demo(Source):
    """The demo clip, which needs no camera."""

    rate = 15.0
    frames = round(SECONDS * rate)

    def __iter__(self) -> Iterator[Frame]:
        return demo_clip(self.rate)


def open_source(source: int | str | Path) -> Source:
    """A camera's number, the path of a video, an image or a folder of images, or "demo".

    Raises UserError when there is no such camera or file, or when it cannot be read.
    """
    if not str(source).strip():
        raise UserError(f"The source has no name; give a camera, a video, a folder of images or '{DEMO}'.")
    if isinstance(source, int) or str(source).isdecimal():
        return Camera(int(source))
    if str(source) == DEMO:
        return Demo("demo clip (photograph, then synthetic face)")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            found = (file for file in path.iterdir() if file.suffix.lower() in IMAGES and file.is_file())
            # without hidden ones: macOS leaves files like ._face.jpg, which are no images, on other systems' disks
            paths = sorted(file for file in found if not file.name.startswith("."))
            if not paths:
                raise UserError(f"The folder {path} holds no images; give one with files like face.jpg or face.png.")
            return Images(path.resolve().name, paths)
        path.open("rb").close()
    except FileNotFoundError as error:
        raise UserError(f"There is no {path.absolute()}; give a camera, a video, images or '{DEMO}'.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); choose another source.") from error
    return Images(path.name, [path]) if path.suffix.lower() in IMAGES else Video(path)
