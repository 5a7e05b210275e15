import numpy as np
import pandas as pd
import pytest
from made_up_predictions import HALF, random_table, table
from notebook_functions import functions_of
from scipy import stats

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.figures.style import style
from fer_nb_utils.results import comparison, measures
from fer_nb_utils.results.comparison import seed_test, seeds_needed
from fer_nb_utils.results.run_folder import Run


def test_without_images_seed_test_is_welchs():
    rng = np.random.default_rng(0)
    for sizes in ((3, 3), (3, 5), (2, 4)):
        a, b = rng.normal(0.6, 0.01, sizes[0]), rng.normal(0.61, 0.03, sizes[1])
        expected = stats.ttest_ind(a, b, equal_var=False)
        found = seed_test(a, -b)
        assert found["p_value"] == pytest.approx(expected.pvalue)
        assert found["estimate"] / found["error"] == pytest.approx(expected.statistic)
    assert seed_test(a)["p_value"] == pytest.approx(stats.ttest_1samp(a, 0).pvalue)


def test_the_choice_of_images_adds_to_the_error_but_to_no_degree_of_freedom():
    a, b = np.array([0.60, 0.61, 0.62]), np.array([0.62, 0.64, 0.66])
    found = seed_test(a, -b, image_variance=0.01**2)
    error = np.sqrt(0.01**2 / 3 + 0.02**2 / 3 + 0.01**2)
    assert found["error"] == pytest.approx(error) and found["estimate"] == pytest.approx(-0.03)
    total, seeds = error**2, ((0.01**2 / 3) ** 2 + (0.02**2 / 3) ** 2) / 2
    assert total**2 / seeds > 4  # Satterthwaite's; the seeds alone give four
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(0.03 / error, 4))
    assert seed_test(a, -b, image_variance=1e-6)["p_value"] < seed_test(a, -b, image_variance=1e-4)["p_value"]
    assert (found["networks"], found["seeds"]) == (2, 3)
    assert found["seed_variance"] == pytest.approx(0.01**2 + 0.02**2)


def test_a_single_run_has_no_spread_unless_it_is_known():
    alone = seed_test([0.7], [-0.6, -0.61])
    assert alone["estimate"] == pytest.approx(0.095) and np.isnan(alone["p_value"]) and np.isnan(alone["error"])
    known = seed_test([0.7], [-0.6], known_sd=0.05)
    assert known["error"] == pytest.approx(np.sqrt(2) * 0.05)
    assert known["p_value"] == pytest.approx(2 * stats.norm.sf(0.1 / known["error"]))
    assert seed_test([0.7, 0.8], known_sd=0.05)["p_value"] == pytest.approx(stats.ttest_1samp([0.7, 0.8], 0).pvalue)


@pytest.mark.filterwarnings("error")
def test_no_spread_at_all_is_certain():
    assert seed_test([0.5, 0.5], [-0.4, -0.4])["p_value"] == 0
    assert seed_test([0.5, 0.5], [-0.5, -0.5])["p_value"] == 1


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("image_share", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("ratio", [1.0, 2.0])
def test_seed_test_finds_a_difference_where_there_is_none_in_at_most_five_per_cent(seeds, image_share, ratio):
    """Also where the seeds of one network scatter twice as much."""
    rng, cases = np.random.default_rng(1), 20_000
    a, b = rng.normal(size=(cases, seeds)), ratio * rng.normal(size=(cases, seeds))
    image_variance = image_share * (1 + ratio**2) / seeds
    images = rng.normal(scale=np.sqrt(image_variance), size=(cases, 1))
    found = seed_test(a + images, -b, image_variance=image_variance)["p_value"] < 0.05
    assert 0.005 < found.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / cases)


