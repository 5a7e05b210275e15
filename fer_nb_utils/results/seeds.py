"""Several runs of one training that differ in the seed alone: mean, spread, and how far chance reaches."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from .measures import bootstrap, intervals, per_class, table1_row
from .run_folder import Run


def seed_groups(runs: Mapping[str, Run]) -> dict[str, list[Run]]:
    """The runs of each training together: their names differ in a last "_seed0" and so on."""
    groups: dict[str, list[Run]] = {}
    for name, run in runs.items():
        groups.setdefault(re.sub(r"_seed\d+$", "", name), []).append(run)
    return groups


def over_seeds(tables: Sequence[pd.DataFrame], n: int = 1000) -> pd.DataFrame:
    """Every measure over several runs' predictions for the same images.

    Rows: (expression, measure) as in `measures.bootstrap`. Columns: seeds (their number), mean, sd (over the seeds; NaN
    of one), and low and high, a 95 % interval of the mean over seeds and test images: a two-level bootstrap that draws
    images and, of k seeds, k - 1, which makes its variance that of the mean (Rao and Wu 1988, doi
    10.1080/01621459.1988.10478591). With one seed it is over test images alone.
    """
    tables = [table.sort_values("file") for table in tables]  # equal resamples must be of equal images
    draws = [bootstrap(table, n=n) for table in tables]
    k, columns = len(tables), draws[0].columns
    chosen = np.random.default_rng(0).integers(k, size=(max(k - 1, 1), n))
    means = np.stack([table.to_numpy() for table in draws])[chosen, np.arange(n)].mean(axis=0)
    measured = pd.DataFrame([_measured(table) for table in tables])[columns]
    summary = pd.DataFrame({"seeds": k, "mean": measured.mean(), "sd": measured.std(ddof=1)})
    return summary.join(intervals(pd.DataFrame(means, columns=columns)))


def _measured(predictions: pd.DataFrame) -> pd.Series:
    whole, each = table1_row(predictions).drop("support"), per_class(predictions).drop(columns="support")
    return pd.concat([whole, *(each.loc[name] for name in each.index)], keys=["all", *each.index]).astype(float)
