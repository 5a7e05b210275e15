"""Networks ready to classify: the embedded one, published ones, and those of runs."""

import json

import numpy as np
import pytest
import torch
from maintain import publish_checkpoint
from safetensors.torch import save_file

from fer_nb_utils.errors import UserError, WeightsError
from fer_nb_utils.networks.load import CHECKPOINTS, EMBEDDED, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import build_model, load_checkpoint
from fer_nb_utils.networks.transforms import Preprocess


def probabilities(network, sample):
    return predict(network.model, torch.from_numpy(sample.images[:20]), network.transform)


def test_the_embedded_network(sample):
    network = load_network()
    assert network.name == "resnet18_fer2013" and network.transform == Preprocess(64) and not network.model.training
    model = load_checkpoint(build_model("resnet18", "none"), EMBEDDED)
    raw = predict(model, torch.from_numpy(sample.images[:20]), Preprocess(64))
    assert network.temperature == 1.0831 and "temperature 1.0831" in EMBEDDED.with_suffix(".md").read_text("utf-8")
    expected = raw ** (1 / network.temperature)
    np.testing.assert_allclose(probabilities(network, sample), expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert len(set(expected.argmax(axis=1))) > 1  # it tells faces apart


def test_every_embedded_checkpoint_can_be_loaded():
    paths = list(CHECKPOINTS.glob("resnet*.safetensors"))
    assert EMBEDDED in paths and [load_network(path).name for path in paths] == [path.stem for path in paths]


def test_a_run_by_its_folder_or_its_weights(finished_run, sample, monkeypatch):
    monkeypatch.chdir(finished_run.folder)
    for path in (finished_run.folder, str(finished_run.folder / "model.safetensors"), ".", "model.safetensors"):
        network = load_network(path)
        assert network.name == "resnet18_tiny" and network.transform == Preprocess(32) and not network.model.training
        assert network.temperature == finished_run.config["temperature"] != 1
        raw = predict(finished_run.load_model(), torch.from_numpy(sample.images[:20]), Preprocess(32))
        expected = raw ** (1 / network.temperature)
        np.testing.assert_allclose(probabilities(network, sample), expected / expected.sum(1, keepdims=True), atol=1e-6)


def test_a_published_checkpoint_wherever_it_lies(finished_run, sample, tmp_path):
    path = publish_checkpoint(finished_run, "tiny", tmp_path)
    inside = tmp_path / "run" / path.name  # of another run, which must not take its place
    inside.parent.mkdir()
    (inside.parent / "config.json").write_text("{}")
    inside.write_bytes(path.read_bytes())
    for place in (path, inside):
        network = load_network(place)
        assert network.name == "tiny" and network.transform == Preprocess(32)
        np.testing.assert_allclose(
            probabilities(network, sample), probabilities(load_network(finished_run.folder), sample), atol=0.01
        )


ONE = {"fc.bias": torch.zeros(7)}
RESNET = {"model": "resnet18", "image_size": "64"}
SAYS_NOTHING = "does not say which network it holds and for which image size"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: save_file(ONE, path), SAYS_NOTHING),
        (lambda path: save_file(ONE, path, {"model": "resnet18", "image_size": "large"}), SAYS_NOTHING),
        (lambda path: save_file(ONE, path, RESNET | {"temperature": "0"}), SAYS_NOTHING),
        (lambda path: save_file(ONE, path, RESNET | {"temperature": "nan"}), SAYS_NOTHING),
        (lambda path: save_file(ONE, path, RESNET), "belong to another network"),
        (lambda path: save_file(ONE, path, {"model": "vgg16", "image_size": "64"}), "choose one of resnet18, resnet34"),
        (lambda path: torch.save(ONE, path), SAYS_NOTHING),
        (lambda path: path.write_bytes(EMBEDDED.read_bytes()[:1_000_000]), SAYS_NOTHING),
        (lambda path: path.write_text("no tensors"), SAYS_NOTHING),
        (lambda path: path.touch(), SAYS_NOTHING),
        (lambda path: None, "There is no network at .*network.safetensors"),
    ],
    ids=[
        "no metadata",
        "no size",
        "no degree",
        "not a number",
        "few tensors",
        "no ResNet",
        "a .pth",
        "cut off",
        "text",
        "empty",
        "missing",
    ],
)
def test_what_is_no_network_is_one_sentence(write, message, tmp_path):
    write(tmp_path / "network.safetensors")
    with pytest.raises(UserError, match=message) as raised:
        load_network(tmp_path / "network.safetensors")
    assert "\n" not in str(raised.value) and str(raised.value).endswith(".")


def test_a_pth_file_beside_a_run_is_not_the_run(finished_run, tmp_path):
    torch.save(finished_run.load_model().state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "config.json").write_text(json.dumps(finished_run.config))
    with pytest.raises(WeightsError, match=f"resnet18.pth {SAYS_NOTHING}"):
        load_network(tmp_path / "resnet18.pth")


def test_a_folder_without_a_finished_run(tmp_path):
    with pytest.raises(UserError, match="There is no finished run in"):
        load_network(tmp_path)


def test_a_run_that_was_published_without_its_weights(finished_run, tmp_path):
    for file in finished_run.folder.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        load_network(tmp_path)
