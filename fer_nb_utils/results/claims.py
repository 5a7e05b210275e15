"""The paper's claims, each checked against runs by the rule that the docstring of its check states.

A check says whether the statement is true of the runs at hand: "true", "false", or "undecided" where they cannot
decide it. The verdict on the claim itself ("holds", "does not hold", "cannot tell") follows only where the runs are
close enough to the paper's experiment: see `NEEDS`.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from ..classes import CLASSES
from ..networks.resnets import MODELS
from . import comparison, measures
from .paper import PAPER_CLAIMS, PAPER_TABLE1
from .run_folder import Run

Finding = tuple[bool | None, str]  # whether the statement is true of the runs (None: undecided), and the evidence

IN_THESE_RUNS = {True: "true", False: "false", None: "undecided"}
VERDICTS = {True: "holds", False: "does not hold", None: "cannot tell"}
PAPER_EPOCHS = 20
LEVEL = 0.05
Z = 1.96  # standard errors in half a 95 % interval
SETTINGS = (
    "trainable", "image_size", "epochs", "batch_size", "optimizer", "learning_rate", "weight_decay", "schedule",
    "label_smoothing", "augment", "cached_views", "validation", "patience", "fingerprint",
)  # fmt: skip
DEPTH = list(combinations(MODELS, 2))  # the less deep network first

# What the runs must share with the paper's experiment before they say anything about the claim.
_LEARNING = ("data", "start", "layers", "epochs")
NEEDS = {
    "unfreeze": ("data", "start", "epochs"),
    "overtake": _LEARNING,
    "weakest": _LEARNING,
    "slowest": ("data",),
    "plateau": _LEARNING,
    "accuracy": _LEARNING,
    "auc": _LEARNING,
    "expressions": _LEARNING,
    "disgust": ("data",),
    "balance": _LEARNING,
}


def check_claims(networks: Mapping[str, Run], fc: Run | None = None, layer4: Run | None = None) -> pd.DataFrame:
    """Check every claim of the paper; a row each: claim, where, in these runs, verdict, evidence (in words).

    `networks`: the runs of the comparison under the names of MODELS, as far as they are there. `fc`, `layer4`: two runs
    of one network, with `fc` alone and with `layer4` and `fc` trained.
    """
    rows = {key: check_claim(key, networks, fc, layer4) for key in PAPER_CLAIMS}
    return pd.DataFrame.from_dict(rows, orient="index")


def check_claim(
    key: str, networks: Mapping[str, Run], fc: Run | None = None, layer4: Run | None = None
) -> dict[str, str]:
    """One row of `check_claims`; `key` is one of PAPER_CLAIMS."""
    three = {name: networks.get(name) for name in MODELS}
    involved = {"fc alone": fc, "layer4 and fc": layer4} if key == "unfreeze" else three
    missing = [name for name, run in involved.items() if run is None]
    truth, evidence = (None, f"There is no run of {', '.join(missing)}.") if missing else CHECKS[key](involved)
    there = [run for run in involved.values() if run is not None]
    lacking = [text for need, text in departures(there).items() if need in NEEDS[key]]
    if lacking and truth is not None:
        evidence += f" It says nothing about the claim, because {', '.join(lacking)}."
    return {
        "claim": PAPER_CLAIMS[key].text,
        "where": PAPER_CLAIMS[key].where,
        "in these runs": IN_THESE_RUNS[truth],
        "verdict": VERDICTS[None if lacking else truth],
        "evidence": evidence,
    }


def rules() -> pd.Series:
    """The rule of each claim, in words."""
    return pd.Series({key: " ".join(CHECKS[key].__doc__.split()) for key in PAPER_CLAIMS}, name="rule")


def departures(runs: list[Run]) -> dict[str, str]:
    """Where the runs depart from the paper's experiment, by the names used in NEEDS."""
    found, configs = {}, [run.config for run in runs]
    strange = sorted({config["data"]["name"] for config in configs} - {"FER-2013"})
    if strange:
        found["data"] = f"the data are the {strange[0]}, not FER-2013"
    if any(config["weights"] == "none" for config in configs):
        found["start"] = "training began with random weights, not with ImageNet's"
    layers = sorted({config["trainable"] for config in configs} - {"layer4"})
    if layers:
        found["layers"] = f"trained were {' or '.join(layers)}, not layer4 and fc"
    shortest = min((config["epochs_run"] for config in configs), default=PAPER_EPOCHS)
    if shortest < PAPER_EPOCHS:
        found["epochs"] = f"training lasted {_epochs(shortest)}, not {PAPER_EPOCHS}"
    return found


