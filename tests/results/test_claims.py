import gc
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import random_table, table
from scipy.stats import norm

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.results import claims, comparison, measures
from fer_nb_utils.results.claims import Seeds, check_claim
from fer_nb_utils.results.paper import PAPER_CLAIMS, PAPER_TABLE1
from fer_nb_utils.results.run_folder import Run

MULTIPLY_ADDS = {"resnet18": 1e8, "resnet34": 2e8, "resnet50": 3e8}
MODELS = tuple(MULTIPLY_ADDS)
EPOCHS = 20
NOISE = 0.004  # of training accuracy between seeds


def run(model="resnet18", skill=1.5, curve=None, seed=0, **settings):
    """A run as the paper would have made it, except for what is given."""
    curve = np.full(EPOCHS, 0.5) if curve is None else curve
    counts = {"Training": {"disgust": 436, "all": 28709}}
    config = {
        "model": model, "weights": "imagenet", "weights_label": "ImageNet", "weights_kind": "imagenet",
        "weights_sha256": model, "trainable": "layer4", "image_size": 64, "epochs": len(curve),
        "epochs_run": len(curve), "learning_rate": 1e-3, "weight_decay": 0.02, "batch_size": 128, "seed": seed,
        "label_smoothing": 0.0, "augment": True, "cached_views": 0, "recipe": {"augmentation": {"flip": 0.5}},
        "fingerprint": "sha256:0", "device_name": "one", "threads": 2, "seconds": 60.0, "preparation_seconds": 0.0,
        "parameters": 1, "trained_parameters": 1, "latency_ms": 1.0, "multiply_adds": MULTIPLY_ADDS[model],
        "data": {"name": "FER-2013", "counts": counts},
    } | settings  # fmt: skip
    history = pd.DataFrame({"epoch": range(1, len(curve) + 1), "train_accuracy": curve})
    predictions, metrics = results(skill, seed)
    return Run("", config, history, predictions, metrics)


@cache
def results(skill, seed):
    return measured(random_table(300, skill=skill, seed=seed))


def measured(predictions):
    per_class = measures.per_class(predictions).to_dict("index")
    full = measures.table1_row(predictions).to_dict() | {"intervals": {"accuracy": [0.1, 0.9]}, "per_class": per_class}
    return predictions, {"full": full}


@pytest.fixture(autouse=True, scope="module")
def little_garbage():
    """statsmodels collects garbage at every call, which takes long beside what torch keeps."""
    gc.freeze()
    yield
    gc.unfreeze()


def three(*values, as_="skill", seeds=3, **settings):
    """Three networks of several seeds each, which differ in one thing; training accuracies with noise between seeds."""
    rng = np.random.default_rng(1)
    groups = {}
    for model, value in zip(MODELS, values or [1.5] * 3, strict=True):
        runs = []
        for seed in range(seeds):
            given = value + NOISE * rng.normal() if as_ == "curve" else value
            runs.append(run(model, **({as_: given} | settings), seed=seed))
        groups[model] = Seeds(runs)
    return groups


def curves(*pairs):
    """Training accuracies that rise from the first to the last value."""
    return [np.linspace(first, last, EPOCHS) for first, last in pairs]


def test_every_claim_has_a_rule_and_a_row():
    checked = claims.check_claims(three(seeds=1), [run(trainable="fc")], [run()], random_table(300, seed=9))
    assert list(checked.index) == list(PAPER_CLAIMS) == list(claims.RULES.index) == list(claims.CHECKS)
    assert list(checked.columns) == [
        "claim", "where", "in these runs", "verdict", "seeds", "departures", "evidence"]  # fmt: skip
    assert set(checked["verdict"]) <= {"holds here", "does not hold here", "cannot tell"} and checked["evidence"].all()
    assert (checked["seeds"] == 1).all() and claims.RULES.str.len().min() > 40
    assert claims.RULES["disgust"] == (
        "Undecided: single test images are no live picture, and one data set cannot tell what more images would do."
    )


def test_missing_runs_leave_everything_undecided():
    checked = claims.check_claims({"resnet18": [run()]})
    assert set(checked["verdict"]) == {"cannot tell"} and (checked["seeds"] == 0).all()
    assert checked.loc["accuracy", "evidence"] == "There is no run of resnet34, resnet50."
    assert checked.loc["unfreeze", "evidence"] == "There is no run of fc alone, layer4 and fc."


def unfreeze(low, high, seeds=1, **settings):
    settings = {"fc": {}, "layer4": {}} | settings
    groups = {
        "fc alone": [run(curve=low + np.zeros(EPOCHS), seed=s, **{"trainable": "fc"} | settings["fc"])
                     for s in range(seeds)],
        "layer4 and fc": [run(curve=high + 0.01 * s + np.zeros(EPOCHS), seed=s, **settings["layer4"])
                          for s in range(seeds)],
    }  # fmt: skip
    return check_claim("unfreeze", {name: Seeds(runs) for name, runs in groups.items()})


