"""From a frame to labelled faces, the same for every source, and the paper's `realtime_prediction` of a whole one."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain, count, islice, takewhile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..classes import CLASSES
from ..errors import UserError
from ..networks.load import folded, one_thread
from ..networks.prediction import predict
from ..networks.transforms import Preprocess
from ..progress import progress_bar
from .demo import Frame
from .detector import DEFAULT, FaceDetector, crop_problem, face_crop
from .memory import Snapshots
from .outputs import VideoError, Window, annotate, video_writer
from .smoothing import SURE, Face, Smoother
from .sources import Source, open_source

BOX = ("x", "y", "width", "height")
STAGES = ("detect", "crop", "classify", "smooth")
TIMES = ("read", *STAGES, "draw")
COLUMNS = ("frame", "seconds", "face", *BOX, "label", *CLASSES, *TIMES, "file")
NOTHING = (None,) * (1 + len(BOX) + 1) + (np.nan,) * len(CLASSES)  # a frame without a face
CHUNK = 1000  # rows that become a table at a time, which takes a fifth of their memory
NO_FACE = "No face was found: a face must look into the camera and fill a quarter of the picture's height."


@dataclass(frozen=True)
class Result:
    """The faces of a frame, the largest first, and the milliseconds that each of STAGES took."""

    faces: list[Face]
    milliseconds: dict[str, float]


class Pipeline:
    """Labels the faces of one frame after another; safe to call from several threads, one of which waits.

    `model` is copied to `device` ("cpu", "cuda", ...), and the caller's own stays; it was trained with `transform`.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Preprocess,
        smoother: Smoother | None = None,
        device: str | torch.device = "cpu",
        cascade: str = DEFAULT,
    ):
        self.model = folded(model).to(device, memory_format=torch.channels_last)
        self.transform = transform
        self.detector = FaceDetector(cascade)
        self.smoother = smoother or Smoother()
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, seconds: float) -> Result:
        """Faces of `image`, uint8 (height, width, 3) BGR, seen at `seconds`: not to run backwards without `reset`."""
        return self.label([Frame(seconds, image)])[0]

    def label(self, frames: Sequence[Frame]) -> list[Result]:
        """The same for frames in a row; their faces are one batch, and each gets the mean milliseconds of all."""
        with self._lock, one_thread():
            times = [time.perf_counter()]
            boxes = [self.detector.follow(frame.image, frame.seconds) for frame in frames]
            times.append(time.perf_counter())
            crops = [[face_crop(frame.image, box) for box in some] for frame, some in zip(frames, boxes, strict=True)]
            times.append(time.perf_counter())
            batch = [*chain(*crops)]
            answers = iter(predict(self.model, torch.from_numpy(np.stack(batch)), self.transform) if batch else ())
            times.append(time.perf_counter())
            faces = [self._follow(*each, answers) for each in zip(frames, boxes, crops, strict=True)]
            times.append(time.perf_counter())
        milliseconds = dict(zip(STAGES, (1000 * np.diff(times) / len(frames)).tolist(), strict=True))
        return [Result(some, milliseconds) for some in faces]

    def _follow(self, frame: Frame, boxes: np.ndarray, crops: list[np.ndarray], answers: Iterator) -> list[Face]:
        faces = self.smoother.update(frame.seconds, boxes, [*islice(answers, len(boxes))])
        return [
            replace(face, crop=crop, problem=crop_problem(crop, face.box, frame.image.shape))
            for face, crop in zip(faces, crops, strict=True)
        ]

    def reset(self) -> None:
        """Forget the faces seen so far: before another source, and between pictures that are no film."""
        with self._lock:
            self.smoother.reset()
            self.detector.forget()


