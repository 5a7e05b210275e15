"""Rows of pictures, pixel by pixel: unsmoothed, which also halves the size of the notebooks."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from .style import WIDTH, bare, finish, style


@style()
def pictures(
    rows: Mapping[str, Sequence[np.ndarray]],
    columns: Sequence[str],
    title: str,
    note: str = "",
    heat: Mapping[str, Sequence[np.ndarray]] | None = None,
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