def test_the_number_of_seeds_that_would_settle_it_does():
    test = seed_test([0.62, 0.63, 0.64], [-0.63, -0.64, -0.65], image_variance=0.002**2)
    for estimate in (0.014, 0.012, 0.01, 0.008, 0.006):
        needed = seeds_needed(test | {"estimate": estimate}, 0.05)
        for seeds, settled in ((needed, True), (needed - 1, False)):
            error = np.sqrt(2 * 0.01**2 / seeds + 0.002**2)
            assert (2 * stats.t.sf(estimate / error, 2 * (seeds - 1)) < 0.05) == settled
    needed = seeds_needed(test, 0.05)
    assert needed > 3 and seeds_needed(test, 0.05 / 3) > needed
    assert seeds_needed(test | {"image_variance": 0.006**2}, 0.05) == np.inf
    thousand, more = (
        stats.t.isf(0.025, 2 * (seeds - 1)) * np.sqrt(test["seed_variance"] / seeds) for seeds in (1000, 1001)
    )
    alone = test | {"image_variance": 0.0}
    assert seeds_needed(alone | {"estimate": thousand * 1.00001}, 0.05) == 1000
    assert seeds_needed(alone | {"estimate": more * 1.00001}, 0.05) == np.inf
    assert seeds_needed(test | {"estimate": 10.0}, 0.05) == 4  # one more than there are
    assert seeds_needed(test | {"estimate": 0.0008, "image_variance": 0.0}, 0.05) == np.inf  # about 1,200


def test_seeds_and_images_together_give_the_spread_of_repeated_experiments():
    """Three seeds of each network on 400 images, again and again with other images and other seeds: the standard error
    is that of the differences found, or a little above (what seeds and images do together counts twice)."""
    rng = np.random.default_rng(3)
    differences, errors = [], []
    for _ in range(400):
        easy = rng.normal(size=400)
        accuracy = {name: (easy + rng.normal(size=(3, 1)) * 0.1 + rng.normal(size=(3, 400)) > 0) for name in "ab"}
        means = accuracy["a"].mean(axis=0) - accuracy["b"].mean(axis=0)
        found = seed_test(
            accuracy["a"].mean(axis=1), -accuracy["b"].mean(axis=1), image_variance=means.var() / len(means)
        )
        differences.append(found["estimate"])
        errors.append(found["error"])
    assert 0.95 < np.sqrt(np.mean(np.square(errors))) / np.std(differences) < 1.35


def some_run(**settings):
    config = {
        "model": "resnet18", "weights_label": "random", "trainable": "all", "image_size": 48, "epochs_run": 4,
        "device_name": "one", "threads": 2, "parameters": 11, "trained_parameters": 5, "multiply_adds": 7,
        "latency_ms": 1.5, "seconds": 60.0, "preparation_seconds": 5.0, "data": {"name": "synthetic sample"},
        "seed": 0, "cached_views": 0, "train_share": 1.0, "leak_free_train": False, "label_smoothing": 0.0,
    } | settings  # fmt: skip
    metrics = {"full": {"accuracy": 0.6, "intervals": {"accuracy": [0.58, 0.62]}}}
    return Run("", config, pd.DataFrame(), pd.DataFrame(), metrics)


def test_cost_counts_the_preparation():
    table = comparison.cost_table({"a": some_run(), "b": some_run(preparation_seconds=0.0, threads=1)})
    assert table["training_seconds"].tolist() == [65, 60] and table["threads"].tolist() == [2, 1]
    assert table.loc["a", ["accuracy", "low", "high", "latency_ms"]].tolist() == [0.6, 0.58, 0.62, 1.5]
    assert table.index.name == "run"


def test_times_are_comparable_on_the_same_device_threads_and_epochs():
    assert comparison.unlike_times([some_run(), some_run(seconds=1.0, model="resnet50")]) == []
    others = {"machines": {"device_name": "two"}, "threads": {"threads": 1}, "epochs": {"epochs_run": 5}}
    for name, changed in others.items():
        assert comparison.unlike_times([some_run(), some_run(**changed)]) == [name]
    sessions = [{"device_name": "one", "threads": 2}, {"device_name": "two", "threads": 2}]
    assert comparison.unlike_times([some_run(sessions=sessions[:1]), some_run()]) == []
    assert comparison.unlike_times([some_run(sessions=sessions)]) == ["machines"]


