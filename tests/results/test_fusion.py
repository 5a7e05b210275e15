import numpy as np
import pandas as pd
import pytest
from made_up_predictions import random_table

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.results import fusion, measures
from fer_nb_utils.results.run_folder import Run


def scores(table):
    return table[list(CLASSES)].to_numpy()


def test_one_table_with_weight_one_stays_as_it_is_and_images_are_matched_by_file():
    a, b = random_table(60, seed=1), random_table(60, seed=2)
    assert np.allclose(scores(fusion.fuse([a], [1])), scores(a), atol=1e-9)
    fused = fusion.fuse([a, b.sample(frac=1, random_state=0)], [0.5, 2.0])
    assert fused[["file", "usage", "label"]].equals(a[["file", "usage", "label"]])
    expected = scores(a).clip(1e-12) ** 0.5 * scores(b).clip(1e-12) ** 2
    assert np.allclose(scores(fused), expected / expected.sum(axis=1, keepdims=True))


def test_weights_follow_what_each_table_knows():
    skilled, ignorant = random_table(4000, seed=1, skill=3.0), random_table(4000, seed=2, skill=0.0)
    weights = fusion.fit_weights([skilled, ignorant])
    assert weights[0] > 0.8 and 0 <= weights[1] < 0.1
    equals = fusion.fit_weights([random_table(4000, seed=seed) for seed in (1, 2)])
    assert equals == pytest.approx([equals.mean()] * 2, rel=0.15)


def test_weights_undo_overconfidence():
    table = fusion.fuse([random_table(4000, seed=1)], [0.2])  # no zeros, which the logarithm must cut off
    sharp = fusion.fuse([table], [3.0])
    assert fusion.fit_weights([sharp])[0] == pytest.approx(fusion.fit_weights([table])[0] / 3, rel=0.02)


def test_a_run_is_tested_with_and_without_features_on_private_test_alone():
    predictions, features = random_table(600, seed=1), random_table(600, seed=2)
    run = Run("", {"seed": 3}, pd.DataFrame(), predictions, {})
    alone, fused = fusion.with_features(run, features)
    private = predictions[predictions["usage"] == "PrivateTest"]
    assert alone.predictions.equals(private.reset_index(drop=True))
    assert alone.config == {"seed": 3, "features": None} and fused.config == {
        "seed": 3,
        "features": "hand-made features",
    }
    assert alone.metrics["full"]["accuracy"] == measures.correct(private).mean()
    assert (
        fused.metrics["full"]["accuracy"]
        == measures.correct(fused.predictions).mean()
        > 0.05 + (alone.metrics["full"]["accuracy"])
    )
    blind = predictions.assign(label=np.where(predictions["usage"] == "PrivateTest", "happy", predictions["label"]))
    again = fusion.with_features(Run("", {}, pd.DataFrame(), blind, {}), features)[1]
    assert np.allclose(scores(again.predictions), scores(fused.predictions))  # labels of PrivateTest decide nothing


def test_without_publictest_there_is_nothing_to_learn_weights_from():
    private, features = (random_table(20, seed=seed).assign(usage="PrivateTest") for seed in (1, 2))
    with pytest.raises(UserError, match="no PublicTest image"):
        fusion.with_features(Run("", {}, pd.DataFrame(), private, {}), features)


def test_other_images_are_refused():
    with pytest.raises(UserError, match="different images"):
        fusion.fuse([random_table(60), random_table(62)], [1, 1])
