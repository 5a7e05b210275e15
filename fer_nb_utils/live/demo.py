"""The demo clip that needs no camera: a photograph under a moving crop, then a drawing that goes through CLASSES."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ..classes import CLASSES
from ..data.face_drawing import Identity, View
from ..data.synthetic import ACTION_UNITS, UNIT, draw_face

WIDTH, HEIGHT = 640, 480  # pixels of a frame
PHOTOGRAPH_SECONDS = 4.0
EXPRESSION_SECONDS = 1.2
SECONDS = PHOTOGRAPH_SECONDS + EXPRESSION_SECONDS * len(CLASSES)

# Where the face is, brows to chin, as x, y, side: in the photograph (pixels, by eye) and on a drawn head (head units).
PHOTOGRAPHED_FACE = (176, 74, 98)
DRAWN_FACE = (-0.74, -0.45, 1.48)

# The crop of the photograph moves between these two: its middle x, y in the photograph, and its magnification. Wider
# crops show more of the rocket, where the default cascade now and then sees a face.
WIDE, CLOSE = np.array([211, 149, 1.67]), np.array([218, 113, 2.46])

# Of 1,091 people drawn at random, one of the few of whom the project's own network names six expressions as drawn, and
# surely: all but disgust. It has never seen drawings, and of most people it names two to four.
PERSON = Identity(
    width=0.763, jaw=0.637, eye_gap=0.309, eye_size=0.157, eye_height=0.066, eye_slant=-0.009, brow_height=0.194,
    brow_weight=0.058, brow_arch=0.051, brow_rest=0.018, nose_length=0.438, nose_width=0.144, mouth_width=0.266,
    mouth_height=0.62, mouth_rest=0.021, lips=0.053, lip_tone=0.714, teeth=0.889, skin=212, hair_tone=0.427,
    iris=40, clothes=67, hairline=-0.635, hair_volume=0.097, hair_length=1.29, parting=0.192, beard=-1.079,
    glasses=-0.38, age=0.046,
)  # fmt: skip
LIGHT = View(light=(0.39, -0.45), ambient=0.54)
DRAWING = 300  # pixels of a drawing's side
STEPS = 4  # drawings of an expression from weak to full; each costs some 40 ms


@dataclass(frozen=True)
class Frame:
    """A picture, uint8 (height, width, 3) BGR, when it was taken, in seconds since the source began, and the name of
    its file where it has one of its own.

    Known of the demo clip alone: the face's box (x, y, width, height in pixels, brows to chin as the cascades see it)
    and the expression drawn, None for the photograph.
    """

    seconds: float
    image: np.ndarray
    file: str = ""
    box: tuple[int, int, int, int] | None = None
    expression: str | None = None


def demo_clip(fps: float = 15) -> Iterator[Frame]:
    """The clip of SECONDS, frame by frame as it is asked for; the same pictures every time.

    The photograph is scikit-image's `astronaut` (Eileen Collins, NASA, public domain).
    """
    from skimage.data import astronaut  # here, for it loads slowly

    photograph = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR)
    for number in range(round(SECONDS * fps)):
        seconds = number / fps
        yield _photograph_frame(photograph, seconds) if seconds < PHOTOGRAPH_SECONDS else _drawing_frame(seconds)


def _photograph_frame(photograph: np.ndarray, seconds: float) -> Frame:
    nearness = 0.5 - 0.5 * math.cos(2 * math.pi * seconds / PHOTOGRAPH_SECONDS)
    x, y, zoom = WIDE + (CLOSE - WIDE) * nearness
    x += 10 * math.sin(4 * math.pi * seconds / PHOTOGRAPH_SECONDS)
    matrix = _moving((x, y), zoom, (WIDTH / 2, HEIGHT / 2))
    image = cv2.warpAffine(photograph, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    return Frame(seconds, image, box=_moved(matrix, PHOTOGRAPHED_FACE))


def _drawing_frame(seconds: float) -> Frame:
    since = seconds - PHOTOGRAPH_SECONDS
    number, part = divmod(since / EXPRESSION_SECONDS, 1)
    expression = CLASSES[int(number)]
    intensity = min(1.0, 1.5 * math.sin(math.pi * part))  # grows, stays a while, goes back
    step = round(intensity * STEPS) if ACTION_UNITS[expression] else 0
    drawing = _drawing(expression if step else "neutral", step)
    middle = (WIDTH / 2 + 50 * math.sin(since * 0.8), HEIGHT * 0.47 + 10 * math.sin(since * 1.7))
    matrix = _moving((DRAWING / 2, DRAWING / 2), 1.35 + 0.15 * math.sin(since * 1.1), middle)
    image = cv2.warpAffine(drawing, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    x, y, side = (value * UNIT * DRAWING for value in DRAWN_FACE)
    box = _moved(matrix, (DRAWING / 2 + x, DRAWING / 2 + y, side))
    return Frame(seconds, cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), box=box, expression=expression)


@cache
def _drawing(expression: str, step: int) -> np.ndarray:
    return draw_face(PERSON, expression, step / STEPS, DRAWING, LIGHT, background=165)


def _moving(point: tuple[float, float], zoom: float, target: tuple[float, float]) -> np.ndarray:
    """The affine map (2, 3) that magnifies and brings `point` to `target`."""
    return np.array([[zoom, 0, target[0] - zoom * point[0]], [0, zoom, target[1] - zoom * point[1]]])


def _moved(matrix: np.ndarray, square: tuple[float, float, float]) -> tuple[int, int, int, int]:
    x, y = matrix @ (*square[:2], 1)
    side = round(matrix[0, 0] * square[2])
    return round(x), round(y), side, side
