import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from made_up_predictions import HALF, random_table
from matplotlib.colors import to_hex

from fer_nb_utils.classes import CLASS_COLORS, CLASSES
from fer_nb_utils.data.dataset import PUBLISHED, Dataset
from fer_nb_utils.errors import UserError
from fer_nb_utils.figures.data import augmented_faces, class_counts, face_grid, mean_faces, pixel_statistics
from fer_nb_utils.figures.results import (
    _wilson,
    accuracy_cost,
    accuracy_intervals,
    class_f1,
    confusion_matrices,
    roc_curves,
)
from fer_nb_utils.figures.style import MODEL_STYLES, run_styles
from fer_nb_utils.figures.training import freezing_comparison, training_curves
from fer_nb_utils.results import measures
from fer_nb_utils.results.paper import PAPER_TABLE1, PAPER_TABLE2

NOTE = "synthetic sample"


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


def texts(container):
    return [text.get_text() for text in container.texts]


def lines(axis, style="-"):
    return {line.get_label(): line.get_ydata() for line in axis.lines if line.get_linestyle() == style}


def test_note_and_title_are_drawn_and_the_style_does_not_leak():
    before = dict(plt.rcParams)
    figure = class_counts(PUBLISHED, NOTE)
    assert figure.get_supxlabel() == NOTE and figure.get_suptitle() == "Images per class and split"
    assert dict(plt.rcParams) == before


def test_colours_are_distinct_and_fixed():
    assert len(set(CLASS_COLORS.values())) == 7
    styles = run_styles(["resnet50", "resnet18", "resnet18 fc", "ResNet-34"])
    assert styles["resnet18"] == MODEL_STYLES["resnet18"]
    assert styles["ResNet-34"] == MODEL_STYLES["resnet34"]
    assert len(set(styles.values())) == 4


def test_class_counts_draws_each_split():
    figure = class_counts(PUBLISHED)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "Training: 28,709", "PublicTest: 3,589", "PrivateTest: 3,589"]  # fmt: skip
    assert [bar.get_width() for bar in figure.axes[1].patches] == PUBLISHED["PublicTest"].tolist()
    assert "436  (1.5%)" in texts(figure.axes[0])


def test_mean_faces_shows_means_and_differences():
    figure = mean_faces(dataset())
    images = [axis.images[0].get_array() for axis in figure.axes if axis.images]
    assert np.allclose(images[6], 160) and np.allclose(images[7 + 6], 30) and np.allclose(images[7], -30)


def test_pixel_statistics_is_by_class():
    brightness = np.tile(np.arange(0.3, 0.8, 0.1), 7)
    index = pd.DataFrame({"label": np.repeat(CLASSES, 5), "mean": brightness, "std": brightness / 2})
    axes = pixel_statistics(index).axes
    assert [tick.get_text() for tick in axes[0].get_yticklabels()] == list(CLASSES)
    assert axes[0].lines[-1].get_xdata()[0] == pytest.approx(0.5)


def test_face_grid_shows_faces_but_none_of_fer2013():
    figure = face_grid(dataset(), per_class=4)
    assert sum(len(axis.images) for axis in figure.axes) == 21
    assert figure.axes[4].images[0].get_array()[0, 0] == 110
    with pytest.raises(UserError, match="mean_faces"):
        face_grid(dataset("FER-2013"))


def test_augmented_faces_keep_one_grey_scale():
    originals = dataset().images[[0, 20]]
    draws = np.stack([originals, originals + 20], axis=1)
    images = [axis.images[0] for axis in augmented_faces(originals, draws).axes]
    assert [int(image.get_array()[0, 0]) for image in images] == [100, 100, 120, 160, 160, 180]
    assert {image.get_clim() for image in images} == {(100, 160)}


def test_training_curves_hold_the_histories():
    runs = {"resnet18": history([0.3, 0.6, 0.9]), "resnet50": history([0.4, 0.6, 0.8], seconds=200.0)}
    loss, accuracy, clock = training_curves(runs, NOTE).axes
    assert lines(loss)["resnet18"].tolist() == [2, 1, 2 / 3]
    assert [line.get_ydata().tolist() for line in accuracy.lines if line.get_linestyle() == "--"] == [
        [0.15, 0.3, 0.45], [0.2, 0.3, 0.4]]  # fmt: skip
    assert clock.lines[1].get_ydata() == pytest.approx([200 / 60, 400 / 60, 10])
    assert clock.get_ylabel() == "minutes since the start"
    assert to_hex(clock.lines[1].get_color()).upper() == MODEL_STYLES["resnet50"][0]
    plain = training_curves({"resnet18": runs["resnet18"]}, validation=False).axes
    assert len(plain[0].lines) == 1 and plain[2].get_ylabel() == "seconds since the start"


