import dataclasses
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from fer_nb_utils.data.dataset import Dataset, load, split_validation
from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.device import autocast, best_precision, choose_device
from fer_nb_utils.networks.resnets import build_model, split_at
from fer_nb_utils.networks.transforms import Augment, Preprocess
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.features import AugmentedImages, CachedFeatures
from fer_nb_utils.training.loop import fit

CPU = torch.device("cpu")
TINY = TrainConfig(weights="none", trainable="layer4", image_size=32, epochs=2, batch_size=32, precision="float32")


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load("sample")


@pytest.fixture(scope="module")
def halves(sample):
    train, validation = split_validation(sample)
    return train.subset(np.arange(160)), validation.subset(np.arange(60))


def train(config, halves, folder, **changes):
    config = dataclasses.replace(config, **changes)
    model = build_model(config.model, config.weights, config.trainable, config.seed)
    return model, fit(model, config, *halves, folder, CPU, config.precision)


def assert_same(model, other):
    for (name, tensor), expected in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("cached_views", [0, 2])
def test_frozen_tensors_and_buffers_are_bit_identical_after_training(halves, tmp_path, cached_views):
    before = build_model("resnet18", "none", "layer4").state_dict()
    model, _ = train(TINY, halves, tmp_path, cached_views=cached_views)
    after = model.state_dict()
    for name, tensor in before.items():
        frozen = not name.startswith(("layer4", "fc"))
        assert torch.equal(tensor, after[name]) == frozen, name


@pytest.mark.parametrize("usage", ["PublicTest", "PrivateTest"])
@pytest.mark.parametrize("position", [0, 1])
def test_training_refuses_test_images(sample, halves, tmp_path, usage, position):
    mixed = list(halves)
    mixed[position] = sample.select("Training", usage)
    with pytest.raises(ValueError, match="Training images"):
        train(TINY, mixed, tmp_path)


def test_training_never_reads_a_test_image(sample, tmp_path):
    """The same run with every test image replaced by noise gives the same weights."""
    noise = np.random.default_rng(0).integers(0, 256, sample.images.shape, dtype=np.uint8)
    is_train = (sample.usage == "Training")[:, None, None]
    spoilt = dataclasses.replace(sample, images=np.where(is_train, sample.images, noise))
    models = []
    for number, dataset in enumerate((sample, spoilt)):
        parts = split_validation(dataset)
        small = parts[0].subset(np.arange(96)), parts[1].subset(np.arange(40))
        models.append(train(TINY, small, tmp_path / str(number), epochs=1)[0])
    assert_same(*models)


