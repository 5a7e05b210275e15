"""The paper's claims, each checked against runs by its rule in rules.toml.

A check says whether the statement is true of the runs at hand: "true", "false", or "undecided" where they cannot
decide it. The verdict on the claim itself ("holds here", "does not hold here", "cannot tell") follows only where the
runs are close enough to the paper's experiment, see `NEEDS`; what else they do otherwise is named beside it.

Every rule is meant to err in at most 5 % of cases where there is nothing to be found: it decides on differences beyond
chance alone (`comparison.seed_test`), never on their absence. Chance is that of training, known from several runs that
differ in the seed, and that of the choice of test images. Which network is better, one run of each cannot tell.
"""

import tomllib
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, product
from pathlib import Path

import numpy as np
import pandas as pd

from ..classes import CLASSES
from ..networks.resnets import MODELS
from .comparison import Contrast, compare_models, cost_table, seed_tests, seeds_needed, unlike_times
from .fusion import with_features
from .measures import correct
from .paper import PAPER_CLAIMS
from .run_folder import SAME_BUT_ROUNDING, Run
from .seeds import Seeds

RULES = pd.Series(tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8")), name="rule")
IN_THESE_RUNS = {True: "true", False: "false", None: "undecided"}
VERDICTS = {True: "holds here", False: "does not hold here", None: "cannot tell"}
LEVEL = 0.05
RISE = 0.002  # of training accuracy in an epoch; less is a plateau
MARGIN = 0.01  # of test accuracy, that a cheaper network may lack
MINIMAL = 0.01  # of test accuracy, the largest gain called minimal: less is not beyond chance on 3,589 images
# Standard deviations between runs that are taken for granted where there is only one run. Of training accuracy: over
# twice what repeated runs on FER-2013 vary by in test accuracy, .2 to .9 points. Of the logarithm of training time: a
# machine that does little else repeats it within 8 %.
ACCURACY_SD = 0.02
TIME_SD = 0.08
# From Table 1 alone: without its predictions, its three accuracies can only be taken for independent samples.
PAPERS_OWN = "The paper's own three lie within 0.4 points; of two samples of 7,178 images, chance alone explains 1.6."

BESIDE = " with features"  # ends the name of a network that is fused with hand-made features

# What the runs must share with the paper's experiment before they say anything about the claim.
_LEARNING = ("data", "start", "layers", "epochs")
NEEDS = dict.fromkeys(PAPER_CLAIMS, _LEARNING) | {"slowest": ("data",), "disgust": ("data",)}

# What a config says about a run without deciding how it learns; all other keys must be equal in compared runs. Initial
# weights are told by their hash, data by their fingerprint.
DESCRIPTION = {
    "weights", "data", "best_epoch", "versions", "sessions", "device", "device_name", "threads", "seconds",
    "preparation_seconds", "parameters", "trained_parameters", "multiply_adds", "latency_ms", "latency_device",
    "peak_memory_mb", "finished", "other_work", "temperature",
}  # fmt: skip

Groups = Mapping[str, Seeds]
Finding = tuple[bool | None, str]  # whether the statement is true of the runs (None: undecided), and the evidence


def check_claims(
    networks: Mapping[str, Sequence[Run]],
    fc: Sequence[Run] = (),
    layer4: Sequence[Run] = (),
    features: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Check every claim of the paper; a row each, in words: claim, where, in these runs, verdict, seeds (runs of the
    network that has the fewest), departures (from the paper's protocol), evidence.

    `networks`: the runs of the comparison under the names of MODELS, as far as they are there; those of one network
    differ in the seed alone. `fc`, `layer4`: runs of one network, with `fc` alone and with `layer4` and `fc` trained.
    `features`: predictions from hand-made features for the same test images.
    """
    three = {name: Seeds(networks.get(name, ())) for name in MODELS}
    two = {"fc alone": Seeds(fc), "layer4 and fc": Seeds(layer4)}
    own = {"unfreeze": two, "features": beside_features(three, features)}
    rows = {key: check_claim(key, own.get(key, three)) for key in PAPER_CLAIMS}
    return pd.DataFrame.from_dict(rows, orient="index")


def beside_features(groups: Mapping[str, Sequence[Run]], features: pd.DataFrame | None) -> Groups:
    """The groups that the claim "features" is about: each network on PrivateTest, without and with `features`."""
    given = groups if features is not None else dict.fromkeys(groups, ())
    pairs = {name: [with_features(run, features) for run in group] for name, group in given.items()}
    alone = {name: Seeds(run for run, _ in tested) for name, tested in pairs.items()}
    return alone | {name + BESIDE: Seeds(fused for _, fused in tested) for name, tested in pairs.items()}


def check_claim(key: str, groups: Groups) -> dict[str, object]:
    """One row of `check_claims`; `key` is one of PAPER_CLAIMS, `groups` the runs it is about."""
    by_design = {"trainable"} if key == "unfreeze" else {"model", "weights_sha256", "features"}
    if missing := [name for name, group in groups.items() if not group]:
        truth, evidence = None, f"There is no run of {', '.join(missing)}."
    elif unequal := _unequal(groups, by_design):
        truth, evidence = None, f"The runs differ in {', '.join(unequal)}."
    else:
        truth, evidence = CHECKS[key](groups)
    found = departures(groups)
    forbidding = [text for need in NEEDS[key] for text in found.get(need, ())]
    if forbidding and truth is not None:
        evidence += f" It says nothing about the claim, because {', '.join(forbidding)}."
    return {
        "claim": PAPER_CLAIMS[key].text,
        "where": PAPER_CLAIMS[key].where,
        "in these runs": IN_THESE_RUNS[truth],
        "verdict": VERDICTS[None if forbidding else truth],
        "seeds": min(len(group) for group in groups.values()),
        "departures": "; ".join(text for texts in found.values() for text in texts),
        "evidence": evidence,
    }


def departures(groups: Groups) -> dict[str, list[str]]:
    """Where the runs depart from the paper's experiment: by the names used in NEEDS, and "named" for the rest."""
    found: dict[str, list[str]] = {}
    for config, name in ((run.config, name) for name, group in groups.items() for run in group):
        layers = "fc" if name == "fc alone" else "layer4"
        label, kind, epochs = config["weights_label"], config.get("weights_kind"), config["epochs_run"]
        foreign = kind != "imagenet" and (kind == "random" or "imagenet" not in label.lower())
        origin = "of this project" if kind == "embedded" else "from a file"
        views, smoothing = config["cached_views"], config["label_smoothing"]
        share = config.get("train_share", 1.0)
        open_in_paper = (
            f"not stated in the paper, chosen here: {config['image_size']} px, AdamW, learning rate up to "
            f"{config['learning_rate']:g}, batches of {config['batch_size']}, a tenth of train for validation"
        )
        for need, applies, text in (
            ("data", config["data"]["name"] != "FER-2013", f"the data are the {config['data']['name']}, not FER-2013"),
            ("start", foreign, f"training began with weights that are not ImageNet's ({label})"),
            ("data", share < 1, f"trained on {100 * share:g} % of train"),
            ("layers", config["trainable"] != layers, f"trained was {config['trainable']}, not {layers}"),
            ("epochs" if epochs < 20 else "named", epochs != 20, f"training lasted {_epochs(epochs)}, not 20"),
            ("named", kind != "imagenet" and not foreign, f"initial weights {origin}: {label}"),
            ("named", config.get("leak_free_train", False), "train without twins of test images or of other labels"),
            ("named", 0 < views < epochs, f"{views} augmented copies of each image, not new ones in every epoch"),
            ("named", not config["augment"], "no augmentation"),
            ("named", smoothing > 0, f"label smoothing {smoothing:g}"),
            ("named", True, open_in_paper),
        ):
            if text not in found.setdefault(need, []) and applies:
                found[need].append(text)
    return found


def _unequal(groups: Groups, by_design: set[str]) -> list[str]:
    """The settings that differ although they should not, between groups or between the seeds of one."""
    own = [[run.config for run in group] for group in groups.values()]
    found = set()
    for configs, expected in [([*chain(*own)], by_design), *((configs, set()) for configs in own)]:
        for key in set().union(*configs) - DESCRIPTION - expected - {"seed"}:
            values = {str(config.get(key)) for config in configs}
            if key == "weights_label":  # of three files of one kind, as resnet18.pth and so on
                values = {config[key].replace(config["model"], "") for config in configs}
            if len({SAME_BUT_ROUNDING.get(value, value) for value in values}) > 1:
                found.add(key)
    if any(len({config["seed"] for config in configs}) < len(configs) for configs in own):
        found.add("nothing, not even in the seed")
    return sorted(found)


def _decided(tests: pd.DataFrame) -> bool | None:
    """False if a contrast is negative beyond chance (Holm's correction), True if each is positive beyond chance (as all
    must be, none needs a correction: Berger 1982, doi 10.1080/00401706.1982.10487790), None otherwise."""
    if tests["p_value"].isna().any():
        return None
    if ((tests["p_holm"] < LEVEL) & (tests["estimate"] < 0)).any():
        return False
    return True if ((tests["p_value"] < LEVEL) & (tests["estimate"] > 0)).all() else None


def _tested(groups: Groups, weights: Mapping[str, Mapping[tuple[str, str], float]]) -> Contrast:
    """The contrast of test measures (expression, measure), with their weights for each network."""
    samples, draws = [], 0
    for name, own in weights.items():
        samples.append(sum(weight * groups[name].tested(*column) for column, weight in own.items()))
        if len(groups[name]) > 1:  # else there is no test, and no need to draw
            draws = draws + sum(weight * groups[name].draws[column] for column, weight in own.items())
    return samples, float(np.nanvar(draws))


def _difference(groups: Groups, a: str, b: str, measure: str) -> Contrast:
    """The contrast of a measure of Table 1, network `a` minus network `b`."""
    return _tested(groups, {a: {("all", measure): 1}, b: {("all", measure): -1}})


def _unfreeze(groups: Groups) -> Finding:
    last = {name: group.accuracy[:, -1] for name, group in groups.items()}
    fc, layer4 = last.values()
    paper = PAPER_CLAIMS["unfreeze"].numbers
    gain = paper["layer4"] - paper["fc"]
    tests = seed_tests({"gain beyond half of that": ([layer4 - gain / 2, -fc], 0)}, ACCURACY_SD)
    config = groups["fc alone"][0].config
    return _decided(tests), (
        f"{config['model']}, {config['image_size']} px. Training accuracy after {_epochs(config['epochs_run'])}: "
        f"{_listed(last)}, {(layer4.mean() - fc.mean()) * 100:+.1f} points; the paper's gain is "
        f"{gain * 100:.1f} points. {_told(tests)}"
    )


def _overtake(groups: Groups) -> Finding:
    means = pd.DataFrame({name: group.accuracy.mean(axis=0) for name, group in groups.items()})
    above = means.index[means["resnet18"] > means["resnet50"]]
    passing = f"first above ResNet50 in epoch {above[0] + 1}" if len(above) else "never above ResNet50"
    evidence = f"In epoch 1: {_listed(means.iloc[0])}; ResNet18 is {passing}; in the last: {_listed(means.iloc[-1])}."
    latest = int(PAPER_CLAIMS["overtake"].numbers["epoch"]) + 2  # two epochs' grace, and as many before
    if len(means) < latest:
        return None, f"{evidence} {_epochs(len(means))} of training are too few for a claim about epoch 9."
    order = [("resnet50", "resnet18", 1), ("resnet50", "resnet34", 1), ("resnet50", "resnet18", latest - 5)]
    order += [("resnet18", "resnet50", latest), ("resnet18", "resnet50", len(means))]
    at = {(name, epoch): groups[name].accuracy[:, epoch - 1] for *names, epoch in order for name in names}
    tests = seed_tests({f"{a} - {b} in epoch {epoch}": ([at[a, epoch], -at[b, epoch]], 0) for a, b, epoch in order})
    return _decided(tests), f"{evidence} {_told(tests)}"


def _weakest(groups: Groups) -> Finding:
    means = pd.DataFrame({name: group.accuracy.mean(axis=0) for name, group in groups.items()})
    lowest = (means.idxmin(axis=1) == "resnet34").sum()
    evidence = f"ResNet34 is the lowest in {lowest} of {len(means)} epochs; in the last: {_listed(means.iloc[-1])}."
    if len(means) < 3:
        return None, evidence
    parts = {name: np.array_split(group.accuracy, 3, axis=1) for name, group in groups.items()}
    tests = seed_tests({
        f"{other} - resnet34, {part} third": ([parts[other][i].mean(axis=1), -parts["resnet34"][i].mean(axis=1)], 0)
        for (i, part), other in product(enumerate(("first", "middle", "last")), ("resnet18", "resnet50"))
    })  # fmt: skip
    return _decided(tests), f"{evidence} {_told(tests)}"


def _slowest(groups: Groups) -> Finding:
    if unlike := unlike_times(run for group in groups.values() for run in group):
        return None, f"The times cannot be compared, for the runs differ in {', '.join(unlike)}."
    minutes = {name: cost_table(dict(enumerate(group)))["training_seconds"] / 60 for name, group in groups.items()}
    longer = {other: ([np.log(minutes["resnet50"]), -np.log(minutes[other])], 0) for other in MODELS[:2]}
    costs = pd.Series({name: group[0].config["multiply_adds"] for name, group in groups.items()})
    return _decided(seed_tests(longer, TIME_SD)), (
        f"Training took {_listed(minutes, '.1f', ' min')} on {groups['resnet50'][0].config['device_name']}; "
        f"multiply-adds relative to ResNet18: {_listed(costs / costs['resnet18'], '.2f')}."
    )


def _plateau(groups: Groups) -> Finding:
    epochs = groups["resnet18"].accuracy.shape[1]
    if epochs < 4:
        return None, f"Training lasted only {_epochs(epochs)}."
    rise = {name: (group.accuracy[:, -1] - group.accuracy[:, -4]) / 3 for name, group in groups.items()}
    tests = seed_tests({f"{name} beyond 0.2": ([values - RISE], 0) for name, values in rise.items()})
    return _decided(tests) or None, (
        f"Rise of training accuracy over epochs {epochs - 2} to {epochs}, in points an epoch: "
        f"{_listed(pd.Series(rise).map(np.mean) * 100, '+.2f')}. {_told(tests)}"
    )


def _accuracy(groups: Groups) -> Finding:
    tests = seed_tests({f"{b} - {a}": _difference(groups, b, a, "accuracy") for a, b in combinations(MODELS, 2)})
    evidence = f"Test accuracy {_accuracies(groups)}. {_told(tests)}"
    if tests["p_value"].isna().any():  # then only: do these trained networks differ?
        paired = compare_models({name: groups[name][0].predictions for name in reversed(MODELS)})
        texts = ", ".join(f"{pair} {_p(value)}" for pair, value in paired["p_holm"].items())
        evidence += f" McNemar's test of these networks: {texts}."
    return _decided(tests), f"{evidence} {PAPERS_OWN}"


def _auc(groups: Groups) -> Finding:
    means = pd.Series({name: group.tested("all", "auc").mean() for name, group in groups.items()})
    if means.isna().any():
        return None, "A class has no test images, so that there is no mean AUC."
    tests = seed_tests({f"{a} - {b}": _difference(groups, a, b, "auc") for a, b in combinations(MODELS, 2)})
    return _decided(tests), f"Mean AUC {_listed(means, '.3f')}. {_told(tests)}"


def _expressions(groups: Groups) -> Finding:
    best, worst = ("happy", "surprise"), ("fear", "sad")
    middle = [name for name in CLASSES if name not in best + worst]
    pairs = [*product(best, (*middle, *worst)), *product(middle, worst)]
    share = 1 / len(groups)
    tests = seed_tests({
        f"{a} - {b}": _tested(groups, dict.fromkeys(groups, {(a, "f1"): share, (b, "f1"): -share})) for a, b in pairs
    })  # fmt: skip
    f1 = pd.Series({name: np.mean([group.tested(name, "f1").mean() for group in groups.values()]) for name in CLASSES})
    f1 = _listed(f1.sort_values(ascending=False), ".3f")
    return _decided(tests), f"F1 {f1}. The three pairs nearest to the contrary: {_told(tests, 3)}"


def _disgust(groups: Groups) -> Finding:
    recall = {name: group.tested("disgust", "recall") for name, group in groups.items()}
    run = groups["resnet18"][0]
    support, training = run.metrics["full"]["per_class"]["disgust"]["support"], run.config["data"]["counts"]["Training"]
    return None, (
        f"No live picture here. Of the {support} test images of disgust are recognised: {_listed(recall)}; "
        f"training images of disgust: {training['disgust']:,}."
    )


def _features(groups: Groups) -> Finding:
    accuracy = {name: group.tested("all", "accuracy") for name, group in groups.items()}
    alone = [name for name in groups if not name.endswith(BESIDE)]
    missed = [(accuracy[name] + MINIMAL - accuracy[name + BESIDE]) / len(alone) for name in alone]
    pairs = [pair for name in alone for pair in zip(groups[name], groups[name + BESIDE], strict=True)]
    lost = [correct(run.predictions) * 1 - correct(fused.predictions) for run, fused in pairs]
    lost = pd.concat(lost, axis=1).mean(axis=1)
    tests = seed_tests({"one point - gain": (missed, lost.var() / len(lost))})
    machine = pairs[0][1].config["features"]
    return _decided(tests), f"{machine}: accuracy on PrivateTest {_listed(accuracy)}. {_told(tests)}"


def _balance(groups: Groups) -> Finding:
    contrasts = {}
    for other in MODELS[1:]:
        (cheap, dear), variance = _difference(groups, "resnet18", other, "accuracy")
        contrasts[f"resnet18 + 1 point - {other}"] = [cheap + MARGIN, dear], variance
    tests = seed_tests(contrasts)
    costs = pd.Series({name: group[0].config["multiply_adds"] / 1e9 for name, group in groups.items()})
    evidence = f"Multiply-adds {_listed(costs, '.2f', ' G')}; test accuracy {_accuracies(groups)}. {_told(tests)}"
    return _decided(tests) or None, evidence


CHECKS = {
    "unfreeze": _unfreeze, "overtake": _overtake, "weakest": _weakest, "slowest": _slowest, "plateau": _plateau,
    "accuracy": _accuracy, "auc": _auc, "expressions": _expressions, "disgust": _disgust,
    "features": _features, "balance": _balance,
}  # fmt: skip


def _listed(values: Mapping[str, np.ndarray | float], style: str = ".1%", unit: str = "") -> str:
    """Each value with its name; of several, one a seed, their mean."""
    return ", ".join(f"{name} {np.mean(value):{style}}{unit}" for name, value in values.items())


def _told(tests: pd.DataFrame, shown: int | None = None) -> str:
    """The `shown` smallest tests (all) in points (hundredths); of open ones, how many seeds would settle them."""
    texts = []
    for name, test in (tests if shown is None else tests.nsmallest(shown, "estimate")).iterrows():
        outlook = f" (standard error {test['error'] * 100:.1f}, {_p(test['p_value'])}"
        if test["p_value"] >= LEVEL:
            needed = seeds_needed(test, LEVEL / len(tests))
            outlook += f"; {'no number of' if np.isinf(needed) else f'about {needed:.0f}'} seeds would settle it"
        texts.append(f"{name} {test['estimate'] * 100:+.1f} points{'' if np.isnan(test['error']) else outlook + ')'}")
    alone = "; with one run each, this may be the chance of training" if tests["error"].isna().any() else ""
    return f"{', '.join(texts)}{alone}."


def _accuracies(groups: Groups) -> str:
    """Mean over seeds with their standard deviation, or a single run's accuracy with its interval."""
    texts = []
    for name, group in groups.items():
        values = group.tested("all", "accuracy")
        low, high = group[0].metrics["full"]["intervals"]["accuracy"]
        spread = f"standard deviation {values.std(ddof=1):.1%}" if len(values) > 1 else f"{low:.1%} to {high:.1%}"
        texts.append(f"{name} {values.mean():.1%} ({spread})")
    return ", ".join(texts)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _p(value: float) -> str:
    return "p < .001" if value < 0.001 else f"p = {value:.3f}"