def test_freezing_comparison_draws_the_papers_values():
    axis = freezing_comparison(history([0.2, 0.4]), history([0.5, 0.9])).axes[0]
    assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == ":"] == [0.416, 0.912]
    assert "layer4 + fc\n90.0%" in texts(axis) and "paper, fc: 41.6% in training" in texts(axis)


def test_confusion_matrices_write_share_and_count():
    figure = confusion_matrices({"resnet18": HALF, "resnet34": HALF})
    left = figure.axes[0]
    assert left.get_title(loc="left") == "resnet18: accuracy 57.1% of 14"
    cells = np.array(texts(left)).reshape(7, 7)
    assert cells[5, 3] == "50%\n1" and cells[3, 3] == "100%\n2" and cells[0, 1] == "0%\n0"


def test_roc_curves_name_each_auc():
    predictions = random_table()
    left, axis = roc_curves({"resnet18": HALF, "resnet34": predictions}).axes
    assert [left.get_title(loc="left"), axis.get_title(loc="left")] == ["resnet18", "resnet34"]
    aucs = measures.per_class(predictions)["auc"]
    labels = texts(axis.get_legend())
    assert labels == [f"{name}  {aucs[name]:.3f}" for name in CLASSES] + [f"mean  {aucs.mean():.3f}"]
    assert len(axis.lines) == 9  # seven, their mean, the diagonal


def test_class_f1_stands_beside_the_paper():
    table = measures.table2({"a": random_table()})
    heights = [bar.get_height() for bar in class_f1(table).axes[0].patches]
    assert heights == pytest.approx([*table["f1"], *PAPER_TABLE2["f1"]])


def test_accuracy_intervals_of_every_test_set_and_of_the_paper():
    runs = {"resnet18": random_table(), "resnet50": random_table(seed=1)}
    metrics = {name: measures.metrics(predictions, n=50) for name, predictions in runs.items()}
    axis = accuracy_intervals(metrics, NOTE, selected_on_public_test=["resnet50"]).axes[0]
    points = {line.get_ydata()[0]: line for line in axis.lines if line.get_marker() not in ("None", "")}
    values = [points[place].get_xdata()[0] for place in sorted(points)]
    sets = ("full", "PublicTest", "PrivateTest", "leak-free")
    expected = [metrics[run][name]["accuracy"] for name in sets for run in runs]
    assert values == pytest.approx(expected + PAPER_TABLE1["accuracy"].tolist())
    hollow = [points[place].get_markerfacecolor() == "white" for place in sorted(points)]
    assert hollow == [False, True, False, True, False, False, False, True, False, False, False]
    low, high = next(line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2)
    assert [low, high] == metrics["resnet18"]["full"]["intervals"]["accuracy"]


def test_papers_interval_is_about_two_standard_errors():
    low, high = _wilson(0.65, 7178)
    standard_error = (0.65 * 0.35 / 7178) ** 0.5
    assert (high - low) / 2 == pytest.approx(1.96 * standard_error, rel=0.01)


def test_accuracy_cost_places_and_sizes_each_run():
    costs = pd.DataFrame({
        "parameters": [11.2e6, 23.5e6], "multiply_adds": [1.8e9, 4.1e9], "training_seconds": [60.0, 600.0],
        "latency_ms": [5.0, 9.0], "accuracy": [0.6, 0.65], "low": [0.59, 0.64], "high": [0.61, 0.66],
    }, index=["resnet18", "resnet50"])  # fmt: skip
    axes = accuracy_cost(costs).axes
    centres = [[dot.get_offsets()[0].tolist() for dot in axis.collections] for axis in axes]
    assert centres == [[[1.8, 0.6], [4.1, 0.65]], [[1.0, 0.6], [10.0, 0.65]], [[5.0, 0.6], [9.0, 0.65]]]
    small, large = (dot.get_sizes()[0] for dot in axes[0].collections)
    assert large / small == pytest.approx(23.5 / 11.2)
