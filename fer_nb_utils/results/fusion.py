"""Several classifiers as one: a weighted sum of the logarithms of their probabilities, weighted on PublicTest."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from ..classes import CLASSES
from ..errors import UserError
from .measures import per_class, table1_row
from .run_folder import Run


def fuse(tables: Sequence[pd.DataFrame], weights: Sequence[float]) -> pd.DataFrame:
    """Predictions of the same images, in the order of the first: probabilities proportional to the product of the
    tables' own, each to the power of its weight (logarithmic opinion pool: Genest and Zidek 1986,
    doi 10.1214/ss/1177013825). Raises UserError for tables of different images."""
    first = tables[0]
    probabilities = softmax(np.tensordot(weights, _logarithms(tables), 1), axis=1)
    identity = first[["file", "usage", "label"]].reset_index(drop=True)
    return identity.join(pd.DataFrame(probabilities, columns=list(CLASSES)))


def fit_weights(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """The weights (k,), none below 0, that make these labels likeliest by `fuse`; raises UserError without images."""
    if not len(tables[0]):
        raise UserError("There is no PublicTest image to learn the weights from: give the data set a folder val.")
    logarithms = _logarithms(tables)
    truth = pd.Index(CLASSES).get_indexer(tables[0]["label"])

    def loss(weights: np.ndarray) -> float:
        return -log_softmax(np.tensordot(weights, logarithms, 1), axis=1)[np.arange(len(truth)), truth].mean()

    start = np.full(len(tables), 1 / len(tables))
    return minimize(loss, start, bounds=[(0, None)] * len(tables)).x  # convex: wherever it starts


def with_features(run: Run, features: pd.DataFrame) -> tuple[Run, Run]:
    """A run on PrivateTest alone, and the same fused with predictions from hand-made features, weighted on PublicTest.

    The config of the fused one holds their `attrs["machine"]`, as "features". Raises UserError when the two were tested
    on different images.
    """
    public, private = (
        [table[table["usage"] == usage].reset_index(drop=True) for table in (run.predictions, features)]
        for usage in ("PublicTest", "PrivateTest")
    )

    def tested(predictions: pd.DataFrame, fused: str | None) -> Run:
        full = table1_row(predictions).to_dict() | {"per_class": per_class(predictions).to_dict("index")}
        return replace(run, predictions=predictions, metrics={"full": full}, config=run.config | {"features": fused})

    machine = features.attrs.get("machine", "hand-made features")
    return tested(private[0], None), tested(fuse(private, fit_weights(public)), machine)


def _logarithms(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """float64 (k, n, 7), rows in the order of the first table."""
    files = tables[0]["file"]
    if any(set(table["file"]) != set(files) for table in tables):
        raise UserError("The predictions are about different images; give those of the same data set.")
    return np.log(np.stack([t.set_index("file").loc[files, list(CLASSES)].to_numpy().clip(1e-12) for t in tables]))
