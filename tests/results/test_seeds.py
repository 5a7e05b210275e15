"""Means over seeds and their intervals, against simulation and against what one run gives."""

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import random_table

from fer_nb_utils.results import measures
from fer_nb_utils.results.seeds import draws_over_seeds, over_seeds, seed_groups


def with_accuracy(share, images=400, seed=0):
    """Predictions of which a share, at random places, is right."""
    rng = np.random.default_rng(seed)
    labels, right = np.arange(images) % 7, rng.random(images) < share
    guesses = np.where(right, labels, (labels + 1) % 7)
    table = pd.DataFrame(np.eye(7)[guesses], columns=list(measures.CLASSES))
    names = np.array(measures.CLASSES)[labels]
    return pd.DataFrame({"file": [f"{i:04}" for i in range(images)], "usage": "PublicTest", "label": names}).join(table)


def test_runs_that_differ_in_the_seed_are_one_training():
    assert seed_groups({"a_seed0": 1, "a_seed12": 2, "a_seed": 3, "b": 4}) == {"a": [1, 2], "a_seed": [3], "b": [4]}


def test_values_are_those_of_the_tables():
    tables = [random_table(seed=seed) for seed in (1, 2, 3)]
    found = over_seeds(tables, n=20)
    rows = pd.DataFrame([measures.table1_row(table) for table in tables]).astype(float)
    for measure in ("precision", "recall", "f1", "accuracy", "auc"):
        row = found.loc[("all", measure)]
        assert row["mean"] == pytest.approx(rows[measure].mean()) and row["sd"] == pytest.approx(rows[measure].std())
    happy = [measures.per_class(table).loc["happy", "recall"] for table in tables]
    assert found.loc[("happy", "recall"), "mean"] == pytest.approx(np.mean(happy))
    assert set(found["seeds"]) == {3}


def test_one_seed_has_the_interval_of_its_images():
    table = with_accuracy(0.6)
    row = over_seeds([table], n=300).loc[("all", "accuracy")]
    low, high = measures.intervals(measures.bootstrap(table, n=300)).loc[("all", "accuracy")]
    assert (row["low"], row["high"]) == (low, high) and np.isnan(row["sd"])


def test_the_order_of_the_images_plays_no_part():
    tables = [random_table(seed=seed) for seed in (1, 2)]
    mixed = [table.sample(frac=1, random_state=seed) for seed, table in enumerate(tables)]
    pd.testing.assert_frame_equal(over_seeds(tables, n=20), over_seeds(mixed, n=20))


def test_variance_is_that_of_seeds_and_that_of_images():
    """Without luck of images (every image right or wrong alike in a seed) it is s^2/k, the variance of a mean."""
    shares = np.array([0.5, 0.6, 0.75])
    tables = [with_accuracy(share, images=20_000, seed=seed) for seed, share in enumerate(shares)]
    draws = draws_over_seeds(tables, n=2000)["all", "accuracy"]
    assert draws.mean() == pytest.approx(shares.mean(), abs=0.006)
    assert draws.std() == pytest.approx(shares.std(ddof=1) / np.sqrt(3), rel=0.06)
    alike = [with_accuracy(0.6, seed=7)] * 3
    images_alone = draws_over_seeds(alike, n=2000)["all", "accuracy"].std()
    assert images_alone == pytest.approx(np.sqrt(0.6 * 0.4 / 400), rel=0.1)


def test_other_seeds_are_drawn_for_another_network():
    tables = [with_accuracy(share, seed=seed) for seed, share in enumerate((0.4, 0.8))]
    draws = [draws_over_seeds(tables, n=500, seed=seed)["all", "accuracy"] for seed in (0, 0, 1)]
    assert draws[0].equals(draws[1]) and abs(np.corrcoef(draws[0], draws[2])[0, 1]) < 0.5
