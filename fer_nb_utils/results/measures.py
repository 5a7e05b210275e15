"""Every number of the results, from predictions alone.

`predictions` has one test image a row: `file`, `usage`, `label` (class name), and seven probabilities under the names
of the classes (0..1, summing to 1). Measures follow the paper: precision, recall and F1 are the weighted averages of
scikit-learn's `classification_report`, AUC is the mean of the seven one-vs-rest AUCs. A class never predicted has
precision 0; one without images recall, F1 and weight 0; its AUC, and so the mean AUC, is NaN (null in JSON).
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, roc_curve

from ..classes import CLASSES, USAGES
from ..errors import UserError
from .calibration import calibration_error

MEASURES = ("precision", "recall", "f1", "support", "accuracy", "auc")
_AVERAGES = [("all", measure) for measure in MEASURES if measure != "support"]
_OF_CLASSES = [(name, measure) for measure in ("precision", "recall", "f1", "auc") for name in CLASSES]
COLUMNS = pd.MultiIndex.from_tuples(_AVERAGES + _OF_CLASSES)  # of `measured` and `bootstrap`
_DRAWN: dict[tuple[bytes, int, int], pd.DataFrame] = {}
SUM_TOLERANCE = 1e-3  # seven probabilities rounded to four decimals stay within this


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check `predictions.csv` (or `.csv.gz`); raise UserError when it is not a predictions file."""
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype={"file": str, "usage": str, "label": str}, keep_default_na=False)  # "NA.png"
    except (OSError, EOFError, ValueError) as error:  # ValueError: pandas' parser and decoding errors
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise UserError(f"{path} {reason}: evaluate the run again to write it.") from error
    if problem := _problem(table):
        raise UserError(f"{path} is not a valid predictions file: {problem}; evaluate the run again to write it.")
    return table


def _problem(table: pd.DataFrame) -> str | None:
    """What is wrong with a predictions table, in a few words."""
    if missing := [name for name in ("file", "usage", "label", *CLASSES) if name not in table]:
        return f"missing column {', '.join(missing)}"
    if table.empty:
        return "it has no rows"
    for column, known in (("label", CLASSES), ("usage", USAGES)):
        if not table[column].isin(known).all():
            return f"a {column} is none of {', '.join(known)}"
    if table["file"].duplicated().any():
        return "a file occurs twice"
    scores = table[list(CLASSES)].apply(pd.to_numeric, errors="coerce")
    if not scores.ge(0).all(axis=None) or not np.allclose(scores.sum(axis=1), 1, rtol=0, atol=SUM_TOLERANCE):
        return "seven numbers of a row are no probabilities that sum to 1"
    return None


def test_sets(predictions: pd.DataFrame, twins_in_train: Collection[str] = ()) -> dict[str, pd.DataFrame]:
    """The test sets by name: full, PublicTest, PrivateTest, and leak-free (no identical image in train).

    `twins_in_train` holds the file ids of the test images with a twin in train. Sets without images are left out.
    """
    halves = {usage: predictions[predictions["usage"] == usage] for usage in ("PublicTest", "PrivateTest")}
    leak_free = predictions[~predictions["file"].isin(list(twins_in_train))]
    sets = {"full": predictions, **halves, "leak-free": leak_free}
    return {name: rows for name, rows in sets.items() if len(rows)}


def table1_row(predictions: pd.DataFrame) -> pd.Series:
    """One row of Table 1: weighted precision, recall and F1, support, accuracy, mean one-vs-rest AUC."""
    row = {**measured(predictions)["all"], "support": len(predictions)}
    return pd.Series(row, list(MEASURES), dtype=object)  # support stays an integer


