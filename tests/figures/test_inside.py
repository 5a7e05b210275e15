import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.figures.data import pictures
from fer_nb_utils.figures.inside import curves, scattered


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_pictures_stand_in_rows_under_their_columns_with_heat_where_there_is_any():
    faces = list(np.arange(2 * 48 * 48).reshape(2, 48, 48))
    heat = np.linspace(0, 1, 2 * 48 * 48).reshape(2, 48, 48)
    figure = pictures({"plain": faces, "hot": faces}, ["a", "b"], "Faces", "made up", {"hot": heat})
    axes = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_title("center") for axis in axes[0]] == ["a", "b"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["plain", "hot"]
    assert [[len(axis.images) for axis in row] for row in axes] == [[1, 1], [2, 2]]
    assert np.array_equal(axes[0, 1].images[0].get_array(), faces[1])
    laid_over = axes[1, 1].images[1]
    assert np.array_equal(laid_over.get_array(), heat[1]) and laid_over.get_clim() == (0, 1)
    assert figure.get_suptitle() == "Faces" and figure.get_supxlabel() == "made up"
    coloured = pictures({"": [np.zeros((36, 72, 3))] * 3}, ["a", "b", "c"], "Filters")
    assert coloured.get_figheight() < 4  # as flat as its pictures


def test_curves_keep_a_look_for_each_name_in_all_panels():
    left = pd.DataFrame({"one": [0.1, 0.2], "two": [0.3, np.nan]}, index=[0, 1])
    figure = curves({"a": left, "b": left[["two"]]}, "epoch", "share", "Lines", shares="y")
    first, second = figure.axes
    assert [line.get_xydata().tolist() for line in first.lines] == [[[0, 0.1], [1, 0.2]], [[0, 0.3]]]
    assert first.lines[1].get_color() == second.lines[0].get_color() != first.lines[0].get_color()
    assert first.lines[1].get_marker() == second.lines[0].get_marker() != first.lines[0].get_marker()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    assert first.get_xlabel() == "epoch" and first.get_ylabel() == "share" and second.get_title("left") == "b"
    figure.canvas.draw()
    assert all("%" in tick.get_text() for tick in first.get_yticklabels() if tick.get_text())


def test_scattered_points_have_the_marker_of_their_class():
    labels = np.array([*CLASSES, "happy"])
    points = np.arange(16.0).reshape(8, 2)
    (axis,) = scattered({"a network": points}, labels, "Points").axes
    found = {name: part.get_offsets().data.tolist() for name, part in zip(CLASSES, axis.collections, strict=True)}
    assert found["happy"] == [[6, 7], [14, 15]] and found["angry"] == [[0, 1]]
    markers = [part.get_paths()[0].vertices.tobytes() for part in axis.collections]
    assert len(set(markers)) == len(CLASSES)
