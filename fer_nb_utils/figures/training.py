"""Figures of training: loss, accuracy and time by epoch."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..results.paper import PAPER_CLAIMS
from .style import FAINT, finish, percent, run_styles, style


@style()
def training_curves(histories: Mapping[str, pd.DataFrame], note: str = "", validation: bool = True) -> Figure:
    """Fig. 2: training loss, training accuracy and training time, a line each run; validation is dashed."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    minutes = max(history["seconds"].sum() for history in histories.values()) > 300
    for name, (color, marker) in run_styles(histories).items():
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
