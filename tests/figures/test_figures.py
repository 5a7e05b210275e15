"""Every figure: what it draws is what it was given, and it can be read, in grey too."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from made_up_predictions import HALF, random_table
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text
from notebook_functions import functions_of

from fer_nb_utils.classes import CLASS_COLORS, CLASSES, USAGES
from fer_nb_utils.data.dataset import PUBLISHED, Dataset
from fer_nb_utils.figures import style as figures_style
from fer_nb_utils.figures.architecture import draw_architecture
from fer_nb_utils.figures.data import pictures
from fer_nb_utils.figures.results import (
    LADDER,
    accuracy_cost,
    confusion_matrices,
    curves,
    roc_curves,
    transfer_ladder,
)
from fer_nb_utils.figures.style import CLASS_LINES, MODEL_STYLES, RUN_STYLES, SMALL, WIDTH, percent, run_styles
from fer_nb_utils.figures.training import training_curves
from fer_nb_utils.networks.resnets import build_model
from fer_nb_utils.results import measures
from fer_nb_utils.results.paper import PAPER_TABLE2
from fer_nb_utils.results.run_folder import Run

NOTE = "synthetic sample"
NEEDED = {"plt": plt, "sns": sns, "CLASSES": CLASSES, "CLASS_COLORS": CLASS_COLORS, "USAGES": USAGES}
NEEDED |= vars(figures_style) | {"PAPER_TABLE2": PAPER_TABLE2}
class_counts, pixel_statistics = map(
    functions_of("01_explore_fer2013", **NEEDED).get, ("class_counts", "pixel_statistics")
)
class_f1 = functions_of("05_compare_resnets", **NEEDED)["class_f1"]
NAMES = ["resnet18", "resnet34", "resnet50"]
DEPTHS = ["resnet18 fc", "resnet18 layer4 cached", "resnet18 layer4", "resnet18 all"]


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def history(accuracies, seconds=10.0):
    epochs = np.arange(1, len(accuracies) + 1)
    return pd.DataFrame({
        "epoch": epochs, "train_loss": 2 / epochs, "train_accuracy": accuracies, "learning_rate": 0.1,
        "validation_loss": 2.5 / epochs, "validation_accuracy": np.array(accuracies) / 2, "seconds": seconds,
    })  # fmt: skip


def dataset(name=NOTE):
    labels = np.repeat(np.arange(7), 3)
    images = np.full((21, 48, 48), 100, np.uint8) + labels[:, None, None].astype(np.uint8) * 10
    return Dataset(images, labels, np.full(21, "Training"), np.arange(21).astype(str), name, "sha256:0", "x")


def faces_index():
    brightness = np.tile(np.arange(0.3, 0.8, 0.1), 7)
    return pd.DataFrame({"label": np.repeat(CLASSES, 5), "mean": brightness, "std": brightness / 2})


def costs(names=NAMES):
    count = len(names)
    return pd.DataFrame({
        "parameters": [11.2e6, 21.3e6, 23.5e6][:count], "multiply_adds": [1.8e9, 3.7e9, 4.1e9][:count],
        "training_seconds": [60.0, 120.0, 600.0][:count], "latency_ms": [5.0, 8.0, 9.0][:count],
        "accuracy": [0.6, 0.63, 0.65][:count], "low": [0.59, 0.61, 0.64][:count], "high": [0.61, 0.64, 0.66][:count],
    }, index=names)  # fmt: skip


LONG = f"{NOTE}, " + ", ".join(f"{name}: trained: all, 20 epochs" for name in DEPTHS)
FIGURES = {
    "class_counts": lambda: class_counts(PUBLISHED, LONG),
    "pixel_statistics": lambda: pixel_statistics(faces_index(), NOTE),
    "pictures": lambda: pictures(
        dict.fromkeys(CLASSES, np.ones((7, 8, 8))), [f"draw {i}" for i in range(7)], NOTE, LONG
    ),
    "mistakes": lambda: pictures({"": np.ones((7, 8, 8))}, ["surprise, taken\nfor surprise\n99%"] * 7, NOTE, LONG),
    "confusion_matrices": lambda: confusion_matrices(dict.fromkeys(NAMES, random_table()), LONG),
    "confusion_matrix": lambda: confusion_matrices({DEPTHS[1]: random_table()}, LONG),
    "roc_curves": lambda: roc_curves(dict.fromkeys(NAMES, random_table()), LONG),
    "roc_curve": lambda: roc_curves({DEPTHS[1]: random_table()}, LONG),
    "class_f1": lambda: class_f1(measures.table2({"a": random_table()}), LONG),
    "accuracy_cost": lambda: accuracy_cost(costs(), LONG),
    "training_curves": lambda: training_curves(dict.fromkeys(DEPTHS, [history([0.3, 0.6, 0.9])]), LONG, DEPTHS[3:]),
    "architecture": lambda: draw_architecture(build_model("resnet50", "none"), "resnet50", 224),
}


def drawn_texts(figure, monkeypatch):
    """The texts that are really drawn, without ticks outside the limits, with their boxes in pixels."""
    figure.canvas.draw()
    found, draw = [], Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            found.append(self)
        draw(self, renderer)

    monkeypatch.setattr(Text, "draw", record)
    figure.canvas.draw()
    monkeypatch.undo()
    return {text: text.get_window_extent() for text in found}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_read(name, monkeypatch):
    """No text is under 9 points, overlaps another or leaves the figure; a title for the alternative text is there."""
    figure = FIGURES[name]()
    assert figure.get_suptitle() and figure.get_figwidth() <= WIDTH == 10
    boxes = drawn_texts(figure, monkeypatch)
    assert len(boxes) > 5 and min(text.get_fontsize() for text in boxes) >= SMALL == 9
    upright = [(text, box.padded(-0.5)) for text, box in boxes.items() if not text.get_rotation() % 90]
    overlapping = [(one.get_text(), other.get_text()) for (one, box), (other, beside) in combinations(upright, 2)
                   if box.overlaps(beside)]  # fmt: skip
    assert not overlapping
    outside = [text.get_text() for text, box in boxes.items()
               if not (figure.bbox.contains(box.x0, box.y0) and figure.bbox.contains(box.x1, box.y1))]  # fmt: skip
    assert not outside


def texts(container):
    return [text.get_text() for text in container.texts]


def lines(axis, style="-"):
    return [np.asarray(line.get_ydata()) for line in axis.lines if line.get_linestyle() == style]


def test_note_and_title_are_drawn_and_the_style_does_not_leak():
    before = dict(plt.rcParams)
    figure = class_counts(PUBLISHED, NOTE)
    assert figure.get_supxlabel() == NOTE and figure.get_suptitle() == "Images per class and split"
    assert dict(plt.rcParams) == before


def lightness(color):
    return 255 * np.dot(to_rgb(color), (0.299, 0.587, 0.114))


def test_one_colour_has_one_meaning_and_survives_grey():
    """Networks and runs differ in marker and lightness, classes in their line."""
    runs = [*MODEL_STYLES.values(), *RUN_STYLES]
    colors = [color.upper() for color, _ in runs] + list(CLASS_COLORS.values())
    assert len(set(colors)) == len(colors) == 14
    assert len({marker for _, marker in runs}) == 7
    for group in (MODEL_STYLES.values(), RUN_STYLES):
        greys = sorted(lightness(color) for color, _ in group)
        assert np.diff(greys).min() > 25 and greys[-1] < 190
    assert list(CLASS_LINES) == list(CLASSES) and len(set(map(str, CLASS_LINES.values()))) == 7


def test_a_run_named_after_its_network_alone_has_the_networks_style():
    styles = run_styles(["resnet50", "resnet18", "resnet18 fc", "ResNet-34", "resnet18 all"])
    assert [styles[name] for name in ("resnet18", "ResNet-34", "resnet50")] == list(MODEL_STYLES.values())
    assert [styles["resnet18 fc"], styles["resnet18 all"]] == list(RUN_STYLES[:2])


@pytest.mark.parametrize(
    ("limits", "labels"),
    [((0, 1, 0.25), ["0%", "25%", "50%"]), ((0.4, 0.6, 0.025), ["40.0%", "42.5%", "45.0%"]),
     ((0.64, 0.65, 0.0025), ["64.00%", "64.25%", "64.50%"])],
)  # fmt: skip
def test_ticks_say_where_they_are(limits, labels):
    axis = plt.figure().add_subplot()
    axis.set(ylim=limits[:2], yticks=np.arange(*limits))
    percent(axis)
    axis.figure.canvas.draw()
    assert [tick.get_text() for tick in axis.get_yticklabels()][:3] == labels


def test_a_dollar_in_the_name_of_the_data_is_no_formula():
    class_counts(PUBLISHED, r"data of $\frac{").canvas.draw()


def test_class_counts_draws_each_split():
    figure = class_counts(PUBLISHED)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Training: 28,709", "PublicTest: 3,589", "PrivateTest: 3,589"]  # fmt: skip
    assert [bar.get_width() for bar in figure.axes[1].patches] == PUBLISHED["PublicTest"].tolist()
    assert "436  (1.5%)" in texts(figure.axes[0])


def test_pixel_statistics_is_by_class():
    axes = pixel_statistics(faces_index(), NOTE).axes
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == list(CLASSES)
    assert axes[0].lines[-1].get_xdata()[0] == pytest.approx(0.5)


def test_pictures_share_one_grey_scale_where_it_is_given():
    faces = dataset().images[[0, 20]]
    figure = pictures({"a": faces, "b": faces[:1]}, ["one", "two"], "Faces", limits=(0, 255))
    images = [axis.images for axis in figure.axes]
    assert [len(shown) for shown in images] == [1, 1, 1, 0]  # a place without a picture stays empty
    assert {shown[0].get_clim() for shown in images[:3]} == {(0, 255)}
    own = pictures({"a": np.stack([faces[0], faces[0] // 2])}, ["one", "two"], "Faces")
    assert [axis.images[0].get_clim() for axis in own.axes] == [(100, 100), (50, 50)]


def test_training_curves_hold_the_histories():
    runs = {"resnet18": [history([0.3, 0.6, 0.9])], "resnet50": [history([0.4, 0.6, 0.8], seconds=200.0)]}
    figure = training_curves(runs, NOTE)
    loss, accuracy, clock = figure.axes
    assert [line.tolist() for line in lines(loss)] == [[2, 1, 2 / 3]] * 2
    assert [line.tolist() for line in lines(loss, "--")] == [[2.5, 1.25, 2.5 / 3]] * 2
    assert [line.tolist() for line in lines(accuracy)] == [[0.3, 0.6, 0.9], [0.4, 0.6, 0.8]]
    assert [line.tolist() for line in lines(accuracy, "--")] == [[0.15, 0.3, 0.45], [0.2, 0.3, 0.4]]
    assert clock.lines[1].get_ydata() == pytest.approx([200 / 60, 400 / 60, 10])
    assert clock.lines[1].get_xdata().tolist() == [1, 2, 3]
    assert clock.get_ylabel() == "minutes since the start"
    assert to_hex(clock.lines[1].get_color()).upper() == MODEL_STYLES["resnet50"][0]
    assert {line.get_markerfacecolor() for line in accuracy.lines if line.get_linestyle() == "--"} == {"white"}
    assert texts(figure.legends[0]) == ["resnet18", "resnet50", "training", "validation"]
    assert training_curves({"resnet18": runs["resnet18"]}).axes[2].get_ylabel() == "seconds since the start"


def test_training_curves_of_seeds_are_their_mean_with_a_band():
    runs = {"resnet18": [history([0.2, 0.6]), history([0.4, 0.8])]}
    accuracy = training_curves(runs, NOTE).axes[1]
    np.testing.assert_allclose(lines(accuracy)[0], [0.3, 0.7])
    bands = [path.get_paths()[0].vertices[:, 1] for path in accuracy.collections]
    assert [(band.min(), band.max()) for band in bands] == [(0.2, 0.8), (0.1, 0.4)]  # training, validation


def test_transfer_ladder_places_networks_on_rungs_beside_the_paper(made_up_runs):
    figure = transfer_ladder(made_up_runs, NOTE)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == list(LADDER.values())
    marks = {line.get_marker(): line for line in axis.lines if line.get_marker() in "os^"}
    assert round(marks["o"].get_xdata()[0]) == 2 and round(marks["s"].get_xdata()[0]) == 0
    for runs, marker in zip(made_up_runs.values(), "os", strict=True):
        mean = np.mean([run.metrics["full"]["accuracy"] for run in runs])
        assert marks[marker].get_ydata()[0] == pytest.approx(mean)
    dots = [line for line in axis.lines if line.get_marker() == "."]
    assert [len(line.get_ydata()) for line in dots] == [2, 1]
    papers = [line.get_ydata()[0] for line in axis.lines if line.get_marker() == "_"]
    assert papers == [0.650, 0.651, 0.654]


@pytest.fixture
def made_up_runs():
    """Two seeds of a ResNet18 with layer4 trained, one of a ResNet34 from random weights."""

    def run(model, kind, seed):
        table = random_table(seed=seed)
        config = {"model": model, "weights_kind": kind, "trainable": "all" if kind == "random" else "layer4"}
        return Run(None, config, None, table, {"full": {"accuracy": measures.table1_row(table)["accuracy"]}})

    return {"a": [run("resnet18", "embedded", seed) for seed in (1, 2)], "b": [run("resnet34", "random", 3)]}


def test_a_loss_with_label_smoothing_is_not_drawn_beside_others():
    runs = {"resnet18": [history([0.3, 0.6])], "resnet18 all": [history([0.4, 0.8])]}
    figure = training_curves(runs, NOTE, smoothed=["resnet18 all"])
    loss, accuracy, _ = figure.axes
    assert len(lines(loss)) == 1 and len(lines(loss, "--")) == len(lines(accuracy)) == 2
    assert figure.get_supxlabel().startswith(f"{NOTE}. Without the training loss of resnet18 all")


def test_confusion_matrices_write_share_and_count():
    figure = confusion_matrices({"resnet18": HALF, "resnet34": HALF})
    left = figure.axes[0]
    assert left.get_title(loc="left") == "resnet18\naccuracy 57.1% of 14"
    cells = np.array(texts(left)).reshape(7, 7)
    assert cells[5, 3] == "50%\n1" and cells[3, 3] == "100%\n2" and cells[0, 1] == "0%\n0"


def test_roc_curves_name_each_auc_and_differ_in_their_lines():
    predictions = random_table()
    left, axis, _, below = roc_curves({"resnet18": HALF, "resnet34": predictions}).axes
    assert [left.get_title(loc="left"), axis.get_title(loc="left")] == ["resnet18", "resnet34"]
    aucs = measures.per_class(predictions)["auc"]
    labels = texts(below.get_legend())
    assert labels == [f"{name} {aucs[name]:.3f}" for name in CLASSES] + [f"mean {aucs.mean():.3f}"]
    assert len(axis.lines) == 9  # seven, their mean, the diagonal
    curves = measures.roc(predictions)
    for line, name in zip(axis.lines, [*CLASSES, "mean"], strict=False):
        assert np.array_equal(line.get_xdata(), curves[name]["fpr"])
        assert np.array_equal(line.get_ydata(), curves[name]["tpr"])
    patterns = {str((line._unscaled_dash_pattern, line.get_linewidth())) for line in axis.lines[:8]}
    assert len(patterns) == 8


def test_class_f1_stands_beside_the_paper():
    table = measures.table2({"a": random_table()})
    axis = class_f1(table).axes[0]
    assert [bar.get_height() for bar in axis.patches] == pytest.approx([*table["f1"]])
    assert axis.lines[0].get_ydata().tolist() == PAPER_TABLE2["f1"].tolist()
    assert texts(axis) == [f"{value:.2f}" for value in table["f1"]]


def test_accuracy_cost_places_and_sizes_each_run():
    axes = accuracy_cost(costs(NAMES[:2])).axes
    centres = [[dot.get_offsets()[0].tolist() for dot in axis.collections] for axis in axes]
    assert centres == [[[1.8, 0.6], [3.7, 0.63]], [[1.0, 0.6], [2.0, 0.63]], [[5.0, 0.6], [8.0, 0.63]]]
    small, large = (dot.get_sizes()[0] for dot in axes[0].collections)
    assert large / small == pytest.approx(21.3 / 11.2)
    assert [line.get_ydata().tolist() for line in axes[0].lines[::2]] == [[0.59, 0.61], [0.61, 0.64]]
    assert [line.get_marker() for line in axes[0].lines[1::2]] == ["o", "s"]


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
