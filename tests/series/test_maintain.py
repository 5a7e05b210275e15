import dataclasses
import gzip
import json
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import maintain
import nbformat
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from maintain import (
    MARKS,
    model_card,
    publish_checkpoint,
    publish_run,
    publish_runs,
    reproducibility,
    results_table,
)

from fer_nb_utils.__main__ import main
from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.load import CHECKPOINTS, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import build_model, load_checkpoint
from fer_nb_utils.networks.transforms import Preprocess
from fer_nb_utils.paths import ROOT
from fer_nb_utils.results import comparison
from fer_nb_utils.results.reference_runs import handmade_predictions, reference_runs
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.series import execute, report
from fer_nb_utils.training import experiment


def test_a_published_run_reads_like_the_run_itself(finished_run, tmp_path):
    trained_elsewhere = replace(finished_run, config=finished_run.config | {"latency_device": "another machine"})
    target = publish_run(trained_elsewhere, tmp_path)
    published = Run.load(target)
    assert published.config | {"latency_ms": 0} == finished_run.config | {"latency_ms": 0}  # timed here
    assert published.config["latency_ms"] > 0 and published.metrics == finished_run.metrics
    np.testing.assert_allclose(published.predictions[list(CLASSES)], finished_run.predictions[list(CLASSES)], atol=1e-5)
    assert not (target / "model.safetensors").exists()
    first = gzip.decompress((target / "predictions.csv.gz").read_bytes())
    packed = (target / "predictions.csv.gz").read_bytes()
    publish_run(finished_run, tmp_path)
    assert (target / "predictions.csv.gz").read_bytes() == packed and first.startswith(b"file,usage,label,")


def test_the_checkpoint_predicts_what_the_run_predicted(finished_run, sample, tmp_path):
    path = publish_checkpoint(finished_run, "tiny", tmp_path)
    model = load_checkpoint(build_model("resnet18", "none"), path)
    test = sample.select("PublicTest", "PrivateTest")
    probabilities = predict(model, torch.from_numpy(test.images), Preprocess(32))
    np.testing.assert_allclose(probabilities, finished_run.predictions[list(CLASSES)], atol=0.01)  # float16
    card = path.with_suffix(".md").read_text("utf-8")
    assert (
        f"{finished_run.metrics['full']['accuracy']:.3f}" in card and finished_run.config["data"]["fingerprint"] in card
    )