def test_unfreeze_wants_half_of_the_papers_gain_and_more_than_chance():
    assert unfreeze(0.4, 0.71)["verdict"] == "holds here"  # 31 points; half of the paper's gain is 24.8
    assert unfreeze(0.4, 0.69)["verdict"] == unfreeze(0.4, 0.6)["verdict"] == "cannot tell"
    assert unfreeze(0.4, 0.58)["verdict"] == "does not hold here"
    assert unfreeze(0.4, 0.69, seeds=4)["verdict"] == "holds here"  # several seeds show how little is chance
    evidence = unfreeze(0.4, 0.71)["evidence"]
    assert "+31.0 points; the paper's gain is 49.6 points. gain beyond half of that +6.2 points" in evidence
    start = "resnet18, 64 px. Training accuracy after 20 epochs: fc alone 40.0%, layer4 and fc 71.0%, +31.0 points; "
    assert evidence.startswith(start)


def test_settings_that_differ_forbid_a_verdict_all_of_them():
    """Two runs from a file of the user's, with other learning rate and augmentation, once gave "holds"."""
    file = {"weights_kind": "file", "weights_label": "mine, from ImageNet"}
    unlike = {"learning_rate": 0.01, "augment": False, "recipe": None, "precision": "float32", "source_revision": "b"}
    found = unfreeze(0.4, 0.9, fc=file, layer4=file | unlike)
    assert (found["in these runs"], found["verdict"]) == ("undecided", "cannot tell")
    assert found["evidence"] == "The runs differ in augment, learning_rate, precision, recipe, source_revision."
    files = ({"weights_kind": "file", "weights_label": f"ImageNet_{name}.pth"} for name in MODELS)
    own = {name: Seeds(replace(one, config=one.config | label) for one in group)
           for (name, group), label in zip(three(2.5, 1.5, 0.5).items(), files, strict=True)}  # fmt: skip
    assert check_claim("accuracy", own)["in these runs"] == "false"
    own["resnet50"] = Seeds(replace(one, config=one.config | {"weights_label": "b.pth"}) for one in own["resnet50"])
    assert check_claim("accuracy", own)["evidence"] == "The runs differ in weights_label."
    rounding = next(iter(claims.SAME_BUT_ROUNDING.items()))
    layer4, fc = ({"source_revision": revision} for revision in rounding)
    assert unfreeze(0.4, 0.9, fc=fc, layer4=layer4)["verdict"] == "holds here"
    assert "source_revision" in unfreeze(0.4, 0.9, fc=fc, layer4={"source_revision": "c"})["evidence"]
    keys = (
        "model",
        "weights_kind",
        "weights_sha256",
        "image_size",
        "epochs",
        "epochs_run",
        "batch_size",
        "weight_decay",
    )
    for key in (*keys, "label_smoothing", "cached_views", "fingerprint", "anything_new"):
        found = unfreeze(0.4, 0.9, layer4={"weights_sha256": "resnet18", key: "resnet34" if key == "model" else 21})
        assert found["evidence"] == f"The runs differ in {key}."
    other_machine = {
        "weights": "elsewhere.pth", "data": {"name": "FER-2013", "counts": {}}, "best_epoch": 3, "versions": {},
        "sessions": [], "device": "cuda", "device_name": "two", "threads": 9, "seconds": 1.0, "finished": "then",
        "preparation_seconds": 2.0, "parameters": 3, "trained_parameters": 4, "multiply_adds": 5, "latency_ms": 6.0,
        "latency_device": "two", "peak_memory_mb": 7,
    }  # fmt: skip
    assert unfreeze(0.4, 0.9, layer4=other_machine)["verdict"] == "holds here"


@pytest.mark.parametrize("key", [key for key in PAPER_CLAIMS if key != "unfreeze"])
def test_every_claim_about_networks_wants_equal_terms(key):
    groups = three(1.0, 1.5, 2.0)
    groups["resnet34"][1].config.update(learning_rate=0.1, weights_kind="random")
    found = check_claim(key, groups)
    assert found["in these runs"] == "undecided"
    assert found["evidence"] == "The runs differ in learning_rate, weights_kind."


def test_runs_of_one_network_differ_in_the_seed_and_in_nothing_else():
    groups = three(1.0, 1.5, 2.0)
    groups["resnet34"][1].config.update(seed=0)
    assert check_claim("accuracy", groups)["evidence"] == "The runs differ in nothing, not even in the seed."
    groups["resnet34"][1].config.update(seed=1, weights_sha256="other")
    assert check_claim("accuracy", groups)["evidence"] == "The runs differ in weights_sha256."


