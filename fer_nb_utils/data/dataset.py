"""FER-2013 in any form, own faces, or the synthetic sample -> one data set in memory, cached once decoded."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..classes import CLASSES, USAGES
from ..errors import DataError
from . import formats
from .cache import cached, log
from .formats import Decoded

PUBLISHED = pd.DataFrame({  # images of FER-2013, per class and usage
    "Training": (3995, 436, 4097, 7215, 4965, 4830, 3171),
    "PublicTest": (467, 56, 496, 895, 607, 653, 415),
    "PrivateTest": (491, 55, 528, 879, 626, 594, 416),
}, index=CLASSES)  # fmt: skip
SAMPLE = "synthetic sample"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled grey faces in memory.

    images: uint8 (n,48,48), 0 to 255; labels: int64 (n,), index into CLASSES; usage: str (n,), one of USAGES;
    files: str (n,), unique ids such as Training_10118481; name: for plots and tables, "FER-2013" where the counts are
    the published ones; fingerprint: "sha256:" and 16 hex digits of the content; source: the path as given, or "sample".
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    files: np.ndarray
    name: str
    fingerprint: str
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def synthetic(self) -> bool:
        return self.name == SAMPLE

    def subset(self, index: np.ndarray) -> "Dataset":
        """The images of a boolean mask (n,) or of integer positions, under the same name and fingerprint."""
        return replace(self, **{name: getattr(self, name)[index] for name in ("images", "labels", "usage", "files")})

    def select(self, *usages: str) -> "Dataset":
        """The images of the given usages."""
        return self.subset(np.isin(self.usage, usages))

    def counts(self) -> pd.DataFrame:
        """Images per class (rows, then "all") and usage (columns, then "all")."""
        return count_images(np.array(CLASSES)[self.labels], self.usage)


def count_images(labels: np.ndarray, usage: np.ndarray) -> pd.DataFrame:
    """Images per class (rows, then "all") and usage (columns, then "all"); labels are class names, str (n,)."""
    table = pd.crosstab(np.asarray(labels), np.asarray(usage)).reindex(index=CLASSES, columns=USAGES, fill_value=0)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table.rename_axis(index="class", columns="usage")


def load(source: str | Path | None = None) -> Dataset:
    """Load a data set: from `source`, or else from $FER2013_PATH, or else the synthetic sample.

    `source`: the Kaggle zip, its unpacked folder, fer2013.csv or icml_face_data.csv (plain, gzipped, in a zip or in a
    tar.gz), a folder in the same layout with other faces, or "sample". A test image is in PublicTest if its name starts
    so or it lies in a `val` or `validation` folder, else in PrivateTest. Raises DataError that names file and remedy.
    """
    source = str(source or os.environ.get("FER2013_PATH") or "sample")
    if source == "sample":
        decoded, fingerprint = cached(_sample_key(), _make_sample)
        return _dataset(decoded, SAMPLE, fingerprint, source)
    path = Path(os.path.expanduser(source))  # pathlib's raises for an unknown user
    formats.check_name(source)
    with formats.one_sentence(path):
        if not path.exists():
            raise DataError(f"{path} does not exist: give the path of FER-2013 (zip, folder or CSV), or 'sample'")
        decoded, fingerprint = cached(formats.signature(path), lambda: formats.read(path))
    if decoded.converted:
        log.warning(
            "%d of %d images in %s were converted to grey 48x48 (central square, resized)",
            decoded.converted, len(decoded.labels), path,
        )  # fmt: skip
    dataset = _dataset(decoded, f"faces in {path.resolve().name}", fingerprint, source)
    if (dataset.counts().loc[list(CLASSES), list(USAGES)] == PUBLISHED).all(axis=None):
        return replace(dataset, name="FER-2013")
    return dataset


def _dataset(decoded: Decoded, name: str, fingerprint: str, source: str) -> Dataset:
    """File ids are stems, as in Training_10118481; paths for a stem used twice (FER-2013 has two of those)."""
    stems = [path.rsplit("/", 1)[-1].rsplit(".", 1)[0] for path in decoded.paths.tolist()]
    uses = Counter(stems)
    files = [stem if uses[stem] == 1 else path for stem, path in zip(stems, decoded.paths, strict=True)]
    return Dataset(*decoded[:3], np.array(files), name, fingerprint, source)


def identical_groups(images: np.ndarray) -> np.ndarray:
    """Group of identical images, int64 (n,): 0, 1, ... in order of appearance, -1 without a twin."""
    digests = [hashlib.blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(images)]
    codes, _ = pd.factorize(np.array(digests, dtype=object))
    shared = np.bincount(codes, minlength=1) > 1
    ids = np.where(shared, np.cumsum(shared) - 1, -1)
    return ids[codes].astype(np.int64)


def split_validation(dataset: Dataset, fraction: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(train, validation), both from Training: `fraction` of every class, at least one image, goes to validation.

    Identical images stay on one side. Raises DataError when a side would be empty.
    """
    train = dataset.select("Training")
    chosen = draw_stratified(train.labels, identical_groups(train.images), fraction, seed)
    if chosen.all() or not chosen.any():
        raise DataError(f"{dataset.name} has too few images to split off validation data: add images")
    return train.subset(~chosen), train.subset(chosen)


def draw_stratified(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Mask (n,) with `fraction` of every class, at least one; a group is drawn whole, under its first image's class."""
    units = np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + np.arange(len(groups)))
    _, first, unit, sizes = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    drawn = np.zeros(len(sizes), bool)
    rng = np.random.default_rng(seed)
    for label in range(len(CLASSES)):
        order = rng.permutation(np.flatnonzero(labels[first] == label))
        before = np.cumsum(sizes[order]) - sizes[order]
        quota = max(round(fraction * sizes[order].sum()), 1 if len(order) > 1 else 0)
        drawn[order[before < quota]] = True
    return drawn[unit]


def _sample_key() -> str:
    """Changes with the generator's code, so that an edited generator is drawn anew."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("synthetic.py", "face_drawing.py"))
    return f"sample-{hashlib.sha256(code).hexdigest()[:16]}"


def _make_sample() -> Decoded:
    from .synthetic import make_sample  # OpenCV is needed only here

    return Decoded(*make_sample(), converted=0)
