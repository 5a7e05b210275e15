"""The demo clip that needs no camera: a photograph under a moving crop, then a drawing that goes through CLASSES."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ..classes import CLASSES
from ..face_drawing import Identity, View
from ..synthetic import UNIT, draw_face

WIDTH, HEIGHT = 640, 480  # pixels of a frame
PHOTOGRAPH_SECONDS = 4.0
EXPRESSION_SECONDS = 1.2
SECONDS = PHOTOGRAPH_SECONDS + EXPRESSION_SECONDS * len(CLASSES)

# Where the face is, brows to chin, as x, y, side: in the photograph (pixels, by eye) and on a drawn head (head units).
PHOTOGRAPHED_FACE = (176, 74, 98)
DRAWN_FACE = (-0.74, -0.45, 1.48)

# The crop of the photograph moves between these two: its middle x, y in the photograph, and its magnification.
WIDE, CLOSE = np.array([262, 190, 1.35]), np.array([226, 128, 2.4])

PERSON = Identity(skin=170, hair_tone=0.25, beard=-1.0, glasses=-0.5, age=0.2, brow_weight=0.055, texture=3)
DRAWING = 300  # pixels of a drawing's side
STEPS = 5  # drawings of each expression: they cost some 40 ms each


@dataclass(frozen=True)
class DemoFrame:
    """One picture and what is known about it.

    seconds: since the clip's beginning; image: uint8 (480, 640, 3) BGR; box: x, y, width, height of the face in
    pixels, brows to chin as the cascades see it; content: "photograph" or "drawing"; expression: the one drawn, one of
    CLASSES, None for the photograph.
    """

    seconds: float
    image: np.ndarray
    box: tuple[int, int, int, int]
    content: str
    expression: str | None


def demo_clip(fps: float = 15) -> Iterator[DemoFrame]:
    """The clip of SECONDS, frame by frame as it is asked for; the same pictures every time.

    The photograph is scikit-image's `astronaut` (Eileen Collins, NASA, public domain).
    """
    photograph = None
    for number in range(round(SECONDS * fps)):
        seconds = number / fps
        if seconds < PHOTOGRAPH_SECONDS:
            if photograph is None:
                photograph = _astronaut()
            yield _photograph_frame(photograph, seconds)
        else:
            yield _drawing_frame(seconds)


def _astronaut() -> np.ndarray:
    from skimage.data import astronaut  # here, for it loads slowly

    return cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)


def _photograph_frame(photograph: np.ndarray, seconds: float) -> DemoFrame:
    nearness = 0.5 - 0.5 * math.cos(2 * math.pi * seconds / PHOTOGRAPH_SECONDS)
    x, y, zoom = WIDE + (CLOSE - WIDE) * nearness
    x += 10 * math.sin(4 * math.pi * seconds / PHOTOGRAPH_SECONDS)
    matrix = _moving((x, y), zoom, (WIDTH / 2, HEIGHT / 2))
    image = cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    return DemoFrame(seconds, image, _moved(matrix, PHOTOGRAPHED_FACE), "photograph", None)


def _drawing_frame(seconds: float) -> DemoFrame:
    since = seconds - PHOTOGRAPH_SECONDS
    number, part = divmod(since / EXPRESSION_SECONDS, 1)
    expression = CLASSES[min(int(number), len(CLASSES) - 1)]
    intensity = min(1.0, 1.5 * math.sin(math.pi * part))  # grows, stays a while, goes back
    drawing = _drawing(expression, round(intensity * STEPS))
    middle = (WIDTH / 2 + 50 * math.sin(since * 0.8), HEIGHT * 0.47 + 10 * math.sin(since * 1.7))
    matrix = _moving((DRAWING / 2, DRAWING / 2), 1.35 + 0.15 * math.sin(since * 1.1), middle)
    image = cv2.warpAffine(drawing, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    x, y, side = (value * UNIT * DRAWING for value in DRAWN_FACE)
    box = _moved(matrix, (DRAWING / 2 + x, DRAWING / 2 + y, side))
    return DemoFrame(seconds, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), box, "drawing", expression)


@cache
def _drawing(expression: str, step: int) -> np.ndarray:
    return draw_face(PERSON, expression, step / STEPS, DRAWING, View(ambient=0.55), background=165)


def _moving(point: tuple[float, float], zoom: float, target: tuple[float, float]) -> np.ndarray:
    """The affine map (2, 3) that magnifies and brings `point` to `target`."""
    return np.array([[zoom, 0, target[0] - zoom * point[0]], [0, zoom, target[1] - zoom * point[1]]])


def _moved(matrix: np.ndarray, square: tuple[float, float, float]) -> tuple[int, int, int, int]:
    x, y = matrix @ (*square[:2], 1)
    side = round(matrix[0, 0] * square[2])
    return round(x), round(y), side, side
