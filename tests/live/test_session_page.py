"""What is shown of a session: figures, from tables made by hand, and the page."""

import re
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from fer_nb_utils.classes import CLASS_COLORS, CLASSES, NOT_SURE
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.memory import Snapshot
from fer_nb_utils.live.realtime import COLUMNS, TIMES
from fer_nb_utils.live.session_page import how_sure, probabilities_over_time, snapshot_grid, write_page


@pytest.fixture
def table():
    """Four frames: happy at first, then unsure, with a second face in frame 1, and none in the last."""
    said = [(0, 1, "happy", 0.9), (1, 1, "happy", 0.7), (1, 2, NOT_SURE, 0.3), (2, 1, NOT_SURE, 0.2)]
    rows = []
    for frame, number, label, share in said:
        probabilities = np.full(7, (1 - share) / 6)
        probabilities[CLASSES.index("happy")] = share
        rows.append((frame, frame / 10, number, 10, 20, 30, 40, label, *probabilities, *range(6), ""))
    rows.append((3, 0.3, *[None] * 6, *[np.nan] * 7, *range(6), ""))
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[2:7], "Int64"))
    table.attrs = {"source": "<film>.mp4", "frames": 4, "seconds": 1.5, "problems": []}
    return table


def test_how_sure_the_labels_are(table):
    sure = how_sure(table)
    assert sure.index.tolist() == ["happy", NOT_SURE] and sure["faces"].tolist() == [2, 2]
    np.testing.assert_allclose(sure[["share", "probability"]], [[0.5, 0.8], [0.5, 0.25]])
    assert how_sure(table[table["face"].isna()]).empty


def test_the_page_shows_labels_faces_and_figures_and_needs_no_other_file(table, tmp_path):
    picture = next(islice(demo_clip(), 1)).image[:40, :40]
    write_page(table, {"happy": Snapshot(picture, 0.9, 0.0)}, "resnet18_tiny", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>Expressions in &lt;film&gt;.mp4</h1>" in page and "Labelled by resnet18_tiny." in page
    assert [int(n) for pair in re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td></tr>", page) for n in pair] == [
        *(0, 1), *(1, 2), *(2, 1)
    ]  # fmt: skip
    assert page.count('src="data:image/png;base64,') == 2 and not re.search(r'(src|href)="(?!data:)', page)
    assert "4 frames in 1.5 s" in page and list(tmp_path.iterdir()) == [tmp_path / "page.html"]


# Figures


@pytest.fixture
def long_table():
    """Forty frames, happy at first and sad later, the last five without a face, frame 3 with a second, smaller one."""
    rows = []
    for frame in range(40):
        happy = 0.7 if frame < 20 else 0.1
        values = np.full(len(CLASSES), (1 - happy - 0.2) / 5)
        values[CLASSES.index("happy")], values[CLASSES.index("sad")] = happy, 0.2
        face = [1, 10, 10, 90, 90, "happy" if happy > 0.5 else "sad", *values]
        nothing = [pd.NA] * 5 + [None] + [np.nan] * len(CLASSES)
        times = range(1, len(TIMES) + 1)
        rows.append([frame, frame / 10, *(face if frame < 35 else nothing), *times, ""])
        if frame == 3:
            rows.append([3, 0.3, 2, 200, 10, 80, 80, "fear", *values, *times, ""])
    return pd.DataFrame(rows, columns=COLUMNS)


def test_probabilities_follow_the_largest_face(long_table):
    figure = probabilities_over_time(long_table, [(0, 2, "smile"), (2, 4, "frown")], note="by hand")
    axis, ribbon = figure.axes
    lines = {line.get_label(): line for line in axis.lines if line.get_label() in CLASSES}
    assert set(lines) == set(CLASSES)
    assert list(lines["happy"].get_ydata()) == [0.7] * 20 + [0.1] * 15
    assert all(to_hex(line.get_color()).upper() == CLASS_COLORS[name] for name, line in lines.items())
    colors = [to_hex(bar.get_facecolor()).upper() for bar in ribbon.patches]
    assert colors == [CLASS_COLORS["happy"]] * 20 + [CLASS_COLORS["sad"]] * 15
    assert {"smile", "frown"} <= {text.get_text() for text in axis.texts}
    named = {text.get_text(): text.xy[1] for text in axis.texts if text.get_text() in CLASSES}
    assert named == {"happy": 0.7}  # at its peak; no other line is high enough


def test_probabilities_of_a_session_without_faces_are_an_empty_figure(long_table):
    figure = probabilities_over_time(long_table[long_table["face"].isna()])
    assert not figure.axes[1].patches


def test_snapshots_of_all_expressions_with_the_missing_ones_empty():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[..., 0] = 255  # blue, in OpenCV's order
    figure = snapshot_grid({"sad": Snapshot(picture, 0.83, 4.2)})
    assert [axis.get_title(loc="center") for axis in figure.axes] == list(CLASSES)
    shown = {axis.get_title(loc="center"): axis for axis in figure.axes if axis.images}
    assert list(shown) == ["sad"] and "83%" in shown["sad"].get_xlabel()
    assert shown["sad"].images[0].get_array()[0, 0].tolist() == [0, 0, 255]
    assert sum("never" in text.get_text() for axis in figure.axes for text in axis.texts) == 6
