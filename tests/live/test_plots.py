"""The figures of live sessions, from a table made by hand."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from fer_nb_utils.classes import CLASS_COLORS, CLASSES
from fer_nb_utils.live import plots
from fer_nb_utils.live.realtime import COLUMNS, TIMES
from fer_nb_utils.live.snapshots import Snapshot


@pytest.fixture
def table():
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


def test_probabilities_follow_the_largest_face(table):
    figure = plots.probabilities_over_time(table, [(0, 2, "smile"), (2, 4, "frown")], note="by hand")
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


def test_probabilities_of_a_session_without_faces_are_an_empty_figure(table):
    figure = plots.probabilities_over_time(table[table["face"].isna()])
    assert not figure.axes[1].patches


def test_snapshots_of_all_expressions_with_the_missing_ones_empty():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[..., 0] = 255  # blue, in OpenCV's order
    figure = plots.snapshot_grid({"sad": Snapshot(picture, 0.83, 4.2)})
    assert [axis.get_title(loc="center") for axis in figure.axes] == list(CLASSES)
    shown = {axis.get_title(loc="center"): axis for axis in figure.axes if axis.images}
    assert list(shown) == ["sad"] and "83%" in shown["sad"].get_xlabel()
    assert shown["sad"].images[0].get_array()[0, 0].tolist() == [0, 0, 255]
    assert sum("never" in text.get_text() for axis in figure.axes for text in axis.texts) == 6
