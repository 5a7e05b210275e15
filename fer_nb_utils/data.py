"""FER-2013 in any form, own faces, or the synthetic sample -> one data set in memory, cached once decoded."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from . import formats
from .classes import CLASSES, USAGES
from .errors import DataError
from .files import atomic_path, write_json
from .formats import Decoded

PUBLISHED = pd.DataFrame(
    {
        "Training": (3995, 436, 4097, 7215, 4965, 4830, 3171),
        "PublicTest": (467, 56, 496, 895, 607, 653, 415),
        "PrivateTest": (491, 55, 528, 879, 626, 594, 416),
    },
    index=CLASSES,
)  # images of FER-2013, per class and usage
SAMPLE = "synthetic sample"
CACHE_VERSION = 1  # raise when decoding changes, so that older copies are not used

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled grey faces in memory.

    images: uint8 (n,48,48), 0 to 255;
    labels: int64 (n,), index into CLASSES;
    usage: str (n,), one of USAGES;
    files: str (n,), unique ids such as Training_10118481;
    name: for plots and tables, "FER-2013" where the counts are the published ones;
    fingerprint: "sha256:" and 16 hex digits of the decoded content;
    source: the path as given, or "sample".
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
        parts = {name: getattr(self, name)[index] for name in ("images", "labels", "usage", "files")}
        return replace(self, **parts)

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


def load(source: str | Path | None = None, progress: bool = True) -> Dataset:
    """Load a data set: from `source`, or else from $FER2013_PATH, or else the synthetic sample.

    `source`: the Kaggle zip, its unpacked folder, fer2013.csv or icml_face_data.csv (plain or in a zip or
    tar.gz), a folder in the same layout with other faces, or "sample". A test image is in PublicTest if its
    name starts so or it lies in a `val` or `validation` folder, else in PrivateTest.
    Raises DataError: one sentence that names the file and the remedy.
    """
    source = str(source or os.environ.get("FER2013_PATH") or "sample")
    if source == "sample":
        decoded, fingerprint = _cached(_sample_key(), _make_sample)
        return _dataset(decoded, SAMPLE, fingerprint, source)
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(f"{path} does not exist: give the path of FER-2013 (zip, folder or CSV), or 'sample'")
    decoded, fingerprint = _cached(formats.signature(path), lambda: formats.read(path, progress))
    if decoded.converted:
        log.warning(
            "%d of %d images in %s were converted to grey 48x48 (central square, resized)",
            decoded.converted, len(decoded.labels), path,
        )  # fmt: skip
    dataset = _dataset(decoded, f"faces in {path.resolve().name}", fingerprint, source)
    return replace(dataset, name="FER-2013") if is_published(dataset) else dataset


def _dataset(decoded: Decoded, name: str, fingerprint: str, source: str) -> Dataset:
    """File ids are stems, as in Training_10118481; paths for a stem used twice (FER-2013 has two of those)."""
    stems = [path.rsplit("/", 1)[-1].rsplit(".", 1)[0] for path in decoded.paths.tolist()]
    uses = Counter(stems)
    files = [stem if uses[stem] == 1 else path for stem, path in zip(stems, decoded.paths, strict=True)]
    return Dataset(*decoded[:3], np.array(files), name, fingerprint, source)


def is_published(dataset: Dataset) -> bool:
    """Whether the counts per class and usage are those of FER-2013 as published."""
    return bool((dataset.counts().loc[list(CLASSES), list(USAGES)] == PUBLISHED).all(axis=None))


def identical_groups(images: np.ndarray) -> np.ndarray:
    """Group of identical images, int64 (n,): 0, 1, ... in order of appearance, -1 without a twin."""
    digests = [hashlib.blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(images)]
    codes, _ = pd.factorize(np.array(digests, dtype=object))
    shared = np.bincount(codes, minlength=1) > 1
    ids = np.where(shared, np.cumsum(shared) - 1, -1)
    return ids[codes].astype(np.int64)


def split_validation(
    dataset: Dataset, how: str = "stratified", fraction: float = 0.1, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """(train, validation) without touching the test images.

    "stratified": `fraction` of every class of Training, identical images on one side; "PublicTest": all of
    Training, and PublicTest. Raises DataError when a side would be empty.
    """
    train = dataset.select("Training")
    if how == "PublicTest":
        validation = dataset.select("PublicTest")
    elif how == "stratified":
        chosen = _draw_stratified(train.labels, identical_groups(train.images), fraction, seed)
        train, validation = train.subset(~chosen), train.subset(chosen)
    else:
        raise ValueError(f"how is '{how}', not 'stratified' or 'PublicTest'")
    if not len(train) or not len(validation):
        raise DataError(f"{dataset.name} has too few images to split off validation data ({how}): add images")
    return train, validation


def _draw_stratified(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Mask (n,) with `fraction` of every class, at least one; a group is drawn whole, under its first image's class."""
    units = np.where(groups >= 0, groups, groups.max(initial=-1) + 1 + np.arange(len(groups)))
    _, first, unit, sizes = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    drawn = np.zeros(len(sizes), bool)
    rng = np.random.default_rng(seed)
    for label in range(len(CLASSES)):
        order = rng.permutation(np.flatnonzero(labels[first] == label))
        before = np.cumsum(sizes[order]) - sizes[order]
        quota = max(round(fraction * sizes[order].sum()), int(len(order) > 1))
        drawn[order[before < quota]] = True
    return drawn[unit]