def test_history_counts_every_image_alike(halves, tmp_path):
    """With a learning rate of zero the last state equals the first, so the accuracies can be checked by hand."""
    model, history = train(
        TINY, halves, tmp_path, trainable="fc", epochs=1, learning_rate=0.0, augment=False, batch_size=50
    )
    images, labels = torch.from_numpy(halves[0].images), torch.from_numpy(halves[0].labels)
    with torch.inference_mode():
        logits = model.eval()(Preprocess(32)(images))
    row = history.iloc[0]
    assert row["train_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item(), abs=1e-6)
    assert row["train_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)
    assert list(history) == [
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
    ]  # fmt: skip


def test_training_can_learn_a_few_images_by_heart(halves, tmp_path):
    few = halves[0].subset(np.arange(64)), halves[1]
    _, history = train(
        TINY, few, tmp_path, trainable="all", epochs=12, learning_rate=1e-3, batch_size=16, augment=False
    )
    assert history["train_accuracy"].iloc[-1] > 0.9
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2


@pytest.mark.parametrize("optimizer, schedule", [("adamw", "cosine"), ("sgd", "constant")])
def test_learning_rate_follows_the_schedule(halves, tmp_path, optimizer, schedule):
    _, history = train(
        TINY, halves, tmp_path, trainable="fc", epochs=3, optimizer=optimizer, schedule=schedule, cached_views=1
    )
    rates = history["learning_rate"].tolist()
    assert rates[-1] == TINY.learning_rate if schedule == "constant" else rates[0] > rates[1] > rates[2] > 0


def test_best_validation_epoch_is_kept_and_patience_stops(halves, tmp_path):
    model, history = train(
        TINY, halves, tmp_path, epochs=30, patience=2, learning_rate=3e-3, schedule="constant", cached_views=1
    )
    best = history["validation_accuracy"].argmax()
    assert len(history) == min(30, best + 1 + 2)
    images, labels = torch.from_numpy(halves[1].images), torch.from_numpy(halves[1].labels)
    with torch.inference_mode():
        accuracy = (model.eval()(Preprocess(32)(images)).argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(history["validation_accuracy"].max(), abs=0.02)  # float16 features


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
import numpy as np
import fer_nb_utils.training.loop as loop
from fer_nb_utils.data.dataset import load, split_validation
from fer_nb_utils.networks.device import choose_device
from fer_nb_utils.networks.resnets import build_model
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.loop import fit

config = TrainConfig(**eval(sys.argv[1]))
parts = split_validation(load("sample"))
halves = parts[0].subset(np.arange(160)), parts[1].subset(np.arange(60))
whole_epoch = loop._Loop.epoch
def epoch_that_dies(self, epoch, source):
    result = whole_epoch(self, epoch, source)
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
loop._Loop.epoch = epoch_that_dies
model = build_model("resnet18", "none", config.trainable)
fit(model, config, *halves, Path(sys.argv[2]), choose_device("cpu"), "float32")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("cached_views", [0, 2])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(halves, tmp_path, cached_views):
    config = dataclasses.replace(TINY, epochs=4, cached_views=cached_views)
    arguments = [repr(dataclasses.asdict(config)), str(tmp_path / "killed")]
    killed = subprocess.run([sys.executable, "-c", KILLED_TRAINING, *arguments], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.count("epoch ") == 2
    resumed, history = train(config, halves, tmp_path / "killed")
    unbroken, expected = train(config, halves, tmp_path / "unbroken")
    assert_same(resumed, unbroken)
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))


def test_interrupt_keeps_the_last_epoch(halves, tmp_path, monkeypatch, capsys):
    import fer_nb_utils.training.loop as loop

    whole_epoch = loop._Loop.epoch

    def interrupted(self, epoch, source):
        if epoch == 2:
            raise KeyboardInterrupt
        return whole_epoch(self, epoch, source)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop._Loop, "epoch", interrupted)
        train(TINY, halves, tmp_path)
    assert "goes on from there" in capsys.readouterr().out
    assert len(train(TINY, halves, tmp_path)[1]) == 2


def test_cached_features_are_those_of_the_augmented_images(halves, tmp_path, monkeypatch):
    model = build_model("resnet18", "none", "layer4")
    backbone, _ = split_at(model, "layer4")
    images = torch.from_numpy(halves[0].images[:20])
    source = AugmentedImages(images, Preprocess(32), Augment())
    in_memory = CachedFeatures(source, backbone, 3, 7, "float32", tmp_path / "features.npy")
    assert in_memory.features.shape[:2] == (3, 20) and in_memory.features.dtype == torch.float16
    assert not (tmp_path / "features.npy").exists()

    indices, views = torch.arange(20), torch.Generator().manual_seed(0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(7)
        backbone.eval()
        expected = torch.stack([backbone(source.batch(indices, generator)) for _ in range(3)])
    chosen = torch.randint(3, (20,), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(in_memory.batch(indices, views), expected[chosen, indices], atol=1e-2, rtol=1e-2)

    monkeypatch.setattr("fer_nb_utils.training.features.MEMORY_LIMIT", 0)
    on_disk = CachedFeatures(source, backbone, 3, 7, "float32", tmp_path / "features.npy")
    assert (tmp_path / "features.npy").exists()
    assert torch.equal(on_disk.features, in_memory.features)


def test_unknown_device_is_one_sentence():
    with pytest.raises(UserError, match="not available"):
        choose_device("cuda:99")
    assert choose_device("cpu") == CPU


def test_precision_of_this_cpu_computes():
    precision = best_precision(CPU)
    with autocast(CPU, precision):
        result = torch.nn.functional.linear(torch.ones(2, 4), torch.ones(3, 4))
    assert result.float().tolist() == [[4.0] * 3] * 2
