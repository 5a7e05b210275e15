import json
import math

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import HALF, random_table, table
from scipy.stats import binom, bootstrap, mannwhitneyu
from sklearn.metrics import auc, precision_recall_fscore_support, roc_auc_score

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.results import measures


def test_table1_by_hand():
    row = measures.table1_row(HALF)
    # six classes: precision 1, recall 1/2, F1 2/3; happy: precision 2/8, recall 1, F1 2/5
    assert row["precision"] == pytest.approx((6 * 1 + 0.25) / 7)
    assert row["recall"] == row["accuracy"] == pytest.approx(8 / 14)
    assert row["f1"] == pytest.approx((6 * 2 / 3 + 0.4) / 7)
    assert row["support"] == 14
    # six classes: one positive above all, one tied with the 12 negatives; happy: half of the negatives tied
    assert row["auc"] == pytest.approx((6 * 0.75 + 0.75) / 7)


def test_table1_agrees_with_sklearn():
    predictions = random_table()
    row = measures.table1({"a": predictions}).loc["a"]
    guess = np.array(CLASSES)[predictions[list(CLASSES)].to_numpy().argmax(axis=1)]
    expected = precision_recall_fscore_support(predictions["label"], guess, average="weighted")[:3]
    assert row[["precision", "recall", "f1"]].tolist() == pytest.approx(expected)
    binary = [roc_auc_score(predictions["label"] == name, predictions[name]) for name in CLASSES]
    assert row["auc"] == pytest.approx(np.mean(binary))
    assert measures.table1({"a": predictions})["support"].dtype.kind == "i"
    assert measures.table1({"a": predictions}).index.name == "model"
    assert measures.per_class(predictions).index.name == measures.table2({"a": predictions}).index.name == "expression"


def test_table2_is_the_mean_over_runs():
    perfect = table(list(CLASSES) * 2, list(CLASSES) * 2)
    result = measures.table2({"half": HALF, "perfect": perfect})
    assert result.index.tolist() == list(CLASSES)
    assert result.loc["sad"].tolist() == pytest.approx([1, (0.5 + 1) / 2, (2 / 3 + 1) / 2, 2, (0.75 + 1) / 2])
    assert result.loc["happy", "precision"] == pytest.approx((0.25 + 1) / 2)


def test_sets_split_by_usage_and_twins():
    predictions = random_table(10)
    sets = measures.test_sets(predictions, twins_in_train={"PublicTest_0", "PrivateTest_9"})
    assert {name: len(rows) for name, rows in sets.items()} == {
        "full": 10, "PublicTest": 5, "PrivateTest": 5, "leak-free": 8}  # fmt: skip
    assert not sets["leak-free"]["file"].isin(["PublicTest_0", "PrivateTest_9"]).any()
    assert list(measures.test_sets(predictions[:5])) == ["full", "PublicTest", "leak-free"]


def test_bootstrap_measures_equal_those_of_repeated_images():
    predictions = random_table(200)
    weights = next(measures._resamples(200, n=3, seed=1))
    assert weights.sum(axis=0).tolist() == [200] * 3
    draws = measures.bootstrap(predictions, n=3, seed=1)
    for row, (_, measured) in zip(weights.T, draws.iterrows(), strict=True):
        drawn = predictions.loc[np.repeat(predictions.index, row.astype(int))]
        assert measured["all"].to_numpy() == pytest.approx(measures.table1_row(drawn).drop("support").tolist())
        for measure in ("precision", "recall", "f1", "auc"):
            of_classes = measured.drop("all", level=0).xs(measure, level=1)
            assert of_classes[list(CLASSES)].to_numpy() == pytest.approx(measures.per_class(drawn)[measure])


def test_bootstrap_draws_in_chunks_what_it_would_at_once():
    draws = measures.bootstrap(random_table(60), n=250)
    assert len(draws) == 250 and len(np.unique(draws["all", "auc"])) > 240
    again = measures.bootstrap(random_table(60), n=250)
    pd.testing.assert_frame_equal(draws, again)
    assert not measures.bootstrap(random_table(60), n=5, seed=1).equals(draws[:5])
    assert measures.bootstrap(random_table(60), n=5, seed=0).equals(draws[:5])
    assert len(measures.bootstrap(random_table(20))) == 1000


