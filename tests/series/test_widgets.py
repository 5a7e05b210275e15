import io
import re
from base64 import b64decode
from dataclasses import fields

import ipywidgets
import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import Dataset
from fer_nb_utils.errors import DataError
from fer_nb_utils.networks.transforms import Augment
from fer_nb_utils.series import widgets


@pytest.fixture
def dataset() -> Dataset:
    """Chequered pictures, 130 to train and 70 to test, none of `surprise` in test; names to escape."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 7
    usage = np.where(np.arange(200) < 130, "Training", "PublicTest")
    labels[(labels == 6) & (usage == "PublicTest")] = 0
    files = np.array([f"<{number}>" for number in range(200)])
    images = np.kron(rng.integers(0, 256, (200, 6, 6), dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))
    return Dataset(images, labels, usage, files, "faces in test", "sha256:0", "test")


@pytest.fixture
def predictions(dataset: Dataset) -> pd.DataFrame:
    """The test images, a sixth of them wrong, with growing confidence."""
    test = dataset.select("PublicTest")
    answers = test.labels.copy()
    answers[::6] = (answers[::6] + 1) % 7
    confidence = np.linspace(0.3, 0.9, len(test))
    table = pd.DataFrame(np.repeat((1 - confidence)[:, None] / 6, 7, axis=1), columns=CLASSES)
    for row, (answer, value) in enumerate(zip(answers, confidence, strict=True)):
        table.loc[row, CLASSES[answer]] = value
    return table.assign(file=test.files, label=np.array(CLASSES)[test.labels])


def parts(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def control(box: ipywidgets.Widget, description: str) -> ipywidgets.Widget:
    return next(part for part in parts(box) if getattr(part, "description", None) == description)


def text(box: ipywidgets.Widget) -> str:
    return " ".join(part.value for part in parts(box) if isinstance(part, ipywidgets.HTML))


def faces(box: ipywidgets.Widget) -> list[np.ndarray]:
    """The pictures shown, grey."""
    data = re.findall(r'src="data:image/png;base64,([^"]+)"', text(box))
    return [np.asarray(Image.open(io.BytesIO(b64decode(one)))) for one in data]


def names(box: ipywidgets.Widget) -> list[str]:
    """The alternative texts of the pictures."""
    return re.findall(r'<img alt="([^"]*)"', text(box))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


def test_browsing_shows_the_chosen_faces(dataset):
    box = widgets.browse_faces(dataset, size=10)
    assert "faces in test: 200 faces, page 1 of 20" in text(box)
    assert same(faces(box), list(dataset.images[:10]))
    control(box, "expression").value = "disgust"
    control(box, "split").value = "PublicTest"
    disgust = dataset.subset((dataset.labels == 1) & (dataset.usage == "PublicTest"))
    assert f"{len(disgust)} faces, page 1 of 1" in text(box)
    assert same(faces(box), list(disgust.images))


def test_browsing_pages_and_starts_again_with_another_choice(dataset):
    box = widgets.browse_faces(dataset, size=10)
    control(box, "page").value = 20
    assert same(faces(box), list(dataset.images[190:]))
    control(box, "expression").value = "happy"
    assert control(box, "page").value == 1 and control(box, "page").max == 3
    control(box, "page").value = 3
    assert "page 3 of 3" in text(box)
    assert same(faces(box), list(dataset.images[dataset.labels == 3][20:]))


def test_browsing_an_empty_choice(dataset):
    box = widgets.browse_faces(dataset)
    control(box, "expression").value = "surprise"
    control(box, "split").value = "PublicTest"
    assert "no such face" in text(box) and not faces(box)


def test_labels_show_on_demand_and_hide_with_the_next_page(dataset):
    box = widgets.browse_faces(dataset, size=10)
    assert names(box) == ["?"] * 10 and not any(f">{name}<" in text(box) for name in CLASSES)
    control(box, "labels").value = True
    expected = [CLASSES[label] for label in dataset.labels[:10]]
    assert names(box) == expected
    assert re.findall(r"line-height:1.4\">([^<]+)<", text(box)) == expected
    control(box, "page").value = 2
    assert names(box) == ["?"] * 10 and control(box, "labels").value is False


def test_every_strength_has_a_knob_that_changes_the_variants_only(dataset):
    assert list(widgets.KNOBS) == [field.name for field in fields(Augment)]
    box = widgets.augmentation_knobs(dataset)
    for name, (_, _, unit) in widgets.KNOBS.items():
        assert control(box, f"{name}, {unit}").value == getattr(Augment(), name)
        control(box, f"{name}, {unit}").value = 0
    plain = faces(box)
    first = [dataset.images[dataset.labels == label][0] for label in range(7)]
    assert same(plain[::4], first)  # as stored
    assert same(plain[1::4], first)  # without strength a variant is the original
    variants = ["as stored", "variant 1", "variant 2", "variant 3"]
    assert names(box) == [f"{variant}, {name}" for name in CLASSES for variant in variants]
    assert re.findall(r"<th[^>]*>([^<]+)</th>", text(box)) == [*variants, *CLASSES]
    for name, (top, _, unit) in widgets.KNOBS.items():
        control(box, f"{name}, {unit}").value = top
        assert not same(faces(box), plain), name
        assert same(faces(box)[::4], first), name
        control(box, f"{name}, {unit}").value = 0
        assert same(faces(box), plain), name


def test_a_class_without_faces_has_no_row(dataset):
    box = widgets.augmentation_knobs(dataset.subset(dataset.labels != 1))
    assert len(faces(box)) == 24 and not any("disgust" in name for name in names(box))


def test_another_draw_changes_the_variants(dataset):
    box = widgets.augmentation_knobs(dataset)
    before = faces(box)
    control(box, "draw").value = 1
    assert not same(faces(box), before)
    control(box, "draw").value = 0
    assert same(faces(box), before)


def test_mistakes_come_with_the_most_confident_first(predictions):
    mistakes = widgets.find_mistakes(predictions)
    assert len(mistakes) == 12 and mistakes["confidence"].is_monotonic_decreasing
    assert (mistakes["predicted"] != mistakes["label"]).all()


def test_stepping_through_mistakes(dataset, predictions):
    box = widgets.step_through_mistakes(dataset, predictions)
    worst = widgets.find_mistakes(predictions)
    for number, mistake in enumerate(worst.itertuples()):
        control(box, "mistake").value = number + 1
        assert same(faces(box), list(dataset.images[dataset.files == mistake.file]))
        assert mistake.file.replace("<", "&lt;").replace(">", "&gt;") in text(box)
        assert "your guess?" in text(box) and not any(name in text(box) for name in CLASSES)
        control(box, "labels").value = True
        assert f"labelled <b>{mistake.label}</b>, recognised as <b>{mistake.predicted}</b>" in text(box)
        assert f"{100 * mistake.confidence:.0f} % recognised" in text(box) and names(box) == [mistake.label]
    control(box, "mistake").value = 20
    assert control(box, "mistake").value == 12  # there are no more


def test_controls_wrap_and_none_is_wider_than_a_narrow_page(dataset, predictions):
    """JupyterLab at 700 pixels with its file browser leaves 332 for a cell's output."""
    for box in (
        widgets.browse_faces(dataset),
        widgets.augmentation_knobs(dataset),
        widgets.step_through_mistakes(dataset, predictions),
    ):
        row = box.children[0]
        assert row.layout.flex_flow == "row wrap" and len(row.children) >= 2
        for part in row.children:
            assert int(part.layout.width.removesuffix("px")) <= 332
            assert part.layout.max_width == "calc(100% - 4px)" and part.layout.flex == "0 0 auto"