LEAD = curves((0.30, 0.90), (0.25, 0.60), (0.45, 0.70))  # ResNet50 leads at first, ResNet18 passes it in epoch 10
LATE = curves((0.30, 0.72), (0.25, 0.60), (0.45, 0.71))  # in the last
NEVER = curves((0.30, 0.60), (0.25, 0.60), (0.45, 0.70))
EARLY = curves((0.40, 0.90), (0.25, 0.60), (0.43, 0.70))  # in epoch 3


@pytest.mark.parametrize(
    ("shape", "expected"),
    [(LEAD, "holds here"), (LATE, "does not hold here"), (NEVER, "does not hold here"), (EARLY, "does not hold here"),
     (curves((0.3, 0.7), (0.3, 0.7), (0.3, 0.7)), "cannot tell")],
)  # fmt: skip
def test_overtake_asks_who_leads_and_when(shape, expected):
    found = check_claim("overtake", three(*shape, as_="curve"))
    assert found["verdict"] == expected
    assert check_claim("overtake", three(*shape, as_="curve", seeds=1))["verdict"] == "cannot tell"


def test_overtake_tells_the_epoch_and_needs_eleven():
    evidence = check_claim("overtake", three(*LEAD, as_="curve"))["evidence"]
    assert "first above ResNet50 in epoch 10" in evidence and "resnet50 - resnet18 in epoch 6 +5" in evidence
    assert "never above" in check_claim("overtake", three(*NEVER, as_="curve"))["evidence"]
    short = check_claim("overtake", three(*(curve[:10] for curve in LEAD), as_="curve"))
    assert short["in these runs"] == "undecided"
    assert short["evidence"].endswith(". 10 epochs of training are too few for a claim about epoch 9.")
    enough = check_claim("overtake", three(*(curve[:11] for curve in LEAD), as_="curve"))
    assert enough["in these runs"] in ("true", "undecided") and "in epoch 11" in enough["evidence"]


WORST = curves((0.3, 0.7), (0.27, 0.67), (0.33, 0.7))


@pytest.mark.parametrize(
    ("middle", "expected"),
    [(WORST[1], "holds here"), (WORST[1] + 0.1 * (np.arange(EPOCHS) > 13), "does not hold here"),
     (WORST[1] + 0.1 * (np.arange(EPOCHS) < 6), "does not hold here"), (WORST[0], "cannot tell")],
)  # fmt: skip
def test_weakest_allows_for_chance(middle, expected):
    groups = three(WORST[0], middle, WORST[2], as_="curve")
    assert check_claim("weakest", groups)["verdict"] == expected
    alone = {name: Seeds(group[:1]) for name, group in groups.items()}
    assert check_claim("weakest", alone)["verdict"] == "cannot tell"


def test_weakest_counts_epochs_and_wants_three_thirds():
    evidence = check_claim("weakest", three(*WORST, as_="curve", seeds=2))["evidence"]
    assert "ResNet34 is the lowest in 20 of 20 epochs" in evidence and "resnet50 - resnet34, last third" in evidence
    short = check_claim("weakest", three(*(curve[:2] for curve in WORST), as_="curve"))
    assert short["in these runs"] == "undecided" and short["evidence"].count("third") == 0
    assert check_claim("weakest", three(*(curve[:3] for curve in WORST), as_="curve"))["in these runs"] == "true"


@pytest.mark.parametrize(("seconds", "expected"), [(80, "holds here"), (70, "cannot tell"), (45, "does not hold here")])
def test_slowest_allows_for_a_busy_machine(seconds, expected):
    assert check_claim("slowest", three(60.0, 60.0, seconds, as_="seconds", seeds=1))["verdict"] == expected


def test_slowest_counts_preparation_and_tells_minutes():
    groups = three(60.0, 60.0, 60.0, as_="seconds", seeds=1)
    groups["resnet50"][0].config["preparation_seconds"] = 60.0
    found = check_claim("slowest", groups)
    assert found["verdict"] == "holds here"
    assert "resnet18 1.0 min, resnet34 1.0 min, resnet50 2.0 min on one" in found["evidence"]
    relative = " multiply-adds relative to ResNet18: resnet18 1.00, resnet34 2.00, resnet50 3.00."
    assert found["evidence"].endswith(relative)


def test_times_are_compared_only_on_equal_terms():
    for key, value, said in (("device_name", "two", "machines"), ("threads", 4, "threads")):
        groups = three(60.0, 60.0, 90.0, as_="seconds", seeds=1)
        groups["resnet18"][0].config[key] = value
        found = check_claim("slowest", groups)
        assert found["verdict"] == "cannot tell"
        assert found["evidence"] == f"The times cannot be compared, for the runs differ in {said}."
    groups = three(60.0, 60.0, 90.0, as_="seconds", seeds=1)
    here, there = ({"device_name": name, "threads": 2} for name in ("one", "two"))
    groups["resnet34"][0].config["sessions"] = [here, there]  # resumed elsewhere
    assert check_claim("slowest", groups)["evidence"].endswith("differ in machines.")


