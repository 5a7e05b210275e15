import dataclasses
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import load
from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.transforms import Preprocess
from fer_nb_utils.results.comparison import common_protocol
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.training import experiment
from fer_nb_utils.training.config import TrainConfig

TINY = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=1, cached_views=1)


@pytest.fixture(scope="module")
def sample():
    return load("sample")


@pytest.fixture(scope="module")
def finished(sample, tmp_path_factory) -> Run:
    return experiment.run(TINY, sample, tmp_path_factory.mktemp("runs") / "resnet18", "cpu")


def test_folder_holds_all_that_a_reader_needs(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "settings.json", "config.json", "history.csv", "model.safetensors", "predictions.csv", "metrics.json",
    }  # fmt: skip
    config = finished.config
    resolved = {"precision": config["precision"], "weights_label": "random"}
    assert config == config | dataclasses.asdict(TINY) | resolved
    assert config["data"]["synthetic"] and config["data"]["fingerprint"].startswith("sha256:")
    assert config["versions"]["torch"] == torch.__version__ and config["device"] == "cpu"
    assert config["trained_parameters"] == 512 * 7 + 7 and config["parameters"] > 11e6
    assert "synthetic sample" in finished.protocol and "random" in finished.protocol


def test_common_protocol_says_once_what_runs_share(finished):
    longer = dataclasses.replace(finished, config=finished.config | {"epochs_run": 9, "cached_views": 0})
    assert common_protocol({"a": finished}) == common_protocol({"a": finished, "b": finished}) == finished.protocol
    assert common_protocol({"a": finished, "b": longer}) == (
        "synthetic sample, initial weights random, trained: fc, 32 px, seed 0; a: 1 epoch, cached views: 1; b: 9 epochs"
    )
    assert common_protocol({}) == ""


def test_predictions_are_those_of_the_saved_model_on_the_test_images(finished, sample):
    predictions = pd.read_csv(finished.folder / "predictions.csv")
    assert list(predictions) == ["file", "usage", "label", *CLASSES]
    test = sample.select("PublicTest", "PrivateTest")
    assert predictions["file"].tolist() == test.files.tolist()
    assert [CLASSES.index(label) for label in predictions["label"]] == test.labels.tolist()
    again = predict(finished.load_model(), torch.from_numpy(test.images), Preprocess(32))
    np.testing.assert_allclose(predictions[list(CLASSES)], again, atol=1e-4)
    accuracy = (predictions[list(CLASSES)].to_numpy().argmax(1) == test.labels).mean()
    assert finished.metrics["full"]["accuracy"] == pytest.approx(accuracy)


def test_a_finished_run_is_read_not_repeated(finished, sample, monkeypatch):
    monkeypatch.setattr(experiment, "fit", None)  # would fail if called
    assert experiment.run(TINY, sample, finished.folder, "cpu").config == finished.config


def test_other_settings_move_the_old_run_aside(sample, tmp_path, capsys):
    first = experiment.run(TINY, sample, tmp_path / "run", "cpu")
    experiment.run(dataclasses.replace(TINY, seed=1), sample, tmp_path / "run", "cpu")
    aside = Run.load(tmp_path / "run.previous-1")
    assert aside.config == first.config
    assert Run.load(tmp_path / "run").config["seed"] == 1
    assert "run.previous-1" in capsys.readouterr().out


def test_an_interrupted_run_keeps_its_state_and_goes_on(sample, tmp_path, monkeypatch):
    def broken(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(experiment, "predict", broken)
        experiment.run(TINY, sample, tmp_path, "cpu")
    assert (tmp_path / "state.pt").exists() and not (tmp_path / "config.json").exists()
    with pytest.raises(UserError, match="no finished run"):
        Run.load(tmp_path)
    assert experiment.run(TINY, sample, tmp_path, "cpu").config["epochs_run"] == 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": "vgg"}, "model is 'vgg'; choose one of resnet18"),
        ({"trainable": "layer5"}, "trainable is 'layer5'"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"trainable": "all"}, "cached_views needs a frozen backbone"),
    ],
)
def test_senseless_settings_are_one_sentence(sample, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        experiment.run(dataclasses.replace(TINY, **change), sample, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


def test_settings_hold_no_path(sample, tmp_path):
    from safetensors.torch import save_file

    from fer_nb_utils.networks.resnets import build_model

    weights = tmp_path / "weights"
    weights.mkdir()
    save_file(build_model("resnet18", "none").state_dict(), weights / "resnet18_mine.safetensors")
    config = dataclasses.replace(TINY, weights=str(weights))
    finished = experiment.run(config, sample, tmp_path / "run", "cpu")
    text = (finished.folder / "config.json").read_text()
    assert str(tmp_path) not in text and len(json.loads(text)["weights_sha256"]) == 64
    assert finished.config["weights_label"] == "resnet18_mine.safetensors"


def test_a_short_training_on_the_real_data_beats_the_majority_class(fer2013, tmp_path):
    slice_ = fer2013.subset(np.random.default_rng(0).permutation(len(fer2013))[:6000])
    config = TrainConfig(weights="none", trainable="all", image_size=32, epochs=2, batch_size=32, learning_rate=1e-3)
    finished = experiment.run(config, slice_, tmp_path / "run", "cpu")
    majority = finished.predictions["label"].value_counts(normalize=True).max()
    assert finished.metrics["full"]["intervals"]["accuracy"][0] > majority


BARE_MACHINE = """
import sys
from importlib.abc import MetaPathFinder

class OnlyWhatTrainingNeeds(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        missing = {"matplotlib", "seaborn", "cv2", "statsmodels", "papermill", "jupytext", "nbformat", "nbconvert",
                   "IPython", "ipykernel", "ipywidgets", "kagglehub", "click"}
        if name.split(".")[0] in missing:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, OnlyWhatTrainingNeeds())
import numpy as np
from fer_nb_utils.training import experiment
from fer_nb_utils.data.dataset import Dataset
from fer_nb_utils.training.config import TrainConfig

rng = np.random.default_rng(0)
usage = np.repeat(["Training", "PublicTest", "PrivateTest"], 70)
images = rng.integers(0, 256, (210, 48, 48), dtype=np.uint8)
files = np.array([f"{name}_{number}" for number, name in enumerate(usage)])
dataset = Dataset(images, np.arange(210) % 7, usage, files, "noise", "sha256:0", "noise")
config = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=1, cached_views=1)
print(len(experiment.run(config, dataset, sys.argv[1], "cpu").predictions))
"""


def test_a_bare_gpu_machine_can_train_and_evaluate(tmp_path):
    done = subprocess.run([sys.executable, "-c", BARE_MACHINE, tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "140"
