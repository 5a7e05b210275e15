"""From a frame to labelled faces, the same for every source: detect, crop, classify, smooth."""

import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import nn

from ..networks.load import folded
from ..networks.prediction import predict
from ..networks.transforms import Preprocess
from .detector import DEFAULT, FaceDetector, crop_problem, face_crop
from .smoothing import Face, Smoother

STAGES = ("detect", "crop", "classify", "smooth")


@dataclass(frozen=True)
class Result:
    """The faces of a frame, the largest first, and the milliseconds that each of STAGES took."""

    faces: list[Face]
    milliseconds: dict[str, float]


class Pipeline:
    """Labels the faces of one frame after another; safe to call from several threads, one of which waits.

    `model` is copied to `device` ("cpu", "cuda", ...), so the caller's own stays as it is; `transform` is the one it
    was trained with.
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
        self._openmp = ThreadpoolController().select(user_api="openmp")

    def __call__(self, image: np.ndarray, seconds: float) -> Result:
        """Faces of `image`, uint8 (height, width, 3) BGR, seen at `seconds`: not to run backwards without `reset`."""
        torch.get_num_threads()  # a new thread takes the process's setting at its first use of torch
        # More threads are slower on a busy machine (860 ms instead of 48). This limit is for the calling thread alone;
        # torch.set_num_threads would also set that of the process's new threads.
        with self._lock, self._openmp.limit(limits=1):
            times = [time.perf_counter()]
            boxes = self.detector.follow(image, seconds)
            times.append(time.perf_counter())
            crops = [face_crop(image, box) for box in boxes]
            times.append(time.perf_counter())
            probabilities = np.empty((0, 7))
            if crops:
                probabilities = predict(self.model, torch.from_numpy(np.stack(crops)), self.transform)
            times.append(time.perf_counter())
            followed = zip(self.smoother.update(seconds, boxes, probabilities), crops, strict=True)
            faces = [
                replace(face, crop=crop, problem=crop_problem(crop, face.box, image.shape)) for face, crop in followed
            ]
            times.append(time.perf_counter())
        return Result(faces, dict(zip(STAGES, (1000 * np.diff(times)).tolist(), strict=True)))

    def reset(self) -> None:
        """Forget the faces seen so far: before another source, and between pictures that are no film."""
        with self._lock:
            self.smoother.reset()
            self.detector.forget()