def test_plateau_is_not_blamed_on_the_network_when_the_learning_rate_ends_at_zero():
    rising = curves((0.3, 0.5), (0.3, 0.5), (0.3, 0.5))  # 1.05 points an epoch
    found = check_claim("plateau", three(*rising, as_="curve"))
    assert found["verdict"] == "holds here" and found["evidence"].startswith(
        "Rise of training accuracy over epochs 18 to 20, in points an epoch: resnet18 +1.05, resnet34 +1.05, "
        "resnet50 +1.05. resnet18 beyond 0.2 +0.9 points"
    )
    just = curves(*[(0.3, 0.3 + 19 * 0.0022)] * 3)
    assert check_claim("plateau", three(*just, as_="curve"))["verdict"] == "holds here"
    slow = curves((0.3, 0.5), (0.3, 0.3 + 19 * 0.0015), (0.3, 0.5))
    assert check_claim("plateau", three(*slow, as_="curve"))["verdict"] == "cannot tell"
    assert check_claim("plateau", three(as_="skill"))["verdict"] == "cannot tell"
    assert check_claim("plateau", three(*rising, as_="curve", seeds=1))["verdict"] == "cannot tell"
    short = check_claim("plateau", three(*(curve[:3] for curve in rising), as_="curve"))
    assert short["evidence"].startswith("Training lasted only 3 epochs.")
    assert check_claim("plateau", three(*(curve[:4] for curve in rising), as_="curve"))["in these runs"] == "true"


@pytest.mark.parametrize(
    ("skills", "accuracy", "auc"),
    [
        ((0.5, 1.5, 2.5), "holds here", "does not hold here"),
        ((2.5, 1.5, 0.5), "does not hold here", "holds here"),
        ((1.5, 1.5, 1.5), "cannot tell", "cannot tell"),  # the same predictions
        ((0.5, 1.5, 1.5), "cannot tell", "does not hold here"),
    ],
)
def test_accuracy_and_auc_want_more_than_chance(skills, accuracy, auc):
    networks = three(*skills)
    found = check_claim("accuracy", networks)
    assert found["verdict"] == accuracy and "The paper's own three lie within 0.4 points" in found["evidence"]
    assert "images, chance alone explains 1.6" in found["evidence"] and found["seeds"] == 3
    assert check_claim("auc", networks)["verdict"] == auc


def test_the_papers_own_accuracies_are_told_rightly():
    shares, images = PAPER_TABLE1["accuracy"], int(PAPER_TABLE1["support"].iloc[0])
    chance = 1.96 * np.sqrt(2 * shares.mean() * (1 - shares.mean()) / images)
    assert f"within {(shares.max() - shares.min()) * 100:.1f} points" in claims.PAPERS_OWN
    assert f"{images:,} images, chance alone explains {chance * 100:.1f}." in claims.PAPERS_OWN


def test_one_run_of_each_ranks_no_networks_but_tells_what_it_can():
    networks = three(0.5, 1.5, 2.5, seeds=1)
    found = check_claim("accuracy", networks)
    assert found["in these runs"] == "undecided" and found["seeds"] == 1
    assert "with one run each, this may be the chance of training" in found["evidence"]
    assert "McNemar's test of these networks: resnet50 - resnet34 p < .001" in found["evidence"]
    for key in ("auc", "expressions", "balance"):
        assert check_claim(key, networks)["verdict"] == "cannot tell"
    unpaired = networks | {"resnet50": three(0.5, 1.5, 2.5)["resnet50"]}
    assert check_claim("accuracy", unpaired)["in these runs"] == "undecided"


def test_an_open_ranking_says_how_many_seeds_would_settle_it():
    evidence = check_claim("accuracy", three(1.5, 1.6, 1.7))["evidence"]
    assert evidence.count("seeds would settle it") >= 1 and "standard deviation" in evidence


def test_a_class_without_test_images_leaves_auc_undecided():
    groups = three()
    for one in groups["resnet34"]:
        one.metrics["full"] = one.metrics["full"] | {"auc": None}
    found = check_claim(
        "auc", {name: Seeds(replace(r, metrics=dict(r.metrics)) for r in g) for name, g in groups.items()}
    )
    assert found["in these runs"] == "undecided" and "no test images" in found["evidence"]
    results.cache_clear()


class MadeUp(Seeds):
    """Runs whose test measures are drawn: from the choice of images, and from seed to seed."""

    def __new__(cls, runs, rng, offset=0.0, image_sd=0.005, seed_sd=0.005):
        self = super().__new__(cls, runs)
        columns = [("all", "accuracy"), ("all", "auc"), *((name, "f1") for name in CLASSES)]
        by_image = rng.normal(scale=image_sd, size=(100, len(columns)))
        self.__dict__["draws"] = pd.DataFrame(by_image, columns=pd.MultiIndex.from_tuples(columns))
        truth = 0.6 + offset + rng.normal(scale=image_sd, size=len(columns))
        by_seed = truth + rng.normal(scale=seed_sd, size=(len(runs), len(columns)))
        self.values = dict(zip(columns, by_seed.T, strict=True))
        return self

    def tested(self, expression, measure):
        return self.values[expression, measure]


