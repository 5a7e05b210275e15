"""What is wrong with a data set: identical images, leaks from train to test, conflicting labels, blanks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..classes import CLASSES, USAGES
from .dataset import PUBLISHED, Dataset, identical_groups

CONSTANT_BELOW = 2.0  # standard deviation in grey levels; FER-2013 has 13 images below it, the next is at 4.1


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings for the n images of a data set.

    groups: int64 (n,), id of the group of identical images, -1 without a twin; spanning, conflicting: ids of the groups
    found in both train and test, and of those with several labels. Masks, bool (n,): test (in PublicTest or
    PrivateTest), twin_in_train (a test image of which Training holds an identical one), constant (blank or nearly so).
    """

    groups: np.ndarray
    test: np.ndarray
    twin_in_train: np.ndarray
    spanning: np.ndarray
    conflicting: np.ndarray
    constant: np.ndarray

    @property
    def leak_free(self) -> np.ndarray:
        """bool (n,): test images without a twin in train."""
        return self.test & ~self.twin_in_train

    def summary(self) -> pd.Series:
        """The findings as counts."""
        findings = {
            "groups of identical images": self.groups.max(initial=-1) + 1,
            "images in these groups": (self.groups >= 0).sum(),
            "groups that span train and test": len(self.spanning),
            "groups with conflicting labels": len(self.conflicting),
            "test images with a twin in train": self.twin_in_train.sum(),
            "test images without one (leak-free)": self.leak_free.sum(),
            "constant images": self.constant.sum(),
        }
        return pd.Series(findings, name="count")


def audit(dataset: Dataset) -> Audit:
    """Look for identical images, in and across splits, and for constant ones."""
    return audit_index(index(dataset))


def audit_index(table: pd.DataFrame) -> Audit:
    """The same from a data set's index (of n rows) alone, as `index` and `load_index` return it."""
    groups, test = table["group"].to_numpy(), (table["usage"] != "Training").to_numpy()
    grouped = pd.DataFrame({"label": table["label"].to_numpy(), "test": test})[groups >= 0].groupby(groups[groups >= 0])
    values = grouped.nunique()
    spanning, conflicting = (values.index[values[name] > 1].to_numpy() for name in ("test", "label"))
    constant = table["std"].to_numpy() < CONSTANT_BELOW / 255
    return Audit(groups, test, test & np.isin(groups, spanning), spanning, conflicting, constant)


def data_report(dataset: Dataset) -> str:
    """Counts per class and split, the audit, and whether this is FER-2013 as published, as text."""
    title = f"{dataset.name}: {len(dataset):,} images, {dataset.fingerprint}"
    counts = _lines(dataset.counts().rename_axis(index=None, columns=None))
    return "\n\n".join((title, counts, _lines(audit(dataset).summary()), _verdict(dataset)))


def _lines(table: pd.DataFrame | pd.Series) -> str:
    return table.map("{:,}".format).to_string()


def _verdict(dataset: Dataset) -> str:
    if dataset.synthetic:
        return "This is the synthetic sample, not FER-2013."
    difference = dataset.counts().loc[list(CLASSES), list(USAGES)] - PUBLISHED
    if not difference.any(axis=None):
        return "This is FER-2013 as published: the counts agree."
    where, amount = max(difference.stack().items(), key=lambda item: abs(item[1]))
    return f"This is not FER-2013 as published: the counts differ, most in {' '.join(where)} ({amount:+,})."


# The index: the facts about FER-2013, without its pixels


def index(dataset: Dataset) -> pd.DataFrame:
    """One row an image: file, usage, label (name), mean and std of the pixels (0 to 1), group (or -1)."""
    mean, deviation = _moments(dataset.images)
    table = {"file": dataset.files, "usage": dataset.usage, "label": np.array(CLASSES)[dataset.labels]}
    table |= {"mean": (mean / 255).round(4), "std": (deviation / 255).round(4)}
    return pd.DataFrame(table | {"group": identical_groups(dataset.images)})


def load_index() -> pd.DataFrame:
    """The committed index of FER-2013, 35,887 rows as `index` returns them."""
    return pd.read_csv(Path(__file__).with_name("fer2013_index.csv.gz"))


def _moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the pixels of each image, float64 (n,), in grey levels."""
    parts = np.array_split(images.reshape(len(images), -1), len(images) // 1000 + 1)  # spares memory
    return tuple(np.concatenate([function(part, axis=1) for part in parts]) for function in (np.mean, np.std))