def _on_equal_terms(check: Callable[[dict[str, Run]], Finding]) -> Callable[[dict[str, Run]], Finding]:
    """Undecided where the runs differ in more than the network."""

    def guarded(runs: dict[str, Run]) -> Finding:
        configs = [run.config for run in runs.values()]
        unequal = [key for key in SETTINGS if len({str(config[key]) for config in configs}) > 1]
        if len({config["weights"] == "none" for config in configs}) > 1:
            unequal.append("weights")
        return (None, f"The runs differ in {', '.join(unequal)}.") if unequal else check(runs)

    guarded.__doc__ = check.__doc__
    return guarded


def _unfreeze(runs: dict[str, Run]) -> Finding:
    """True if training accuracy, in the last epoch, is higher with layer4 by at least half of the paper's gain;
    undecided if the two runs differ in initial weights, image size, epochs, or data."""
    fc, layer4 = runs.values()
    keys = ("model", "weights_sha256", "image_size", "epochs_run", "fingerprint")
    unequal = [key for key in keys if fc.config[key] != layer4.config[key]]
    if unequal:
        return None, f"The two runs differ in {', '.join(unequal)}."
    last = {name: run.history["train_accuracy"].iloc[-1] for name, run in runs.items()}
    gain = last["layer4 and fc"] - last["fc alone"]
    paper = PAPER_CLAIMS["unfreeze"].numbers
    paper_gain = paper["layer4"] - paper["fc"]
    evidence = (
        f"Initial weights {fc.config['weights_label']}, {fc.config['image_size']} px. "
        f"Training accuracy after {_epochs(fc.config['epochs_run'])}: {last['fc alone']:.1%} with fc alone, "
        f"{last['layer4 and fc']:.1%} with layer4 and fc, {gain * 100:+.1f} points; the paper's gain is "
        f"{paper_gain * 100:.1f} points. In test accuracy the gain is {_accuracy_gain(fc, layer4)}."
    )
    return bool(gain >= paper_gain / 2), evidence


def _accuracy_gain(a: Run, b: Run) -> str:
    row = comparison.compare_models({"b": b.predictions, "a": a.predictions}).iloc[0]
    return f"{row['difference'] * 100:+.1f} points ({_p(row['p_value'])})"


@_on_equal_terms
def _overtake(runs: dict[str, Run]) -> Finding:
    """True if ResNet50 has the highest training accuracy in epoch 1, ResNet18 is above ResNet50 for the first time
    between epochs 7 and 11, and is still above it in the last epoch; undecided with fewer than 11 epochs."""
    accuracy = _training_accuracy(runs)
    first = accuracy.iloc[0]
    above = accuracy.index[accuracy["resnet18"] > accuracy["resnet50"]]
    start = f"In epoch 1 {first.idxmax()} leads ({_listed(first)})."
    passing = f"ResNet18 is {f'first above ResNet50 in epoch {above[0]}' if len(above) else 'never above ResNet50'}"
    latest = PAPER_CLAIMS["overtake"].numbers["epoch"] + 2
    if len(accuracy) < latest:
        return None, f"{start} {passing}; training lasted {_epochs(len(accuracy))}, too few for a claim about epoch 9."
    true = first.idxmax() == "resnet50" and len(above) > 0 and latest - 4 <= above[0] <= latest
    true = true and accuracy.index[-1] in above
    last = f"in the last epoch: {_listed(accuracy.iloc[-1])}"
    return bool(true), f"{start} {passing}; {last}."


@_on_equal_terms
def _weakest(runs: dict[str, Run]) -> Finding:
    """True if ResNet34 has the lowest training accuracy in every epoch; false if it is above another network in some
    epoch by more than chance explains (1.96 standard errors); undecided otherwise."""
    accuracy = _training_accuracy(runs)
    others = accuracy.drop(columns="resnet34").min(axis=1)
    lead = accuracy["resnet34"] - others
    images = _training_images(runs["resnet34"])
    error = Z * np.sqrt((accuracy["resnet34"] * (1 - accuracy["resnet34"]) + others * (1 - others)) / images)
    last = _listed(accuracy.iloc[-1])
    evidence = f"ResNet34 is the lowest in {(lead < 0).sum()} of {len(lead)} epochs; in the last: {last}."
    if (lead < 0).all():
        return True, evidence
    if (lead > error).any():
        epoch = (lead - error).idxmax()
        return False, f"{evidence} In epoch {epoch} it is {lead[epoch] * 100:.1f} points above the lowest."
    return None, evidence