def made_up(rng, runs, offsets=(0.0, 0.0, 0.0)):
    return {name: MadeUp(runs[name], rng, offset) for name, offset in zip(MODELS, offsets, strict=True)}


def test_expressions_are_ranked_beyond_chance():
    runs, rng = three(), np.random.default_rng(0)
    paper = dict(zip(CLASSES, (0.57, 0.65, 0.50, 0.85, 0.60, 0.51, 0.79), strict=True))
    groups = made_up(rng, runs)
    for name, value in paper.items():
        for group in groups.values():
            group.values[name, "f1"] = group.values[name, "f1"] - 0.6 + value
    found = check_claim("expressions", groups)
    assert found["verdict"] == "holds here" and "F1 happy 0.8" in found["evidence"]
    nearest = np.mean([group.values["angry", "f1"] - group.values["sad", "f1"] for group in groups.values()])
    assert f"nearest to the contrary: angry - sad {100 * nearest:+.1f} points" in found["evidence"]
    for group in groups.values():
        group.values["neutral", "f1"] = group.values["sad", "f1"] - 0.1
    assert check_claim("expressions", groups)["verdict"] == "does not hold here"
    labels = list(CLASSES) * 40
    all_right = three()
    for name, group in all_right.items():
        predictions, metrics = measured(table(labels, labels))
        all_right[name] = Seeds(replace(r, predictions=predictions, metrics=metrics) for r in group)
    assert check_claim("expressions", all_right)["verdict"] == "cannot tell"


def test_balance_wants_evidence_that_no_dearer_network_is_a_point_better():
    runs, rng = three(), np.random.default_rng(0)
    precise = {name: MadeUp(runs[name], rng, image_sd=0.0005, seed_sd=0.0005) for name in MODELS}
    found = check_claim("balance", precise)
    assert found["verdict"] == "holds here" and found["evidence"].startswith(
        "Multiply-adds resnet18 0.10 G, resnet34 0.20 G, resnet50 0.30 G; test accuracy resnet18 "
    )
    assert " resnet18 + 1 point - resnet34 +" in found["evidence"]
    for ahead, verdict in ((0.008, "holds here"), (0.012, "cannot tell")):  # by less than a point, and by more
        near = {name: MadeUp(runs[name], rng, ahead * (name == "resnet34"), 1e-4, 1e-4) for name in MODELS}
        assert check_claim("balance", near)["verdict"] == verdict
    better = precise | {"resnet50": MadeUp(runs["resnet50"], rng, 0.02, 0.0005, 0.0005)}
    assert check_claim("balance", better)["verdict"] == "cannot tell"
    few = three()
    for name, group in few.items():
        small = [(r, *measured(r.predictions[:30])) for r in group]
        few[name] = Seeds(replace(r, predictions=predictions, metrics=metrics) for r, predictions, metrics in small)
    assert check_claim("balance", few)["verdict"] == "cannot tell"  # on 30 test images nothing can be told


def beside(features_skill, n=3000, seeds=3):
    """ResNet18 of modest skill, alone and fused with features that know as much as given, or nothing at all."""
    runs = []
    for seed in range(seeds):
        predictions, metrics = measured(random_table(n, seed=seed))
        runs.append(replace(run(seed=seed), predictions=predictions, metrics=metrics))
    features = random_table(n, seed=9, skill=features_skill)
    features.attrs["machine"] = "made-up machine"
    return claims.beside_features({"resnet18": runs}, features)


def test_features_are_minimal_below_a_point_and_not_above_it():
    found = check_claim("features", beside(2.0))
    assert (found["verdict"], found["seeds"]) == ("does not hold here", 3)
    told = "made-up machine: accuracy on PrivateTest resnet18 58.8%, resnet18 with features 83.3%. one point"
    assert found["evidence"].startswith(told)
    assert check_claim("features", beside(0.0, n=9000))["verdict"] == "holds here"
    assert check_claim("features", beside(2.0, seeds=1))["verdict"] == "cannot tell"  # the chance of training
    assert check_claim("features", beside(0.3, n=400))["verdict"] == "cannot tell"
    missing = claims.check_claims({"resnet18": [run()]}).loc["features", "evidence"]
    assert missing.startswith("There is no run of resnet18, resnet34, resnet50, resnet18 with features")


