"""Figures of what happens inside a network: curves, and features in two dimensions."""

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
STYLES = [*RUN_STYLES, ("#332288", "o"), ("#999933", "^"), (INK, "s"), (FAINT, "*")]


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