def table1(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Table 1: one row for each named predictions table."""
    rows = {name: table1_row(predictions) for name, predictions in runs.items()}
    return pd.DataFrame.from_dict(rows, orient="index").infer_objects().rename_axis("model")


def per_class(predictions: pd.DataFrame) -> pd.DataFrame:
    """Precision, recall, F1, support and one-vs-rest AUC of each class."""
    table = measured(predictions).drop("all", level=0).unstack().rename_axis("expression")
    table["support"] = predictions["label"].value_counts().reindex(CLASSES, fill_value=0)
    return table[["precision", "recall", "f1", "support", "auc"]]


def table2(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Table 2: per expression, the arithmetic mean over the runs."""
    tables = pd.concat([per_class(predictions) for predictions in runs.values()])
    return tables.groupby(level=0, sort=False).mean().astype({"support": int})


def measured(predictions: pd.DataFrame) -> pd.Series:
    """Every measure but the support, by (expression, measure) as in `per_class` and ("all", measure) as in Table 1."""
    return pd.Series(_weighted_measures(predictions, np.ones((len(predictions), 1)))[0], COLUMNS)


def bootstrap(*tables: pd.DataFrame, n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Every measure in `n` resamples of the images, a row each; the mean over the tables where there are several.

    `n` times, as many images as there are get drawn with replacement (Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, ch. 13). Columns as in `measured`. AUC is NaN where the class, or every other one, was not drawn. Tables
    of the same images in the same order get the same resamples, so that several are judged, and may be subtracted, on
    equal images. Raises ValueError for tables of different length.
    """
    if len({len(predictions) for predictions in tables}) > 1:
        raise ValueError("The tables are about different images.")
    return sum(_draws(predictions, n, seed) for predictions in tables) / len(tables)


def _draws(predictions: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """`bootstrap` of one table; remembered, because many tables and figures show the same run."""
    key = pd.util.hash_pandas_object(predictions, index=False).to_numpy().tobytes(), n, seed
    if key not in _DRAWN:
        draws = [_weighted_measures(predictions, weights) for weights in _resamples(len(predictions), n, seed)]
        _DRAWN[key] = pd.DataFrame(np.concatenate(draws), columns=COLUMNS)
    return _DRAWN[key]


def intervals(draws: pd.DataFrame) -> pd.DataFrame:
    """95 % percentile intervals, columns low and high, of each column of `bootstrap`; draws without AUC left out."""
    return draws.quantile([0.025, 0.975]).set_axis(["low", "high"]).T


def table2_intervals(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """95 % intervals of Table 2, the mean over the runs: a row each class, columns precision_low to auc_high.

    All runs are judged on the same resampled images, so they must be about the same ones.
    """
    ordered = [predictions.sort_values("file") for predictions in runs.values()]
    table = intervals(bootstrap(*ordered, n=400)).drop("all", level=0).T.unstack().unstack([1, 2])
    return table.set_axis(["_".join(column) for column in table.columns], axis=1)


def _resamples(images: int, n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image was drawn: float64 (images, up to 100), `n` columns in all."""
    rng = np.random.default_rng(seed)
    for start in range(0, n, 100):
        drawn = rng.integers(images, size=(min(100, n - start), images))
        yield np.stack([np.bincount(one, minlength=images) for one in drawn]).T.astype(float, order="C")


def _weighted_measures(predictions: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """The columns of `bootstrap` for each column of image weights (images, draws)."""
    k = len(CLASSES)
    cells = _truth(predictions) * k + _guess(predictions)
    confusion = (weights.T @ np.eye(k * k)[cells]).reshape(-1, k, k)  # (draw, true, predicted)
    hits = np.einsum("bii->bi", confusion)
    support, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    precision, recall = hits / np.maximum(predicted, 1), hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    aucs = [_weighted_auc(predictions["label"] == name, predictions[name], weights) for name in CLASSES]
    auc = np.stack(aucs, axis=1)
    averages = [np.average(measure, axis=1, weights=support) for measure in (precision, recall, f1)]
    accuracy = hits.sum(axis=1) / support.sum(axis=1)
    return np.column_stack([*averages, accuracy, auc.mean(axis=1), precision, recall, f1, auc])


def _weighted_auc(positive: pd.Series, score: pd.Series, weights: np.ndarray) -> np.ndarray:
    """AUC for each column of weights (images, draws): the share of pairs in order, ties as half (Mann-Whitney)."""
    score, positives, negatives = score.to_numpy(), np.flatnonzero(positive), np.flatnonzero(~positive)
    negatives = negatives[np.argsort(score[negatives])]
    below = np.zeros((len(negatives) + 1, weights.shape[1]))  # the weight of all negatives before each place
    np.cumsum(weights[negatives], axis=0, out=below[1:])
    lower, upper = (np.searchsorted(score[negatives], score[positives], side) for side in ("left", "right"))
    ordered = np.einsum("ib,ib->b", weights[positives], below[lower] + below[upper]) / 2
    pairs = weights[positives].sum(axis=0) * below[-1]
    return np.divide(ordered, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)


def metrics(predictions: pd.DataFrame, twins_in_train: Collection[str] = (), n: int = 1000) -> dict:
    """What `metrics.json` holds, per test set: measures, 95 % intervals, calibration error, per class."""
    result = {}
    for name, rows in test_sets(predictions, twins_in_train).items():
        result[name] = table1_row(rows).to_dict() | {
            "intervals": intervals(bootstrap(rows, n=n)["all"]).T.to_dict("list"),
            "calibration_error": calibration_error(rows[list(CLASSES)].to_numpy(), _truth(rows)),
            "per_class": per_class(rows).to_dict("index"),
        }
    return json.loads(json.dumps(result, default=int), parse_constant=lambda undefined: None)


def confusion(predictions: pd.DataFrame, normalize: bool = False) -> pd.DataFrame:
    """Confusion matrix, true classes down, predicted across: counts, or shares of each row."""
    truth, guess = _truth(predictions), _guess(predictions)
    counts = confusion_matrix(truth, guess, labels=range(len(CLASSES)), normalize="true" if normalize else None)
    return pd.DataFrame(counts, pd.Index(CLASSES, name="true"), pd.Index(CLASSES, name="predicted"))


def roc(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One-vs-rest ROC curve (fpr, tpr) of each class that has an AUC; "mean" if all seven do."""
    curves = {}
    for name in per_class(predictions)["auc"].dropna().index:
        fpr, tpr, _ = roc_curve(predictions["label"] == name, predictions[name])
        curves[name] = pd.DataFrame({"fpr": fpr, "tpr": tpr})
    if len(curves) == len(CLASSES):
        fpr = np.unique(np.concatenate([curve["fpr"] for curve in curves.values()]))
        tpr = np.mean([np.interp(fpr, curve["fpr"], curve["tpr"]) for curve in curves.values()], axis=0)
        curves["mean"] = pd.DataFrame({"fpr": np.r_[0, fpr], "tpr": np.r_[0, tpr]})
    return curves


def _truth(predictions: pd.DataFrame) -> np.ndarray:
    return pd.Index(CLASSES).get_indexer(predictions["label"])


def _guess(predictions: pd.DataFrame) -> np.ndarray:
    return predictions[list(CLASSES)].to_numpy().argmax(axis=1)


def correct(predictions: pd.DataFrame) -> pd.Series:
    """Whether each image (index: file) is classified rightly."""
    return pd.Series(_truth(predictions) == _guess(predictions), index=predictions["file"])