def test_features_count_a_network_once_however_many_seeds_it_has():
    one, two = beside(2.0, n=300, seeds=2), beside(2.0, n=300, seeds=4)
    groups = {name.replace("18", "34"): Seeds(replace(r, config=r.config | {"model": "resnet34"}) for r in group)
              for name, group in two.items()}  # fmt: skip
    evidence = check_claim("features", one | groups)["evidence"]
    gains = [by[f"{n} with features"].tested("all", "accuracy").mean() - by[n].tested("all", "accuracy").mean()
             for by, n in ((one, "resnet18"), (groups, "resnet34"))]  # fmt: skip
    assert f"one point - gain {100 * (0.01 - np.mean(gains)):+.1f} points" in evidence


def test_the_live_claim_cannot_be_told_from_still_images():
    groups = three()
    found = check_claim("disgust", groups)
    recall = [group.tested("disgust", "recall").mean() for group in groups.values()]
    images = groups["resnet18"][0].predictions["label"].eq("disgust").sum()
    assert found["verdict"] == "cannot tell" and found["evidence"] == (
        f"No live picture here. Of the {images} test images of disgust are recognised: {listed(recall)}; "
        "training images of disgust: 436."
    )


def listed(values, style=".1%"):
    return ", ".join(f"{model} {value:{style}}" for model, value in zip(MODELS, values, strict=True))


def test_evidence_of_training_tells_means_over_seeds():
    groups = three(*LEAD, as_="curve")
    first, last = ([group.accuracy[:, epoch].mean() for group in groups.values()] for epoch in (0, -1))
    evidence = check_claim("overtake", groups)["evidence"]
    start = f"In epoch 1: {listed(first)}; ResNet18 is first above ResNet50 in epoch 10; in the last: {listed(last)}. "
    assert evidence.startswith(start + "resnet50 - resnet18 in epoch 1 +")
    for pair in (
        "resnet50 - resnet34 in epoch 1",
        "resnet18 - resnet50 in epoch 11",
        "resnet18 - resnet50 in epoch 20",
    ):
        assert f", {pair} +" in evidence
    assert (
        f"in the last: {listed(last)}. resnet18 - resnet34, first third" in check_claim("weakest", groups)["evidence"]
    )
    groups = three(540.0, 600.0, 1200.0, as_="seconds")
    for group in groups.values():
        group[0].config["seconds"] += 180
    evidence = check_claim("slowest", groups)["evidence"]
    assert evidence.startswith("Training took resnet18 10.0 min, resnet34 11.0 min, resnet50 21.0 min on one; multiply")


def test_evidence_of_testing_tells_means_and_spread_over_seeds_and_mcnemar_for_one_alone():
    groups = three(0.5, 1.5, 2.5)
    values = [group.tested("all", "accuracy") for group in groups.values()]
    told = ", ".join(
        f"{model} {sample.mean():.1%} (standard deviation {sample.std(ddof=1):.1%})"
        for model, sample in zip(MODELS, values, strict=True)
    )
    evidence = check_claim("accuracy", groups)["evidence"]
    assert evidence.startswith(f"Test accuracy {told}. resnet34 - resnet18 +") and "McNemar" not in evidence
    assert (
        f"Mean AUC {listed([g.tested('all', 'auc').mean() for g in groups.values()], '.3f')}."
        in (check_claim("auc", groups)["evidence"])
    )
    alone = check_claim("accuracy", three(0.5, 1.5, 2.5, seeds=1))["evidence"]
    assert alone.startswith(f"Test accuracy resnet18 {values[0][0]:.1%} (10.0% to 90.0%), ")
    evidence = check_claim("expressions", groups)["evidence"]
    assert evidence.split("contrary: ")[1].count("standard error") == 3
    assert [claims._p(value) for value in (0.0009, 0.0011, 0.0449)] == ["p < .001", "p = 0.001", "p = 0.045"]


def test_draws_are_four_hundred_resamples_of_the_mean_over_seeds():
    group = three()["resnet18"]
    shuffled = Seeds(replace(one, predictions=one.predictions.sample(frac=1, random_state=0)) for one in group)
    ordered = [one.predictions.sort_values("file") for one in group]
    for some in (group, shuffled):
        pd.testing.assert_frame_equal(some.draws, measures.bootstrap(*ordered, n=400))


def some_tests(**columns):
    base = {"estimate": [0.01, 0.02], "p_value": [0.01, 0.02], "p_holm": [0.02, 0.02], "error": [0.005, 0.01],
            "seed_variance": [1e-4, 1e-4], "image_variance": [0.0, 0.0], "networks": [2, 2], "seeds": [3, 3],
            }  # fmt: skip
    return pd.DataFrame(base | columns, index=["a", "b"])


def test_what_tests_decide():
    assert claims._decided(some_tests()) is True
    assert claims._decided(some_tests(p_value=[0.01, 0.049], p_holm=[0.06, 0.06])) is True
    assert claims._decided(some_tests(p_value=[0.01, 0.06])) is None
    assert claims._decided(some_tests(estimate=[0.01, -0.02])) is False
    assert claims._decided(some_tests(estimate=[0.01, -0.02], p_holm=[0.02, 0.06])) is None
    assert claims._decided(some_tests(estimate=[-0.01, -0.02], p_holm=[0.06, 0.06])) is None


