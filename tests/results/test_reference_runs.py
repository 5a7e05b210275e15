import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_up_predictions import random_table
from maintain import trainings
from notebook_functions import functions_of

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.audit import load_index
from fer_nb_utils.data.dataset import PUBLISHED
from fer_nb_utils.networks.resnets import MODELS
from fer_nb_utils.results import comparison, fusion, measures
from fer_nb_utils.results.calibration import calibration_error, fit_temperature
from fer_nb_utils.results.claims import BESIDE, beside_features, check_claim
from fer_nb_utils.results.paper import PAPER_CLAIMS, PAPER_TABLE1, PAPER_TABLE2
from fer_nb_utils.results.reference_runs import FOLDER, handmade_predictions, reference_runs
from fer_nb_utils.results.seeds import seed_groups
from fer_nb_utils.series.widgets import find_mistakes


def test_papers_tables_agree_with_each_other_and_with_the_data():
    table1, table2 = PAPER_TABLE1, PAPER_TABLE2
    assert table2["support"].tolist() == (PUBLISHED["PublicTest"] + PUBLISHED["PrivateTest"]).tolist()
    assert (table1["support"] == table2["support"].sum()).all()
    # Table 2 holds means over the models, so its weighted averages must give Table 1's means
    weighted = table2.mul(table2["support"], axis=0).sum() / table2["support"].sum()
    for measure in ("precision", "recall", "f1"):
        assert weighted[measure] == pytest.approx(table1[measure].mean(), abs=0.002)
    assert table2["auc"].mean() == pytest.approx(table1["auc"].mean(), abs=0.002)
    assert table1["recall"].tolist() == table1["accuracy"].tolist()


def test_papers_tables_have_the_layout_of_ours():
    predictions = random_table()
    assert measures.table1({"resnet18": predictions}).columns.equals(PAPER_TABLE1.columns)
    ours = measures.table2({"resnet18": predictions})
    paper = PAPER_TABLE2
    assert ours.columns.equals(paper.columns) and ours.index.equals(paper.index)


def test_claims_quote_their_numbers():
    claims = PAPER_CLAIMS
    assert (
        claims["unfreeze"].numbers == {"fc": 0.416, "layer4": 0.912} and "41.6 % to 91.2 %" in claims["unfreeze"].text
    )
    assert claims["overtake"].numbers == {"epoch": 9} and "epoch 9" in claims["overtake"].text
    assert not any(hasattr(claim, "numbers") for key, claim in claims.items() if key not in ("unfreeze", "overtake"))
    for key, column in (("accuracy", "accuracy"), ("auc", "auc")):
        assert [f"{value:.3f}"[1:] in claims[key].text for value in PAPER_TABLE1[column]] == [True] * 3
    best = PAPER_TABLE2["f1"].sort_values().index
    assert set(best[-2:]) == {"happy", "surprise"}  # as the claim "expressions" says
    assert set(best[:2]) == {"fear", "sad"}


def test_reference_runs_are_read_by_folder_name(tmp_path, monkeypatch):
    monkeypatch.setattr("fer_nb_utils.results.reference_runs.FOLDER", tmp_path)
    assert reference_runs() == {}
    predictions = random_table(40)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        pd.DataFrame({"epoch": [1], "train_loss": [1.5]}).to_csv(tmp_path / name / "history.csv", index=False)
        predictions.to_csv(tmp_path / name / "predictions.csv.gz", index=False)
        (tmp_path / name / "metrics.json").write_text(json.dumps(measures.metrics(predictions, n=10)))
        (tmp_path / name / "config.json").write_text(json.dumps({"model": "resnet18", "recipe": {}}))
    (tmp_path / "no run").mkdir()
    runs = reference_runs()
    assert list(runs) == ["a", "b"]
    assert runs["a"].config["model"] == "resnet18" and runs["a"].history["train_loss"].item() == 1.5
    row = measures.table1_row(runs["a"].predictions)
    assert runs["a"].metrics["full"]["accuracy"] == pytest.approx(row["accuracy"])


def test_the_committed_metrics_follow_from_the_committed_predictions():
    runs = reference_runs()
    if not runs:
        pytest.skip("no reference results committed yet")
    for name, run in runs.items():
        for test_set, rows in measures.test_sets(run.predictions, run.twins_in_train).items():
            measured, stored = measures.table1_row(rows), run.metrics[test_set]
            for measure in measures.MEASURES:
                assert measured[measure] == pytest.approx(stored[measure], abs=5e-4), (name, test_set)


def test_papers_tables_load_without_torch_or_matplotlib():
    code = "import sys, fer_nb_utils.results.paper; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def runs():
    return reference_runs()