@_on_equal_terms
def _slowest(runs: dict[str, Run]) -> Finding:
    """True if ResNet50's training took at least a tenth longer than either other's on the same device; false if
    another's took at least a tenth longer than ResNet50's; undecided otherwise."""
    if len({run.config["device_name"] for run in runs.values()}) > 1:
        return None, "The runs were made on different devices."
    costs = comparison.cost_table(runs)
    minutes = costs["training_seconds"] / 60
    ratio = minutes["resnet50"] / minutes.drop("resnet50").max()
    factor = costs["multiply_adds"] / costs.loc["resnet18", "multiply_adds"]
    evidence = (
        f"Training took {_listed(minutes, '.1f', ' min')} on {costs['device_name'].iloc[0]}; "
        f"multiply-adds relative to ResNet18: {_listed(factor, '.2f')}."
    )
    return (True if ratio >= 1.1 else False if ratio <= 1 / 1.1 else None), evidence


@_on_equal_terms
def _plateau(runs: dict[str, Run]) -> Finding:
    """True if the training accuracy of all three networks still rose by more than 0.2 points an epoch over the last
    three; false if one's did not, though the learning rate was constant; undecided otherwise, for a schedule that ends
    at zero makes a plateau of its own."""
    accuracy = _training_accuracy(runs)
    if len(accuracy) < 4:
        return None, f"Training lasted only {_epochs(len(accuracy))}."
    rise = (accuracy.iloc[-1] - accuracy.iloc[-4]) / 3 * 100
    schedule = runs["resnet18"].config["schedule"]
    evidence = (
        f"Rise of training accuracy over epochs {len(accuracy) - 2} to {len(accuracy)}, in points an epoch: "
        f"{_listed(rise, '+.2f')}; learning rate: {schedule}."
    )
    if (rise > 0.2).all():
        return True, evidence
    return (False if schedule == "constant" else None), evidence


@_on_equal_terms
def _accuracy(runs: dict[str, Run]) -> Finding:
    """True if both steps, 18 to 34 and 34 to 50, raise test accuracy by more than chance explains (McNemar's test,
    Holm's correction, 5 %); false if a deeper network is worse than a less deep one by more than chance explains;
    undecided otherwise."""
    tests = _deeper_minus_shallower(runs)
    significant = tests["p_holm"] < LEVEL
    evidence = f"Test accuracy {_accuracies(runs)}; {_pairs(tests)}. {_papers_own_accuracies()}"
    if (significant & (tests["difference"] < 0)).any():
        return False, evidence
    steps = [_pair(*MODELS[:2]), _pair(*MODELS[1:])]
    return (True if (significant & (tests["difference"] > 0))[steps].all() else None), evidence


@_on_equal_terms
def _auc(runs: dict[str, Run]) -> Finding:
    """True if both steps, 18 to 34 and 34 to 50, lower mean AUC by more than chance explains (paired bootstrap of
    1,000, intervals of 98.3 % for three comparisons); false if a deeper network's is higher by more than chance
    explains; undecided otherwise."""
    tables = {name: run.predictions.sort_values("file") for name, run in runs.items()}
    draws = {name: measures.bootstrap(table)["auc"] for name, table in tables.items()}
    values = pd.Series({name: measures.table1_row(table)["auc"] for name, table in tables.items()})
    if values.isna().any():
        return None, "A class has no test images, so that there is no mean AUC."
    tail = LEVEL / len(DEPTH) / 2
    low_high = {_pair(a, b): (draws[b] - draws[a]).dropna().quantile([tail, 1 - tail]).tolist() for a, b in DEPTH}
    differences = ", ".join(f"{pair} {low:+.3f} to {high:+.3f}" for pair, (low, high) in low_high.items())
    evidence = f"Mean AUC {_listed(values, '.3f')}; differences, with intervals: {differences}."
    if any(low > 0 for low, _ in low_high.values()):
        return False, evidence
    steps = (low_high[_pair(*MODELS[:2])], low_high[_pair(*MODELS[1:])])
    return (True if all(high < 0 for _, high in steps) else None), evidence


