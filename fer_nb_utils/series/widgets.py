"""Widgets that teach: browse the faces, turn the augmentation's knobs, step through a network's mistakes.

Everything is driven by `observe` and drawn into HTML widgets, because `interact` and Output widgets make papermill hang
now and then. Controls wrap and faces shrink where the page is narrow.
"""

import io
import tomllib
from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape

import ipywidgets
import numpy as np
import pandas as pd
import torch
from jinja2 import Environment
from PIL import Image

from ..classes import CLASSES, USAGES
from ..data.dataset import Dataset
from ..errors import DataError
from ..networks.transforms import Augment
from ..paths import TEMPLATES

HTML = Environment(autoescape=True).from_string((TEMPLATES / "widgets.html").read_text(encoding="utf-8")).module
ANY = "all"
UNIT_NAMES, KNOBS = tomllib.loads((TEMPLATES / "widgets.toml").read_text(encoding="utf-8")).values()


def browse_faces(dataset: Dataset, size: int = 40) -> ipywidgets.VBox:
    """Page through the faces of an expression and a split, `size` at a time, in the data set's order.

    Their labels show on demand, and hide again with the next page.
    """
    splits = [usage for usage in USAGES if usage in dataset.usage]
    expression = ipywidgets.Dropdown(options=[ANY, *CLASSES], description="expression", layout=width(200))
    split = ipywidgets.Dropdown(options=[ANY, *splits], description="split", layout=width(200))
    page = ipywidgets.BoundedIntText(value=1, min=1, description="page", layout=width(180))
    caption, faces = ipywidgets.HTML(), ipywidgets.HTML()

    def draw(change=None) -> None:
        if change and change.owner in (expression, split):
            page.value = 1
        label = (expression.value == ANY) | (np.array(CLASSES)[dataset.labels] == expression.value)
        found = np.flatnonzero(label & ((split.value == ANY) | (dataset.usage == split.value)))
        page.max = max(1, -(-len(found) // size))
        shown = found[(page.value - 1) * size :][:size]
        count = f"{len(found):,} faces, page {page.value} of {page.max:,}" if len(found) else "no such face"
        caption.value = f"{escape(dataset.name)}: {count}"
        labels = [CLASSES[dataset.labels[row]] if reveal.value else "?" for row in shown]
        faces.value = HTML.faces(zip(map(data_url, dataset.images[shown]), labels, strict=True))

    for control in (expression, split, page):
        control.observe(draw, "value")
    reveal = _labels_button(draw, expression, split, page)
    draw()
    return ipywidgets.VBox([row(expression, split, page, reveal), caption, faces])


def augmentation_knobs(dataset: Dataset) -> ipywidgets.VBox:
    """One face of each expression, as stored and in three random variants, with a slider for each strength.

    The draws stay the same while a strength changes, so that its effect shows; "draw" takes other ones.
    """
    names = [name for label, name in enumerate(CLASSES) if (dataset.labels == label).any()]
    stored = dataset.images[[np.argmax(dataset.labels == CLASSES.index(name)) for name in names]]
    size = stored.shape[-1]
    sliders = {
        name: slider(f"{name}, {unit}", 140, 0, top, getattr(Augment(), name), step)
        for name, (top, step, unit) in KNOBS.items()
    }
    seed = ipywidgets.BoundedIntText(value=0, max=9999, description="draw", layout=width(180))
    faces = ipywidgets.HTML()

    def draw(_=None) -> None:
        strengths = Augment(**{name: knob.value for name, knob in sliders.items()})
        three = torch.from_numpy(stored).repeat(3, 1, 1)
        variants = strengths(three, size, torch.Generator().manual_seed(seed.value))[:, 0]
        urls = [data_url(face) for face in (*stored, *(variants * 255).round().byte().numpy())]
        rows = [(name, urls[number :: len(names)]) for number, name in enumerate(names)]
        faces.value = HTML.table(["as stored", "variant 1", "variant 2", "variant 3"], rows)

    for knob in (*sliders.values(), seed):
        knob.observe(draw, "value")
    draw()
    return ipywidgets.VBox([row(*sliders.values(), seed), ipywidgets.HTML(escape(dataset.name)), faces])


def step_through_mistakes(dataset: Dataset, predictions: pd.DataFrame) -> ipywidgets.VBox:
    """The wrongly recognised faces, the most confident mistake first: guess, then reveal the seven probabilities.

    `predictions`: columns file, label (class name) and the seven classes (probabilities), as in predictions.csv. Raises
    DataError when they are not about `dataset`.
    """
    mistakes = find_mistakes(predictions)
    rows = pd.Index(dataset.files).get_indexer(mistakes["file"])
    if (rows < 0).any():
        raise DataError(f"These predictions are of images that {dataset.name} lacks; load the data set of that run.")
    if mistakes.empty:
        return ipywidgets.VBox([ipywidgets.HTML(f"{escape(dataset.name)}: no mistakes.")])

    position = ipywidgets.BoundedIntText(value=1, min=1, max=len(mistakes), description="mistake", layout=width(180))
    caption, face, answers = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.HTML()

    def draw(_=None) -> None:
        index = position.value - 1
        mistake = mistakes.iloc[index]
        answer = f"labelled <b>{mistake['label']}</b>, recognised as <b>{mistake['predicted']}</b>"
        text = answer if reveal.value else "your guess?"
        caption.value = f"{escape(dataset.name)}, {escape(mistake['file'])}: {text}"
        face.value = HTML.face(data_url(dataset.images[rows[index]]), mistake["label"] if reveal.value else "?", 192)
        looks = {mistake["label"]: ("#46627f", " label"), mistake["predicted"]: ("#8c4a00", " recognised")}
        answers.value = bars(mistake, looks) if reveal.value else ""

    position.observe(draw, "value")
    reveal = _labels_button(draw, position)
    draw()
    return ipywidgets.VBox([row(position, reveal), caption, row(face, answers)])


def find_mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """The wrong predictions with the columns predicted and confidence added, the most confident first."""
    scores = predictions[list(CLASSES)]
    found = predictions.assign(predicted=scores.idxmax(axis=1), confidence=scores.max(axis=1))
    found = found[found["predicted"] != found["label"]]
    return found.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)


def bars(shares: Mapping[str, float], marks: Mapping[str, tuple[str, str]]) -> str:
    """Seven horizontal bars as HTML; `marks`: class -> colour and a word, for those that stand out."""
    return HTML.bars([(name, 100 * shares[name], *marks.get(name, ("#9a9a9a", ""))) for name in CLASSES])


def data_url(image: np.ndarray) -> str:
    """Grey uint8 (height, width) as an address that holds a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=3)
    return f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"


def _labels_button(draw: Callable, *steps: ipywidgets.Widget) -> ipywidgets.ToggleButton:
    """A button that shows the labels or hides them, and goes back to hiding them when one of `steps` changes."""
    button = ipywidgets.ToggleButton(description="labels", icon="eye", layout=width(110))
    button.observe(draw, "value")
    for step in steps:
        step.observe(lambda _: setattr(button, "value", False), "value")
    return button


def slider(text: str, wide: int, low: float, high: float, value: float, step: float) -> ipywidgets.FloatSlider:
    """A slider after a text that takes `wide` pixels, or what a narrow page leaves."""
    look = {"description": text, "style": {"description_width": "calc(100% - 162px)"}, "layout": width(wide + 162)}
    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, **look)


def row(*children: ipywidgets.Widget) -> ipywidgets.Box:
    """Widgets side by side, in as many lines as the page needs."""
    return ipywidgets.Box(children, layout=ipywidgets.Layout(display="flex", flex_flow="row wrap", grid_gap="0 12px"))


def width(pixels: int) -> ipywidgets.Layout:
    """As wide as this, or as the page if that is narrower; it does not shrink beside others."""
    return ipywidgets.Layout(width=f"{pixels}px", max_width="calc(100% - 4px)", flex="0 0 auto")  # margins
