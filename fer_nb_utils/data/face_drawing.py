"""Draw one head: who it is, how it is seen, and which action units are at work.

Everything lies in head coordinates: u to the right, v downwards, crown at v = -1, eyes at 0, chin at v = 1.
Polygons give the features, soft strokes brows and wrinkles, a relief of smooth bumps the shading. The
arithmetic is float64 and OpenCV only touches uint8, so that the same arguments give the same bytes.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

HALF = 1.5  # half the side of the drawing, in head units
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def _trait(low: float, high: float) -> float:
    """A field with the range that it is drawn from."""
    return field(metadata={"range": (low, high)})


@dataclass(frozen=True)
class Identity:
    """What stays the same while a face changes its expression: lengths in head units, tones 0 to 255."""

    width: float = _trait(0.68, 0.8)
    jaw: float = _trait(0.55, 0.8)  # 0.5: square, 1: elliptic
    eye_gap: float = _trait(0.29, 0.34)
    eye_size: float = _trait(0.13, 0.165)
    eye_height: float = _trait(0.055, 0.08)
    eye_slant: float = _trait(-0.018, 0.018)
    brow_height: float = _trait(0.19, 0.25)
    brow_weight: float = _trait(0.03, 0.065)
    brow_arch: float = _trait(0.01, 0.06)
    brow_rest: float = _trait(-0.025, 0.025)  # where the inner brow rests, downwards
    nose_length: float = _trait(0.36, 0.44)
    nose_width: float = _trait(0.13, 0.18)
    mouth_width: float = _trait(0.25, 0.31)
    mouth_height: float = _trait(0.6, 0.66)
    mouth_rest: float = _trait(-0.025, 0.025)  # where the lip corners rest, downwards
    lips: float = _trait(0.04, 0.08)
    lip_tone: float = _trait(0.6, 0.85)  # relative to the skin, as is the hair's
    teeth: float = _trait(0.2, 1)  # how much of them a smile shows
    skin: float = _trait(95, 225)
    hair_tone: float = _trait(0.12, 0.7)
    iris: float = _trait(25, 90)
    clothes: float = _trait(20, 220)
    hairline: float = _trait(-0.72, -0.5)
    hair_volume: float = _trait(0.04, 0.2)
    hair_length: float = _trait(-1.4, 1.4)  # where it ends; above the ears all is short
    parting: float = _trait(-0.5, 0.5)
    beard: float = _trait(-1.5, 0.6)  # strength; none below 0
    glasses: float = _trait(-0.9, 0.1)  # none below 0
    age: float = _trait(0, 1)
    texture: int = 0  # seeds the strands of hair and the scene behind


@dataclass(frozen=True)
class View:
    """How a face is seen."""

    shift: tuple[float, float] = (0.0, 0.0)  # to the right and down, relative to the image's side
    scale: float = 1.0
    tilt: float = 0.0  # degrees
    yaw: float = 0.0  # radians
    light: tuple[float, float] = (-0.25, -0.45)  # where it comes from: right, down, relative to the depth
    ambient: float = 0.5  # the part of the light without direction
    gain: float = 1.0
    blur: float = 0.0  # pixels of a 48-pixel image
    noise: float = 0.0  # grey levels


def over(below: np.ndarray, above: np.ndarray | float, opacity: np.ndarray) -> np.ndarray:
    """Blend `above` onto `below`; opacity and result are uint8."""
    return np.rint(below + (above - below.astype(float)) * (opacity / 255.0)).astype(np.uint8)


T = np.linspace(0, 1, 13)
CURVE = np.stack([(1 - T) ** 2, 2 * T * (1 - T), T**2], axis=1)  # quadratic Bezier basis and its derivative
SLOPE = np.stack([2 * T - 2, 2 - 4 * T, 2 * T], axis=1)
CIRCLE = np.exp(2j * np.pi * np.arange(48) / 48)[:, None].view(float)  # 48 points, from the right downwards
P = np.linspace(-1, 1, 25)  # along a lip or a lid
ARCH = np.sqrt(1 - P**2)


def _strokes(points: list, widths: list) -> np.ndarray:
    """Outlines (n, 26, 2) of curved strokes, each given by three Bezier points (u, v) and three widths."""
    middle, along = CURVE @ np.array(points, float), SLOPE @ np.array(points, float)
    half = (np.array(widths, float) / 2 @ CURVE.T)[..., None]
    length = np.sqrt((along**2).sum(-1, keepdims=True)) + 1e-9
    side = along[..., ::-1] * (-1, 1) / length * half  # the direction turned by a right angle
    return np.concatenate([middle + side, (middle - side)[:, ::-1]], axis=1)


class Head:
    """One head, drawn upright in head coordinates; a yaw moves the features over its surface."""

    def __init__(self, identity: Identity, strength: dict[int, float], view: View, pixels: int):
        self.id, self.view, self.k = identity, view, pixels / (2 * HALF)
        self.hair_tone = identity.hair_tone * identity.skin
        self.au = au = [strength.get(unit, 0.0) for unit in range(27)]
        self.axis = (np.arange(pixels) + 0.5) / self.k - HALF
        self.tone = np.full((pixels, pixels), identity.skin * 0.6).astype(np.uint8)
        self.alpha, self.hair = np.zeros_like(self.tone), np.zeros_like(self.tone)
        self.cos, self.sin, self.curvature = np.cos(view.yaw), np.sin(view.yaw), identity.width**-2
        self.drop = 0.12 * au[26]
        self.mouth_v = identity.mouth_height + 0.03 * au[26] - 0.02 * (au[12] + au[9] - 0.5 * au[23])
        widening = 0.3 * au[12] + 0.3 * au[20] - 0.12 * au[23] - 0.25 * au[26] * max(1 - au[20], 0)
        self.mouth_half = identity.mouth_width * (1 + widening)
        self.corner = identity.mouth_rest - 0.12 * au[12] + 0.1 * au[15] + 0.07 * au[20]
        self.nose_v = identity.nose_length - 0.045 * au[9]

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """Tones and opacity, both uint8 (pixels, pixels)."""
        self._body()
        self._mouth()
        for side in (-1, 1):
            self._eye(side)
        self._wrinkles()
        self._brows()
        self._hairs()
        self._shade()
        if self.id.glasses > 0:
            self._glasses()
        return self.tone, self.alpha

    def _turn(self, points: np.ndarray) -> np.ndarray:
        """Where points of the head's surface appear under the view's yaw."""
        u, v = points[..., 0], points[..., 1]
        depth = np.sqrt(np.maximum(1 - u * u * self.curvature - 0.5 * v * v, 0))
        return np.stack([u * self.cos + 0.5 * self.sin * depth, v], axis=-1)

    def _fill(self, image: np.ndarray, polygon: np.ndarray, tone: float) -> None:
        points = ((polygon + (HALF - 0.5 / self.k)) * (self.k * (1 << SHIFT))).astype(np.int32)
        cv2.fillPoly(image, [points], min(tone, 255.0), cv2.LINE_AA, SHIFT)

    def _fill_band(self, u: np.ndarray, top: np.ndarray, bottom: np.ndarray, tone: float) -> None:
        """Fill between two curves over the same u."""
        band = np.stack([np.concatenate([u, u[::-1]]), np.concatenate([top, bottom[::-1]])], axis=1)
        self._fill(self.tone, self._turn(band), tone)

    def _shadow(self, polygons: np.ndarray, strengths: list[float], softness: float, tone: float) -> None:
        """Blend in soft-edged polygons of one tone; softness in head units."""
        mask = np.zeros_like(self.tone)
        for polygon, strength in zip(self._turn(polygons), strengths, strict=True):
            self._fill(mask, polygon, 255 * strength)
        self._blend(mask, softness, tone)

    def _blend(self, mask: np.ndarray, softness: float, tone: np.ndarray | float) -> None:
        self.tone = over(self.tone, tone, cv2.GaussianBlur(mask, (0, 0), max(softness * self.k, 0.3)))

    def _body(self) -> None:
        """Hair behind the head, ears, neck, clothes, the head itself and a beard."""
        face, w = self.id, self.id.width
        low = CIRCLE[:, 1] > 0
        outline = CIRCLE * (w, 1)
        outline[low, 0] = np.sign(CIRCLE[low, 0]) * w * np.abs(CIRCLE[low, 0]) ** face.jaw
        outline[low, 1] *= 1 + self.drop
        reach = w + 0.5 * face.hair_volume
        back = CIRCLE[24:] * (reach, 0.78 + face.hair_volume) - (0, 0.25)
        ends = np.array([(1, -0.2), (0.92, -0.05), (0.7, 0), (-0.7, 0), (-0.92, -0.05), (-1, -0.2)])
        back = np.concatenate([back, ends * (reach, 1) + (0, max(face.hair_length, -0.2))])
        sides = (-1, 1) if face.hair_length < 0.2 else ()  # where an ear shows
        ears = [(CIRCLE * (0.09, 0.19) + (side * w, 0.12), face.skin * 0.85) for side in sides]
        neck = np.array([(-0.45, 0.4), (0.45, 0.4), (0.48, 1.5), (-0.48, 1.5)])
        collar = np.array([(-1.4, 1.3), (-0.47, 1.1), (0, 1.32), (0.47, 1.1), (1.4, 1.3)])
        clothes = np.concatenate([collar, [(HALF, HALF), (-HALF, HALF)]])
        body = [(neck, face.skin * 0.6), (clothes, face.clothes), (outline, face.skin)]
        for polygon, tone, hair in [(back, self.hair_tone, 255), *((*part, 0) for part in ears + body)]:
            self._fill(self.tone, polygon, tone)
            self._fill(self.alpha, polygon, 255)
            self._fill(self.hair, polygon, hair)
        if face.beard > 0:
            cheeks = [(-0.4, 0.56), (-0.2, 0.5), (-0.06, 0.46), (0.06, 0.46), (0.2, 0.5), (0.4, 0.56)]
            beard = np.concatenate([outline[3:22], cheeks])
            self._shadow(beard[None], [face.beard], 0.07, self.hair_tone)

    def _mouth(self) -> None:
        """Lips, the dark between them, teeth, and the line where the lips meet."""
        face = self.id
        wrinkle, smile, depress, stretch, tighten, jaw = (self.au[unit] for unit in (9, 12, 16, 20, 23, 26))
        stretched = min(stretch, 1)
        rounded = jaw * max(1 - stretch, 0)
        u = P * self.mouth_half  # from corner to corner
        rest = self.mouth_v + self.corner * np.abs(P) ** 1.8
        rise = 0.025 * smile * face.teeth + 0.02 * wrinkle + 0.02 * jaw + 0.05 * rounded
        fall = 0.1 * smile * face.teeth + 0.25 * jaw * (1 - 0.3 * stretched) + 0.06 * depress
        upper = rest - ARCH * rise
        lower = rest + ARCH ** (1 - 0.4 * stretched) * fall
        full = face.lips * max(1 - 0.3 * smile - 0.75 * tighten - 0.35 * stretch - 0.1 * jaw, 0.15)
        bow = 1 - 0.35 * np.exp(-((P / 0.16) ** 2))
        tone = face.skin * face.lip_tone
        self._fill_band(u, upper - 0.85 * full * ARCH**1.3 * bow, upper, tone * 0.88)
        self._fill_band(u, lower, lower + 1.15 * full * ARCH**1.2, tone)
        self._fill_band(u, upper, lower, 28)
        upper_teeth = upper + ARCH * (0.025 + 0.05 * min(smile + stretch, 1))
        lower_teeth = lower - ARCH * 0.055 * min(depress + 0.6 * stretch, 1)
        inner = slice(2, -2)  # the corners show none
        self._fill_band(u[inner], upper[inner], np.minimum(lower, upper_teeth)[inner], 205)
        self._fill_band(u[inner], np.maximum(upper, lower_teeth)[inner], lower[inner], 185)
        line = 0.004 + 0.007 * ARCH
        self._fill_band(u, upper - line, upper + line, tone * 0.4)

    def _eye(self, side: int) -> None:
        face, au = self.id, self.au
        up = 0.8 + 0.7 * au[5] - 0.25 * au[7] - 0.15 * au[6] - 0.25 * au[9] - 0.12 * au[4]
        down = 0.6 + 0.15 * au[5] - 0.4 * au[7] - 0.4 * au[6] - 0.3 * au[9]
        up, down = face.eye_height * max(up, 0.15), face.eye_height * max(down, 0.05)
        u, middle = side * (face.eye_gap + face.eye_size * P), face.eye_slant * P
        top = middle - up * (1 - np.abs(P) ** 2.2) ** 0.8
        bottom = middle + down * (1 - P**2)
        self._fill_band(u, top, bottom, 150 + 0.35 * face.skin)
        for radius, tone in ((0.064, face.iris), (0.03, 10)):
            disc = CIRCLE * radius - (0, 0.012)  # clipped by the lids
            ends = (np.interp(disc[:, 0] / face.eye_size, P, lid) for lid in (top, bottom))
            disc[:, 1] = np.clip(disc[:, 1], *ends)
            self._fill(self.tone, self._turn(disc * (side, 1) + (side * face.eye_gap, 0)), tone)
        if up > 0.035:
            glint = CIRCLE[::6] * 0.013 + (side * face.eye_gap + 0.02, -0.03)
            self._fill(self.tone, self._turn(glint), 240)
        lid = 0.006 + 0.012 * ARCH
        self._fill_band(u, top - lid, top + 0.7 * lid, 25)
        self._fill_band(u, bottom, bottom + 0.6 * lid, face.skin * 0.5)

    def _wrinkles(self) -> None:
        """Lid folds, nostrils, and the furrows that action units and age leave."""
        face, au, nose, mouth, half = self.id, self.au, self.nose_v, self.mouth_v, self.mouth_half
        gap, wing, edge = face.eye_gap, 0.8 * face.nose_width, mouth + self.corner
        chin = mouth + 0.14 + self.drop
        lid = 0.01 - face.eye_height * (1 + 0.8 * au[5])
        worry = 0.1 * face.age + 0.3 * au[1] + 0.2 * au[2]
        frown = 0.9 * au[4] * (1 - 0.4 * min(au[1], 1)) + 0.5 * au[9]
        paired = [  # of the right side: curve, widths, strength
            ([(gap - 0.12, lid), (gap, lid - 0.07), (gap + 0.14, lid)], (0.01, 0.02, 0.01), 0.5),
            ([(0.03, nose), (0.07, nose - 0.04), (0.1, nose + 0.01)], (0.02, 0.05, 0.02), 0.9),
            ([(wing, nose - 0.1), (1.5 * wing, nose - 0.03), (wing, nose + 0.01)], (0.01, 0.03, 0.02), 0.5),
            ([(0.15, nose - 0.1), (0.3, nose + 0.02), (half + 0.06, mouth)], (0.03, 0.05, 0.01),
             0.25 * face.age + 0.55 * au[12] + 0.6 * au[9]),
            ([(0.045, -0.27), (0.06, -0.2), (0.05, -0.11)], (0.01, 0.035, 0.01), frown),
            ([(0.5, -0.02), (0.55, -0.04), (0.6, -0.08)], (0.02, 0.01, 0.01), 0.7 * au[6]),
            ([(0.5, 0.02), (0.55, 0.04), (0.6, 0.08)], (0.02, 0.01, 0.01), 0.7 * au[6]),
            ([(0.18, 0.1), (0.3, 0.18 - 0.04 * au[6]), (0.46, 0.08)], (0.01, 0.03, 0.01),
             0.2 * face.age + 0.4 * au[6] + 0.3 * au[7]),
            ([(0.03, 0.03), (0.08, 0.06), (0.11, 0.13)], (0.03, 0.03, 0.01), 0.9 * au[9]),
            ([(half, edge), (half + 0.07, edge + 0.04), (half + 0.05, edge + 0.15)], (0.03, 0.03, 0.01),
             0.1 * face.age + 0.5 * au[15] + 0.3 * au[20]),
        ]  # fmt: skip
        centred = [
            ([(-0.36, -0.4), (0, -0.46), (0.36, -0.4)], (0.005, 0.03, 0.005), worry),
            ([(-0.36, -0.5), (0, -0.56), (0.36, -0.5)], (0.005, 0.03, 0.005), worry),
            ([(-0.13, chin), (0, chin - 0.03), (0.13, chin)], (0.01, 0.05, 0.01), 0.35 + 0.3 * au[15]),
        ]
        paired = [line for line in paired if line[2] > 0.02]
        points, widths, strengths = zip(*(paired + centred), strict=True)
        outlines = _strokes(points, widths)
        outlines = np.concatenate([outlines, outlines[: len(paired)] * (-1, 1)])
        self._shadow(outlines, strengths + strengths[: len(paired)], 0.014, 0.3 * face.skin)

    def _brows(self) -> None:
        face, au, w = self.id, self.au, self.id.brow_weight
        raised, level = min(au[1], 1), -face.brow_height
        inner = level + face.brow_rest - 0.12 * au[1] + 0.11 * au[4] * (1 - 0.6 * raised) + 0.05 * au[9]
        middle = level - face.brow_arch - 0.05 * au[1] - 0.08 * au[2] + 0.03 * au[9]
        middle += 0.075 * au[4] * (1 - 0.4 * raised)
        outer = level + 0.05 - 0.1 * au[2] + 0.03 * au[4]
        start = face.eye_gap - 0.2 - 0.04 * min(au[4] + 0.5 * au[9], 1)
        through = 2 * middle - (inner + outer) / 2  # the control point that brings the curve to its middle
        end = face.eye_gap + 0.22
        curve = [(start, inner), (start + 0.2, through), (end, outer)]
        brow = _strokes([curve], [(0.8 * w, 1.6 * w, 0.3 * w)])
        tone = 0.55 * self.hair_tone + 0.08 * face.skin
        self._shadow(np.concatenate([brow, brow * (-1, 1)]), [0.95, 0.95], 0.016, tone)

    def _hairs(self) -> None:
        """Hair over the forehead, and its strands."""
        face, w, high = self.id, self.id.width, self.id.hairline
        dome = CIRCLE[26:47] * (w + 0.04, 0.8 + 0.8 * face.hair_volume) - (0, 0.2)
        temple = np.array([(0.96, -0.05), (0.86, -0.3), (0.7, high + 0.1)]) * (w, 1)
        part = np.array([(0.15, high - 0.04), (0, high - 0.12), (-0.12, high)]) + (face.parting, 0)
        front = np.concatenate([dome, temple, part, temple[::-1] * (-1, 1)])
        self._fill(self.hair, front, 255)
        self._fill(self.alpha, front, 255)
        strands = np.random.default_rng(face.texture).integers(0, 256, (160, 3), dtype=np.uint8)
        crown = ((face.parting + HALF) * self.k, (HALF - 1.3) * self.k)
        flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
        strands = cv2.warpPolar(strands, self.tone.shape, crown, 3 * HALF * self.k, flags)
        self._blend(self.hair, 0.02, self.hair_tone * (0.75 + strands / 512.0))

    def _shade(self) -> None:
        """Light the relief by Lambert's cosine law."""
        slope_v, slope_u = np.gradient(self._relief(), 1 / self.k)
        u, v = self.view.light
        # the angle between the surface's normal (-slope_u, -slope_v, 1) and the light's direction (u, v, 1)
        lengths = np.sqrt((1 + slope_u * slope_u + slope_v * slope_v) * (1 + u * u + v * v))
        cosine = (1 - slope_u * u - slope_v * v) / lengths
        light = self.view.ambient + 1.2 * (1 - self.view.ambient) * np.maximum(cosine, 0)
        self.tone = np.rint(np.minimum(self.tone * (self.view.gain * light), 255)).astype(np.uint8)

    def _relief(self) -> np.ndarray:
        """How near the surface is, float64 (pixels, pixels) in head units: an ellipsoid with smooth bumps."""
        face, au, nose = self.id, self.au, self.nose_v
        bumps = [  # centre u, v; half widths across and down; height
            (0, 0, 0.06, 0.2, 0.08),
            (0, nose - 0.16, 0.07, 0.16, 0.1),
            (0, nose - 0.06, 0.4 * face.nose_width + 0.03, 0.07, 0.1),
            (0, self.mouth_v, 0.2, 0.1, 0.05),
            (0, 0.88 + self.drop, 0.15, 0.09, 0.06),
        ]
        for side in (-1, 1):
            bumps += [
                (side * 0.7 * face.nose_width, nose - 0.03, 0.05, 0.05, 0.05),
                (side * 0.95 * face.eye_gap, -0.03, 0.15, 0.1, -0.09),
                (side * 0.26, -face.brow_height, 0.2, 0.06, 0.04),
                (side * 0.44, 0.27 - 0.03 * au[6], 0.18, 0.15, 0.05 + 0.08 * au[6] + 0.04 * au[9]),
            ]
        bumps = np.array(bumps)
        centre_u, centre_v = self._turn(bumps[:, :2]).T
        half_across, half_down, height = bumps[:, 2:].T
        across = np.exp(-(((self.axis[:, None] - centre_u) / half_across) ** 2))
        down = np.exp(-(((self.axis[:, None] - centre_v) / half_down) ** 2))
        squared = np.add.outer((self.axis / 1.1) ** 2, (self.axis / (face.width * 1.08)) ** 2)
        return (down * height) @ across.T - 0.5 * squared * np.sqrt(squared)

    def _glasses(self) -> None:
        gap, w = self.id.eye_gap, self.id.width
        bridge, arm = [(-0.1, 0), (0, -0.04), (0.1, 0)], np.array([(gap + 0.2, 0), (0.6, -0.03), (w, -0.03)])
        bars = _strokes([bridge, arm, arm * (-1, 1)], [(0.02, 0.02, 0.02)] * 3)
        closed = np.concatenate([CIRCLE, CIRCLE[:1]])
        rim = np.concatenate([closed * (0.21, 0.17), closed[::-1] * (0.19, 0.15)])
        for polygon in [*bars, *(rim + (side * gap, 0.02) for side in (-1, 1))]:
            self._fill(self.tone, self._turn(polygon), 0.4 * self.id.skin)
