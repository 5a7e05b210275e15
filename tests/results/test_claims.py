from dataclasses import replace
from functools import cache

import pandas as pd
import pytest
from made_up_predictions import random_table, table

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.results import claims, measures
from fer_nb_utils.results.paper import PAPER_CLAIMS
from fer_nb_utils.results.run_folder import Run

MULTIPLY_ADDS = {"resnet18": 1e8, "resnet34": 2e8, "resnet50": 3e8}
SKILLS = {"resnet18": 1.5, "resnet34": 1.5, "resnet50": 1.5}


def run(model="resnet18", skill=1.5, accuracies=None, seconds=10.0, **settings):
    """A run as the paper would have made it, except for what is given."""
    accuracies = accuracies or [0.3 + 0.03 * epoch for epoch in range(20)]
    counts = {"Training": {"disgust": 436, "all": 28709}}
    config = {
        "model": model, "weights": "imagenet", "weights_label": "ImageNet", "weights_sha256": "1",
        "trainable": "layer4", "image_size": 64, "epochs": len(accuracies), "epochs_run": len(accuracies),
        "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.02, "schedule": "cosine", "batch_size": 128,
        "label_smoothing": 0.0, "augment": True, "cached_views": 0, "validation": "stratified", "patience": 0,
        "fingerprint": "sha256:0", "device_name": "one", "seconds": seconds, "preparation_seconds": 0.0,
        "parameters": 1, "trained_parameters": 1, "latency_ms": 1.0, "multiply_adds": MULTIPLY_ADDS[model],
        "data": {"name": "FER-2013", "counts": counts},
    } | settings  # fmt: skip
    history = pd.DataFrame({"epoch": range(1, len(accuracies) + 1), "train_accuracy": accuracies})
    predictions, metrics = results(skill)
    return Run("", config, history, predictions, metrics)


@cache
def results(skill):
    predictions = random_table(600, skill=skill)
    return predictions, measures.metrics(predictions, n=2)


def three(skills=SKILLS, accuracies=None, seconds=None, **settings):
    return {
        model: run(model, skill, (accuracies or {}).get(model), (seconds or {}).get(model, 10.0), **settings)
        for model, skill in skills.items()
    }


def verdict(name, networks=None, **pair):
    return pd.Series(claims.check_claim(name, networks or {}, **pair))


def test_every_claim_has_a_rule_and_a_row():
    checked = claims.check_claims(three())
    assert list(checked.index) == list(PAPER_CLAIMS) == list(claims.rules().index)
    assert list(checked.columns) == ["claim", "where", "in these runs", "verdict", "evidence"]
    assert set(checked["verdict"]) <= {"holds", "does not hold", "cannot tell"} and checked["evidence"].all()
    assert claims.rules().str.len().min() > 40


def test_missing_runs_leave_everything_undecided():
    checked = claims.check_claims({"resnet18": run()})
    assert set(checked["verdict"]) == {"cannot tell"}
    assert checked.loc["accuracy", "evidence"] == "There is no run of resnet34, resnet50."
    assert checked.loc["unfreeze", "evidence"] == "There is no run of fc alone, layer4 and fc."


def test_unfreeze_wants_half_of_the_papers_gain():
    fc = run(accuracies=[0.4] * 20, trainable="fc")
    high, low = run(accuracies=[0.66] * 20), run(accuracies=[0.6] * 20)
    assert verdict("unfreeze", fc=fc, layer4=high)["verdict"] == "holds"
    assert verdict("unfreeze", fc=fc, layer4=low)["verdict"] == "does not hold"
    assert "+26.0 points; the paper's gain is 49.6" in verdict("unfreeze", fc=fc, layer4=high)["evidence"]
    other = run(accuracies=[0.66] * 20, image_size=48)
    assert verdict("unfreeze", fc=fc, layer4=other)[["in these runs", "evidence"]].tolist() == [
        "undecided", "The two runs differ in image_size."]  # fmt: skip


@pytest.mark.parametrize(("overtaking", "expected"), [(9, "holds"), (4, "does not hold"), (99, "does not hold")])
def test_overtake_asks_when(overtaking, expected):
    curves = {
        "resnet18": [0.4 + 0.01 * e + 0.05 * (e + 1 >= overtaking) for e in range(20)],
        "resnet34": [0.3] * 20,
        "resnet50": [0.42 + 0.01 * e for e in range(20)],
    }
    found = verdict("overtake", three(accuracies=curves))
    assert found["verdict"] == expected and "epoch 1 resnet50 leads" in found["evidence"]
    short = {name: curve[:8] for name, curve in curves.items()}
    assert verdict("overtake", three(accuracies=short))["verdict"] == "cannot tell"


