"""Runs beside each other: tests of their differences, costs, and the protocol that they share."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import t
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from ..errors import UserError
from .measures import correct
from .run_folder import Run
from .seeds import Seeds

Contrast = tuple[list[np.ndarray], float]  # arguments of `seed_test`: samples, and variance between images


def mcnemar(pred_a: pd.DataFrame, pred_b: pd.DataFrame) -> dict[str, float]:
    """McNemar's test on the same images: b (only a right), c (only b right), statistic, p_value.

    Exact below 25 discordant images, else chi-squared with continuity correction. Raises UserError when the
    two do not hold the same images.
    """
    a, b = (correct(predictions).sort_index() for predictions in (pred_a, pred_b))
    if not a.index.equals(b.index):
        raise UserError("The two runs were tested on different images: compare runs made from the same data.")
    only_a, only_b = int((a > b).sum()), int((a < b).sum())
    outcome = contingency_tables.mcnemar([[0, only_a], [only_b, 0]], exact=only_a + only_b < 25)
    return {"statistic": float(outcome.statistic), "p_value": float(outcome.pvalue), "b": only_a, "c": only_b}


def compare_models(runs: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """McNemar's test of every pair of runs, with Holm's correction.

    Columns: difference (in accuracy), statistic, p_value, b, c (as `mcnemar`), p_holm.
    """
    rows = {f"{a} - {b}": mcnemar(runs[a], runs[b]) for a, b in combinations(runs, 2)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.insert(0, "difference", (table["b"] - table["c"]) / len(next(iter(runs.values()))))
    return table.assign(p_holm=multipletests(table["p_value"], method="holm")[1]).rename_axis("pair")


def compare_networks(groups: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """`seed_test` of the accuracy of every pair of networks, each with its runs, one a seed; with Holm's correction.

    Columns: difference, error, p_value, seeds_needed (to find such a difference at 5 %; NaN where it is found already),
    p_holm. NaN where a network has one run: one seed cannot tell networks apart.
    """
    seeds = {name: Seeds(runs) for name, runs in groups.items()}
    contrasts = {}
    for (name, a), (other, b) in combinations(seeds.items(), 2):
        variance = (a.draws["all", "accuracy"] - b.draws["all", "accuracy"]).var()
        contrasts[f"{name} - {other}"] = [a.tested("all", "accuracy"), -b.tested("all", "accuracy")], variance
    table = seed_tests(contrasts)
    table["seeds_needed"] = table.apply(seeds_needed, axis=1, level=0.05).where(table["p_holm"] >= 0.05)
    table = table[["estimate", "error", "p_value", "seeds_needed", "p_holm"]]
    return table.rename(columns={"estimate": "difference"}).rename_axis("pair")


def seed_tests(contrasts: Mapping[str, Contrast], known_sd: float | None = None) -> pd.DataFrame:
    """`seed_test` of each contrast, a row each, with Holm's correction over those that have a p_value (`p_holm`)."""
    table = pd.DataFrame.from_dict({
        name: seed_test(*samples, image_variance=variance, known_sd=known_sd)
        for name, (samples, variance) in contrasts.items()
    }, orient="index")  # fmt: skip
    known = table["p_value"].dropna()
    return table.assign(p_holm=pd.Series(multipletests(known, method="holm")[1] if len(known) else [], known.index))


