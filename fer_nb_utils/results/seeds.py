"""Several runs of one training that differ in the seed alone: mean, spread, and how far chance reaches."""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from .measures import bootstrap, intervals, measured
from .run_folder import Run


class Seeds(tuple[Run, ...]):
    """The runs of one network, which differ in the seed alone."""

    @property
    def accuracy(self) -> np.ndarray:
        """Training accuracy (seeds, epochs)."""
        return np.stack([run.history["train_accuracy"].to_numpy(float) for run in self])

    def tested(self, expression: str, measure: str) -> np.ndarray:
        """A measure on the full test set (seeds,): of an expression, or of "all"; NaN where it is undefined."""
        full = [run.metrics["full"] | {"all": run.metrics["full"]} | run.metrics["full"]["per_class"] for run in self]
        return np.array([one[expression][measure] for one in full], float)

    @cached_property
    def draws(self) -> pd.DataFrame:
        """`measures.bootstrap` of the mean over the seeds."""
        return bootstrap(*(run.predictions.sort_values("file") for run in self), n=400)


def seed_groups(runs: Mapping[str, Run]) -> dict[str, list[Run]]:
    """The runs of each training together: their names differ in a last "_seed0" and so on."""
    groups: dict[str, list[Run]] = {}
    for name, run in runs.items():
        groups.setdefault(re.sub(r"_seed\d+$", "", name), []).append(run)
    return groups


def over_seeds(tables: Sequence[pd.DataFrame], n: int = 400) -> pd.DataFrame:
    """Every measure over several runs' predictions for the same images.

    Rows: (expression, measure) as in `measures.bootstrap`. Columns: seeds (their number), mean, sd (over the seeds; NaN
    of one), and low and high, the 95 % interval of `draws_over_seeds`.
    """
    values = pd.DataFrame([measured(table) for table in tables])
    summary = pd.DataFrame({"seeds": len(tables), "mean": values.mean(), "sd": values.std(ddof=1)})
    return summary.join(intervals(draws_over_seeds(tables, n)))


def draws_over_seeds(tables: Sequence[pd.DataFrame], n: int = 400, seed: int = 0) -> pd.DataFrame:
    """The mean over seeds of every measure in `n` resamples of seeds and test images, a row each.

    A two-level bootstrap: it draws images and, of k seeds, k - 1, which makes its variance that of the mean (Rao and Wu
    1988, doi 10.1080/01621459.1988.10478591). With one seed it is over test images alone. Rows of several networks on
    the same images rest on the same resamples of images, so that their differences and means may be taken; give each
    another `seed`, for their seeds have nothing to do with each other.
    """
    draws = [bootstrap(table.sort_values("file"), n=n) for table in tables]  # equal resamples are of equal images
    chosen = np.random.default_rng(seed).integers(len(tables), size=(max(len(tables) - 1, 1), n))
    means = np.stack([table.to_numpy() for table in draws])[chosen, np.arange(n)].mean(axis=0)
    return pd.DataFrame(means, columns=draws[0].columns)