def test_a_run_can_be_repeated_from_its_config(finished_run, sample, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(finished_run.config | {"source_revision": "000000000000"}))
    result = CliRunner().invoke(main, ["repeat", str(config), str(tmp_path / "again"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    again = Run.load(tmp_path / "again")
    assert "The training code has changed since that run" in result.stderr
    np.testing.assert_allclose(again.predictions[list(CLASSES)], finished_run.predictions[list(CLASSES)], atol=1e-6)
    assert f"{finished_run.metrics['full']['accuracy']:.4f}" in result.output


def test_other_data_cannot_pass_for_a_repetition(finished_run, sample, tmp_path):
    other = dataclasses.replace(sample, fingerprint="sha256:other")
    with pytest.raises(UserError, match="not the data of that run"):
        experiment.repeat(finished_run.folder / "config.json", other, tmp_path / "again", device="cpu")
    assert not (tmp_path / "again").exists()


def test_a_config_that_is_none_cannot_be_repeated(finished_run, tmp_path):
    config = tmp_path / "config.json"
    lacking = {name: value for name, value in finished_run.config.items() if name not in ("seed", "epochs")}
    for text, message in (
        ("{", "is not the config.json of a finished run"),
        ("[]", "is not the config.json of a finished run"),
        ('{"data": 3}', "is not the config.json of a finished run"),
        ('{"data": {}}', "is not the config.json of a finished run"),
        (json.dumps(lacking), "not the config.json of a finished run ('epochs')"),
        (json.dumps(finished_run.config | {"epochs": "many"}), "epochs is 'many'"),
    ):
        config.write_text(text)
        result = CliRunner().invoke(main, ["repeat", str(config), str(tmp_path / "again")])
        assert result.exit_code == 2 and message in result.output and result.output.count("\n") == 1
    assert not (tmp_path / "again").exists()


def test_the_readme_shows_the_committed_results():
    assert results_table(reference_runs()) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_committed_card_is_the_one_of_its_run():
    card = (CHECKPOINTS / "resnet18_fer2013.md").read_text(encoding="utf-8")
    run = reference_runs()["resnet18_smoothed_seed0"]
    assert card == model_card(run, "resnet18_fer2013", load_network().temperature)


def test_a_card_says_what_the_run_did(finished_run):
    card = model_card(finished_run, "tiny", 1.25)
    data = finished_run.config["data"]
    shown = f"Validation: {data['validation_images']:,} of the {data['counts']['Training']['all']:,} training images"
    assert shown in card and "drawings alone" in card
    assert "No test image was trained on or chose the epoch." in card and "FER-2013 was collected" not in card
    plain = dataclasses.replace(finished_run, config=finished_run.config | {"augment": False})
    assert "not augmented" not in card and "Trained on" not in card and "not augmented" in model_card(plain, "tiny", 1)
    less = {"train_share": 0.25, "leak_free_train": True}
    card = model_card(dataclasses.replace(finished_run, config=finished_run.config | less), "tiny", 1.0)
    trained_on = f"* Trained on {data['train_images']:,} images: 25 % of train, without twins of test images"
    assert trained_on in card and "identical twin in train" not in card


@pytest.fixture
def committed(tmp_path):
    """Where published things go, and the arguments that say so."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}\nafter\n")
    folders = {name: tmp_path / name for name in ("reference", "checkpoints", "summary")}
    return {"readme": readme} | folders


def test_publishing_writes_run_readme_and_checkpoint(finished_run, committed, monkeypatch):
    monkeypatch.chdir(finished_run.folder)
    written = publish_runs([Path(".")], "tiny", **committed)  # by its name, not into the folder of all
    assert written == [
        committed["reference"] / "resnet18_tiny", committed["readme"], committed["summary"],
        committed["checkpoints"] / "tiny.safetensors",
    ]  # fmt: skip
    assert {path.name for path in committed["reference"].iterdir()} == {"resnet18_tiny"}
    assert (
        committed["readme"].read_text("utf-8")
        == f"before\n{MARKS[0]}{results_table(reference_runs())}{MARKS[1]}\nafter\n"
    )
    assert {path.name for path in committed["checkpoints"].iterdir()} == {"tiny.md", "tiny.safetensors"}


def test_times_beside_other_work_say_so(finished_run, committed):
    publish_runs([finished_run.folder], other_work=True, **committed)
    run = Run.load(committed["reference"] / "resnet18_tiny")
    assert comparison.unlike_times([run]) == ["other work"] and comparison.unlike_times([finished_run]) == []


def test_the_summary_holds_the_numbers_of_the_runs(finished_run):
    other = dataclasses.replace(finished_run, config=finished_run.config | {"seed": 1})
    text = reproducibility({"resnet18_layer4_seed0": finished_run, "resnet18_layer4_seed1": other}, None)
    accuracy = finished_run.metrics["full"]["accuracy"]
    row = next(line for line in text.splitlines() if line.startswith("| resnet18_layer4 |"))
    assert f"| 2 | {finished_run.history['validation_accuracy'].max():.3f} | {accuracy:.3f} | 0.000 |" in row
    assert "2 runs" in text and "Training layer4 with fc" in text
    headings = ["Scope", "Methodology", "Results", "What was easy", "What was difficult", "What was not done"]
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == headings


def test_the_committed_summary_is_that_of_the_committed_runs():
    summary = reproducibility(reference_runs(), handmade_predictions()["lbp_rbf"])
    assert (ROOT / "figures" / "reproducibility.md").read_text(encoding="utf-8") == summary


def test_publishing_checks_everything_before_it_writes(finished_run, committed, tmp_path):
    bare = tmp_path / "bare"  # a run without its network, as the reference results are
    publish_run(finished_run, tmp_path).rename(bare)
    twin = tmp_path / "elsewhere" / "resnet18_tiny"
    shutil.copytree(finished_run.folder, twin)
    former = shutil.copytree(finished_run.folder, tmp_path / "former")
    (former / "config.json").write_text(
        json.dumps({k: v for k, v in finished_run.config.items() if k != "temperature"})
    )
    before = committed["readme"].read_text("utf-8")
    for folders, checkpoint, message in (
        ([finished_run.folder, bare], None, "model.safetensors"),
        ([finished_run.folder, twin], None, "give folders with different names"),
        ([finished_run.folder], "../tiny", "The checkpoint's name is '../tiny'"),
        ([finished_run.folder, tmp_path], None, "There is no finished run"),
        ([former], "tiny", "former records no temperature"),
    ):
        with pytest.raises(UserError, match=message):
            publish_runs(folders, checkpoint, **committed)
    assert committed["readme"].read_text("utf-8") == before
    committed["readme"].write_text("no marks")
    with pytest.raises(UserError, match="README.md lacks the lines <!-- results"):
        publish_runs([finished_run.folder], "tiny", **committed)
    assert not committed["reference"].exists() and not committed["checkpoints"].exists()


def test_a_run_from_any_stage_stands_in_the_table(finished_run):
    config = finished_run.config | {"trainable": "layer3"}
    config["data"] = config["data"] | {"name": "FER-2013"}
    assert "random; layer3, 32 px" in results_table({"run": dataclasses.replace(finished_run, config=config)})


def command(*arguments, folder=ROOT):
    done = subprocess.run([sys.executable, ROOT / ".maintain", *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_maintainers_commands_stand_apart_from_the_users(tmp_path):
    code, text = command("--help", folder=tmp_path)
    assert code == 0 and all(f"  {name} " in text for name in ("embed", "lesson", "publish", "update"))
    shown = CliRunner().invoke(main, ["--help"]).output
    assert not any(f"  {name} " in shown for name in ("embed", "lesson", "publish", "update"))
    code, text = command("publish", tmp_path)
    assert code == 2 and text.splitlines()[-1].startswith("Error: There is no finished run in ")


@pytest.mark.parametrize("failures", [[], ["02_finetune_resnet18, cell [4]: ValueError"]])
def test_updating_takes_a_whole_run_of_the_sample(failures, sample, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path.copy())
    commands = runpy.run_path(str(ROOT / ".maintain" / "__main__.py"))
    ran, written = [], []
    monkeypatch.setattr(execute, "run", lambda profile, jobs, _: ran.append((profile.name, len(jobs))) or failures)
    monkeypatch.setattr(report, "write", lambda _: "index.html")
    monkeypatch.setattr(maintain, "update_notebooks", written.append)
    result = CliRunner().invoke(commands["main"], ["update", "--run-dir", str(tmp_path)])
    assert ran == [("sample", 8)] and result.exit_code == bool(failures)
    assert written == ([] if failures else [tmp_path])


def test_updating_writes_the_sample_runs_notebooks_and_its_figures_of_the_reference(tmp_path, monkeypatch):
    for name, place in (("NOTEBOOKS", tmp_path / "committed"), ("ROOT", tmp_path)):
        monkeypatch.setattr(maintain, name, place)
    for folder in ("committed", "run/notebooks", "run/reference/figures"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "committed" / "01_first.py").touch()
    nbformat.write(nbformat.v4.new_notebook(metadata={"papermill": {}}), tmp_path / "run/notebooks/01_first.ipynb")
    (tmp_path / "run" / "reference" / "figures" / "plot.svg").touch()
    maintain.update_notebooks(tmp_path / "run")
    assert set(nbformat.read(tmp_path / "committed/01_first.ipynb", 4).metadata) == {"kernelspec", "language_info"}
    assert (tmp_path / "figures" / "plot.svg").exists()