def test_mcnemar_exact_by_hand_and_symmetric():
    labels = ["happy"] * 20
    a = table(labels, ["happy"] * 18 + ["sad"] * 2)
    b = table(labels, ["happy"] * 8 + ["sad"] * 10 + ["happy"] * 2)
    outcome = comparison.mcnemar(a, b)
    assert (outcome["b"], outcome["c"]) == (10, 2)
    assert outcome["p_value"] == pytest.approx(2 * stats.binom.cdf(2, 12, 0.5))
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
    with pytest.raises(UserError) as error:
        comparison.mcnemar(HALF, HALF[:5])
    sentence = "The two runs were tested on different images: compare runs made from the same data."
    assert str(error.value) == sentence


def test_compare_models_with_holm():
    runs = {name: random_table(seed=seed, skill=skill) for name, seed, skill in
            [("a", 1, 1.0), ("b", 2, 1.2), ("c", 3, 2.5)]}  # fmt: skip
    result = comparison.compare_models(runs)
    assert result.index.tolist() == ["a - b", "a - c", "b - c"] and result.index.name == "pair"
    assert result.columns.tolist() == ["difference", "statistic", "p_value", "b", "c", "p_holm"]
    accuracy = measures.table1(runs)["accuracy"]
    assert result.loc["a - c", "difference"] == pytest.approx(accuracy["a"] - accuracy["c"])
    p = sorted(result["p_value"])
    holm = np.maximum.accumulate([min(1, p[0] * 3), min(1, p[1] * 2), p[2]])
    assert sorted(result["p_holm"]) == pytest.approx(holm)


def test_seed_tests_are_corrected_by_holm_over_those_that_have_a_p_value():
    values = {"a": [0.010, 0.012, 0.014], "one run": [0.01], "b": [0.01, 0.02, 0.04], "c": [-0.01, 0.0, 0.03]}
    tests = comparison.seed_tests({name: ([sample], 0.0) for name, sample in values.items()})
    p, holm = tests["p_value"], tests["p_holm"]
    assert p["a"] < p["b"] < p["c"] and 2 * p["b"] < p["c"]
    assert holm[["a", "b", "c"]].tolist() == pytest.approx([3 * p["a"], 2 * p["b"], p["c"]])
    assert np.isnan(p["one run"]) and np.isnan(holm["one run"])


def test_mcnemar_is_exact_below_25_discordant_images_and_chi_squared_from_there():
    for only_a, only_b in ((17, 7), (18, 7), (40, 10), (0, 3)):
        a = random_table(100).assign(label="happy")
        right, wrong = (
            a.assign(**{name: float(name == guess) for name in measures.CLASSES}) for guess in ("happy", "sad")
        )
        a = pd.concat([right[:only_a], wrong[only_a:]])
        b = pd.concat([wrong[:only_a], right[only_a : only_a + only_b], wrong[only_a + only_b :]])
        found = comparison.mcnemar(a, b)
        assert (found["b"], found["c"]) == (only_a, only_b)
        if only_a + only_b < 25:
            expected = stats.binomtest(only_a, only_a + only_b).pvalue
        else:
            expected = stats.chi2.sf((abs(only_a - only_b) - 1) ** 2 / (only_a + only_b), df=1)
        assert found["p_value"] == pytest.approx(expected)


