"""From a frame to labelled faces, the same for every source: detect, crop, classify, smooth."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import nn

from ..classes import CLASSES, NOT_SURE
from ..errors import UserError
from ..networks.load import folded
from ..networks.prediction import predict
from ..networks.transforms import Preprocess
from .detector import DEFAULT, FaceDetector, crop_problem, face_crop
from .smoothing import SURE, Smoother

STAGES = ("detect", "crop", "classify", "smooth")


class FrameError(UserError):
    """A frame that is no picture; the next one may be."""


@dataclass(frozen=True)
class Face:
    """One face in a frame: number (the same from frame to frame), box (x, y, width, height in pixels), smoothed
    probabilities float64 (7,), label (an expression or NOT_SURE), the probability of what it is held for, 0 to 1, the
    crop that the network saw, uint8 (48, 48), and what is wrong with it, if anything (see `crop_problem`)."""

    number: int
    box: tuple[int, int, int, int]
    probabilities: np.ndarray
    label: str
    confidence: float
    crop: np.ndarray
    problem: str = ""

    @property
    def leads(self) -> bool:
        """Whether the label is the most probable one in this frame; otherwise it is held, or none."""
        return self.label == CLASSES[self.probabilities.argmax()]

    @property
    def caption(self) -> str:
        """What is written at the face: "happy 87%", "not sure", and what is wrong with its crop."""
        said = self.label if self.label == NOT_SURE else f"{self.label} {self.confidence:.0%}"
        return f"{said}, {self.problem}" if self.problem else said


@dataclass(frozen=True)
class Result:
    """The faces of a frame, the largest first, and the milliseconds that each of STAGES took."""

    faces: tuple[Face, ...]
    milliseconds: dict[str, float]


class Pipeline:
    """Labels the faces of one frame after another; safe to call from several threads, one of which waits.

    `model` is copied to `device` ("cpu", "cuda", ...), so the caller's own stays as it is; `transform` is the one it
    was trained with. `smoothing`, `display_duration` (seconds) and `threshold`: see `Smoother`.
    """

    def __init__(
        self,
        model: nn.Module,
        transform: Preprocess,
        device: str | torch.device = "cpu",
        cascade: str = DEFAULT,
        smoothing: float = 0.3,
        display_duration: float = 0.5,
        threshold: float = SURE,
    ):
        self.model = folded(model).to(device, memory_format=torch.channels_last)
        self.transform = transform
        self.detector = FaceDetector(cascade)
        self.smoother = Smoother(smoothing, display_duration, threshold)
        self._lock = threading.Lock()
        self._openmp = ThreadpoolController().select(user_api="openmp")

    def __call__(self, image: np.ndarray, seconds: float) -> Result:
        """Faces of `image`, uint8 (height, width) grey or (height, width, 3 or 4) BGR, seen at `seconds`.

        Times must not run backwards between two calls of `reset`. Raises FrameError for anything that is no picture.
        """
        image = _checked(image)
        torch.get_num_threads()  # a new thread takes the process's setting at its first use of torch
        # More threads are slower on a busy machine (860 ms instead of 48). This limit is for the calling thread alone;
        # torch.set_num_threads would also set that of the process's new threads.
        with self._lock, self._openmp.limit(limits=1):
            times = [time.perf_counter()]
            boxes = self.detector.follow(image, seconds)
            times.append(time.perf_counter())
            crops = [face_crop(image, box) for box in boxes]
            times.append(time.perf_counter())
            probabilities = self.classify(crops)
            times.append(time.perf_counter())
            tracks = self.smoother.update(seconds, boxes, probabilities)
            faces = []
            for track, crop in zip(tracks, crops, strict=True):
                said = track.probabilities, track.label, track.confidence
                problem = crop_problem(crop, track.box, image.shape)
                faces.append(Face(track.number, tuple(map(int, track.box)), *said, crop, problem))
            times.append(time.perf_counter())
        return Result(tuple(faces), dict(zip(STAGES, (1000 * np.diff(times)).tolist(), strict=True)))

    def classify(self, crops: list[np.ndarray]) -> np.ndarray:
        """n grey crops like FER-2013's images, uint8 (48, 48), as one batch -> probabilities float64 (n, 7)."""
        if not crops:
            return np.empty((0, 7))
        return predict(self.model, torch.from_numpy(np.stack(crops)), self.transform)

    def reset(self) -> None:
        """Forget the faces seen so far: before another source, and between pictures that are no film."""
        with self._lock:
            self.smoother.reset()
            self.detector.forget()


def _checked(image: np.ndarray) -> np.ndarray:
    """Grey (height, width) or BGR (height, width, 3)."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim not in (2, 3) or not image.size:
        raise FrameError("The frame is empty or damaged; the camera or file gave no picture.")
    if image.ndim == 2:
        return image
    if image.shape[2] not in (1, 3, 4):
        raise FrameError(f"The frame has {image.shape[2]} channels; give grey or BGR pictures.")
    return image[:, :, 0] if image.shape[2] == 1 else image[:, :, :3]