def seed_test(*samples: np.ndarray, image_variance: float = 0.0, known_sd: float | None = None) -> dict[str, float]:
    """Test that the means over seeds of independent samples add up to zero: estimate, error, p_value.

    `samples`: for each network its value in each run (..., seeds), with the sign and weight it has in the sum.
    `image_variance`: the variance of the sum by the choice of test images, from a paired bootstrap; 0 where there is no
    such choice. Seeds and test images are the readers and cases of multi-reader studies, so the variance of the sum is
    that between seeds, s^2/n a network, plus that between images (Hillis 2014, doi 10.1002/sim.5926). Student's t with
    Satterthwaite's degrees of freedom, but no more than the seeds alone give: with few seeds it would decide too often.
    With a single run in a sample there is no s^2: `known_sd`, the standard deviation between runs, takes its place
    where it is known beforehand; else error and p_value are NaN. The other values are for `seeds_needed`.
    """
    samples = [np.asarray(sample, float) for sample in samples]
    counts = [sample.shape[-1] for sample in samples]
    variances, limit = [np.nan if known_sd is None else known_sd**2] * len(samples), np.inf
    if min(counts) > 1:
        variances, limit = [sample.var(axis=-1, ddof=1) for sample in samples], sum(counts) - len(counts)
    estimate = sum(sample.mean(axis=-1) for sample in samples)
    parts = [variance / count for variance, count in zip(variances, counts, strict=True)]
    total = sum(parts) + image_variance
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread at all: certain, or 0 of 0
        spread = sum(part**2 / np.maximum(count - 1, 1) for part, count in zip(parts, counts, strict=True))
        df = limit if np.isinf(limit) else np.fmin(total**2 / spread, limit)
        p_value = 2 * stdtr(df, -np.abs(estimate) / np.sqrt(total))
    p_value = np.where((estimate == 0) & (total == 0), 1.0, p_value)
    given = {"image_variance": image_variance, "networks": len(samples), "seeds": min(counts)}
    found = {"estimate": estimate, "error": np.sqrt(total), "p_value": p_value[()], "seed_variance": sum(variances)}
    return found | given


def seeds_needed(test: Mapping[str, float], level: float) -> float:
    """With about how many seeds a network a `seed_test` that stayed open would find its estimate at `level`; infinity
    where not even 1,000 would do, as the test images are too few for so small a difference."""
    seeds = np.arange(test["seeds"] + 1, 1001)
    error = np.sqrt(test["seed_variance"] / seeds + test["image_variance"])
    enough = np.abs(test["estimate"]) > t.isf(level / 2, test["networks"] * (seeds - 1)) * error
    return float(seeds[enough.argmax()]) if enough.any() else np.inf


def unlike_times(runs: Iterable[Run]) -> list[str]:
    """What forbids comparing the runs' times: machines, threads, epochs, as far as they are not all equal, and other
    work, where the machine had some beside."""
    configs = [run.config for run in runs]
    sessions = [session for config in configs for session in config.get("sessions") or [config]]
    found = {"machines": {session["device_name"] for session in sessions}}
    found["threads"] = {session["threads"] for session in sessions}
    found["epochs"] = {config["epochs_run"] for config in configs}
    unlike = [key for key, values in found.items() if len(values) > 1]
    return [*unlike, "other work"] if any(config.get("other_work") for config in configs) else unlike


def cost_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """What each run cost and gave.

    Columns: model, weights_label, trainable, image_size, epochs_run, device_name, threads, parameters,
    trained_parameters, multiply_adds (of one image), latency_ms (of one image), training_seconds (with the
    preparation of cached features), and the accuracy on the full test set with its 95 % interval (low, high).
    """
    keys = ["model", "weights_label", "trainable", "image_size", "epochs_run", "device_name", "threads", "parameters"]
    keys += ["trained_parameters", "multiply_adds", "latency_ms"]
    rows = {}
    for name, run in runs.items():
        full = run.metrics["full"]
        low, high = full["intervals"]["accuracy"]
        seconds = run.config["seconds"] + run.config["preparation_seconds"]
        measured = {"training_seconds": seconds, "accuracy": full["accuracy"], "low": low, "high": high}
        rows[name] = {key: run.config[key] for key in keys} | measured
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")


def common_protocol(groups: Mapping[str, Sequence[Run]]) -> str:
    """The protocol of several trainings, each with its runs, one a seed, in a line: what they share is said once."""
    parts = {}
    for name, runs in groups.items():
        seeds = [str(run.config["seed"]) for run in runs]
        parts[name] = [*runs[0].protocol_parts[:-1], f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}"]
    shared = [part for part in next(iter(parts.values()), []) if all(part in other for other in parts.values())]
    own = {name: [part for part in own if part not in shared] for name, own in parts.items()}
    texts = [", ".join(shared), *(f"{name}: {', '.join(rest)}" for name, rest in own.items() if rest)]
    return "; ".join(filter(None, texts))
