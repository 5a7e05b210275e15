"""Figures of training: loss, accuracy and time by epoch."""

from collections.abc import Collection, Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd

from .style import FAINT, WIDTH, finish, legend_below_title, percent, run_styles, style

VALIDATION = {"linestyle": "--", "linewidth": 1.2, "mfc": "white"}


@style()
def training_curves(
    histories: Mapping[str, Sequence[pd.DataFrame]], note: str = "", smoothed: Collection[str] = ()
) -> plt.Figure:
    """Fig. 2: loss, accuracy and time by epoch; solid is training, dashed and hollow validation.

    `histories`: of each name's runs, one a seed; lines are their means, bands reach from the lowest to the highest. The
    training loss of those in `smoothed`, trained with label smoothing, is another quantity and left out.
    """
    figure, (loss, accuracy, clock) = plt.subplots(1, 3, figsize=(WIDTH, 3.9))
    minutes = max(history["seconds"].sum() for seeds in histories.values() for history in seeds) > 300
    keys = {}
    for name, (color, marker) in run_styles(histories).items():
        by_epoch = pd.concat(histories[name]).groupby("epoch", as_index=False)
        history, lowest, highest = by_epoch.mean(), by_epoch.min(), by_epoch.max()
        epochs = history["epoch"]
        line = {"color": color, "marker": marker, "markersize": 5, "markevery": max(1, len(history) // 10)}
        keys[name] = line
        for axis, measure in ((loss, "loss"), (accuracy, "accuracy")):
            for part, looks in (("train", line), ("validation", line | VALIDATION)):
                column = f"{part}_{measure}"
                if column != "train_loss" or name not in smoothed:
                    axis.fill_between(epochs, lowest[column], highest[column], color=color, alpha=0.18, linewidth=0)
                    axis.plot(epochs, history[column], **looks)
        clock.plot(epochs, history["seconds"].cumsum() / (60 if minutes else 1), **line)
    for axis, title in {loss: "Loss", accuracy: "Accuracy", clock: "Training time"}.items():
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.set_major_locator(plt.MaxNLocator(integer=True, min_n_ticks=1))
    loss.set_ylabel("cross-entropy")
    clock.set_ylabel("minutes since the start" if minutes else "seconds since the start")
    clock.set_ylim(bottom=0)
    percent(accuracy)
    keys["training"] = {"color": FAINT}
    keys["validation"] = {"color": FAINT, "marker": "o", "markersize": 5} | VALIDATION
    legend_below_title(figure, keys)
    if left_out := [name for name in histories if name in smoothed]:
        note = f"{note}. Without the training loss of {', '.join(left_out)}: it has label smoothing in it."
    return finish(figure, "Training", note)