def test_open_tests_tell_how_many_seeds():
    assert claims._told(some_tests()) == (
        "a +1.0 points (standard error 0.5, p = 0.010), b +2.0 points (standard error 1.0, p = 0.020)."
    )
    told = claims._told(some_tests(p_value=[0.2, 0.3], image_variance=[0.0, 0.01]))
    needed = comparison.seeds_needed(some_tests().loc["a"], 0.025)
    assert f"p = 0.200; about {needed:.0f} seeds would settle it), b +2.0 points" in told
    assert told.endswith("p = 0.300; no number of seeds would settle it).")
    unknown = some_tests(p_value=[np.nan] * 2, error=[np.nan] * 2)
    alone = "a +1.0 points, b +2.0 points; with one run each, this may be the chance of training."
    assert claims._told(unknown) == alone and claims._told(unknown, 1).startswith("a +1.0 points; with")


# Where there is no difference, no rule may decide in more than 5 % of cases; so many made-up cases a rule.
CASES = 120


@pytest.fixture
def untold(monkeypatch):
    """Without the words of the evidence, which take most of the time."""
    monkeypatch.setattr(claims, "_told", lambda *tests: "")


def share_decided(key, cases):
    found = [claims.CHECKS[key](groups)[0] for groups in cases]
    return np.mean([truth is not None for truth in found])


def equal_curves(rng, shape, seeds=3, epoch_sd=0.003):
    """Networks of the same curve, with noise from seed to seed and from epoch to epoch."""
    groups = {}
    for model in MODELS:
        noisy = [shape + rng.normal(scale=NOISE) + rng.normal(scale=epoch_sd, size=EPOCHS) for _ in range(seeds)]
        groups[model] = Seeds(run(model, curve=curve, seed=seed) for seed, curve in enumerate(noisy))
    return groups


@pytest.mark.parametrize("key", ["weakest", "overtake", "plateau"])
def test_rules_on_training_accuracy_rarely_decide_where_there_is_no_difference(key, untold):
    rng = np.random.default_rng(7)
    shape = np.linspace(0.3, 0.3 + 19 * claims.RISE, EPOCHS)  # for the plateau: just at the limit
    assert share_decided(key, (equal_curves(rng, shape) for _ in range(CASES))) <= 0.05


def test_plateau_rarely_decides_for_a_network_at_the_limit(untold):
    rng = np.random.default_rng(8)

    def case():
        groups = equal_curves(rng, np.linspace(0.3, 0.3 + 19 * claims.RISE, EPOCHS))
        for name in MODELS[1:]:
            for one in groups[name]:
                one.history["train_accuracy"] += np.linspace(0, 0.5, EPOCHS)
        return groups

    assert 0 < share_decided("plateau", (case() for _ in range(CASES))) <= 0.05


@pytest.mark.parametrize("key", ["accuracy", "auc", "expressions"])
def test_rules_on_test_measures_rarely_decide_where_there_is_no_difference(key, untold):
    rng, runs = np.random.default_rng(9), three(seeds=3)
    cases = CASES // 3 if key == "expressions" else CASES  # sixteen tests each
    assert share_decided(key, (made_up(rng, runs) for _ in range(cases))) <= 0.05


def test_balance_rarely_decides_for_networks_a_point_better(untold):
    rng, runs = np.random.default_rng(10), three(seeds=3)
    cases = (made_up(rng, runs, (0.0, claims.MARGIN, -0.5)) for _ in range(CASES))
    assert share_decided("balance", cases) <= 0.05


@pytest.mark.parametrize("seeds", [1, 3])
def test_slowest_rarely_decides_where_times_differ_by_chance(seeds, untold):
    rng = np.random.default_rng(11)

    def case():
        times = iter(np.exp(rng.normal(scale=claims.TIME_SD, size=3 * seeds)))
        return {name: Seeds(run(name, seed=seed, seconds=next(times)) for seed in range(seeds)) for name in MODELS}

    assert 0 < share_decided("slowest", (case() for _ in range(CASES))) <= 0.05


@pytest.mark.parametrize("seeds", [1, 3])
def test_unfreeze_rarely_decides_at_half_of_the_papers_gain(seeds, untold):
    rng = np.random.default_rng(12)
    start, gain = PAPER_CLAIMS["unfreeze"].numbers["fc"], 0.496 / 2

    def group(level, trainable):
        last = level + rng.normal(scale=0.009, size=seeds)
        return Seeds(run(curve=np.full(4, value), seed=seed, trainable=trainable) for seed, value in enumerate(last))

    cases = ({"fc alone": group(start, "fc"), "layer4 and fc": group(start + gain, "layer4")} for _ in range(CASES))
    assert share_decided("unfreeze", cases) <= 0.05