def realtime_prediction(
    model: nn.Module,
    transform: Preprocess,
    display_duration: float = 0.5,
    device: str | torch.device = "cpu",
    source: int | str | Path = 0,
    *,
    cascade: str = DEFAULT,
    smoothing: float = 0.3,
    threshold: float = SURE,
    window: bool = False,
    video: str | Path | None = None,
    snapshots: Snapshots | None = None,
    seconds: float | None = None,
) -> pd.DataFrame:
    """Label the faces of a source until it ends, `seconds` of its own time are over, the window is closed, or Ctrl-C.

    The first four arguments are the paper's: a network with seven logits in the order of CLASSES, the transform it was
    trained with, how many seconds a label stays at least, and a torch device. `source`: a camera's number, a video, an
    image, a folder of images, or "demo". `cascade`: see `FaceDetector`; `smoothing` (seconds), `threshold`: see
    `Smoother`. `window`: show the picture in a window of the desktop, the last of some images until it is closed.
    `video`: an annotated .mp4 or .avi to write. `snapshots` collects the most confident look of each expression.

    Returns a row for every face of every frame, and one without a face for a frame without any: frame, seconds, face
    (its number), x, y, width, height (pixels), label (an expression or "not sure"), the seven smoothed probabilities,
    the frame's milliseconds for read, detect, crop, classify, smooth and draw (window and video included; of a film
    the means over frames labelled together, but for draw), and the file's name of an image.
    `attrs` holds "source", "frames", "seconds" (of the wall's clock), "video" (the path when it was written whole) and
    "problems". Raises UserError for a source, cascade, window or video that cannot be used.
    """
    one, other = (Path(str(each)).expanduser() for each in (video, source))
    if video and one.exists() and other.exists() and one.samefile(other):
        raise UserError(f"The video {video} is the source itself; choose another name.")
    pipeline = Pipeline(model, transform, Smoother(smoothing, display_duration, threshold), device, cascade)
    snapshots = Snapshots() if snapshots is None else snapshots
    end = np.inf if seconds is None else seconds
    tables, rows, passed = [], [], 0.0
    with open_source(source) as opened:
        try:
            with ExitStack() as stack:
                record = stack.enter_context(video_writer(video, opened.rate)) if video else None
                screen = stack.enter_context(Window(opened.name)) if window else None
                start = time.perf_counter()
                with suppress(KeyboardInterrupt):  # it ends the session, and keeps what was seen
                    for found in _label(pipeline, opened, snapshots, record, screen, end):
                        if len(rows) >= CHUNK:
                            tables.append(_table(rows))
                            rows = []
                        rows += found
                        passed = time.perf_counter() - start
        except VideoError as error:  # the table is no less whole
            opened.problems.append(str(error))
            video = None
    table = pd.concat([*tables, _table(rows)], ignore_index=True).infer_objects()
    if len(table) and table["face"].isna().all():
        opened.problems.append(NO_FACE)
    table.attrs = {"source": opened.name, "frames": table["frame"].nunique(), "seconds": passed}
    table.attrs |= {"video": str(video) if video and len(table) else None, "problems": opened.problems}
    return table


def _label(
    pipeline: Pipeline, source: Source, snapshots: Snapshots, record: Callable | None, screen: Window | None, end: float
) -> Iterator[list[tuple]]:
    """One source through the pipeline, until its time is `end` seconds: the table's rows of each frame."""
    start = before = time.perf_counter()
    numbers, frames = count(), takewhile(lambda frame: frame.seconds < end, source)
    total = source.frames and round(min(source.frames, end * source.rate))
    with progress_bar(desc=source.name, unit=" frames", total=total) as progress:
        while some := [*islice(frames, 1 if screen else source.together)]:
            read = (time.perf_counter() - before) / len(some)
            if screen and not screen.wait(some[0].seconds - (time.perf_counter() - start)):  # files at their own pace
                break
            if not source.is_film:
                pipeline.reset()
            for frame, result in zip(some, pipeline.label(some), strict=True):
                drawing = time.perf_counter()
                image = annotate(frame.image, result.faces)
                if record:
                    record(image, frame.seconds)
                if screen:
                    screen.show(image)
                draw = time.perf_counter() - drawing
                snapshots.add(frame.image, result.faces, frame.seconds)
                times = 1000 * read, *result.milliseconds.values(), 1000 * draw
                faces = [(face.number, *face.box, face.label, *face.probabilities) for face in result.faces]
                progress.set_postfix_str(", ".join(face.label for face in result.faces), refresh=False)
                progress.update()
                number = next(numbers)
                yield [(number, frame.seconds, *values, *times, frame.file) for values in faces or [NOTHING]]
            before = time.perf_counter()
        if screen and not source.is_film:
            screen.wait()


def _table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("face", *BOX), "Int64"))


def stage_times(table: pd.DataFrame) -> pd.DataFrame:
    """Milliseconds a frame of `realtime_prediction`'s table: median and 95th percentile (p95) of each stage.

    The last row, total, is about the frames' sums from detect to draw: without read, which waits for a camera.
    """
    times = table.drop_duplicates("frame")[list(TIMES)]
    times = times.assign(total=times.drop(columns="read").sum(axis=1))
    return times.quantile([0.5, 0.95]).T.set_axis(["median", "p95"], axis=1).rename_axis("stage")


def summary(table: pd.DataFrame) -> str:
    """What a session of `realtime_prediction` came to, for a terminal: frames, faces, frames/s, times, problems."""
    frames, seconds, lines = table.attrs["frames"], table.attrs["seconds"], []
    if frames:
        found = table.dropna(subset="face")
        counts = ", ".join(f"{name} {count:,}" for name, count in found["label"].value_counts().items())
        lines = [
            f"{frames:,} frames in {seconds:.1f} s, {frames / seconds:.1f} frames/s",
            f"faces in {found['frame'].nunique():,} of them, {found['face'].nunique():,} followed",
            f"labels, frame by frame: {counts or 'none'}",
            stage_times(table).rename_axis("milliseconds a frame").to_string(float_format="%.1f"),
        ]
    return "\n".join([table.attrs["source"], *(lines or ["no frames"]), *table.attrs["problems"]])