def test_intervals_are_scipys():
    """Of the same 1,000 resamples drawn otherwise: each measure's 95 % percentile interval."""
    predictions = random_table(150)
    found = measures.intervals(measures.bootstrap(predictions))
    truth = predictions["label"].to_numpy()
    scores = predictions[list(CLASSES)].to_numpy()
    guess = np.array(CLASSES)[scores.argmax(axis=1)]

    def f1_of_happy(index):
        both = (truth[index] == "happy").sum() + (guess[index] == "happy").sum()
        return 2 * ((truth[index] == "happy") & (guess[index] == "happy")).sum() / both

    def auc_of_happy(index):
        positive = truth[index] == "happy"
        return mannwhitneyu(scores[index, 3][positive], scores[index, 3][~positive]).statistic / (
            positive.sum() * (~positive).sum()
        )

    for column, statistic in (
        (("all", "accuracy"), lambda index: (truth == guess)[index].mean()),
        (("happy", "f1"), f1_of_happy),
        (("happy", "auc"), auc_of_happy),
    ):
        expected = bootstrap(
            (np.arange(150),), statistic, n_resamples=1000, method="percentile", vectorized=False, rng=0
        ).confidence_interval
        low, high = found.loc[column]
        width = expected.high - expected.low
        assert low == pytest.approx(expected.low, abs=0.15 * width)
        assert high == pytest.approx(expected.high, abs=0.15 * width)


def test_interval_of_accuracy_matches_the_binomial():
    predictions = random_table(2000)
    row, found = measures.table1_row(predictions), measures.intervals(measures.bootstrap(predictions)["all"])
    expected = binom.ppf([0.025, 0.975], 2000, row["accuracy"]) / 2000
    assert found.loc["accuracy"].tolist() == pytest.approx(expected, abs=0.003)
    assert ((found["low"] < row[found.index]) & (row[found.index] < found["high"])).all()


def test_interval_of_an_auc_is_as_wide_as_delongs():
    """DeLong, DeLong and Clarke-Pearson 1988, doi 10.2307/2531595: the variance of an AUC without resampling."""
    predictions = random_table(1000)
    draws = measures.bootstrap(predictions, n=400)
    found = measures.intervals(draws)
    for name in CLASSES:
        positive = (predictions["label"] == name).to_numpy()
        score = predictions[name].to_numpy()
        pairs = np.sign(score[positive][:, None] - score[~positive]) / 2 + 0.5
        error = math.sqrt(sum(pairs.mean(axis=axis).var(ddof=1) / pairs.shape[1 - axis] for axis in (0, 1)))
        low, high = found.loc[(name, "auc")]
        assert high - low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_bootstrap_pairs_tables_and_takes_their_mean():
    a, b = random_table(400), random_table(400, seed=1, skill=2.5)
    draws = {name: measures.bootstrap(one, n=50) for name, one in (("a", a), ("b", b))}
    assert (draws["b"] - draws["a"])["all", "accuracy"].std() < 0.04
    both = measures.bootstrap(a, b, n=50)
    pd.testing.assert_frame_equal(both, (draws["a"] + draws["b"]) / 2)
    with pytest.raises(ValueError, match="different images"):
        measures.bootstrap(a, b[:-1], n=50)


def test_table2_intervals_surround_table2_on_shared_images():
    runs = {"a": random_table(400), "b": random_table(400, seed=1, skill=2.5)}
    found, table = measures.table2_intervals(runs), measures.table2(runs)
    assert list(found) == [f"{m}_{end}" for m in ("precision", "recall", "f1", "auc") for end in ("low", "high")]
    assert list(found.index) == list(CLASSES)
    for measure in ("precision", "recall", "f1", "auc"):
        assert (found[f"{measure}_low"] < table[measure]).all() and (table[measure] < found[f"{measure}_high"]).all()
    shuffled = measures.table2_intervals(runs | {"b": runs["b"].sample(frac=1, random_state=0)})
    pd.testing.assert_frame_equal(shuffled, found)
    expected = measures.bootstrap(*(run.sort_values("file") for run in runs.values()), n=400)["sad", "recall"]
    assert found.loc["sad", ["recall_low", "recall_high"]].tolist() == expected.quantile([0.025, 0.975]).tolist()


def test_absent_class_has_no_auc_but_the_rest_stands():
    predictions = random_table(300, classes=CLASSES[:6])
    row, per_class = measures.table1_row(predictions), measures.per_class(predictions)
    assert math.isnan(row["auc"]) and 0 < row["f1"] < 1
    assert per_class.loc["surprise", ["recall", "f1", "support"]].tolist() == [0, 0, 0]
    assert per_class["auc"].isna().tolist() == [False] * 6 + [True]
    assert measures.intervals(measures.bootstrap(predictions, n=20)["all"]).loc["auc"].isna().all()
    rare = random_table(300)
    rare.loc[rare["label"] == "sad", "label"] = "happy"
    rare.loc[0, "label"] = "sad"
    assert not math.isnan(measures.per_class(rare).loc["sad", "auc"])  # one image is enough
    two = table(["happy", "sad"], ["happy", "sad"])
    assert measures.per_class(two).loc["happy", "auc"] == 1  # among two, too
    # which a third of the resamples miss; the interval leaves them out
    draws = measures.bootstrap(rare, n=100)
    assert 20 < draws["all", "auc"].isna().sum() < 55 and measures.intervals(draws).notna().all(axis=None)
    assert "surprise" not in measures.roc(predictions) and "mean" not in measures.roc(predictions)


