import io
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.figures.data import pictures
from fer_nb_utils.series import show
from fer_nb_utils.series.tables import format_number

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def shown(monkeypatch):
    """What is displayed."""
    outputs = []
    monkeypatch.setattr(show, "display", lambda output, raw=False: outputs.append(output))
    return outputs


@pytest.mark.parametrize(("photographs", "kind"), [(False, "PNG"), (True, "JPEG")])
def test_a_figure_is_shown_with_its_title_as_alternative_text_at_its_own_size(shown, photographs, kind):
    figure = pictures({"noise": np.random.default_rng(0).random((7, 48, 48))}, CLASSES, "Seven pictures")
    show.show_figure(figure, photographs)
    picture = Image.open(io.BytesIO(shown[0].data))
    assert picture.format == kind and abs(picture.width - 96 * figure.get_figwidth()) < 25
    assert shown[0].metadata["alt"] == "Seven pictures"
    assert not plt.fignum_exists(figure.number)


def test_a_table_is_shown_with_its_note_escaped(shown):
    show.show_table(pd.DataFrame({"a": [0.12345, 1234.5]}), note="x < y")
    assert "0.123" in shown[0]["text/plain"] and "1,23" in shown[0]["text/plain"]
    assert shown[0]["text/plain"].endswith("\nx < y") and "<em>x &lt; y</em>" in shown[0]["text/html"]


VALUES = [(0.0004, "<0.001"), (0.0005, "0.001"), (0, "0"), (12345, "12,345"), (1234.6, "1,235"), (None, "")]


@pytest.mark.parametrize(("value", "text"), [*VALUES, (float("nan"), ""), (True, "True")])
def test_numbers_as_text(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem[:2])
def test_every_image_of_a_notebook_has_an_alternative_text(source):
    """Figures go through show_figure, which gives them one; images in the prose carry one."""
    code = source.read_text(encoding="utf-8")
    assert "plt.show()" not in code
    assert all(len(text) > 10 for text in re.findall(r"!\[(.*?)\]\(", code))
    assert "<img" not in code
