"""Figures of a data set: counts, faces, mean faces, pixel statistics, augmentation, mistakes.

Faces are shown pixel by pixel, unsmoothed, which also halves the size of the notebooks.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from ..classes import CLASS_COLORS, CLASSES, USAGES
from ..data.dataset import Dataset
from ..errors import UserError
from .style import FAINT, INK, SMALL, WIDTH, bare, finish, style


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
def mean_faces(dataset: Dataset, note: str = "") -> plt.Figure:
    """The mean image of each class, and below it what sets it apart from the mean of the class means.

    The colours of the difference grow from dark to light, so that they keep their order in grey.
    """
    means = np.stack([dataset.images[dataset.labels == label].mean(axis=0) for label in range(len(CLASSES))])
    apart = means - means.mean(axis=0)
    limit = np.abs(apart).max()
    figure, axes = plt.subplots(2, len(CLASSES), figsize=(WIDTH, 3.7))
    for column, name in enumerate(CLASSES):
        axes[0, column].imshow(means[column], cmap="gray", interpolation="nearest")
        shown = axes[1, column].imshow(apart[column], cmap="cividis", vmin=-limit, vmax=limit, interpolation="nearest")
        axes[0, column].set_title(name, fontweight="bold", loc="center")
    for axis in axes.flat:
        bare(axis)
    axes[0, 0].set_ylabel("mean")
    axes[1, 0].set_ylabel("difference")
    figure.colorbar(shown, ax=axes, shrink=0.45, anchor=(0, 0), pad=0.01, label="grey levels")
    return finish(figure, "Mean face of each class, and its difference from the average", note)


@style()
def pixel_statistics(index: pd.DataFrame, note: str = "") -> plt.Figure:
    """Brightness and contrast per class; `index`: an image a row, with label (name), mean, std (0..1)."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), sharey=True)
    panels = {"mean": ("Brightness", "mean"), "std": ("Contrast", "standard deviation")}
    for axis, (column, (title, measure)) in zip(axes, panels.items(), strict=True):
        colors = {"hue": "label", "palette": CLASS_COLORS, "saturation": 1, "legend": False, "linewidth": 0.9}
        shape = {"inner": "quart", "density_norm": "width", "cut": 0}
        sns.violinplot(index, x=column, y="label", order=CLASSES, ax=axis, **colors, **shape)
        axis.axvline(index[column].median(), color=INK, linewidth=1, linestyle=":")
        axis.set(title=title, xlabel=f"{measure} of an image's pixels", ylabel="")
        axis.set_xlim(left=0)
    figure.get_layout_engine().set(wspace=0.05)  # keeps the panels' outer tick labels apart
    return finish(figure, "Brightness and contrast of the images, by class", note)


@style()
def face_grid(dataset: Dataset, per_class: int = 8, note: str = "") -> plt.Figure:
    """The first faces of each class. Raises UserError on FER-2013, whose faces may not be republished."""
    _refuse_fer2013(dataset)
    faces = {name: dataset.images[dataset.labels == label][:per_class] for label, name in enumerate(CLASSES)}
    figure, _ = _faces(faces, per_class, 0, 255)
    return finish(figure, "The first faces of each class", note)


@style()
def augmented_faces(originals: np.ndarray, augmented: np.ndarray, names: Sequence[str], note: str = "") -> plt.Figure:
    """Originals (n, H, W) in the first column, and to the right k draws of the augmentation (n, k, H, W).

    `names`: what each of the n rows is called. All faces share the originals' grey scale.
    """
    titles = ["original", *(f"draw {number + 1}" for number in range(augmented.shape[1]))]
    faces = {name: [first, *draws] for name, first, draws in zip(names, originals, augmented, strict=True)}
    figure, axes = _faces(faces, len(titles), originals.min(), originals.max())
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, loc="center", fontsize=10)
    return finish(figure, "What the augmentation does", note)


@style()
def mistaken_faces(dataset: Dataset, mistakes: pd.DataFrame, count: int = 7, note: str = "") -> plt.Figure:
    """The first `count` mistakes: the face, its label, and what was recognised with which probability.

    `mistakes`: columns file, label, predicted, confidence (0..1). Raises UserError on FER-2013, as `face_grid` does.
    """
    _refuse_fer2013(dataset)
    mistakes = mistakes.head(count)
    rows = pd.Index(dataset.files).get_indexer(mistakes["file"])
    figure, axes = _faces({"": dataset.images[rows]}, count, 0, 255)
    figure.set_size_inches(WIDTH, 3.1)
    for axis, mistake in zip(axes[0], mistakes.itertuples(), strict=False):
        axis.set_title(f"label:\n{mistake.label}", fontsize=10)
        axis.set_xlabel(f"recognised:\n{mistake.predicted}\n{mistake.confidence:.0%}", loc="left", fontsize=10)
    return finish(figure, "The most confident mistakes", note)


def _faces(rows: Mapping[str, Sequence], columns: int, low: float, high: float) -> tuple[plt.Figure, np.ndarray]:
    """Rows of faces (H, W) with their names, on one grey scale; where a row has fewer faces, places stay empty."""
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns + 1, len(rows) * 1.05 + 0.9), squeeze=False)
    for places, (name, faces) in zip(axes, rows.items(), strict=True):
        for axis, face in zip_longest(places, faces):
            bare(axis)
            if face is not None:
                axis.imshow(face, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        places[0].set_ylabel(name, rotation=0, ha="right", va="center", fontweight="bold")
    return figure, axes


def _refuse_fer2013(dataset: Dataset) -> None:
    if dataset.name == "FER-2013":
        raise UserError("FER-2013's faces may not be published: show figures.data.mean_faces instead.")
