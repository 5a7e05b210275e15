"""Runs beside each other: paired tests, the paper's numbers, costs, and the protocol that they share."""

import sys
from collections.abc import Mapping
from itertools import combinations

import pandas as pd

from ..errors import UserError
from .measures import correct
from .run_folder import Run


def mcnemar(pred_a: pd.DataFrame, pred_b: pd.DataFrame) -> dict[str, float]:
    """McNemar's test on the same images: b (only a right), c (only b right), statistic, p_value.

    Exact below 25 discordant images, else chi-squared with continuity correction. Raises UserError when the
    two do not hold the same images.
    """
    from statsmodels.stats import contingency_tables  # here: training must do without statsmodels

    a, b = (correct(predictions) for predictions in (pred_a, pred_b))
    if set(a.index) != set(b.index):
        raise UserError("The two runs were tested on different images: compare runs made from the same data.")
    table = pd.crosstab(a, b.reindex(a.index)).reindex(index=[True, False], columns=[True, False], fill_value=0)
    only_a, only_b = int(table.iloc[0, 1]), int(table.iloc[1, 0])
    outcome = contingency_tables.mcnemar(table.to_numpy(), exact=only_a + only_b < 25)
    p_value = max(float(outcome.pvalue), sys.float_info.min)  # very small ones underflow, but are not zero
    return {"statistic": float(outcome.statistic), "p_value": p_value, "b": only_a, "c": only_b}


def compare_models(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """McNemar's test of every pair of runs, with Holm's correction.

    Columns: difference (in accuracy), statistic, p_value, b, c (as `mcnemar`), p_holm.
    """
    from statsmodels.stats.multitest import multipletests

    pairs = list(combinations(runs, 2))
    table = pd.DataFrame([mcnemar(runs[a], runs[b]) for a, b in pairs], index=[f"{a} - {b}" for a, b in pairs])
    images = [len(runs[a]) for a, _ in pairs]
    table.insert(0, "difference", (table["b"] - table["c"]) / images)
    return table.assign(p_holm=multipletests(table["p_value"], method="holm")[1]).rename_axis("pair")


def compare_with_paper(table: pd.DataFrame, paper_table: pd.DataFrame) -> pd.DataFrame:
    """The paper's numbers beside ours: rows (row of the paper, measure), columns paper, ours, difference.

    Rows of the paper that `table` lacks are NaN in `ours`.
    """
    paper = paper_table.stack().rename_axis([paper_table.index.name, "measure"])
    ours = table.reindex(columns=paper_table.columns).stack().reindex(paper.index)
    return pd.DataFrame({"paper": paper, "ours": ours, "difference": ours - paper})


def cost_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What each run cost and gave.

    Columns: model, weights_label, trainable, image_size, epochs_run, device_name, parameters,
    trained_parameters, multiply_adds (of one image), latency_ms (of one image), training_seconds (with the
    preparation of cached features), and the accuracy on the full test set with its 95 % interval (low, high).
    """
    keys = ["model", "weights_label", "trainable", "image_size", "epochs_run", "device_name", "parameters"]
    keys += ["trained_parameters", "multiply_adds", "latency_ms"]
    rows = {}
    for name, run in runs.items():
        full = run.metrics["full"]
        low, high = full["intervals"]["accuracy"]
        rows[name] = {key: run.config[key] for key in keys} | {
            "training_seconds": run.config["seconds"] + run.config["preparation_seconds"],
            "accuracy": full["accuracy"],
            "low": low,
            "high": high,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def common_protocol(runs: Mapping[str, Run]) -> str:
    """The protocol of several runs in a line: what they share is said once, the rest run by run."""
    parts = {name: run.protocol_parts for name, run in runs.items()}
    shared = [part for part in next(iter(parts.values()), []) if all(part in other for other in parts.values())]
    own = {name: [part for part in own if part not in shared] for name, own in parts.items()}
    texts = [", ".join(shared), *(f"{name}: {', '.join(rest)}" for name, rest in own.items() if rest)]
    return "; ".join(filter(None, texts))