def test_what_notebook_05_says_of_the_three_networks_is_so(runs):
    groups = seed_groups(runs)
    networks = {f"resnet{depth}": groups[f"resnet{depth}_layer4"] for depth in (18, 34, 50)}
    mean = {name: sum(run.history.set_index("epoch") for run in own) / len(own) for name, own in networks.items()}
    assert {name: round(table["train_accuracy"].iloc[-1], 2) for name, table in mean.items()} == {
        "resnet18": 0.77, "resnet34": 0.76, "resnet50": 0.86}  # fmt: skip
    assert (mean["resnet50"]["train_accuracy"] > mean["resnet18"]["train_accuracy"]).loc[2:].all()
    assert (mean["resnet18"]["train_accuracy"] - mean["resnet34"]["train_accuracy"]).abs().max() < 0.01
    for table in mean.values():
        assert table.loc[5, "train_accuracy"] > table.loc[5, "validation_accuracy"] - 0.005
    table = trainings(networks)
    assert 0.02 < table.loc["resnet50", "full"] - table.loc["resnet18", "full"] < 0.04
    assert (table["full"] - table["leak-free"]).between(0.015, 0.026).all()
    tests = comparison.compare_networks(networks)["p_holm"]
    assert tests["resnet18 - resnet34"] > 0.05 > max(tests["resnet18 - resnet50"], tests["resnet34 - resnet50"])
    auc = {name: np.mean([run.metrics["full"]["auc"] for run in own]) for name, own in networks.items()}
    assert max(auc, key=auc.get) == "resnet50" and auc["resnet50"] > PAPER_TABLE1.loc["resnet50", "auc"]
    f1 = measures.table2({run.folder: run.predictions for own in networks.values() for run in own})["f1"].sort_values()
    assert set(f1.index[-2:]) == {"surprise", "happy"} and set(f1.index[:2]) == {"fear", "sad"}
    expected = {"fear": "sad", "neutral": "sad", "sad": "neutral", "disgust": "angry", "surprise": "fear"}
    for own in networks.values():
        counts = sum(measures.confusion(run.predictions) for run in own)
        assert {name: counts.loc[name].drop(name).idxmax() for name in expected} == expected
        assert np.mean([run.metrics["full"]["per_class"]["disgust"]["recall"] for run in own]) > 0.5
    assert 2 < networks["resnet50"][0].config["multiply_adds"] / networks["resnet18"][0].config["multiply_adds"] < 2.3


def test_what_notebook_05_says_of_how_much_to_train_is_so(runs):
    groups = seed_groups(runs)
    fc, layer4, whole = groups["resnet18_fc"], groups["resnet18_layer4"], groups["resnet18_all"]
    table = trainings({"fc": fc, "layer4": layer4, "all": whole})
    assert table["full"].round(2).tolist() == [0.44, 0.62, 0.68] and table["sd"].max() < 0.01
    at_end = {"fc": fc, "layer4": layer4}
    last = {name: np.mean([run.history["train_accuracy"].iloc[-1] for run in seeds]) for name, seeds in at_end.items()}
    assert round(last["layer4"], 2) == 0.77 and round(100 * (last["layer4"] - last["fc"])) == 33
    assert all(0.43 < run.history["validation_accuracy"].max() < 0.475 for run in fc)
    assert {run.history["validation_loss"].idxmin() + 1 for run in layer4} == {11, 12, 13}
    lost = table["full"] - table["leak-free"]
    assert lost["fc"] < 0.005 and 0.015 < lost["layer4"] < 0.025
    tests = comparison.compare_networks({"fc": fc, "layer4": layer4})
    assert tests["p_holm"].iloc[0] < 0.001 and round(100 * tests["difference"].iloc[0]) == -18
    configs = [run.config for run in (*fc, *layer4)]
    assert {config["learning_rate"] for config in configs} == {0.001}
    assert len({config["weights_sha256"] for config in configs}) == 1


