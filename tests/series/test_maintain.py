import dataclasses
import gzip
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fer_nb_utils.__main__ import main
from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import build_model, load_checkpoint
from fer_nb_utils.networks.transforms import Preprocess
from fer_nb_utils.paths import ROOT
from fer_nb_utils.results.reference_runs import reference_runs
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.series.maintain import MARKS, publish_checkpoint, publish_run, results_table, write_results
from fer_nb_utils.training import experiment


def test_a_published_run_reads_like_the_run_itself(finished_run, tmp_path):
    target = publish_run(finished_run, tmp_path)
    published = Run.load(target)
    assert published.config | {"latency_ms": 0} == finished_run.config | {"latency_ms": 0}
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
    card = path.with_suffix(".md").read_text()
    assert (
        f"{finished_run.metrics['full']['accuracy']:.3f}" in card and finished_run.config["data"]["fingerprint"] in card
    )


def test_a_run_can_be_repeated_from_its_config(finished_run, sample, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(finished_run.config))
    result = CliRunner().invoke(main, ["repeat", str(config), str(tmp_path / "again"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    again = Run.load(tmp_path / "again")
    np.testing.assert_allclose(again.predictions[list(CLASSES)], finished_run.predictions[list(CLASSES)], atol=1e-6)
    assert f"{finished_run.metrics['full']['accuracy']:.4f}" in result.output


def test_other_data_cannot_pass_for_a_repetition(finished_run, sample, tmp_path):
    other = dataclasses.replace(sample, fingerprint="sha256:other")
    with pytest.raises(UserError, match="not the data of that run"):
        experiment.repeat(finished_run.config, other, tmp_path / "again", device="cpu")
    assert not (tmp_path / "again").exists()


def test_the_readme_shows_the_committed_results(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert results_table(reference_runs()) in text
    copy = tmp_path / "README.md"
    copy.write_text(f"before\n{MARKS[0]}old\n{MARKS[1]}\nafter\n")
    write_results(copy)
    assert copy.read_text() == f"before\n{MARKS[0]}{results_table(reference_runs())}{MARKS[1]}\nafter\n"