def test_metrics_are_json_with_null_for_what_is_undefined():
    predictions = random_table(100, classes=CLASSES[:6])
    result = measures.metrics(predictions, ["PublicTest_3"], n=20)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result) == ["full", "PublicTest", "PrivateTest", "leak-free"]
    full = result["full"]
    assert full["auc"] is None and full["intervals"]["auc"] == [None, None]
    assert full["per_class"]["surprise"]["auc"] is None and isinstance(full["support"], int)
    assert result["leak-free"]["support"] == 99
    low, high = full["intervals"]["accuracy"]
    assert low < full["accuracy"] < high
    thousand = measures.intervals(measures.bootstrap(predictions)).loc[("all", "f1")]
    assert measures.metrics(predictions)["full"]["intervals"]["f1"] == thousand.tolist()


def test_confusion_counts_and_shares():
    counts, shares = measures.confusion(HALF), measures.confusion(HALF, normalize=True)
    assert counts.loc["sad"].to_dict() == dict.fromkeys(CLASSES, 0) | {"sad": 1, "happy": 1}
    assert counts.index.name == "true" and counts.columns.name == "predicted"
    assert counts.loc["happy", "happy"] == 2 and counts.to_numpy().sum() == 14
    assert shares.loc["sad", "happy"] == 0.5
    absent = measures.confusion(random_table(50, classes=CLASSES[:6]), normalize=True)
    assert absent.loc["surprise"].sum() == 0


def test_area_under_each_roc_curve_is_its_auc():
    predictions = random_table()
    curves, aucs = measures.roc(predictions), measures.per_class(predictions)["auc"]
    assert list(curves) == [*CLASSES, "mean"]
    for name in CLASSES:
        assert auc(curves[name]["fpr"], curves[name]["tpr"]) == pytest.approx(aucs[name])
    assert auc(curves["mean"]["fpr"], curves["mean"]["tpr"]) == pytest.approx(aucs.mean(), abs=0.005)
    ends = curves["mean"].iloc[[0, -1]].to_numpy().tolist()
    assert ends == [[0, 0], [1, 1]]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_read_predictions_round_trip(tmp_path, suffix):
    predictions = random_table(20)
    path = tmp_path / f"predictions{suffix}"
    predictions.to_csv(path, index=False)
    pd.testing.assert_frame_equal(measures.read_predictions(path), predictions, check_dtype=False)


def test_a_file_named_like_a_missing_value_keeps_its_name(tmp_path):
    names = ["NA", "null", *HALF["file"][2:]]
    HALF.assign(file=names).to_csv(tmp_path / "predictions.csv", index=False)
    assert measures.read_predictions(tmp_path / "predictions.csv")["file"].tolist() == names


NO_PROBABILITIES = "seven numbers of a row are no probabilities that sum to 1"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.drop(columns=["fear", "usage"]), "missing column usage, fear"),
        (lambda t: t.iloc[:0], "it has no rows"),
        (
            lambda t: t.replace({"label": {"sad": "gloomy"}}),
            "a label is none of angry, disgust, fear, happy, neutral, sad, surprise",
        ),
        (lambda t: t.assign(usage="Test"), "a usage is none of Training, PublicTest, PrivateTest"),
        (lambda t: t.assign(file="x"), "a file occurs twice"),
        (lambda t: t.assign(happy=["0.1"] * 13 + ["much"]), NO_PROBABILITIES),
        (lambda t: t.assign(happy=-0.2), NO_PROBABILITIES),
        (lambda t: t.assign(happy=[0.7] + [0.9] * 13), NO_PROBABILITIES),
        (lambda t: t.assign(sad=t["sad"] + 0.0012), NO_PROBABILITIES),
    ],
)
def test_bad_predictions_are_refused_in_one_sentence(tmp_path, spoil, reason):
    path = tmp_path / "predictions.csv"
    spoil(HALF).to_csv(path, index=False)
    with pytest.raises(UserError) as error:
        measures.read_predictions(path)
    told = f"{path} is not a valid predictions file: {reason}; evaluate the run again to write it."
    assert str(error.value) == told


def test_rounded_probabilities_need_not_sum_to_one_exactly(tmp_path):
    HALF.assign(sad=HALF["sad"] + 0.0009).to_csv(tmp_path / "predictions.csv", index=False)
    assert len(measures.read_predictions(tmp_path / "predictions.csv")) == 14


def test_unreadable_predictions(tmp_path):
    with pytest.raises(UserError, match=r"predictions\.csv does not exist: evaluate the run again to write it\.$"):
        measures.read_predictions(tmp_path / "predictions.csv")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    (tmp_path / "image.csv").write_bytes(bytes(range(128, 256)))
    for name in ("empty.csv", "broken.csv.gz", "image.csv"):
        with pytest.raises(UserError, match=r" cannot be read \(.+\): evaluate the run again to write it\.$"):
            measures.read_predictions(tmp_path / name)
