"""Figures of results: confusion matrices, ROC curves, F1, accuracy by training and by cost, curves of anything else."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from ..classes import CLASS_COLORS, CLASSES
from ..results import measures
from ..results.paper import PAPER_TABLE1
from ..results.run_folder import Run
from ..results.seeds import over_seeds
from . import style as look
from .style import finish, legend_below_title, percent, run_styles, style

LADDER = {"random": "random weights,\nall layers", "fc": "fc alone", "layer4": "layer4 and fc", "all": "all layers"}


@style()
def confusion_matrices(runs: Mapping[str, pd.DataFrame], note: str = "") -> plt.Figure:
    """Confusion matrix of each named predictions table: share of the true class, and below it the count."""
    size = (0.7 + 3.1 * len(runs), 4.9)
    figure, axes = plt.subplots(1, len(runs), figsize=size, sharey=True, squeeze=False)
    for axis, (name, predictions) in zip(axes[0], runs.items(), strict=True):
        shares, counts = measures.confusion(predictions, normalize=True), measures.confusion(predictions)
        texts = shares.map("{:.0%}\n".format) + counts.astype(str)
        looks = {"cmap": "Blues", "vmin": 0, "vmax": 1, "linewidths": 1, "cbar": False}
        sns.heatmap(shares, annot=texts, fmt="", annot_kws={"size": look.SMALL}, ax=axis, **looks)
        axis.set(xlabel="predicted", ylabel="true" if axis is axes[0, 0] else "")
        accuracy = measures.table1_row(predictions)["accuracy"]
        axis.set_title(f"{name}\naccuracy {accuracy:.1%} of {len(predictions):,}")
        axis.tick_params(axis="x", rotation=45, length=0)
        axis.tick_params(axis="y", rotation=0, length=0)
    return finish(figure, "Confusion matrix" if len(runs) == 1 else "Confusion matrices", note)


@style()
def roc_curves(runs: Mapping[str, pd.DataFrame], note: str = "") -> plt.Figure:
    """One-vs-rest ROC curves of each named predictions table: each class, and their mean, with the AUCs below."""
    shape = {"figsize": (max(4.6, 0.7 + 3.1 * len(runs)), 5.2), "height_ratios": (3, 0.8), "squeeze": False}
    figure, axes = plt.subplots(2, len(runs), **shape)
    for (axis, below), (name, predictions) in zip(axes.T, runs.items(), strict=True):
        aucs = measures.per_class(predictions)["auc"]
        styles = {one: {"color": CLASS_COLORS[one], "ls": look.CLASS_LINES[one], "lw": 1.5} for one in CLASSES}
        aucs["mean"], styles["mean"] = aucs.mean(), {"color": look.INK, "lw": 2.6}
        for one, curve in measures.roc(predictions).items():
            axis.plot(curve["fpr"], curve["tpr"], label=f"{one} {aucs[one]:.3f}", **styles[one])
        axis.plot([0, 1], [0, 1], color=look.FAINT, linestyle=":", linewidth=1)
        axis.set(title=name, xlabel="false positive rate", xlim=(0, 1), ylim=(0, 1.005), aspect=1)
        below.axis("off")
        lines = {"handlelength": 2.6, "handletextpad": 0.5, "columnspacing": 1, "fontsize": look.SMALL}
        below.legend(*axis.get_legend_handles_labels(), loc="upper center", ncols=2, **lines)
    axes[0, 0].set_ylabel("true positive rate")
    return finish(figure, "ROC curves, each class against the rest", note)


@style()
def transfer_ladder(groups: Mapping[str, Sequence[Run]], note: str = "") -> plt.Figure:
    """Test accuracy of each network by what it starts from and what of it is trained, beside the paper's.

    `groups`: the runs of each training, one a seed. Large marks are means with their 95 % interval over seeds and test
    images (`over_seeds`), small dots the seeds.
    """
    figure, axis = plt.subplots(figsize=(8.5, 4.4))
    for runs in groups.values():
        config = runs[0].config
        rung = list(LADDER).index("random" if config["weights_kind"] == "random" else config["trainable"])
        place = rung + 0.27 * (list(look.MODEL_STYLES).index(config["model"]) - 1)
        color, marker = look.MODEL_STYLES[config["model"]]
        row = over_seeds([run.predictions for run in runs]).loc[("all", "accuracy")]
        axis.plot([place, place], [row["low"], row["high"]], color=color, linewidth=2.4, solid_capstyle="butt")
        axis.plot(place, row["mean"], marker, color=color, markersize=8)
        dots = [run.metrics["full"]["accuracy"] for run in runs]
        axis.plot([place - 0.07] * len(dots), dots, ".", color=color, markersize=4, alpha=0.7)
        below = {"xytext": (0, -12), "textcoords": "offset points", "ha": "center", "size": look.SMALL, "color": color}
        axis.annotate(f"{row['mean']:.1%}", (place, row["low"]), **below)
    for number, accuracy in enumerate(PAPER_TABLE1["accuracy"]):
        axis.plot(2 + 0.27 * (number - 1), accuracy, **look.PAPER_MARK, markersize=18, markeredgewidth=1.6)
    axis.set(xlim=(-0.5, 3.5), ylabel="accuracy, full test set")
    axis.margins(y=0.12)
    axis.set_xticks(range(len(LADDER)), LADDER.values(), color=look.INK)
    axis.grid(axis="x", visible=False)
    percent(axis)
    keys = {name: {"color": color, "marker": marker, "ls": ""} for name, (color, marker) in look.MODEL_STYLES.items()}
    legend_below_title(figure, keys | {"the paper's": look.PAPER_MARK | {"markersize": 14}})
    return finish(figure, "What is trained, and from what", note)


@style()
def accuracy_cost(costs: pd.DataFrame, note: str = "") -> plt.Figure:
    """Accuracy against multiply-adds, training time and latency; a bubble's area is the number of parameters.

    `costs` as `comparison.cost_table` gives it.
    """
    panels = {
        "multiply_adds": ("Multiply-adds of one image", "billions", 1e9),
        "training_seconds": ("Training", "minutes", 60),
        "latency_ms": ("Latency of one image", "milliseconds", 1),
    }
    figure, axes = plt.subplots(1, 3, figsize=(look.WIDTH, 4), sharey=True)
    styles = run_styles(costs.index)
    for axis, (column, (title, unit, scale)) in zip(axes, panels.items(), strict=True):
        for name, row in costs.iterrows():
            color, marker = styles[name]
            x = row[column] / scale
            axis.scatter(x, row["accuracy"], row["parameters"] / 2.5e4, color=color, alpha=0.3, edgecolor=color)
            axis.plot([x, x], [row["low"], row["high"]], color=color, linewidth=1.4)
            axis.plot(x, row["accuracy"], marker, color=color, markersize=6)
        axis.set(title=title, xlabel=unit, xlim=(0, costs[column].max() / scale * 1.2))
    axes[0].set_ylabel("accuracy, full test set")
    axes[0].margins(y=0.25)
    percent(axes[0])
    keys = {
        f"{name} ({costs.loc[name, 'parameters'] / 1e6:.1f} M parameters)": {"color": color, "marker": marker, "ls": ""}
        for name, (color, marker) in styles.items()
    }
    legend_below_title(figure, keys, 3)
    return finish(figure, "Accuracy against cost", note)


@style()
def curves(
    panels: Mapping[str, pd.DataFrame], x: str, y: str, title: str, note: str = "", shares: str = "y"
) -> plt.Figure:
    """In each panel a line for each column of its table, over the index; `shares`: the axes that are in per cent."""
    figure, axes = plt.subplots(1, len(panels), figsize=(look.WIDTH, 3.9), sharey=True, squeeze=False)
    names = dict.fromkeys(name for table in panels.values() for name in table)
    styles = zip(names, look.CURVE_STYLES, strict=False)
    looks = {name: {"color": color, "marker": marker, "markersize": 5} for name, (color, marker) in styles}
    for axis, (panel, table) in zip(axes[0], panels.items(), strict=True):
        for name, values in table.items():
            axis.plot(values.dropna(), **looks[name])
        axis.set(title=panel, xlabel=x)
        axis.xaxis.set_major_locator(plt.MaxNLocator(7, steps=[1, 2, 5, 10], integer=table.index.dtype.kind == "i"))
        for which in shares:
            percent(axis, which)
    axes[0, 0].set_ylabel(y)
    legend_below_title(figure, looks, 6)
    return finish(figure, title, note)
