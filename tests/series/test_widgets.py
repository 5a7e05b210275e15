import io
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


def picture(box: ipywidgets.Widget) -> np.ndarray:
    image = next(part for part in parts(box) if isinstance(part, ipywidgets.Image))
    return np.asarray(Image.open(io.BytesIO(image.value)))


def text(box: ipywidgets.Widget) -> str:
    return " ".join(part.value for part in parts(box) if isinstance(part, ipywidgets.HTML))


def test_browsing_shows_the_chosen_faces(dataset):
    box = widgets.browse_faces(dataset, columns=5, rows=2)
    assert "faces in test: 200 faces, page 1 of 20" in text(box)
    everything = picture(box)
    control(box, "expression").value = "disgust"
    control(box, "split").value = "PublicTest"
    disgust = dataset.subset((dataset.labels == 1) & (dataset.usage == "PublicTest"))
    assert f"{len(disgust)} faces, page 1 of 1" in text(box)
    assert picture(box).shape == everything.shape == (2 * 100, 5 * 100)
    shown = np.asarray(Image.fromarray(picture(box)).resize((250, 100), Image.Resampling.BOX))[1:49, 1:49]
    assert np.corrcoef(shown[2:-2, 2:-2].ravel(), disgust.images[0, 2:-2, 2:-2].ravel())[0, 1] > 0.95


def test_browsing_pages_and_starts_again_with_another_choice(dataset):
    box = widgets.browse_faces(dataset, columns=5, rows=2)
    first = picture(box)
    control(box, "page").value = 20
    assert not np.array_equal(picture(box), first)
    control(box, "expression").value = "happy"
    assert control(box, "page").value == 1 and control(box, "page").max == 3
    control(box, "page").value = 3
    assert "page 3 of 3" in text(box)
    assert (picture(box)[102:, 402:] == 255).all()  # 29 faces, so the last place of the last page stays empty


def test_browsing_an_empty_choice(dataset):
    box = widgets.browse_faces(dataset)
    control(box, "expression").value = "surprise"
    control(box, "split").value = "PublicTest"
    assert "no such face" in text(box) and (picture(box) == 255).all()


def test_every_strength_has_a_knob_that_changes_the_variants_only(dataset):
    assert list(widgets.KNOBS) == [field.name for field in fields(Augment)]
    box = widgets.augmentation_knobs(dataset, Augment(**dict.fromkeys(widgets.KNOBS, 0.0)), image_size=96)
    plain = picture(box)
    assert plain.shape == (4 * 98, 7 * 98)
    assert np.array_equal(plain[:98], plain[98:196])  # without strength a variant is the original
    for name, (top, _, _) in widgets.KNOBS.items():
        control(box, name).value = top
        assert not np.array_equal(picture(box), plain), name
        assert np.array_equal(picture(box)[:98], plain[:98]), name
        control(box, name).value = 0
        assert np.array_equal(picture(box), plain), name


def test_another_draw_changes_the_variants(dataset):
    box = widgets.augmentation_knobs(dataset)
    before = picture(box)
    control(box, "draw").value = 1
    assert not np.array_equal(picture(box), before)
    control(box, "draw").value = 0
    assert np.array_equal(picture(box), before)


def test_mistakes_come_with_the_most_confident_first(predictions):
    mistakes = widgets.find_mistakes(predictions)
    assert len(mistakes) == 12 and mistakes["confidence"].is_monotonic_decreasing
    assert (mistakes["predicted"] != mistakes["label"]).all()


def test_stepping_through_mistakes(dataset, predictions):
    box = widgets.step_through_mistakes(dataset, predictions)
    worst = widgets.find_mistakes(predictions)
    previous, following = control(box, "previous"), control(box, "next")
    assert previous.disabled and not following.disabled
    first = picture(box)
    for number, mistake in enumerate(worst.itertuples()):
        assert f"labelled <b>{mistake.label}</b>, recognised as <b>{mistake.predicted}</b>" in text(box)
        assert mistake.file.replace("<", "&lt;").replace(">", "&gt;") in text(box)
        assert f"{100 * mistake.confidence:.0f} % recognised" in text(box)
        assert control(box, "mistake").value == number + 1
        following.click()
    assert following.disabled and not np.array_equal(picture(box), first)
    for _ in range(20):
        previous.click()
    assert np.array_equal(picture(box), first)


def test_predictions_of_another_data_set(dataset, predictions):
    with pytest.raises(DataError, match="not in faces in test; load the data set of that run"):
        widgets.step_through_mistakes(dataset, predictions.assign(file="elsewhere"))


def test_no_mistakes(dataset, predictions):
    right = predictions[predictions[list(CLASSES)].idxmax(axis=1) == predictions["label"]]
    assert "no mistakes" in text(widgets.step_through_mistakes(dataset, right))


def test_pictures_are_small(dataset):
    pages, knobs = widgets.browse_faces(dataset), widgets.augmentation_knobs(dataset)
    for box in (pages, knobs):
        image = next(part for part in parts(box) if isinstance(part, ipywidgets.Image))
        assert len(image.value) < 300_000


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
    assert "OutputModel" not in (tmp_path / "out.ipynb").read_text()