@pytest.mark.parametrize("data", ["FER-2013", "synthetic sample"])
def test_comparison_with_the_paper_in_notebook_05(data):
    models = pd.Index(["a", "b"], name="model")
    paper = pd.DataFrame({"accuracy": [0.65, 0.66], "auc": [0.9, 0.8], "support": [7178, 7178]}, index=models)
    ours = pd.DataFrame({"auc": [0.95], "accuracy": [0.6], "support": [350.0]}, index=models[:1])
    trainings = {"a": [Run("", {"data": {"name": data}}, None, None, {})]}
    result = functions_of("05_compare_resnets", pd=pd, style=style)["beside_paper"](ours, paper, trainings)
    assert result.columns.tolist() == ["accuracy", "auc", "support"] and result.index.names == ["model", "from"]
    assert result.loc[("a", "ours")].tolist() == [0.6, 0.95, 350]
    assert result.loc[("a", "paper")].tolist() == [0.65, 0.9, 7178]
    assert len(result) == (3 if data == "FER-2013" else 2)  # results on other data are not subtracted
    if data == "FER-2013":
        difference = result.loc[("a", "difference")]
        assert difference[["accuracy", "auc"]].tolist() == pytest.approx([-0.05, 0.05])
        assert difference["support"] is None  # once printed as -6,828


def group(name, shares, images=700):
    """Runs, one a seed, that get these shares of the images right."""
    runs = []
    for seed, share in enumerate(shares):
        rng = np.random.default_rng([seed, len(name)])
        labels = np.arange(images) % 7
        guesses = np.where(rng.random(images) < share, labels, (labels + 1) % 7)
        table = pd.DataFrame(np.eye(7)[guesses], columns=list(CLASSES))
        identity = {"file": [str(i) for i in range(images)], "usage": "PublicTest", "label": np.array(CLASSES)[labels]}
        table = pd.DataFrame(identity).join(table)
        full = {"accuracy": float((guesses == labels).mean()), "per_class": {}}
        runs.append(Run(None, {}, None, table, {"full": full}))
    return runs


def test_networks_are_compared_over_their_seeds():
    groups = {"a": group("a", (0.7, 0.72, 0.71)), "bb": group("bb", (0.5, 0.51, 0.49)), "ccc": group("ccc", (0.705,))}
    table = comparison.compare_networks(groups)
    assert list(table.index) == ["a - bb", "a - ccc", "bb - ccc"]
    means = {name: np.mean([run.metrics["full"]["accuracy"] for run in runs]) for name, runs in groups.items()}
    assert table.loc["a - bb", "difference"] == pytest.approx(means["a"] - means["bb"])
    assert table.loc["a - bb", "p_value"] < 0.01 and table.loc["a - bb", "p_holm"] == table.loc["a - bb", "p_value"]
    assert table.loc[["a - ccc", "bb - ccc"], ["p_value", "p_holm"]].isna().all(axis=None)  # one seed tells nothing
    alike = comparison.compare_networks({"a": group("a", (0.6, 0.62)), "bb": group("bb", (0.61, 0.6))})
    assert alike["p_value"].iloc[0] > 0.05 and alike["seeds_needed"].iloc[0] > 2
    assert table["seeds_needed"].isna().all()  # found already, or one seed


def test_times_beside_other_work_are_not_compared():
    runs = [some_run(), some_run()]
    assert comparison.unlike_times(runs) == []
    assert comparison.unlike_times([runs[0], some_run(other_work=True)]) == ["other work"]


def test_common_protocol_says_once_what_runs_share():
    run, longer = some_run(epochs_run=1, cached_views=1), some_run(epochs_run=9)
    assert run.protocol == (
        "synthetic sample, initial weights random, trained: all, 48 px, 1 epoch, cached views: 1, seed 0"
    )
    assert (
        comparison.common_protocol({"a": [run]}) == comparison.common_protocol({"a": [run], "b": [run]}) == run.protocol
    )
    assert comparison.common_protocol({"a": [run], "b": [longer]}) == (
        "synthetic sample, initial weights random, trained: all, 48 px, seed 0; a: 1 epoch, cached views: 1; "
        "b: 9 epochs"
    )
    part = some_run(train_share=0.025, leak_free_train=True, label_smoothing=0.1)
    assert "trained: all, 2.5 % of train, leak-free train, 48 px, 4 epochs, label smoothing 0.1" in part.protocol
    assert comparison.common_protocol({}) == ""