def test_what_notebook_05_says_of_the_ladder_is_so(runs):
    table = trainings(seed_groups(runs))["full"].round(2)
    assert table[[f"resnet{depth}_fc" for depth in (18, 34, 50)]].between(0.44, 0.48).all()
    assert table[[f"resnet{depth}_layer4" for depth in (18, 34, 50)]].between(0.62, 0.64).all()
    wholes = [f"resnet{depth}_all" for depth in (18, 34, 50)]
    randoms = [f"resnet{depth}_random" for depth in (18, 34, 50)]
    assert table[[*randoms, *wholes]].tolist() == [0.65, 0.65, 0.62, 0.68, 0.68, 0.69]
    ends = [runs[f"{name}_seed0"].history["train_accuracy"].iloc[-1] for name in randoms]
    assert [round(end, 2) for end in ends] == [0.71, 0.70, 0.66]
    means = trainings(seed_groups(runs))["full"]
    assert means["resnet50_layer4"] - means["resnet50_random"] == pytest.approx(0.025, abs=0.002)
    tests = comparison.compare_models({name: runs[f"{name}_seed0"].predictions for name in wholes})
    assert tests["difference"].abs().max() < 0.01 and tests["p_holm"].min() == pytest.approx(0.105, abs=0.001)
    tried = pd.read_csv(FOLDER / "learning_rate.csv")["run"]
    assert not tried.str.match("resnet(34|50)_(all|random)").any() and tried.str.startswith("resnet18_all").any()
    unsearched = [runs[f"{name}_seed0"].config for name in ("resnet34_all", "resnet50_all", *randoms[1:])]
    assert {config["learning_rate"] for config in unsearched} == {0.001}
    ladder = {name: runs[f"resnet18_{name}_seed0"].predictions for name in ("random", "layer4", "all")}
    tests = comparison.compare_models(ladder)
    assert tests["difference"].round(3).tolist() == [0.032, -0.025, -0.057] and (tests["p_value"] < 1e-5).all()


def test_what_notebook_05_says_of_the_number_of_images_is_so(runs):
    found = {}
    for start in ("layer4", "random"):
        names = [*(f"{start}_share{share}" for share in (0.01, 0.03, 0.1, 0.3)), start]
        own = [runs[f"resnet18_{name}_seed0"] for name in names]
        assert [run.config["data"]["train_images"] for run in own] == [258, 775, 2584, 7751, 25837]
        assert {(run.config["epochs_run"], run.config["learning_rate"]) for run in own} == {(20, 0.001)}
        found[start] = np.array([run.metrics["full"]["accuracy"] for run in own])
        low, high = np.array([run.metrics["full"]["intervals"]["accuracy"] for run in own]).T
        assert (np.abs([found[start] - low, high - found[start]]) < 0.014).all()
        if start == "layer4":
            assert round(own[0].history["train_accuracy"].iloc[-1], 2) == 0.98
    ahead = found["layer4"] - found["random"]
    assert round(100 * ahead[0]) == 6 and ahead[1] > 0.05 and abs(ahead[2]) < 0.005 and (ahead[3:] < -0.015).all()
    steps = {start: np.round(100 * np.diff(accuracy)) for start, accuracy in found.items()}
    assert set(steps["layer4"]) == {6, 7} and (steps["random"].min(), steps["random"].max()) == (7, 12)


def test_what_notebook_05_says_of_training_without_leaks_is_so(runs):
    groups = seed_groups(runs)
    full, without = groups["resnet18_layer4"], groups["resnet18_layer4_leak_free"]
    images = [[run.config["data"]["train_images"] for run in group] for group in (full, without)]
    assert images[0][0] - images[1][0] == 697 and 697 / images[0][0] == pytest.approx(0.027, abs=0.0005)
    table = trainings({"full": full, "without": without})
    assert table["leak-free"].round(3).tolist() == [0.601, 0.602]
    test = comparison.compare_networks({"full": full, "without": without}).iloc[0]
    assert (test["difference"], test["p_value"]) == pytest.approx((0.009, 0.07), abs=0.004)
    assert test["seeds_needed"] == 4
    for group, limits in ((full, (0.84, 0.89)), (without, (0.73, 0.75))):
        twins = [run.predictions[run.predictions["file"].isin(run.twins_in_train)] for run in group]
        right = [round(measures.correct(part).mean(), 2) for part in twins]
        assert {len(part) for part in twins} == {568} and (min(right), max(right)) == limits


def test_what_notebook_02_says_of_cached_copies_is_so(runs):
    pair = [runs[f"resnet18_{name}_seed0"] for name in ("layer4_views4", "layer4")]
    assert [run.config["cached_views"] for run in pair] == [4, 20]
    assert (
        len({run.config["weights_sha256"] for run in pair}) == len({run.config["learning_rate"] for run in pair}) == 1
    )
    assert [round(run.history["train_accuracy"].iloc[-1], 2) for run in pair] == [0.96, 0.77]
    assert [round(run.metrics["full"]["accuracy"], 2) for run in pair] == [0.60, 0.62]


def test_what_notebook_05_says_of_the_best_network_is_so(runs):
    found = measures.confusion(runs["resnet18_smoothed_seed0"].predictions, normalize=True)
    recall = pd.Series({name: found.loc[name, name] for name in found.index})
    assert round(recall["disgust"], 2) == 0.59 and recall.idxmin() == "fear" and round(recall["fear"], 2) == 0.52
    assert found.loc["fear"].drop("fear").idxmax() == "sad"