def test_features_rarely_decide_at_a_gain_of_one_point(untold):
    rng, images = np.random.default_rng(13), 3000

    def one(accuracy, difficulty, seed):
        right = difficulty + rng.normal(scale=0.3, size=images) < norm.ppf(accuracy) * np.hypot(1, 0.3)
        predictions = table(["happy"] * images, np.where(right, "happy", "sad"))
        full = {"accuracy": right.mean(), "per_class": {}}
        return replace(run(seed=seed, features="made up"), predictions=predictions, metrics={"full": full})

    def case():
        difficulty, groups = rng.normal(size=images), {}
        levels = 0.6 + rng.normal(scale=0.005, size=3)
        for name, gain in (("resnet18", 0), ("resnet18" + claims.BESIDE, claims.MINIMAL)):
            groups[name] = Seeds(one(level + gain, difficulty, seed) for seed, level in enumerate(levels))
        return groups

    assert share_decided("features", (case() for _ in range(CASES))) <= 0.05


# Departures from the paper's protocol


def test_runs_unlike_the_papers_are_true_or_false_but_say_nothing_about_the_claim():
    random = {"weights_kind": "random", "weights_label": "random"}
    found = check_claim("accuracy", three(2.5, 1.5, 0.5, **random, trainable="all"))
    assert (found["in these runs"], found["verdict"]) == ("false", "cannot tell")
    assert found["evidence"].endswith(
        "because training began with weights that are not ImageNet's (random), trained was all, not layer4."
    )
    timed = three(60.0, 60.0, 90.0, as_="seconds", seeds=1, **random)
    assert check_claim("slowest", timed)["verdict"] == "holds here"
    sample = {"name": "synthetic sample", "counts": {"Training": {"disgust": 21, "all": 1400}}}
    assert set(claims.check_claims(three(2.5, 1.5, 0.5, data=sample))["verdict"]) == {"cannot tell"}
    short = three(2.5, 1.5, 0.5, curve=np.full(19, 0.5))
    assert check_claim("accuracy", short)["evidence"].endswith("because training lasted 19 epochs, not 20.")


def test_unfreeze_is_about_fc_alone_and_layer4():
    found = unfreeze(0.4, 0.9, layer4={"trainable": "layer3"})
    assert (found["in these runs"], found["verdict"]) == ("true", "cannot tell")
    assert found["evidence"].endswith("because trained was layer3, not layer4.")


@pytest.mark.parametrize(
    ("settings", "text", "verdict"),
    [
        ({}, None, "does not hold here"),
        ({"weights_kind": "embedded", "weights_label": "ImageNet conv1-layer3, Tiny-ImageNet layer4"},
         "initial weights of this project: ImageNet conv1-layer3, Tiny-ImageNet layer4", "does not hold here"),
        ({"weights_kind": "file", "weights_label": "ImageNet, mine.pth"},
         "initial weights from a file: ImageNet, mine.pth", "does not hold here"),
        ({"weights_kind": "file", "weights_label": "faces.pth"},
         "training began with weights that are not ImageNet's (faces.pth)", "cannot tell"),
        ({"weights_kind": "random", "weights_label": "not ImageNet"},
         "training began with weights that are not ImageNet's (not ImageNet)", "cannot tell"),
        ({"weights_label": "torchvision's"}, None, "does not hold here"),
        ({"cached_views": 4}, "4 augmented copies of each image, not new ones in every epoch", "does not hold here"),
        ({"cached_views": 1}, "1 augmented copies of each image, not new ones in every epoch", "does not hold here"),
        ({"cached_views": 20}, None, "does not hold here"),
        ({"train_share": 0.25}, "trained on 25 % of train", "cannot tell"),
        ({"train_share": 1.0}, None, "does not hold here"),
        ({"leak_free_train": True}, "train without twins of test images or of other labels", "does not hold here"),
        ({"label_smoothing": 0.1}, "label smoothing 0.1", "does not hold here"),
        ({"augment": False}, "no augmentation", "does not hold here"),
        ({"epochs_run": 21}, "training lasted 21 epochs, not 20", "does not hold here"),
        ({"epochs_run": 19}, "training lasted 19 epochs, not 20", "cannot tell"),
        ({"epochs_run": 1}, "training lasted 1 epoch, not 20", "cannot tell"),
        ({"trainable": "all"}, "trained was all, not layer4", "cannot tell"),
    ],
)  # fmt: skip
def test_departures_are_named(settings, text, verdict):
    found = check_claim("accuracy", three(2.5, 1.5, 0.5, **settings))
    always = (
        "not stated in the paper, chosen here: 64 px, AdamW, learning rate up to 0.001, batches of 128, "
        "a tenth of train for validation"
    )
    assert found["departures"].split("; ") == [*([text] if text else []), always]
    assert found["verdict"] == verdict
