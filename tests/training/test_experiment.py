import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tiny_training import TINY_RUN

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError, WeightsError
from fer_nb_utils.files import write_json
from fer_nb_utils.networks.load import EMBEDDED
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import build_model
from fer_nb_utils.networks.transforms import Preprocess
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.training import experiment, features

NAMES = {"settings.json", "config.json", "history.csv", "model.safetensors", "predictions.csv", "metrics.json"}
REAL = {"Training": 700, "PublicTest": 150, "PrivateTest": 150}


@pytest.fixture(scope="module")
def few(sample):
    """Some images of every class and split, for runs that only have to run."""
    return sample.subset(slice(0, None, 8))


def test_folder_holds_all_that_a_reader_needs(finished_run):
    assert {path.name for path in finished_run.folder.iterdir()} == NAMES
    config = finished_run.config
    resolved = {"precision": config["precision"], "weights_label": "random", "weights_kind": "random"}
    assert config == config | dataclasses.asdict(TINY_RUN) | resolved
    assert config["data"]["synthetic"] and config["data"]["fingerprint"].startswith("sha256:")
    assert config["versions"]["torch"] == torch.__version__ and config["device"] == "cpu"
    assert config["trained_parameters"] == 512 * 7 + 7 and config["parameters"] > 11e6
    assert "synthetic sample" in finished_run.protocol and "random" in finished_run.protocol


def test_predictions_are_those_of_the_saved_model_on_the_test_images(finished_run, sample):
    predictions = pd.read_csv(finished_run.folder / "predictions.csv")
    assert list(predictions) == ["file", "usage", "label", *CLASSES]
    test = sample.select("PublicTest", "PrivateTest")
    assert predictions["file"].tolist() == test.files.tolist()
    assert [CLASSES.index(label) for label in predictions["label"]] == test.labels.tolist()
    again = predict(finished_run.load_model(), torch.from_numpy(test.images), Preprocess(32))
    np.testing.assert_allclose(predictions[list(CLASSES)], again, atol=1e-4)
    accuracy = (predictions[list(CLASSES)].to_numpy().argmax(1) == test.labels).mean()
    assert finished_run.metrics["full"]["accuracy"] == pytest.approx(accuracy)


def test_a_finished_run_is_read_not_repeated(finished_run, sample, monkeypatch):
    monkeypatch.setattr(experiment, "fit", None)  # would fail if called
    assert experiment.run(TINY_RUN, sample, finished_run.folder, "cpu").config == finished_run.config


def test_other_settings_move_the_old_run_aside(few, finished_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 0)
    copy_of_finished = shutil.copytree(finished_run.folder, tmp_path / "run")
    experiment.run(dataclasses.replace(TINY_RUN, seed=1), few, copy_of_finished, "cpu")
    assert Run.load(tmp_path / "run.previous-1").config == finished_run.config
    assert Run.load(copy_of_finished).config["seed"] == 1
    assert {path.name for path in copy_of_finished.iterdir()} == NAMES  # no cached features
    assert "held a run with another seed; it is now run.previous-1." in capsys.readouterr().out


def test_weights_of_ones_own_are_recorded_without_their_path_and_no_longer_needed(few, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    save_file(build_model("resnet18", "none").state_dict(), weights / "resnet18_mine.safetensors")
    config = dataclasses.replace(TINY_RUN, weights=str(weights))
    finished = experiment.run(config, few, tmp_path / "run", "cpu")
    text = (finished.folder / "config.json").read_text("utf-8")
    assert str(tmp_path) not in text and len(json.loads(text)["weights_sha256"]) == 64
    assert finished.config["weights_kind"] == "file" and finished.config["weights_label"] == "resnet18_mine.safetensors"
    shutil.rmtree(weights)
    assert experiment.run(config, few, tmp_path / "run", "cpu").config == finished.config
    with pytest.raises(WeightsError, match="no weights at"):
        experiment.run(dataclasses.replace(config, seed=1), few, tmp_path / "run", "cpu")
    assert not (tmp_path / "run.previous-1").exists()


def test_a_short_training_on_the_real_data_beats_the_majority_class(fer2013, tmp_path):
    """Features of the embedded network, which has seen neither test set, under a new head."""
    rng = np.random.default_rng(0)
    chosen = [rng.choice(np.flatnonzero(fer2013.usage == usage), count, False) for usage, count in REAL.items()]
    faces = fer2013.subset(np.concatenate(chosen))
    config = dataclasses.replace(TINY_RUN, weights=str(EMBEDDED), epochs=10, batch_size=32, learning_rate=0.003)
    finished = experiment.run(config, faces, tmp_path / "run", "cpu")
    majority = finished.predictions["label"].value_counts(normalize=True).max()
    assert finished.metrics["full"]["intervals"]["accuracy"][0] > majority


def test_a_repetition_needs_the_same_recipe_and_initial_weights(sample, finished_run, tmp_path):
    def changed(**parts):
        recipe = finished_run.config["recipe"] | parts.pop("recipe", {})
        write_json(tmp_path / "config.json", finished_run.config | parts | {"recipe": recipe})
        return tmp_path / "config.json"

    with pytest.raises(UserError, match="made with another augmentation, warm_up than the code here has"):
        recipe = {"augmentation": None, "warm_up": 0.2}
        experiment.repeat(changed(recipe=recipe), sample, tmp_path / "again", device="cpu")
    with pytest.raises(UserError, match="none is not the file of initial weights of that run"):
        experiment.repeat(changed(weights_sha256="0" * 64), sample, tmp_path / "again", device="cpu")
    assert not (tmp_path / "again").exists()


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
from fer_nb_utils.training import experiment, features
from fer_nb_utils.data.dataset import Dataset
from fer_nb_utils.training.config import TrainConfig

rng = np.random.default_rng(0)
usage = np.repeat(["Training", "PublicTest", "PrivateTest"], 28)
images = rng.integers(0, 256, (84, 48, 48), dtype=np.uint8)
files = np.array([f"{name}_{number}" for number, name in enumerate(usage)])
dataset = Dataset(images, np.arange(84) % 7, usage, files, "noise", "sha256:0", "noise")
config = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=1, cached_views=1)
print(len(experiment.run(config, dataset, sys.argv[1], "cpu").predictions))
"""


def test_a_bare_gpu_machine_can_train_and_evaluate(tmp_path):
    done = subprocess.run([sys.executable, "-c", BARE_MACHINE, tmp_path / "run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "56"