def test_the_learning_rates_are_those_that_validated_best(runs):
    tried = pd.read_csv(FOLDER / "learning_rate.csv")
    tried["training"] = tried["run"].str.replace(r"_learning_rate.*", "", regex=True)
    best = tried.loc[tried.groupby("training")["validation accuracy"].idxmax()].set_index("training")
    for training, row in best.iterrows():
        config = runs[f"{training}_seed0"].config
        assert (config["model"], config["trainable"]) == (row["model"], row["trainable"])
        assert config["learning_rate"] == row["learning_rate"]
        assert config["weights_sha256"] == (None if pd.isna(row["weights_sha256"]) else row["weights_sha256"])
    assert (tried.groupby("training").size() == 3).all() and set(tried["epochs_run"]) == {4}


def test_committed_intervals_are_those_of_the_committed_predictions(runs):
    run = runs["resnet18_layer4_seed0"]
    private = measures.test_sets(run.predictions)["PrivateTest"]
    found = measures.intervals(measures.bootstrap(private)["all"]).T.to_dict("list")
    assert found.keys() == run.metrics["PrivateTest"]["intervals"].keys()
    for measure, stored in run.metrics["PrivateTest"]["intervals"].items():
        assert found[measure] == pytest.approx(stored, abs=1e-6)


def arrays(predictions, usage):
    part = predictions[predictions["usage"] == usage]
    return part[list(CLASSES)].to_numpy(), pd.Index(CLASSES).get_indexer(part["label"])