# The cache: per source a small JSON that names the fingerprint, per fingerprint the decoded arrays


def cache_folder() -> Path:
    """$FER_NB_CACHE, or a folder in the user's cache, where torch keeps its downloads too."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FER_NB_CACHE") or Path(user_cache) / "fer_nb_utils")


def _cached(key: str, decode: Callable[[], Decoded]) -> tuple[Decoded, str]:
    pointer = cache_folder() / f"source-{key}-{CACHE_VERSION}.json"
    try:
        return _read_cache(pointer)
    except FileNotFoundError:
        pass
    except Exception as error:  # damage shows in many ways
        log.warning("the cached copy %s is damaged (%s) and is made again", pointer, error)
    decoded = decode()
    fingerprint = _fingerprint(decoded)
    try:
        _write_cache(pointer, decoded, fingerprint)
    except OSError as error:  # a full or read-only disk, or on Windows a copy that another process is reading
        log.warning("no decoded copy was kept in %s: %s", pointer.parent, error)
    return decoded, fingerprint


def _arrays_path(pointer: Path, fingerprint: str) -> Path:
    return pointer.with_name(f"{fingerprint.removeprefix('sha256:')}.npz")


def _read_cache(pointer: Path) -> tuple[Decoded, str]:
    entry = json.loads(pointer.read_text(encoding="utf-8"))
    with np.load(_arrays_path(pointer, entry["fingerprint"]), allow_pickle=False) as arrays:  # checks the CRC
        decoded = Decoded(*(arrays[name] for name in Decoded._fields[:4]), entry["converted"])
    return decoded, entry["fingerprint"]


def _write_cache(pointer: Path, decoded: Decoded, fingerprint: str) -> None:
    with atomic_path(_arrays_path(pointer, fingerprint)) as temporary:
        np.savez(temporary, **dict(zip(Decoded._fields[:4], decoded[:4], strict=True)))
    write_json(pointer, {"fingerprint": fingerprint, "converted": decoded.converted})


def _fingerprint(decoded: Decoded) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(decoded.images))
    digest.update(decoded.labels.astype("<i8"))
    digest.update("\n".join([*decoded.usage, *decoded.paths]).encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()[:16]}"


def _sample_key() -> str:
    """Changes with the generator's code, so that an edited generator is drawn anew."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in ("synthetic.py", "face_drawing.py"))
    return f"sample-{hashlib.sha256(code).hexdigest()[:16]}"


def _make_sample() -> Decoded:
    from .synthetic import make_sample  # OpenCV is needed only here

    return Decoded(*make_sample(), converted=0)
