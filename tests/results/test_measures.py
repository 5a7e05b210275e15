import json
import math

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import HALF, random_table, table
from scipy.stats import binom
from sklearn.metrics import auc, precision_recall_fscore_support, roc_auc_score

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.results import comparison, measures


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
    measured = measures._weighted_measures(predictions, weights)
    for column, row in zip(weights.T, measured, strict=True):
        drawn = predictions.loc[np.repeat(predictions.index, column.astype(int))]
        assert row == pytest.approx(measures.table1_row(drawn).drop("support").tolist())


def test_bootstrap_interval_of_accuracy_matches_the_binomial():
    predictions = random_table(2000)
    row, intervals = measures.table1_row(predictions), measures.bootstrap_intervals(predictions)
    expected = binom.ppf([0.025, 0.975], 2000, row["accuracy"]) / 2000
    assert intervals.loc["accuracy"].tolist() == pytest.approx(expected, abs=0.003)
    assert ((intervals["low"] < row[intervals.index]) & (row[intervals.index] < intervals["high"])).all()
    pd.testing.assert_frame_equal(intervals, measures.bootstrap_intervals(predictions))


def test_bootstrap_pairs_tables_and_f1_with_the_other_measures():
    a, b = random_table(400), random_table(400, seed=1, skill=2.5)
    assert (measures.bootstrap(b, n=50) - measures.bootstrap(a, n=50))["accuracy"].std() < 0.04
    f1 = measures.bootstrap_f1(a, n=50)
    assert list(f1) == list(CLASSES) and len(f1) == 50
    assert f1.mean().to_numpy() == pytest.approx(measures.per_class(a)["f1"], abs=0.03)


def test_absent_class_has_no_auc_but_the_rest_stands():
    predictions = random_table(300, classes=CLASSES[:6])
    row, per_class = measures.table1_row(predictions), measures.per_class(predictions)
    assert math.isnan(row["auc"]) and 0 < row["f1"] < 1
    assert per_class.loc["surprise", ["recall", "f1", "support"]].tolist() == [0, 0, 0]
    assert per_class["auc"].isna().tolist() == [False] * 6 + [True]
    assert measures.bootstrap_intervals(predictions, n=20).loc["auc"].isna().all()
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


def test_calibration_error_by_hand():
    assert measures.calibration_error(HALF) == pytest.approx(abs(8 / 14 - 0.7))
    sure = table(["happy"] * 4, ["happy"] * 4, confidence=1.0)
    assert measures.calibration_error(sure) == 0


def test_mcnemar_exact_by_hand_and_symmetric():
    labels = ["happy"] * 20
    a = table(labels, ["happy"] * 18 + ["sad"] * 2)
    b = table(labels, ["happy"] * 8 + ["sad"] * 10 + ["happy"] * 2)
    outcome = comparison.mcnemar(a, b)
    assert (outcome["b"], outcome["c"]) == (10, 2)
    assert outcome["p_value"] == pytest.approx(2 * binom.cdf(2, 12, 0.5))
    shuffled = comparison.mcnemar(b.sample(frac=1, random_state=0), a)
    assert (shuffled["b"], shuffled["c"], shuffled["p_value"]) == (2, 10, outcome["p_value"])


def test_mcnemar_chi_squared_by_hand():
    labels = ["happy"] * 100
    a = table(labels, ["happy"] * 40 + ["sad"] * 60)
    b = table(labels, ["sad"] * 40 + ["happy"] * 20 + ["sad"] * 40)
    assert comparison.mcnemar(a, b)["statistic"] == pytest.approx((abs(40 - 20) - 1) ** 2 / 60)


def test_mcnemar_of_equal_runs_and_of_different_images():
    outcome = comparison.mcnemar(HALF, HALF)
    assert (outcome["b"], outcome["c"], outcome["p_value"]) == (0, 0, 1)
    with pytest.raises(UserError, match="different images"):
        comparison.mcnemar(HALF, HALF[:5])


def test_compare_models_with_holm():
    runs = {name: random_table(seed=seed, skill=skill) for name, seed, skill in
            [("a", 1, 1.0), ("b", 2, 1.2), ("c", 3, 2.5)]}  # fmt: skip
    result = comparison.compare_models(runs)
    assert result.index.tolist() == ["a - b", "a - c", "b - c"]
    accuracy = measures.table1(runs)["accuracy"]
    assert result.loc["a - c", "difference"] == pytest.approx(accuracy["a"] - accuracy["c"])
    p = sorted(result["p_value"])
    holm = np.maximum.accumulate([min(1, p[0] * 3), min(1, p[1] * 2), p[2]])
    assert sorted(result["p_holm"]) == pytest.approx(holm)


def test_confusion_counts_and_shares():
    counts, shares = measures.confusion(HALF), measures.confusion(HALF, normalize=True)
    assert counts.loc["sad"].to_dict() == dict.fromkeys(CLASSES, 0) | {"sad": 1, "happy": 1}
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


def test_comparison_with_the_paper():
    models = pd.Index(["a", "b"], name="model")
    paper = pd.DataFrame({"accuracy": [0.65, 0.66], "auc": [0.9, 0.8]}, index=models)
    ours = pd.DataFrame({"auc": [0.95], "accuracy": [0.6]}, index=["a"])
    result = comparison.compare_with_paper(ours, paper)
    assert result.columns.tolist() == ["paper", "ours", "difference"]
    assert result.loc[("a", "accuracy")].tolist() == pytest.approx([0.65, 0.6, -0.05])
    assert result.loc[("a", "auc"), "difference"] == pytest.approx(0.05)
    assert result.loc[("b", "auc"), "paper"] == 0.8 and math.isnan(result.loc[("b", "auc"), "ours"])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_read_predictions_round_trip(tmp_path, suffix):
    predictions = random_table(20)
    path = tmp_path / f"predictions{suffix}"
    predictions.to_csv(path, index=False)
    pd.testing.assert_frame_equal(measures.read_predictions(path), predictions, check_dtype=False)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.drop(columns=["fear", "usage"]), "missing column usage, fear"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.replace({"label": {"sad": "gloomy"}}), "unknown label 'gloomy'"),
        (lambda t: t.assign(usage="Test"), "unknown usage 'Test'"),
        (lambda t: t.assign(file="x"), "'x' occurs twice"),
        (lambda t: t.assign(happy=["0.1"] * 13 + ["much"]), "row 15 holds something that is no probability"),
        (lambda t: t.assign(happy=-0.2), "row 2 holds something that is no probability"),
        (lambda t: t.assign(happy=[0.7] + [0.9] * 13), "the probabilities in row 2 sum to"),
    ],
)
def test_bad_predictions_are_refused_in_one_sentence(tmp_path, spoil, reason):
    path = tmp_path / "predictions.csv"
    spoil(HALF).to_csv(path, index=False)
    with pytest.raises(UserError) as error:
        measures.read_predictions(path)
    message = str(error.value)
    assert reason in message and str(path) in message and "\n" not in message


def test_unreadable_predictions(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        measures.read_predictions(tmp_path / "predictions.csv")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "broken.csv.gz").write_bytes(b"not gzip")
    (tmp_path / "image.csv").write_bytes(bytes(range(128, 256)))
    for name in ("empty.csv", "broken.csv.gz", "image.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            measures.read_predictions(tmp_path / name)