def tempered(probabilities, temperature):
    powers = probabilities ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def test_what_notebook_07_says_of_calibration_is_so(runs):
    expected = {"18_smoothed_seed0": (0.055, 1.08, 0.042), "18_all_seed0": (0.110, 1.66, 0.026),
                "18_smoothed_45epochs_seed0": (0.110, 1.28, 0.050),
                "18_layer4_seed0": (0.078, 1.44, 0.031), "18_layer4_views4_seed0": (0.162, 1.97, 0.024),
                "18_fc_seed0": (0.020, 0.97, 0.026), "50_layer4_seed0": (0.145, 1.94, 0.025)}  # fmt: skip
    by_seed = {"18_layer4": (0.078, 0.103, 0.118), "50_layer4": (0.145, 0.142, 0.116)}
    for name, errors in by_seed.items():
        for run, error in zip(seed_groups(runs)[f"resnet{name}"], errors, strict=True):
            tested = arrays(run.predictions, "PrivateTest")
            assert calibration_error(*tested) == pytest.approx(error, abs=0.0006), run.folder
            found = fit_temperature(*arrays(run.predictions, "PublicTest"))
            assert calibration_error(tempered(tested[0], found), tested[1]) < 0.0365
    for run, errors in zip(seed_groups(runs)["resnet18_smoothed"], ((0.055, 0.042), (0.051, 0.047)), strict=True):
        tested, found = arrays(run.predictions, "PrivateTest"), fit_temperature(*arrays(run.predictions, "PublicTest"))
        both = calibration_error(*tested), calibration_error(tempered(tested[0], found), tested[1])
        assert both == pytest.approx(errors, abs=0.0006)
    answers = {"18_all_seed0": ((0, 1, 0.68), (0.5, 0.74, 0.78), (0.7, 0.46, 0.90)),
               "18_smoothed_seed0": ((0, 1, 0.69), (0.7, 0.56, 0.85))}  # fmt: skip
    for name, (before, temperature, after) in expected.items():
        predictions = runs[f"resnet{name}"].predictions
        found = fit_temperature(*arrays(predictions, "PublicTest"))
        probabilities, labels = arrays(predictions, "PrivateTest")
        cooled = tempered(probabilities, found)
        errors = calibration_error(probabilities, labels), calibration_error(cooled, labels)
        assert (found, *errors) == pytest.approx((temperature, before, after), abs=0.005), name
        right = cooled.argmax(axis=1) == labels
        for limit, share, accuracy in answers.get(name, ()):
            sure = cooled.max(axis=1) >= limit
            assert (sure.mean(), right[sure].mean()) == pytest.approx((share, accuracy), abs=0.006)
        if name in answers:  # of the surest tenth and of as many as `smoothed` answers from 70 % on
            surest = right[np.argsort(-cooled.max(axis=1))]
            tenth = {"18_all_seed0": 0.97, "18_smoothed_seed0": 0.94}[name]
            accuracies = surest[: len(surest) // 10].mean(), surest[: round(0.56 * len(surest))].mean()
            assert accuracies == pytest.approx((tenth, 0.855), abs=0.006)


def test_what_notebook_07_says_of_the_surest_mistakes_is_so(runs):
    surest = find_mistakes(runs["resnet18_smoothed_seed0"].predictions.query("usage == 'PrivateTest'")).head(100)
    assert surest["confidence"].min() > 0.85
    pairs = surest.groupby(["label", "predicted"]).size().sort_values(ascending=False)
    assert pairs.iloc[3] < 7 and set(pairs.index[:3]) == {("sad", "happy"), ("sad", "neutral"), ("fear", "surprise")}
    index = load_index()
    labels = index[index["group"] >= 0].groupby("group")["label"].nunique()
    conflicting = index["group"].isin(labels[labels > 1].index)
    assert surest["file"].isin(index.loc[conflicting, "file"]).sum() == 2


def test_what_the_readme_says_of_disgust_is_so(runs):
    def found(name):
        predictions = runs[name].predictions.query("label == 'disgust'")
        return (predictions[list(CLASSES)].idxmax(axis=1) == "disgust").sum(), len(predictions)

    assert found("resnet18_smoothed_seed0") == (66, 111)
    assert max(found(f"resnet18_fc_seed{seed}")[0] for seed in range(3)) < 5
    layer4 = [found(f"resnet{depth}_layer4_seed{seed}")[0] / 111 for depth in (18, 34, 50) for seed in range(3)]
    assert np.mean(layer4) == pytest.approx(0.56, abs=0.005)


def test_hand_made_features_were_tested_on_the_images_of_the_runs(runs):
    found = handmade_predictions()
    assert {"lbp_linear", "gradients_linear", "moments_linear"} <= set(found)
    files = set(next(iter(runs.values())).predictions["file"])
    for name, predictions in found.items():
        assert set(predictions["file"]) == files, name
        settings = json.loads((FOLDER / f"svm_{name}" / "settings.json").read_text("utf-8"))
        assert settings["data"]["fingerprint"] == next(iter(runs.values())).config["data"]["fingerprint"]
        assert {"kernel", "C", "pipeline", "fit_seconds", "versions"} <= settings.keys()


def test_what_notebook_08_says_of_hand_made_features_is_so(runs):
    features = handmade_predictions()["lbp_rbf"]
    private = features[features["usage"] == "PrivateTest"]
    assert measures.correct(private).mean() == pytest.approx(0.579, abs=0.0005)
    assert measures.per_class(private).loc["disgust", "f1"] == pytest.approx(0.68, abs=0.005)
    groups = seed_groups(runs)
    expected = {"18_fc": (0.444, 0.569), "18_layer4": (0.622, 0.646), "34_layer4": (0.622, 0.642),
                "50_layer4": (0.649, 0.664), "18_random": (0.660, 0.673), "18_all": (0.682, 0.691),
                "34_all": (0.688, 0.695), "18_smoothed": (0.688, 0.689), "18_smoothed_45epochs": (0.685, 0.692),
                "34_fc": (0.444, 0.565), "50_fc": (0.477, 0.572), "34_random": (0.652, 0.671),
                "50_random": (0.622, 0.647),
                "50_all": (0.696, 0.704)}  # fmt: skip
    for name, accuracies in expected.items():
        pairs = [fusion.with_features(run, features) for run in groups[f"resnet{name}"]]
        found = np.mean([[run.metrics["full"]["accuracy"] for run in pair] for pair in pairs], axis=0)
        assert found == pytest.approx(accuracies, abs=0.0006), name
        p_value = max(comparison.mcnemar(a.predictions, b.predictions)["p_value"] for a, b in pairs)
        open_ones = {"18_smoothed": 0.73, "18_smoothed_45epochs": 0.11, "50_layer4": 0.06}
        open_ones |= {"18_all": 0.04, "34_all": 0.11, "50_all": 0.09}
        assert p_value == pytest.approx(open_ones[name], abs=0.005) if name in open_ones else p_value < 0.01
    others = {}
    for name, table in handmade_predictions().items():
        own = table[table["usage"] == "PrivateTest"]
        others[name] = measures.correct(own).mean(), measures.per_class(own).loc["disgust", "f1"]
    assert others["gradients_rbf"] == pytest.approx((0.585, 0.64), abs=0.005)
    assert others["moments_rbf"] == pytest.approx((0.49, 0.60), abs=0.006)
    assert all(accuracy < 0.47 and f1 < 0.08 for name, (accuracy, f1) in others.items() if name.endswith("linear"))
    settings = json.loads((FOLDER / "svm_lbp_rbf" / "settings.json").read_text("utf-8"))
    assert settings["support_vectors"] == 26194 and settings["fit_seconds"] == pytest.approx(191, abs=1)
    configs = [run.config for name in ("layer4", "layer4_leak_free") for run in groups[f"resnet18_{name}"]]
    minutes = [(config["seconds"] + config["preparation_seconds"]) / 60 for config in configs]
    assert (round(min(minutes)), round(max(minutes))) == (9, 37) and all(config["other_work"] for config in configs)
    assert len({config["device_name"] for config in configs}) == 2 and {config["threads"] for config in configs} == {1}


def test_what_notebook_08_says_of_the_other_machines_beside_networks_is_so(runs):
    groups, machines = seed_groups(runs), handmade_predictions()
    expected = {"gradients_rbf": {"18_fc": 0.574, "18_layer4": 0.646, "18_all": 0.696, "18_smoothed": 0.694,
                                  "18_smoothed_45epochs": 0.698},
                "moments_rbf": {"18_fc": 0.508, "18_all": 0.689}}  # fmt: skip
    p_values = {"gradients_rbf": {"18_all": 0.001, "18_smoothed": 0.56, "18_smoothed_45epochs": 0.002},
                "moments_rbf": {"18_all": 0.08}}  # fmt: skip
    for machine, accuracies in expected.items():
        for name, accuracy in accuracies.items():
            pairs = [fusion.with_features(run, machines[machine]) for run in groups[f"resnet{name}"]]
            assert np.mean([fused.metrics["full"]["accuracy"] for _, fused in pairs]) == pytest.approx(
                accuracy, abs=0.0006
            )
            if name in p_values[machine]:
                p_value = max(comparison.mcnemar(*(run.predictions for run in pair))["p_value"] for pair in pairs)
                assert p_value == pytest.approx(p_values[machine][name], abs=0.0005 if p_value < 0.01 else 0.005)


VERDICTS = {
    "lbp_rbf": ("does not hold here", 0.031, (2.4, 2.0, 1.5)),
    "gradients_rbf": ("does not hold here", 0.011, (2.5, 2.5, 1.7)),
    "moments_rbf": ("cannot tell", 0.359, (1.1, 0.7, 0.4)),
    "lbp_linear": ("holds here", 0.048, (0.5, 0.2, 0.2)),
    "gradients_linear": ("holds here", 0.010, (0.3, -0.1, 0.3)),
    "moments_linear": ("holds here", 0.018, (0.7, 0.0, 0.3)),
}


@pytest.mark.parametrize(("machine", "expected"), VERDICTS.items())
def test_what_notebook_08_says_of_minimal_gains_by_machine_is_so(runs, machine, expected):
    verdict, p_value, gains = expected
    groups, features = seed_groups(runs), handmade_predictions()[machine]
    names = {"groups": groups, "MODELS": MODELS, "BESIDE": BESIDE}
    functions = functions_of("08_beyond_the_paper", beside_features=beside_features, check_claim=check_claim, **names)
    row = functions["verdict_row"](features)
    assert row["verdict"] == verdict and f"p = {p_value:.3f}" in row["its test"]
    assert [100 * row[f"gain of {name}"] for name in MODELS] == pytest.approx(gains, abs=0.055)
    assert features.attrs["machine"] == {"lbp": "LBP", "gradients": "HOG", "moments": "higher-order statistics"}[
        machine.split("_")[0]] + (", RBF machine" if "rbf" in machine else ", linear machine")  # fmt: skip


def test_what_notebook_08_says_of_a_second_opinion_is_so(runs):
    def accuracy(*names):
        tables = [runs[name].predictions.sort_values("file", ignore_index=True) for name in names]
        mean = tables[0].assign(**{name: sum(table[name] for table in tables) / len(tables) for name in CLASSES})
        return measures.correct(mean[mean["usage"] == "PrivateTest"]).mean()

    threes = [[f"resnet{depth}_layer4_seed{seed}" for depth in (18, 34, 50)] for seed in range(3)]
    found = accuracy(*threes[0]), accuracy(threes[0][2]), accuracy("resnet18_smoothed_seed0", threes[0][0])
    assert found == pytest.approx((0.667, 0.653, 0.689), abs=0.0006)
    gains = [accuracy(*three) - max(map(accuracy, three)) for three in threes]
    assert gains == pytest.approx([0.0134, 0.0156, 0.0187], abs=0.0001)
    assert all(accuracy(three[2]) == max(map(accuracy, three)) for three in threes)


def test_what_notebook_08_says_of_early_fusion_and_of_the_mirror_is_so():
    early = pd.read_csv(FOLDER / "beyond" / "early.csv", index_col=0)
    assert early.loc["ResNet18, fc", ["pooled vector", "with LBP"]].round(2).tolist() == [0.49, 0.52]
    assert early.loc["ResNet18, fc", ["low", "high"]].round(2).tolist() == [0.02, 0.05]
    assert early.loc["no network", "with LBP"].round(2) == 0.46
    trained = early.drop(["ResNet18, fc", "no network"])
    layer4, *whole = trained[["low", "high"]].to_numpy().tolist()
    assert layer4 == pytest.approx([-0.004, 0.005], abs=0.0005)
    assert early["seeds"].tolist() == [1, 3, 1, 1, 1]
    assert len(whole) == 2 and all(-0.002 < low < 0 < high < 0.0071 for low, high in whole)
    mirror = pd.read_csv(FOLDER / "beyond" / "mirror.csv", index_col=0)
    layer4 = mirror.loc["ResNet18, layer4 and fc"]
    assert layer4["seeds"] == 3 and layer4[["gain", "low", "high"]].round(3).tolist() == [0.018, 0.007, 0.027]
    assert mirror.loc["ResNet34, all layers", ["low", "high"]].tolist() == pytest.approx([0.0033, 0.02], abs=0.0006)
    smoothed = mirror.filter(like="smoothed", axis=0)
    assert smoothed["high"].round(3).tolist() == [0.016, 0.016] and (smoothed["low"] <= 0).all()
    assert (mirror["leak-free gain"] - mirror["gain"]).abs().max() < 0.001


@pytest.mark.parametrize("folder", sorted(path.name for path in FOLDER.iterdir() if path.is_dir()))
def test_every_reference_result_names_its_data(folder):
    facts = [FOLDER / folder / name for name in ("config.json", "settings.json")]
    (found,) = [json.loads(path.read_text(encoding="utf-8")) for path in facts if path.exists()]
    assert found["data"]["fingerprint"] == "sha256:b03eaa8ad7379497" and found["versions"]["python"]


def test_what_notebook_07_says_of_painted_pixels_is_so(runs):
    deletion = pd.read_csv(FOLDER / "inside" / "deletion.csv", index_col=0)
    assert deletion.loc[0].round(2).tolist() == [0.69] * 3
    own, other, random = (deletion[name] for name in ("its own map", "another image's map", "random pixels"))
    assert [round(column[0.1], 2) for column in (own, random, other)] == [0.39, 0.46, 0.5]
    assert (other > random)[1:].all() and own[0.3] == pytest.approx(random[0.3], abs=0.02) and own[0.5] > random[0.5]
    run = runs["resnet18_smoothed_seed0"]
    chosen = functions_of("07_inside_the_network", np=np, seed=0)["drawn"](run.predictions, 200)
    assert run.predictions.iloc[chosen]["label"].value_counts().min() >= 2  # of every expression
    probabilities = run.predictions.iloc[chosen][list(CLASSES)].to_numpy()
    sharpened = probabilities ** (1 / run.config["temperature"])
    sure = (sharpened / sharpened.sum(axis=1, keepdims=True)).max(axis=1).mean()
    assert sure == pytest.approx(deletion.loc[0, "its own map"], abs=0.002)  # of the same images


def test_what_notebook_08_says_of_two_equals_and_their_mirrors_is_so(runs):
    ensemble = pd.read_csv(FOLDER / "beyond" / "ensemble.csv", index_col=0)
    _, pair, both = (ensemble.loc[name] for name in ensemble.index)
    assert ensemble["accuracy"].tolist() == pytest.approx([0.699, 0.696, 0.702], abs=0.0006)
    assert pair["p"] == pytest.approx(0.05, abs=0.005) and both["p"] == pytest.approx(0.003, abs=0.0005)
    assert ((ensemble["leak-free gain"] - ensemble["gain"]) > 0).all()
    members = [runs["resnet18_smoothed_seed0"], runs["resnet34_all_seed0"]]
    private = [run.predictions[run.predictions["usage"] == "PrivateTest"] for run in members]
    assert [measures.correct(part).mean().round(3) for part in private] == [0.687, 0.688]
    costs = [run.config["multiply_adds"] / 1e6 for run in members]
    expected = [2 * costs[1], sum(costs), 2 * sum(costs)]
    assert (
        ensemble["multiply-adds, M"].tolist() == pytest.approx(expected, abs=1) and 6 <= both.iloc[-1] / costs[0] < 6.1
    )
    together = functions_of("08_beyond_the_paper", np=np, pd=pd, CLASSES=CLASSES)["together"]
    assert measures.correct(together(private)).mean() == pytest.approx(pair["accuracy"], abs=0.0001)


def test_what_notebook_08_says_of_disgust_with_fc_is_so():
    disgust = pd.read_csv(FOLDER / "beyond" / "disgust_fc.csv", index_col=0)
    bought = disgust.loc[["class weights", "balanced sampling", "logit adjustment, tau 1"]]
    assert disgust.loc["plain", ["recall", "precision"]].astype(float).round(2).tolist() == [0.11, 0.39]
    assert bought["recall"].between(0.695, 0.735).all() and bought["precision"].between(0.10, 0.125).all()
    assert (disgust.loc["plain", "macro-F1"] - bought["macro-F1"]).between(0, 0.02).all()
    low, high = seeds_of(disgust, "its seeds")
    assert (high - low)[1:].round(2).tolist() == pytest.approx([0.04, 0.01, 0.04, 0.06])
    unchanged = disgust.loc[["plain", "focal loss"], ["recall", "macro-F1"]]
    assert unchanged.diff().iloc[1].abs().max() < 0.01


def test_what_notebook_08_says_of_disgust_with_layer4_is_so():
    disgust = pd.read_csv(FOLDER / "beyond" / "disgust_layer4.csv", index_col=0)
    found = disgust[["recall", "precision"]].round(2).to_numpy().tolist()
    assert found[:3] == [[0.59, 0.55], [0.75, 0.27], [0.67, 0.74]] and found[4] == [0.79, 0.23]
    assert disgust["precision +"].iloc[2] == "+0.109 to +0.263"
    changes = disgust["macro-F1 +"].iloc[1:].tolist()
    assert changes == ["-0.040 to -0.018", "-0.007 to +0.018", "-0.014 to +0.004", "-0.050 to -0.028"]
    assert disgust["recall +"].iloc[2] == "+0.007 to +0.163" and disgust["recall +"].iloc[3] == "-0.061 to +0.034"
    low, high = seeds_of(disgust, "its seeds")
    assert high[1] < low[0] and high[4] < low[0] and low[2] >= low[0]  # class weights and tau 1 in every seed
    low, high = seeds_of(disgust, "of seeds")
    assert low[2] < high[0] and low[1] > high[0] and low[4] > high[0]
    assert disgust["accuracy"].iloc[0] - disgust["accuracy"].iloc[2] == pytest.approx(0.015, abs=0.001)


def seeds_of(table, column):
    """The lowest and the highest of each row."""
    return table[column].str.extract(r"(.*) to (.*)").astype(float).T.to_numpy()


def test_what_notebook_08_says_of_disgust_in_the_reference_runs_is_so(runs):
    def private(predictions):
        return measures.per_class(predictions[predictions["usage"] == "PrivateTest"])

    by_tau = functions_of("08_beyond_the_paper", np=np, pd=pd, CLASSES=CLASSES, measures=measures)["by_tau"]
    shares = PUBLISHED["Training"][list(CLASSES)].to_numpy() / 28_709
    for run in seed_groups(runs)["resnet18_layer4"]:
        found = private(run.predictions)
        assert found.loc["disgust", "recall"] == pytest.approx(0.6)
        assert found["f1"].mean() == pytest.approx(0.61, abs=0.005)
        assert found.loc["disgust", "f1"] == pytest.approx(0.67, abs=0.011)
        assert by_tau(run.predictions, shares, "PublicTest")["macro-F1"].idxmax() == 0
    assert all(private(run.predictions).loc["disgust", "recall"] == 0 for run in seed_groups(runs)["resnet18_fc"])
    found = private(handmade_predictions()["lbp_rbf"])
    assert found.loc["disgust", ["recall", "f1"]].tolist() == pytest.approx([0.545, 0.682], abs=0.001)
    assert found["f1"].mean() == pytest.approx(0.58, abs=0.001)


def test_what_notebook_08_says_of_few_happy_faces_is_so():
    happy = pd.read_csv(FOLDER / "beyond" / "happy_fc.csv", index_col=0)
    assert happy.index[0] == 436 and happy["happy"].round(2).iloc[[0, -1]].tolist() == [0.03, 0.72]
    assert happy["disgust"].between(0.09, 0.15).all() and happy["happy"].diff().iloc[1:].between(0.11, 0.225).all()
    happy = pd.read_csv(FOLDER / "beyond" / "happy_layer4.csv", index_col=0)
    assert happy.loc[[436, 1744, 7215], "happy"].round(2).tolist() == [0.24, 0.56, 0.77]
    assert happy.loc[436, ["happy, of seeds", "disgust, of seeds"]].tolist() == ["0.18 to 0.33", "0.38 to 0.78"]
    assert happy.loc[436, "disgust"] / happy.loc[436, "happy"] == pytest.approx(2.2, abs=0.05)
    plain = pd.read_csv(FOLDER / "beyond" / "disgust_layer4.csv", index_col=0).loc["plain"]
    assert happy.loc[7215, "disgust"] == pytest.approx(plain["recall"], abs=0.0001)
    assert happy.loc[7215, "disgust, of seeds"] == plain["of seeds"] and round(plain["recall"], 2) == 0.59
