"""Figures of what happens inside a network: pictures with heat over them, curves, and features in two dimensions."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..classes import CLASS_COLORS, CLASSES
from .style import FAINT, INK, RUN_STYLES, WIDTH, bare, finish, legend_below_title, percent, style

MARKERS = dict(zip(CLASSES, "osP^Dvx", strict=True))
Rows = Mapping[str, Sequence[np.ndarray]]  # pictures by the name of their row
STYLES = [*RUN_STYLES, ("#332288", "o"), ("#999933", "^"), (INK, "s"), (FAINT, "*")]


@style()
def pictures(rows: Rows, columns: Sequence[str], title: str, note: str = "", heat: Rows | None = None) -> Figure:
    """Rows of pictures, grey (H, W) or coloured (H, W, 3), each in its own range of values, under their `columns`.

    `heat`: maps (H, W) in 0..1, laid over the rows of these names; the larger the lighter, in grey too.
    """
    height, width = np.shape(next(iter(rows.values()))[0])[:2]
    lines = max(name.count("\n") for name in columns) + 1
    size = (WIDTH, len(rows) * height / width * WIDTH / (len(columns) + 0.7) + 1 + 0.25 * lines)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for places, (name, images) in zip(axes, rows.items(), strict=True):
        for place, (axis, image) in enumerate(zip(places, images, strict=True)):
            bare(axis)
            axis.imshow(image, cmap="gray", interpolation="nearest")
            if heat and name in heat:
                axis.imshow(heat[name][place], cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="nearest")
        places[0].set_ylabel(name, rotation=0, ha="right", va="center", fontweight="bold")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, loc="center", fontsize=10)
    return finish(figure, title, note)


@style()
def curves(panels: Mapping[str, pd.DataFrame], x: str, y: str, title: str, note: str = "", shares: str = "y") -> Figure:
    """In each panel a line for each column of its table, over the index; `shares`: the axes that are in per cent."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.9), sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for table in panels.values() for name in table))
    looks = {name: {"color": color, "marker": marker} for name, (color, marker) in zip(names, STYLES, strict=False)}
    for axis, (panel, table) in zip(axes[0], panels.items(), strict=True):
        for name, values in table.items():
            axis.plot(values.dropna(), markersize=5, **looks[name])
        axis.set(title=panel, xlabel=x)
        axis.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10], integer=table.index.dtype.kind == "i"))
        for which in shares:
            percent(axis, which)
    axes[0, 0].set_ylabel(y)
    handles = [Line2D([], [], label=name, markersize=5, **looks[name]) for name in names]
    legend_below_title(figure, handles, min(len(names), 6))
    return finish(figure, title, note)


@style()
def scattered(panels: Mapping[str, np.ndarray], labels: Sequence[str], title: str, note: str = "") -> Figure:
    """Points (n, 2) in each panel, with the colours and markers of their `labels` (n,), names of classes."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 4.2), squeeze=False)
    looks = {name: {"color": CLASS_COLORS[name], "marker": MARKERS[name]} for name in CLASSES}
    for axis, (panel, points) in zip(axes[0], panels.items(), strict=True):
        for name in CLASSES:
            axis.scatter(*points[np.asarray(labels) == name].T, s=16, linewidth=0.8, **looks[name])
        bare(axis)
        axis.set_title(panel)
    legend_below_title(figure, [Line2D([], [], label=n, linestyle="", **looks[n]) for n in CLASSES], len(CLASSES))
    return finish(figure, title, note)