def test_predictions_of_another_data_set(dataset, predictions):
    with pytest.raises(DataError, match="images that faces in test lacks; load the data set of that run"):
        widgets.step_through_mistakes(dataset, predictions.assign(file="elsewhere"))


def test_no_mistakes(dataset, predictions):
    right = predictions[predictions[list(CLASSES)].idxmax(axis=1) == predictions["label"]]
    assert "no mistakes" in text(widgets.step_through_mistakes(dataset, right))


def test_pictures_are_small(dataset):
    for box in (widgets.browse_faces(dataset), widgets.augmentation_knobs(dataset)):
        assert len(text(box)) < 400_000


def test_nothing_blocks_under_papermill(tmp_path):
    """A notebook with all three widgets runs to its end and holds no Output widget."""
    code = """
from pathlib import Path
import numpy as np, pandas as pd
from fer_nb_utils.series import widgets
from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import Dataset
labels = np.arange(7)
usage = np.array(["Training"] * 7)
images = np.zeros((7, 48, 48), np.uint8)
dataset = Dataset(images, labels, usage, np.array(list("abcdefg")), "test", "sha256:0", "test")
predictions = pd.DataFrame(np.eye(7)[::-1], columns=CLASSES).assign(file=dataset.files, label=CLASSES)
display(widgets.browse_faces(dataset), widgets.augmentation_knobs(dataset))
widgets.step_through_mistakes(dataset, predictions)
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    done = papermill.execute_notebook(notebook, tmp_path / "out.ipynb", progress_bar=False, execution_timeout=120)
    shown = [output.data for output in done.cells[0].outputs]
    assert ["application/vnd.jupyter.widget-view+json" in data for data in shown] == [True] * 3
    assert "OutputModel" not in (tmp_path / "out.ipynb").read_text("utf-8")
