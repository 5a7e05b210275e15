"""Figures of images: how many, and rows of pictures.

Faces are shown pixel by pixel, unsmoothed, which also halves the size of the notebooks.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ..classes import CLASS_COLORS, CLASSES, USAGES
from .style import FAINT, SMALL, WIDTH, bare, finish, style

Rows = Mapping[str, Sequence[np.ndarray]]  # pictures by the name of their row


@style()
def class_counts(counts: pd.DataFrame, note: str = "") -> plt.Figure:
    """Images per class (rows) and split (columns), as `Dataset.counts()` gives them."""
    counts = counts.loc[list(CLASSES)]
    splits = [usage for usage in USAGES if usage in counts]
    figure, axes = plt.subplots(1, len(splits), figsize=(WIDTH / 3 * len(splits), 3.2), sharey=True, squeeze=False)
    for axis, usage in zip(axes[0], splits, strict=True):
        values = counts[usage]
        bars = axis.barh(CLASSES, values, color=CLASS_COLORS.values(), height=0.75)
        labels = [f"{value:,}  ({value / max(values.sum(), 1):.1%})" for value in values]
        axis.bar_label(bars, labels, padding=3, fontsize=SMALL, color=FAINT)
        axis.set(title=f"{usage}: {values.sum():,}", xlabel="images", xlim=(0, max(values.max(), 1) * 1.6))
        axis.xaxis.set_major_locator(plt.MaxNLocator(3, integer=True))
        axis.grid(axis="y", visible=False)
    axes[0, 0].invert_yaxis()
    return finish(figure, "Images per class and split", note)


@style()
def pictures(
    rows: Rows,
    columns: Sequence[str],
    title: str,
    note: str = "",
    heat: Rows | None = None,
    limits: tuple[float | None, float | None] = (None, None),
) -> plt.Figure:
    """Rows of pictures, grey (H, W) or coloured (H, W, 3), with their names, under their `columns`.

    `heat`: maps (H, W) in 0..1, laid over the rows of these names; the larger the lighter, in grey too. `limits`: what
    is black and what white in all pictures; else each has its own. Places stay empty where a row has fewer pictures.
    """
    height, width = np.shape(next(iter(rows.values()))[0])[:2]
    lines = max(name.count("\n") for name in columns) + 1
    size = (WIDTH, len(rows) * height / width * WIDTH / (len(columns) + 0.7) + 1 + 0.25 * lines)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for places, (name, images) in zip(axes, rows.items(), strict=True):
        for axis in places:
            bare(axis)
        for place, (axis, image) in enumerate(zip(places, images, strict=False)):
            axis.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            if heat and name in heat:
                axis.imshow(heat[name][place], cmap="inferno", vmin=0, vmax=1, alpha=0.6, interpolation="nearest")
        places[0].set_ylabel(name, rotation=0, ha="right", va="center", fontweight="bold")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, loc="center", fontsize=10)
    return finish(figure, title, note)
