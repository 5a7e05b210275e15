"""Every figure of the series, from tables, histories and predictions alone.

Each function returns a matplotlib Figure and writes nothing. `note` is printed below the figure: the protocol
of the run, or "synthetic sample" wherever the data are that. Each class and each model has one colour
throughout, to be told apart with any common colour-blindness (Okabe and Ito 2008,
https://jfly.uni-koeln.de/color/); each model has a marker besides. Faces are shown pixel by pixel, unsmoothed,
which also halves the size of the notebooks.
"""

import textwrap
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.stats import binomtest

from . import evaluation
from .classes import CLASS_COLORS, CLASSES, USAGES
from .data import Dataset
from .errors import UserError
from .reference import PAPER_CLAIMS, PAPER_TABLE1, PAPER_TABLE2

INK, FAINT = "#222222", "#6b6b6b"
MODEL_STYLES = {"resnet18": ("#0072B2", "o"), "resnet34": ("#E69F00", "s"), "resnet50": ("#009E73", "^")}
OTHER_STYLES = (("#D55E00", "D"), ("#CC79A7", "v"), ("#56B4E9", "P"), ("#7A7A7A", "X"))
PAPER_IMAGES = int(PAPER_TABLE1["support"].iloc[0])


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context or a decorator."""
    settings = {
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "grid.color": "#e6e6e6",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "text.color": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.1), plt.rc_context(settings):
        yield


def finish(figure: Figure, title: str, note: str) -> Figure:
    """Title above and note below, both inside the constrained layout."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    if note:
        width = int(figure.get_figwidth() * 18)  # characters of 8-point text that fit a line
        figure.supxlabel(textwrap.fill(note, width), x=0.01, ha="left", fontsize=8, style="italic", color=FAINT)
    return figure


