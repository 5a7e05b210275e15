"""Every figure of the series, from tables, histories and predictions alone.

Each function returns a matplotlib Figure and writes nothing. `note` is printed below the figure: the protocol
of the run, or "synthetic sample" wherever the data are that. Each class and each model has one colour
throughout, to be told apart with any common colour-blindness (Okabe and Ito 2008,
https://jfly.uni-koeln.de/color/); each model has a marker besides. Faces are shown pixel by pixel, unsmoothed,
which also halves the size of the notebooks.
"""

from collections.abc import Collection, Mapping
from itertools import chain

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import binomtest

from ..classes import CLASS_COLORS, CLASSES
from ..results import measures
from ..results.paper import PAPER_TABLE1, PAPER_TABLE2
from .style import FAINT, INK, MODEL_STYLES, finish, percent, run_styles, style

PAPER_IMAGES = int(PAPER_TABLE1["support"].iloc[0])


@style()
def confusion_matrices(runs: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Confusion matrix of each named predictions table: share of the true class, and below it the count."""
    size = (4.2 * len(runs) + 1.1, 5.4)
    figure, axes = plt.subplots(1, len(runs), figsize=size, sharey=True, squeeze=False)
    for axis, (name, predictions) in zip(axes[0], runs.items(), strict=True):
        shares, counts = measures.confusion(predictions, normalize=True), measures.confusion(predictions)
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
        accuracy = measures.table1_row(predictions)["accuracy"]
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
    aucs = measures.per_class(predictions)["auc"]
    for name, curve in measures.roc(predictions).items():
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
    """F1 of each class (`measures.table2` or `per_class`) beside the paper's Table 2."""
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
    styles, groups = run_styles(metrics), {}
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

    `costs` as `comparison.cost_table` gives it.
    """
    panels = {
        "multiply_adds": ("Multiply-adds of one image", "billions", 1e9),
        "training_seconds": ("Training", "minutes", 60),
        "latency_ms": ("Latency of one image", "milliseconds", 1),
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), sharey=True)
    styles = run_styles(costs.index)
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
