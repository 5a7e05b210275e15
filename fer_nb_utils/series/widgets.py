"""Widgets that teach: browse the faces, turn the augmentation's knobs, step through a network's mistakes.

Everything is driven by `observe` and drawn into Image and HTML widgets, because `interact` and Output
widgets make papermill hang now and then.
"""

import io
from dataclasses import fields
from html import escape

import ipywidgets
import numpy as np
import pandas as pd
import torch
from PIL import Image

from ..classes import CLASSES, USAGES
from ..data.dataset import Dataset
from ..errors import DataError
from ..networks.transforms import Augment

ANY = "all"
# field of Augment -> largest value, step, and what the number means
KNOBS = {
    "flip": (1.0, 0.1, "probability"),
    "rotation": (45.0, 1.0, "degrees"),
    "shift": (0.3, 0.01, "share of the width"),
    "scale": (0.5, 0.01, "share"),
    "shear": (30.0, 1.0, "degrees"),
    "brightness": (0.5, 0.01, "grey values, of 1"),
    "contrast": (0.9, 0.01, "share"),
}


def browse_faces(dataset: Dataset, columns: int = 10, rows: int = 4) -> ipywidgets.VBox:
    """Page through the faces of an expression and a split, in the data set's order."""
    splits = [usage for usage in USAGES if usage in dataset.usage]
    expression = ipywidgets.Dropdown(options=[ANY, *CLASSES], description="expression")
    split = ipywidgets.Dropdown(options=[ANY, *splits], description="split")
    page = ipywidgets.BoundedIntText(value=1, min=1, description="page")
    caption, picture = ipywidgets.HTML(), _image()
    size = columns * rows

    def chosen() -> np.ndarray:
        mask = np.ones(len(dataset), dtype=bool)
        if expression.value != ANY:
            mask &= dataset.labels == CLASSES.index(expression.value)
        if split.value != ANY:
            mask &= dataset.usage == split.value
        return np.flatnonzero(mask)

    def draw(_=None) -> None:
        found = chosen()
        page.max = max(1, -(-len(found) // size))
        shown = found[(page.value - 1) * size : page.value * size]
        caption.value = (
            f"{escape(dataset.name)}: {len(found):,} faces, page {page.value} of {page.max:,}"
            if len(found)
            else f"{escape(dataset.name)}: no such face"
        )
        picture.value = _png(_mosaic(dataset.images[shown], columns, rows), scale=2)

    def restart(_) -> None:
        page.value = 1
        draw()

    expression.observe(restart, "value")
    split.observe(restart, "value")
    page.observe(draw, "value")
    draw()
    return ipywidgets.VBox([ipywidgets.HBox([expression, split, page]), caption, picture])


def augmentation_knobs(dataset: Dataset, augment: Augment | None = None, image_size: int = 64) -> ipywidgets.VBox:
    """One face of each expression, as stored and in three random variants, with a slider for each strength.

    The draws stay the same while a strength changes, so that its effect shows; "draw" takes other ones.
    """
    augment = augment or Augment()
    first = [np.flatnonzero(dataset.labels == label)[:1] for label in range(len(CLASSES))]
    images = torch.from_numpy(dataset.images[np.concatenate(first)])
    originals = Augment(**dict.fromkeys(KNOBS, 0.0))(images, image_size, torch.Generator())
    sliders = {}
    for field in fields(Augment):
        top, step, unit = KNOBS[field.name]
        sliders[field.name] = ipywidgets.FloatSlider(
            value=getattr(augment, field.name), max=top, step=step, description=field.name, tooltip=unit
        )
    seed = ipywidgets.BoundedIntText(value=0, min=0, max=9999, description="draw")
    picture = _image()

    def draw(_=None) -> None:
        strengths = Augment(**{name: slider.value for name, slider in sliders.items()})
        variants = strengths(images.repeat(3, 1, 1), image_size, torch.Generator().manual_seed(seed.value))
        faces = (torch.cat([originals, variants])[:, 0] * 255).round().byte().numpy()
        picture.value = _png(_mosaic(faces, len(images), 4), scale=96 / image_size)

    for knob in (*sliders.values(), seed):
        knob.observe(draw, "value")
    draw()
    caption = ipywidgets.HTML(f"{escape(dataset.name)}: first row as stored, below three random variants")
    knobs = ipywidgets.VBox([*sliders.values(), seed])
    return ipywidgets.VBox([caption, ipywidgets.HBox([knobs, picture])])


def step_through_mistakes(dataset: Dataset, predictions: pd.DataFrame) -> ipywidgets.VBox:
    """The wrongly recognised faces, the most confident mistake first, each with its seven probabilities.

    `predictions`: columns file, label (class name) and the seven classes (probabilities), as in
    predictions.csv. Raises DataError when they are not about `dataset`.
    """
    mistakes = find_mistakes(predictions)
    rows = pd.Index(dataset.files).get_indexer(mistakes["file"])
    if (rows < 0).any():
        raise DataError(
            f"{(rows < 0).sum()} of the {len(rows)} wrong predictions are about images that are not in "
            f"{dataset.name}; load the data set of that run."
        )
    if mistakes.empty:
        return ipywidgets.VBox([ipywidgets.HTML(f"{escape(dataset.name)}: no mistakes.")])

    previous = ipywidgets.Button(description="previous", icon="arrow-left")
    following = ipywidgets.Button(description="next", icon="arrow-right")
    position = ipywidgets.IntSlider(value=1, min=1, max=len(mistakes), description="mistake")
    caption, picture, bars = ipywidgets.HTML(), _image(), ipywidgets.HTML()

    def draw(_=None) -> None:
        index = position.value - 1
        mistake = mistakes.iloc[index]
        previous.disabled, following.disabled = index == 0, index == len(mistakes) - 1
        caption.value = (
            f"{escape(dataset.name)}, {escape(mistake['file'])}: "
            f"labelled <b>{mistake['label']}</b>, recognised as <b>{mistake['predicted']}</b>"
        )
        picture.value = _png(dataset.images[rows[index]], scale=4)
        bars.value = _bars(mistake)

    def step(by: int) -> None:
        position.value += by  # the slider keeps it in range

    previous.on_click(lambda _: step(-1))
    following.on_click(lambda _: step(1))
    position.observe(draw, "value")
    draw()
    controls = ipywidgets.HBox([previous, following, position])
    return ipywidgets.VBox([controls, caption, ipywidgets.HBox([picture, bars])])


def find_mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong predictions with the columns predicted and confidence added, the most confident first."""
    scores = predictions[list(CLASSES)]
    found = predictions.assign(predicted=scores.idxmax(axis=1), confidence=scores.max(axis=1))
    found = found[found["predicted"] != found["label"]]
    return found.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def _bars(mistake: pd.Series) -> str:
    """Seven horizontal bars as HTML; the label and the answer are named as well as coloured."""
    lines = []
    for name in CLASSES:
        colour, mark = "#9a9a9a", ""
        if name == mistake["label"]:
            colour, mark = "#0072b2", " label"
        if name == mistake["predicted"]:
            colour, mark = "#d55e00", " recognised"
        share = 100 * mistake[name]
        lines.append(
            f'<div style="display:flex;align-items:center;line-height:1.7">'
            f'<span style="width:5em;text-align:right;padding-right:.6em">{name}</span>'
            f'<span style="width:{1.6 * share:.0f}px;height:1em;background:{colour}"></span>'
            f'<span style="padding-left:.4em">{share:.0f} %{mark}</span></div>'
        )
    return "".join(lines)


def _mosaic(faces: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """uint8 (n, height, width) -> one picture of rows x columns faces with white seams and white gaps."""
    _, height, width = faces.shape
    tiles = np.full((rows * columns, height + 2, width + 2), 255, dtype=np.uint8)
    tiles[: len(faces), 1:-1, 1:-1] = faces
    tiles = tiles.reshape(rows, columns, height + 2, width + 2)
    return tiles.swapaxes(1, 2).reshape(rows * (height + 2), columns * (width + 2))


def _png(picture: np.ndarray, scale: float) -> bytes:
    """Grey uint8 (height, width) -> PNG, enlarged `scale` times."""
    height, width = picture.shape
    image = Image.fromarray(picture).resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _image() -> ipywidgets.Image:
    """An image widget that isn't stretched to its neighbours' height."""
    return ipywidgets.Image(format="png", layout=ipywidgets.Layout(align_self="flex-start"))