def _expressions(runs: dict[str, Run]) -> Finding:
    """True if, in F1 averaged over the three networks, happy and surprise are the two best and fear and sad the two
    worst in at least 95 % of 1,000 bootstrap samples; false if in at most 5 %; undecided otherwise."""
    tables = [run.predictions.sort_values("file") for run in runs.values()]
    ranks = (sum(measures.bootstrap_f1(table) for table in tables) / len(tables)).rank(axis=1)
    best = (ranks[["happy", "surprise"]] > len(CLASSES) - 2).all(axis=1)
    worst = (ranks[["fear", "sad"]] < 3).all(axis=1)
    share = (best & worst).mean()
    f1 = measures.table2({name: run.predictions for name, run in runs.items()})["f1"].sort_values(ascending=False)
    evidence = (
        f"F1 {_listed(f1, '.3f')}. Happy and surprise are the best two in {best.mean():.0%} of the bootstrap samples, "
        f"fear and sad the worst two in {worst.mean():.0%}, both in {share:.0%}."
    )
    return (True if share >= 0.95 else False if share <= 0.05 else None), evidence


def _disgust(runs: dict[str, Run]) -> Finding:
    """Undecided: single test images are no live picture, and one data set cannot tell what more images would do."""
    training = {run.config["data"]["counts"]["Training"]["disgust"] for run in runs.values()}
    tables = {name: measures.per_class(run.predictions) for name, run in runs.items()}
    recall = pd.Series({name: table.loc["disgust", "recall"] for name, table in tables.items()})
    support = tables["resnet18"].loc["disgust", "support"]
    return None, (
        f"No live picture here. Of the {support} test images of disgust are recognised: {_listed(recall)}; training "
        f"images of disgust: {' or '.join(f'{count:,}' for count in sorted(training))}."
    )


@_on_equal_terms
def _balance(runs: dict[str, Run]) -> Finding:
    """True if no other network is more accurate than ResNet18, the cheapest, by more than chance explains (as in
    "accuracy"); undecided if one is, for the paper does not say how much accuracy is worth which cost."""
    tests = _deeper_minus_shallower(runs)
    better = (tests["p_holm"] < LEVEL) & (tests["difference"] > 0)
    costs = comparison.cost_table(runs)["multiply_adds"] / 1e9
    evidence = f"Multiply-adds {_listed(costs, '.2f', ' G')}; test accuracy {_accuracies(runs)}; {_pairs(tests)}."
    return (None if better[[_pair("resnet18", other) for other in MODELS[1:]]].any() else True), evidence


CHECKS = {
    "unfreeze": _unfreeze,
    "overtake": _overtake,
    "weakest": _weakest,
    "slowest": _slowest,
    "plateau": _plateau,
    "accuracy": _accuracy,
    "auc": _auc,
    "expressions": _expressions,
    "disgust": _disgust,
    "balance": _balance,
}


def _training_accuracy(runs: dict[str, Run]) -> pd.DataFrame:
    """Epochs x networks; as many epochs as all have."""
    columns = {name: run.history.set_index("epoch")["train_accuracy"] for name, run in runs.items()}
    return pd.DataFrame(columns).dropna()


def _training_images(run: Run) -> int:
    """About how many images a training accuracy is a share of."""
    images = run.config["data"]["counts"]["Training"]["all"]
    return images if run.config["validation"] == "PublicTest" else round(0.9 * images)


def _deeper_minus_shallower(runs: dict[str, Run]) -> pd.DataFrame:
    return comparison.compare_models({name: runs[name].predictions for name in reversed(MODELS)})


def _pair(shallower: str, deeper: str) -> str:
    """The name that `comparison.compare_models` gives to a pair."""
    return f"{deeper} - {shallower}"


def _listed(values: pd.Series, style: str = ".1%", unit: str = "") -> str:
    return ", ".join(f"{name} {value:{style}}{unit}" for name, value in values.items())


def _accuracies(runs: dict[str, Run]) -> str:
    full = {name: run.metrics["full"] for name, run in runs.items()}
    texts = []
    for name, measured in full.items():
        low, high = measured["intervals"]["accuracy"]
        texts.append(f"{name} {measured['accuracy']:.1%} ({low:.1%} to {high:.1%})")
    return ", ".join(texts)


def _pairs(tests: pd.DataFrame) -> str:
    rows = zip(tests.index, tests["difference"], tests["p_holm"], strict=True)
    return ", ".join(f"{pair} {difference * 100:+.1f} points ({_p(p)})" for pair, difference, p in rows)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}"


def _papers_own_accuracies() -> str:
    """What the paper's numbers can tell by themselves; without its predictions, only as independent samples."""
    shares, images = PAPER_TABLE1["accuracy"], int(PAPER_TABLE1["support"].iloc[0])
    mean, spread = shares.mean(), shares.max() - shares.min()
    needed = Z * math.sqrt(2 * mean * (1 - mean) / images)
    return (
        f"The paper's own three lie within {spread * 100:.1f} points; between two independent samples of {images:,} "
        f"images chance alone explains {needed * 100:.1f}."
    )
