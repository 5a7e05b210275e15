"""The embedded sample: grey synthetic faces drawn from a seed.

Expressions follow P. Ekman and W. V. Friesen, "Facial Action Coding System" (Consulting Psychologists Press, 1978), and
the emotions of their EMFACS (1983): sets of action units, each the movement of one muscle group, from 0 (absent) to
about 1 (maximal). Weak expressions are therefore close to neutral and to each other, as in photographs.
"""

from dataclasses import fields

import cv2
import numpy as np

from ..classes import CLASSES, USAGES
from .dataset import PUBLISHED
from .face_drawing import HALF, Head, Identity, View, over

ACTION_UNITS: dict[str, tuple[int, ...]] = {
    "angry": (4, 5, 7, 23),  # brow lowerer, upper lid raiser, lid tightener, lip tightener
    "disgust": (9, 15, 16),  # nose wrinkler, lip corner depressor, lower lip depressor
    "fear": (1, 2, 4, 5, 20, 26),  # as surprise, with brow lowerer and lip stretcher
    "happy": (6, 12),  # cheek raiser, lip corner puller
    "neutral": (),
    "sad": (1, 4, 15),  # inner brow raiser, brow lowerer, lip corner depressor
    "surprise": (1, 2, 5, 26),  # inner and outer brow raiser, upper lid raiser, jaw drop
}
TWINS = 6  # test images of the sample that repeat a training image; the last one under another label
TRAIN_COUNTS = PUBLISHED["Training"].to_numpy()  # in the order of CLASSES
TEST_COUNTS = PUBLISHED[["PublicTest", "PrivateTest"]].sum(axis=1).to_numpy()
UNIT = 0.37  # one head unit (half a head's height) as a fraction of the image's side, at scale 1


def random_identity(rng: np.random.Generator) -> Identity:
    """Draw a person."""
    ranges = {f.name: f.metadata["range"] for f in fields(Identity) if f.metadata}
    traits = {name: float(rng.uniform(*limits)) for name, limits in ranges.items()}
    return Identity(**traits, texture=int(rng.integers(2**31)))


def random_view(rng: np.random.Generator) -> View:
    """Draw a pose, a light and the camera's faults, framed as tightly as FER-2013."""
    return View(
        shift=tuple(rng.normal(0, 0.02, 2)), scale=rng.uniform(1.1, 1.45), tilt=rng.normal(0, 6),
        yaw=rng.normal(0, 0.18), light=(rng.uniform(-0.7, 0.7), rng.uniform(-0.7, -0.1)),
        ambient=rng.uniform(0.35, 0.6), gain=rng.uniform(0.8, 1.2), blur=abs(rng.normal(0, 0.4)),
        noise=rng.uniform(0, 5),
    )  # fmt: skip


def draw_face(
    identity: Identity,
    expression: str = "neutral",
    intensity: float = 1.0,
    size: int = 48,
    view: View | None = None,
    background: int | None = None,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Draw one face as uint8 (size, size).

    `expression` is one of CLASSES, `intensity` 0 (neutral) to about 1, `view` by default frontal with room
    around the head. A grey level as `background` gives a plain one, None a blurred scene. With `rng` the
    action units vary one by one and the view's noise is added; without it, there is nothing random.
    """
    view, units = view or View(), ACTION_UNITS[expression]
    if rng is None:
        return draw_units(identity, dict.fromkeys(units, intensity), size, view, background)
    strength = {unit: intensity * rng.uniform(0.5, 1.2) for unit in units}
    image = draw_units(identity, strength, size, view, background)
    return np.rint(image + rng.normal(0, view.noise, image.shape)).clip(0, 255).astype(np.uint8)


def draw_units(
    identity: Identity, strength: dict[int, float], size: int, view: View, background: int | None = None
) -> np.ndarray:
    """Draw one face, uint8 (size, size), by the strengths of its action units, 0 to about 1; nothing is random.

    The units drawn are those of ACTION_UNITS; others change nothing.
    """
    pixels = size if size >= 96 else 2 * size  # small images are composed at twice their size, then reduced
    drawn = max(size, 80)
    layers = Head(identity, strength, view, round(2 * HALF * UNIT * drawn)).draw()

    middle = (len(layers[0]) - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), view.tilt, view.scale * pixels / drawn)
    matrix[:, 2] += (pixels - 1) / 2 - middle + np.array(view.shift) * pixels
    # Replicating the border lets the shoulders reach the image's edge wherever the head moves.
    layer, opacity = (
        cv2.warpAffine(a, matrix, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for a in layers
    )
    scene = np.full((1, 1), background or 0, np.uint8)
    if background is None:
        scene = np.random.default_rng(identity.texture).integers(10, 245, (3, 4), dtype=np.uint8)
    image = over(cv2.resize(scene, (pixels, pixels), interpolation=cv2.INTER_LINEAR), layer, opacity)
    if view.blur:
        image = cv2.GaussianBlur(image, (0, 0), max(view.blur * pixels / 48, 0.1))
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def make_sample(seed: int = 0, train: int = 1400, test: int = 350) -> tuple[np.ndarray, ...]:
    """Draw the sample: images uint8 (n, 48, 48), labels int64 (n,), usages str (n,), file ids str (n,).

    Classes are as unbalanced as FER-2013's; half of the test images are PublicTest, half PrivateTest. As in
    FER-2013, some images occur twice: TWINS test images repeat a training image of their class, except that
    the last one carries another label than its twin. Raises ValueError when too few images are asked for.
    """
    if train < 20 * TWINS or test < 4 * TWINS:
        raise ValueError(f"The sample needs at least {20 * TWINS} training and {4 * TWINS} test images.")
    images, labels, usage = [], [], []
    for split, count in enumerate((train, test // 2, test - test // 2)):
        rng = np.random.default_rng([seed, split])
        chosen = rng.permutation(_class_labels(count, TEST_COUNTS if split else TRAIN_COUNTS))
        for label in chosen:
            intensity = 0.2 + rng.beta(1.8, 1.6)
            images.append(draw_face(random_identity(rng), CLASSES[label], intensity, 48, random_view(rng), rng=rng))
        labels += list(chosen)
        usage += [USAGES[split]] * count
    images, labels = np.stack(images), np.array(labels, np.int64)
    _repeat_images(images, labels, train, np.random.default_rng([seed, len(USAGES)]))
    files = [f"{name}_{i:06d}" for i, name in enumerate(usage)]
    return images, labels, np.array(usage), np.array(files)


def _class_labels(count: int, published: np.ndarray) -> np.ndarray:
    """`count` labels in the published proportions, with at least three of every class where there is room."""
    few = min(3, count // len(CLASSES))
    counts = np.maximum(np.floor(published / published.sum() * count).astype(int), few)
    counts[np.argmax(counts)] += count - counts.sum()
    return np.repeat(np.arange(len(CLASSES)), counts)


def _repeat_images(images: np.ndarray, labels: np.ndarray, train: int, rng: np.random.Generator) -> None:
    """Overwrite TWINS test images with training images, each used once."""
    free = np.ones(train, bool)
    for i, copy in enumerate(train + rng.choice(len(labels) - train, TWINS, replace=False)):
        fitting = labels[:train] == labels[copy]
        if i == TWINS - 1:
            fitting = ~fitting
        original = rng.choice(np.flatnonzero(free & fitting))
        free[original] = False
        images[copy] = images[original]