@pytest.mark.parametrize(("curve", "expected"), [(0.3, "holds"), (0.401, "cannot tell"), (0.5, "does not hold")])
def test_weakest_allows_for_chance(curve, expected):
    curves = {"resnet18": [0.4] * 20, "resnet34": [curve] * 20, "resnet50": [0.6] * 20}
    assert verdict("weakest", three(accuracies=curves))["verdict"] == expected


@pytest.mark.parametrize(("seconds", "expected"), [(20, "holds"), (10.5, "cannot tell"), (5, "does not hold")])
def test_slowest_allows_for_a_busy_machine(seconds, expected):
    assert verdict("slowest", three(seconds={"resnet50": seconds}))["verdict"] == expected
    devices = three(seconds={"resnet50": seconds})
    devices["resnet18"].config["device_name"] = "another"
    assert verdict("slowest", devices)["verdict"] == "cannot tell"


def test_plateau_is_not_blamed_on_the_network_when_the_learning_rate_ends_at_zero():
    flat = {model: [0.5] * 20 for model in SKILLS}
    assert verdict("plateau", three())["verdict"] == "holds"
    assert verdict("plateau", three(accuracies=flat))["verdict"] == "cannot tell"
    assert verdict("plateau", three(accuracies=flat, schedule="constant"))["verdict"] == "does not hold"


@pytest.mark.parametrize(
    ("skills", "accuracy", "auc"),
    [
        ((1.0, 1.5, 2.0), "holds", "does not hold"),
        ((2.0, 1.5, 1.0), "does not hold", "holds"),
        ((1.5, 1.5, 1.5), "cannot tell", "cannot tell"),  # the same predictions
        ((1.0, 1.5, 1.5), "cannot tell", "does not hold"),
    ],
)
def test_accuracy_and_auc_want_more_than_chance(skills, accuracy, auc):
    networks = three(dict(zip(SKILLS, skills, strict=True)))
    found = verdict("accuracy", networks)
    assert found["verdict"] == accuracy and "The paper's own three lie within 0.4 points" in found["evidence"]
    assert verdict("auc", networks)["verdict"] == auc


def test_balance_holds_unless_a_dearer_network_is_better():
    assert verdict("balance", three({"resnet18": 2.0, "resnet34": 1.5, "resnet50": 1.0}))["verdict"] == "holds"
    better = verdict("balance", three({"resnet18": 1.0, "resnet34": 1.0, "resnet50": 2.0}))
    assert better["verdict"] == "cannot tell" and "resnet50 3.00" not in better["evidence"]
    assert "resnet50 0.30 G" in better["evidence"]


def test_expressions_are_ranked_in_bootstrap_samples():
    labels = list(CLASSES) * 40
    confused = {"fear": "sad", "sad": "fear", "angry": "disgust", "disgust": "neutral", "neutral": "angry"}
    as_in_the_paper = [
        label if (label not in ("fear", "sad") and i % 2) else confused.get(label, label)
        for i, label in enumerate(labels)
    ]
    all_right = table(labels, labels)
    for predictions, expected in ((table(labels, as_in_the_paper), "holds"), (all_right, "does not hold")):
        networks = {name: replace(one, predictions=predictions) for name, one in three().items()}
        assert verdict("expressions", networks)["verdict"] == expected


def test_the_live_claim_cannot_be_told_from_still_images():
    found = verdict("disgust", three())
    assert found["verdict"] == "cannot tell" and found["evidence"].endswith("training images of disgust: 436.")


def test_runs_unlike_the_papers_are_true_or_false_but_say_nothing_about_the_claim():
    worse = dict(zip(SKILLS, (2.0, 1.5, 1.0), strict=True))
    found = verdict("accuracy", three(worse, weights="none", trainable="all"))
    assert (found["in these runs"], found["verdict"]) == ("false", "cannot tell")
    assert found["evidence"].endswith(
        "because training began with random weights, not with ImageNet's, trained were all, not layer4 and fc."
    )
    assert verdict("slowest", three(seconds={"resnet50": 20.0}, weights="none"))["verdict"] == "holds"
    sample = {"name": "synthetic sample", "counts": {"Training": {"disgust": 21, "all": 1400}}}
    assert set(claims.check_claims(three(worse, data=sample))["verdict"]) == {"cannot tell"}


def test_unequal_terms_decide_nothing():
    networks = three(dict(zip(SKILLS, (2.0, 1.5, 1.0), strict=True)))
    networks["resnet34"].config.update(learning_rate=0.1, weights="none")
    found = verdict("accuracy", networks)
    assert found["in these runs"] == "undecided" and found["evidence"] == "The runs differ in learning_rate, weights."