def _styles(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each run: its model's, unless another run of that model has them already."""
    spare, taken, styles = iter(OTHER_STYLES * 4), set(), {}
    for name in names:
        model = next((model for model in MODEL_STYLES if model in name.lower().replace("-", "")), None)
        styles[name] = next(spare) if model is None or model in taken else MODEL_STYLES[model]
        taken.add(model)
    return styles


def percent(axis: Axes, which: str = "y") -> None:
    """Label the ticks of an axis of shares in per cent."""
    (axis.yaxis if which == "y" else axis.xaxis).set_major_formatter(PercentFormatter(1, decimals=0))


@style()
def class_counts(counts: pd.DataFrame, note: str = "") -> Figure:
    """Images per class (rows) and split (columns), as `Dataset.counts()` gives them."""
    counts = counts.loc[list(CLASSES)]
    splits = [usage for usage in USAGES if usage in counts]
    figure, axes = plt.subplots(1, len(splits), figsize=(3.4 * len(splits), 3.2), sharey=True, squeeze=False)
    for axis, usage in zip(axes[0], splits, strict=True):
        values = counts[usage]
        bars = axis.barh(CLASSES, values, color=CLASS_COLORS.values(), height=0.75)
        labels = [f"{value:,}  ({value / max(values.sum(), 1):.1%})" for value in values]
        axis.bar_label(bars, labels, padding=3, fontsize=8, color=FAINT)
        axis.set(title=f"{usage}: {values.sum():,}", xlabel="images", xlim=(0, max(values.max(), 1) * 1.45))
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.grid(axis="y", visible=False)
    axes[0, 0].invert_yaxis()
    return finish(figure, "Images per class and split", note)


@style()
def mean_faces(dataset: Dataset, note: str = "") -> Figure:
    """The mean image of each class, and below it what sets it apart from the mean of the class means."""
    means = np.stack([dataset.images[dataset.labels == label].mean(axis=0) for label in range(len(CLASSES))])
    apart = means - means.mean(axis=0)
    limit = np.abs(apart).max()
    figure, axes = plt.subplots(2, len(CLASSES), figsize=(10.5, 3.7))
    for column, name in enumerate(CLASSES):
        axes[0, column].imshow(means[column], cmap="gray", interpolation="nearest")
        shown = axes[1, column].imshow(apart[column], cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes[0, column].set_title(name, color=CLASS_COLORS[name], fontweight="bold", loc="center")
    for axis in axes.flat:
        bare(axis)
    axes[0, 0].set_ylabel("mean")
    axes[1, 0].set_ylabel("difference")
    figure.colorbar(shown, ax=axes, shrink=0.45, anchor=(0, 0), pad=0.01, label="grey levels")
    return finish(figure, "Mean face of each class, and its difference from the average", note)


def bare(axis: Axes) -> None:
    """No ticks, frame or grid: a picture."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)


@style()
def pixel_statistics(index: pd.DataFrame, note: str = "") -> Figure:
    """Brightness and contrast per class; `index`: an image a row, with label (name), mean, std (0..1)."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
    panels = {"mean": ("Brightness", "mean"), "std": ("Contrast", "standard deviation")}
    for axis, (column, (title, measure)) in zip(axes, panels.items(), strict=True):
        sns.violinplot(
            index,
            x=column,
            y="label",
            hue="label",
            order=CLASSES,
            palette=CLASS_COLORS,
            inner="quart",
            linewidth=0.9,
            density_norm="width",
            cut=0,
            legend=False,
            saturation=1,
            ax=axis,
        )
        axis.axvline(index[column].median(), color=INK, linewidth=1, linestyle=":")
        axis.set(title=title, xlabel=f"{measure} of an image's pixels", ylabel="")
        axis.set_xlim(left=0)
    figure.get_layout_engine().set(wspace=0.05)  # keeps the panels' outer tick labels apart
    return finish(figure, "Brightness and contrast of the images, by class", note)


@style()
def face_grid(dataset: Dataset, per_class: int = 8, note: str = "") -> Figure:
    """The first faces of each class. Raises UserError on FER-2013, whose faces may not be republished."""
    if dataset.name == "FER-2013":
        raise UserError("A grid of FER-2013's faces may not be published: show figures.mean_faces instead.")
    figure, axes = plt.subplots(len(CLASSES), per_class, figsize=(per_class * 0.95 + 0.8, 7.4), squeeze=False)
    for row, name in enumerate(CLASSES):
        faces = dataset.images[dataset.labels == row][:per_class]
        for axis, face in zip_longest(axes[row], faces):
            bare(axis)
            if face is not None:
                axis.imshow(face, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", color=CLASS_COLORS[name])
        axes[row, 0].yaxis.label.set_fontweight("bold")
    return finish(figure, "The first faces of each class", note)


@style()
def augmented_faces(originals: np.ndarray, augmented: np.ndarray, note: str = "") -> Figure:
    """Originals (n, H, W) in the first column, and to the right k draws of the augmentation (n, k, H, W)."""
    rows, draws = augmented.shape[:2]
    figure, axes = plt.subplots(rows, draws + 1, figsize=((draws + 1) * 1.05, rows * 1.05 + 0.9), squeeze=False)
    low, high = originals.min(), originals.max()
    for row in range(rows):
        for axis, face in zip(axes[row], [originals[row], *augmented[row]], strict=True):
            axis.imshow(face, cmap="gray", vmin=low, vmax=high)
            bare(axis)
    axes[0, 0].set_title("original", loc="center")
    for column in range(1, draws + 1):
        axes[0, column].set_title(f"draw {column}", loc="center", color=FAINT)
    return finish(figure, "What the augmentation does", note)


@style()
def training_curves(histories: Mapping[str, pd.DataFrame], note: str = "", validation: bool = True) -> Figure:
    """Fig. 2: training loss, training accuracy and training time, a line each run; validation is dashed."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    minutes = max(history["seconds"].sum() for history in histories.values()) > 300
    for name, (color, marker) in _styles(histories).items():
        history = histories[name]
        line = {"color": color, "marker": marker, "markersize": 4, "markevery": max(1, len(history) // 10)}
        epochs = history["epoch"]
        axes[0].plot(epochs, history["train_loss"], label=name, **line)
        axes[1].plot(epochs, history["train_accuracy"], **line)
        axes[2].plot(epochs, history["seconds"].cumsum() / (60 if minutes else 1), **line)
        if validation:
            line |= {"linestyle": "--", "linewidth": 1.2, "mfc": "white"}
            axes[0].plot(epochs, history["validation_loss"], **line)
            axes[1].plot(epochs, history["validation_accuracy"], **line)
    for axis, title in zip(axes, ("Training loss", "Training accuracy", "Training time"), strict=True):
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_ylabel("cross-entropy")
    axes[2].set_ylabel("minutes since the start" if minutes else "seconds since the start")
    axes[2].set_ylim(bottom=0)
    percent(axes[1])
    handles, labels = axes[0].get_legend_handles_labels()
    if validation:
        handles.append(plt.Line2D([], [], color=FAINT, linestyle="--", linewidth=1.2))
        labels.append("validation")
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
    return finish(figure, "Training", note)


@style()
def freezing_comparison(fc: pd.DataFrame, layer4: pd.DataFrame, note: str = "") -> Figure:
    """Accuracy while training `fc` alone and `layer4` with `fc` (histories), beside the paper's."""
    figure, axis = plt.subplots(figsize=(7, 4))
    paper = PAPER_CLAIMS["unfreeze"].numbers
    runs = {"fc": (fc, "#E69F00", paper["fc"]), "layer4 + fc": (layer4, "#0072B2", paper["layer4"])}
    for name, (history, color, final) in runs.items():
        axis.plot(history["epoch"], history["train_accuracy"], color=color, marker="o", markersize=4)
        axis.plot(history["epoch"], history["validation_accuracy"], color=color, linestyle="--", linewidth=1.2)
        axis.axhline(final, color=color, linestyle=":", linewidth=1.2)
        last = history["train_accuracy"].iloc[-1]
        text = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "color": color}
        axis.annotate(f"{name}\n{last:.1%}", (1, last), xytext=(5, 0), va="center", **text)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        hint = f"paper, {name}: {final:.1%} in training"
        axis.annotate(hint, (1, final), xytext=(-5, -4), fontsize=8, ha="right", va="top", bbox=box, zorder=1, **text)
    axis.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(x=0.04)
    percent(axis)
    keys = [plt.Line2D([], [], color=FAINT, linestyle=dash) for dash in ("-", "--")]
    axis.legend(keys, ["training", "validation"], loc="lower right", ncols=2)
    return finish(figure, "What unfreezing layer4 gives", note)


@style()
def confusion_matrices(runs: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Confusion matrix of each named predictions table: share of the true class, and below it the count."""
    size = (4.2 * len(runs) + 1.1, 5.4)
    figure, axes = plt.subplots(1, len(runs), figsize=size, sharey=True, squeeze=False)
    for axis, (name, predictions) in zip(axes[0], runs.items(), strict=True):
        shares, counts = evaluation.confusion(predictions, normalize=True), evaluation.confusion(predictions)
        cells = zip(shares.to_numpy().flat, counts.to_numpy().flat, strict=True)
        texts = np.array([f"{share:.0%}\n{count}" for share, count in cells]).reshape(shares.shape)
        sns.heatmap(
            shares,
            vmin=0,
            vmax=1,
            cmap="Blues",
            annot=texts,
            fmt="",
            annot_kws={"size": 7.5},
            square=True,
            cbar=False,
            linewidths=1,
            ax=axis,
        )
        axis.set(xlabel="predicted", ylabel="true" if axis is axes[0, 0] else "")
        accuracy = evaluation.table1_row(predictions)["accuracy"]
        axis.set_title(f"{name}: accuracy {accuracy:.1%} of {len(predictions):,}")
        axis.tick_params(axis="x", rotation=45, length=0)
        axis.tick_params(axis="y", rotation=0, length=0)
    figure.colorbar(axes[0, 0].collections[0], ax=axes, shrink=0.6, pad=0.02, format=PercentFormatter(1))
    return finish(figure, "Confusion matrix" if len(runs) == 1 else "Confusion matrices", note)


@style()
def roc_curves(runs: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """One-vs-rest ROC curves of each named predictions table: each class, and their mean, with the AUCs."""
    size = (4.2 * len(runs) + 0.6, 4.8)
    figure, axes = plt.subplots(1, len(runs), figsize=size, sharey=True, squeeze=False)
    for axis, (name, predictions) in zip(axes[0], runs.items(), strict=True):
        _roc(axis, predictions)
        axis.set(title=name, xlabel="false positive rate")
    axes[0, 0].set_ylabel("true positive rate")
    return finish(figure, "ROC curves, each class against the rest", note)


def _roc(axis: Axes, predictions: pd.DataFrame) -> None:
    aucs = evaluation.per_class(predictions)["auc"]
    for name, curve in evaluation.roc(predictions).items():
        mean = name == "mean"
        label = f"{name}  {aucs.mean() if mean else aucs[name]:.3f}"
        looks = {"color": INK, "linestyle": "--", "zorder": 4} if mean else {"color": CLASS_COLORS[name]}
        axis.plot(curve["fpr"], curve["tpr"], label=label, **looks)
    axis.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
    axis.set(xlim=(0, 1), ylim=(0, 1.005), aspect=1)
    legend = axis.legend(title="AUC", loc="lower right", alignment="left", fontsize=8)
    legend.set(frame_on=True)
    legend.get_frame().set(edgecolor="none", alpha=0.9)


@style()
def class_f1(table2: pd.DataFrame, note: str = "") -> Figure:
    """F1 of each class (`evaluation.table2` or `per_class`) beside the paper's Table 2."""
    figure, axis = plt.subplots(figsize=(8.5, 3.8))
    places = np.arange(len(CLASSES))
    ours, paper = (table.loc[list(CLASSES), "f1"] for table in (table2, PAPER_TABLE2))
    left = axis.bar(places - 0.2, ours, 0.38, color=CLASS_COLORS.values(), label="ours")
    right = axis.bar(
        places + 0.2,
        paper,
        0.38,
        color="white",
        edgecolor=CLASS_COLORS.values(),
        hatch="////",
        linewidth=1.2,
        label="paper",
    )
    for bars in (left, right):
        axis.bar_label(bars, fmt="%.2f", padding=2, fontsize=8, color=FAINT)
    axis.set(ylabel="F1", ylim=(0, 1.05))
    axis.set_xticks(places, CLASSES)
    axis.grid(axis="x", visible=False)
    keys = [
        plt.Rectangle((0, 0), 1, 1, facecolor=FAINT),
        plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor=FAINT, hatch="////"),
    ]
    axis.legend(keys, ["ours", "paper (mean of three models)"], loc="upper left", ncols=2)
    return finish(figure, "F1 of each expression", note)


@style()
def accuracy_intervals(
    metrics: Mapping[str, dict], note: str = "", selected_on_public_test: Collection[str] = ()
) -> Figure:
    """Accuracy with its 95 % interval on every test set, beside the paper's (Wilson's interval).

    `metrics` maps names to what `metrics.json` holds. Runs in `selected_on_public_test` chose their epoch on
    PublicTest: they are drawn hollow on the test sets that contain it.
    """
    styles, groups = _styles(metrics), {}
    for name, result in metrics.items():
        for test_set, values in result.items():
            hollow = name in selected_on_public_test and test_set != "PrivateTest"
            row = (name, values["accuracy"], *values["intervals"]["accuracy"], *styles[name], hollow)
            groups.setdefault(f"{test_set}\n{values['support']:,} images", []).append(row)
    groups[f"paper, full\n{PAPER_IMAGES:,} images"] = [
        (name, value, *_wilson(value, PAPER_IMAGES), FAINT, MODEL_STYLES[name][1], False)
        for name, value in PAPER_TABLE1["accuracy"].items()
    ]
    places, ticks, top = [], [], 0
    for rows in groups.values():
        places.extend(top + np.arange(len(rows)))
        ticks.append(top + (len(rows) - 1) / 2)
        top += len(rows) + 1
    figure, axis = plt.subplots(figsize=(8, 1.4 + 0.25 * top))
    for place, (name, value, low, high, color, marker, hollow) in zip(places, chain(*groups.values()), strict=True):
        axis.plot([low, high], [place, place], color=color, linewidth=2, solid_capstyle="butt")
        axis.plot(value, place, marker, color=color, markersize=7, mfc="white" if hollow else color)
        offset = {"xytext": (6, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
        axis.annotate(f"{value:.1%}  {name}", (high, place), **offset)
    for start, rows in zip(ticks[1:], list(groups.values())[1:], strict=True):
        axis.axhline(start - (len(rows) + 1) / 2, color="#e6e6e6", linewidth=1)
    axis.set_yticks(ticks, groups)
    axis.grid(axis="y", visible=False)
    axis.invert_yaxis()
    low, high = axis.get_xlim()
    axis.set_xlim(low, high + 0.25 * (high - low))
    hint = "; hollow: epoch chosen with the help of these images" if selected_on_public_test else ""
    axis.set_xlabel(f"accuracy, with 95 % interval{hint}")
    percent(axis, "x")
    return finish(figure, "Accuracy on every test set", note)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n images."""
    return tuple(binomtest(round(share * n), n).proportion_ci(method="wilson"))


@style()
def accuracy_cost(costs: pd.DataFrame, note: str = "") -> Figure:
    """Accuracy against multiply-adds, training time and latency; a bubble's area is the number of parameters.

    `costs` as `evaluation.cost_table` gives it.
    """
    panels = {
        "multiply_adds": ("Multiply-adds of one image", "billions", 1e9),
        "training_seconds": ("Training", "minutes", 60),
        "latency_ms": ("Latency of one image", "milliseconds", 1),
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True)
    styles = _styles(costs.index)
    for axis, (column, (title, unit, scale)) in zip(axes, panels.items(), strict=True):
        for name, row in costs.iterrows():
            color = styles[name][0]
            x = row[column] / scale
            axis.plot([x, x], [row["low"], row["high"]], color=color, linewidth=1.4)
            axis.scatter(x, row["accuracy"], row["parameters"] / 5e4, color=color, alpha=0.55, edgecolor=color)
        axis.set(title=title, xlabel=unit, xlim=(0, costs[column].max() / scale * 1.2))
    axes[0].set_ylabel("accuracy, full test set")
    axes[0].margins(y=0.25)
    percent(axes[0])
    keys = [
        plt.Line2D(
            [],
            [],
            color=styles[name][0],
            marker="o",
            linestyle="",
            label=f"{name} ({count / 1e6:.1f} M parameters)",
        )
        for name, count in costs["parameters"].items()
    ]
    figure.legend(handles=keys, loc="outside upper right", ncols=len(keys))
    return finish(figure, "Accuracy against cost", note)
