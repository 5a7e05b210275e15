"""What `fit` trains and keeps: which images, which tensors, which epoch, and what a broken training leaves."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_training import Recorder, noise_dataset, slim_resnet
from tqdm import tqdm

from fer_nb_utils.data.dataset import split_validation
from fer_nb_utils.errors import DivergedError
from fer_nb_utils.networks.small_maps import MatrixConv2d
from fer_nb_utils.networks.transforms import Augment, Preprocess
from fer_nb_utils.training import loop
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.loop import fit

CPU = torch.device("cpu")
TINY = TrainConfig(weights="none", trainable="layer4", image_size=32, epochs=2, batch_size=8, precision="float32")
TRAIN, VALIDATION = noise_dataset(22), noise_dataset(10, seed=1)  # three batches an epoch: 8, 7, 7


def train(folder, parts=(TRAIN, VALIDATION), accuracies=(), fail=None, **changes):
    """(model, history, recorder) of a training with the settings of TINY and `changes`."""
    config = dataclasses.replace(TINY, **changes)
    model = slim_resnet(config.trainable)
    with Recorder(model, *parts, accuracies, fail) as recorder:
        history, _ = fit(model, config, *parts, folder, CPU, config.precision)
    return model, history, recorder


def assert_same(state, other):
    assert list(state) == list(other)
    for name, tensor in state.items():
        assert torch.equal(tensor, other[name]), name


# --- which images


@pytest.mark.parametrize("usage", ["PublicTest", "PrivateTest"])
@pytest.mark.parametrize("position", [0, 1])
def test_training_refuses_test_images(tmp_path, usage, position):
    mixed = [TRAIN, VALIDATION]
    usages = np.where(np.arange(len(mixed[position])) == 3, usage, "Training")
    mixed[position] = dataclasses.replace(mixed[position], usage=usages)
    with pytest.raises(ValueError, match="^Training and validation take Training images only.$"):
        train(tmp_path, mixed)
    assert not list(tmp_path.iterdir())


def test_training_never_reads_a_test_image(tmp_path):
    """The same run with every test image replaced by noise gives the same weights."""
    usage = np.array(["Training"] * 60 + ["PublicTest"] * 20 + ["PrivateTest"] * 20)
    dataset = dataclasses.replace(noise_dataset(100), usage=usage)
    noise = noise_dataset(100, seed=9).images
    spoilt = dataclasses.replace(dataset, images=np.where((usage == "Training")[:, None, None], dataset.images, noise))
    states = [
        train(tmp_path / name, split_validation(data), epochs=1)[0].state_dict()
        for name, data in (("as_it_is", dataset), ("spoilt", spoilt))
    ]
    assert_same(*states)


def test_each_epoch_sees_every_image_once_in_an_order_of_its_own(tmp_path):
    orders = []
    for seed in (0, 1):
        steps = train(tmp_path / str(seed), augment=False, seed=seed)[2].steps
        assert [len(step["indices"]) for step in steps] == [8, 7, 7] * 2
        orders += [torch.cat([step["indices"] for step in part]).tolist() for part in (steps[:3], steps[3:])]
    assert all(sorted(order) == list(range(22)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(22)]}) == 5


def test_augmentation_is_of_each_epoch_anew_and_only_where_asked_for(tmp_path):
    model, seen, checked = slim_resnet("layer4"), [], []
    model.register_forward_pre_hook(lambda model, inputs: (seen if model.training else checked).append(inputs[0]))
    fit(model, TINY, TRAIN, VALIDATION, tmp_path, CPU, "float32")
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    assert all(torch.equal(images, Preprocess(32)(torch.from_numpy(VALIDATION.images))) for images in checked)
    for number, images in enumerate(epochs, 1):  # what the epoch's generator draws, by hand
        generator = torch.Generator().manual_seed(1_000_003 * TINY.seed + number)
        order = torch.randperm(22, generator=generator)
        expected = [
            Preprocess(32).normalize(Augment()(torch.from_numpy(TRAIN.images)[part], 32, generator))
            for part in order.tensor_split(3)
        ]
        assert torch.equal(images, torch.cat(expected))


@pytest.mark.parametrize("cached_views", [0, 2])
def test_validation_goes_through_more_than_one_batch(tmp_path, cached_views):
    """300 images are two batches, in their order, by the network in evaluation mode."""
    many = noise_dataset(300, seed=2)
    model, history, recorder = train(tmp_path, (TRAIN, many), epochs=1, cached_views=cached_views)
    assert [len(logits) for logits in recorder.evaluations] == [150, 150]
    with torch.no_grad():
        logits = model.eval()(Preprocess(32)(torch.from_numpy(many.images)))
    torch.testing.assert_close(torch.cat(recorder.evaluations), logits, atol=0.01, rtol=0.01)  # float16 features
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(many.labels)).item()
    assert history["validation_loss"][0] == pytest.approx(loss, rel=2e-3)


# --- which tensors


@pytest.mark.parametrize("cached_views", [0, 2])
def test_frozen_tensors_and_statistics_are_bit_identical_after_training(tmp_path, cached_views):
    before = slim_resnet("layer4").state_dict()
    before = {name: tensor.clone() for name, tensor in before.items()}
    model, _, recorder = train(tmp_path, cached_views=cached_views)
    for name, tensor in before.items():
        frozen = not name.startswith(("layer4", "fc"))
        assert torch.equal(tensor, model.state_dict()[name]) == frozen, name
    assert set(recorder.steps[0]["gradients"]) == {name for name in before if name.startswith(("layer4", "fc"))} & {
        name for name, _ in model.named_parameters()
    }


@pytest.mark.parametrize("cached_views", [0, 1])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_of_the_run_is_that_of_training_and_validation(tmp_path, precision, cached_views):
    model, types = slim_resnet("layer4"), set()
    model.fc.register_forward_hook(lambda fc, _, output: types.add((fc.training, output.dtype)))
    config = dataclasses.replace(TINY, epochs=1, cached_views=cached_views)
    fit(model, config, TRAIN, VALIDATION, tmp_path, CPU, precision)
    assert types == {(mode, getattr(torch, precision)) for mode in (True, False)}
    assert all(tensor.dtype != torch.bfloat16 for tensor in model.state_dict().values())


@pytest.mark.parametrize("cached_views", [0, 1])
def test_small_maps_are_matrix_products_in_training_and_no_longer_after(tmp_path, monkeypatch, cached_views):
    seen, forward = [], MatrixConv2d.forward
    monkeypatch.setattr(MatrixConv2d, "forward", lambda self, maps: seen.append(maps.shape) or forward(self, maps))
    model = slim_resnet("layer4")
    fit(
        model,
        dataclasses.replace(TINY, trainable="layer4", cached_views=cached_views),
        TRAIN,
        VALIDATION,
        tmp_path,
        CPU,
        "float32",
    )
    assert seen and not any(isinstance(module, MatrixConv2d) for module in model.modules())


def test_training_can_learn_a_few_images_by_heart(tmp_path):
    _, history, _ = train(tmp_path, trainable="all", epochs=25, learning_rate=0.02, augment=False, label_smoothing=0.0)
    assert history["train_accuracy"].iloc[-1] > 0.9
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2


# --- which epoch


def test_history_has_a_row_an_epoch_and_a_printed_line(tmp_path, monkeypatch, capsys):
    now = np.zeros(1)

    def half_a_second_and_more_each_time(step):
        now[0] += 0.5 + 0.25 * step

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    _, history, _ = train(tmp_path, accuracies=[0.4, 0.7], fail=half_a_second_and_more_each_time)
    assert list(history) == [
        "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds",
    ]  # fmt: skip
    assert history["epoch"].tolist() == [1, 2]
    assert history["validation_accuracy"].tolist() == pytest.approx([0.4, 0.7])
    assert history["seconds"].tolist() == [2.25, 4.5]
    assert capsys.readouterr().out.splitlines() == [
        f"epoch {epoch}/2  train loss {row['train_loss']:.3f} accuracy {row['train_accuracy']:.3f}  "
        f"validation loss {row['validation_loss']:.3f} accuracy {accuracy}  {seconds} s"
        for (_, row), epoch, accuracy, seconds in zip(
            history.iterrows(), (1, 2), ("0.400", "0.700"), ("2.2", "4.5"), strict=True
        )
    ]


@pytest.mark.parametrize("cached_views", [0, 2])
@pytest.mark.parametrize(("accuracies", "best"), [([0.2, 0.6, 0.6, 0.4], 2), ([0.2, 0.1, 0.4, 0.5], 4), ([0.0] * 4, 1)])
def test_the_first_epoch_of_the_best_validation_accuracy_is_kept(tmp_path, accuracies, best, cached_views):
    """By accuracy, though the loss says otherwise; statistics of batch norm included."""
    model, history, recorder = train(tmp_path, accuracies=accuracies, epochs=4, cached_views=cached_views)
    assert history["validation_accuracy"].tolist() == pytest.approx(accuracies)
    assert_same(model.state_dict(), recorder.states[best - 1])
    assert not torch.equal(recorder.states[0]["fc.weight"], recorder.states[1]["fc.weight"])


# --- what a broken training leaves


def break_off(error, step):
    def fail(number):
        if number == step:
            raise error

    return fail


@pytest.mark.parametrize("cached_views", [0, 2])
@pytest.mark.parametrize("accuracies", [[0.2, 0.6, 0.4, 0.5], [0.2, 0.3, 0.1, 0.5]], ids=["best before", "best after"])
def test_a_broken_run_goes_on_as_if_nothing_had_happened(tmp_path, cached_views, accuracies, capsys):
    changes = {"epochs": 4, "cached_views": cached_views}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", accuracies=accuracies, fail=break_off(KeyboardInterrupt(), 7), **changes)
    assert "\nStopped after epoch 2 of 4; the same call goes on from there.\n" in capsys.readouterr().out
    resumed, history, recorder = train(tmp_path / "broken", accuracies=accuracies[2:], **changes)
    assert len(recorder.steps) == 6  # two epochs
    unbroken, expected, _ = train(tmp_path / "unbroken", accuracies=accuracies, **changes)
    assert_same(resumed.state_dict(), unbroken.state_dict())
    without = ["seconds", "validation_loss"]  # the accuracies made up for the tests bring their own loss
    assert history.drop(columns=without).equals(expected.drop(columns=without))


@pytest.mark.parametrize("cached_views", [0, 2])
def test_after_the_last_epoch_nothing_is_computed_again(tmp_path, cached_views):
    accuracies = [0.6, 0.4]
    finished, history, _ = train(tmp_path, accuracies=accuracies, cached_views=cached_views)
    model = slim_resnet("layer4")
    config = dataclasses.replace(TINY, cached_views=cached_views)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "AugmentedImages", None)  # would fail if called
        again, preparation_seconds = fit(model, config, TRAIN, VALIDATION, tmp_path, CPU, "float32")
    assert_same(model.state_dict(), finished.state_dict())
    assert again.equals(history) and (preparation_seconds > 0) == (cached_views > 0)


def test_seconds_of_preparation_add_up_over_interruptions(tmp_path, monkeypatch):
    spent = iter([3.0, 4.0])
    now = [0.0]

    def slow(*arguments):
        now[0] += next(spent)
        return sources(*arguments)

    sources = loop._sources
    monkeypatch.setattr(loop, "_sources", slow)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    config = dataclasses.replace(TINY, cached_views=1)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, fail=break_off(KeyboardInterrupt(), 4), cached_views=1)
    assert fit(slim_resnet("layer4"), config, TRAIN, VALIDATION, tmp_path, CPU, "float32")[1] == 7.0
    assert fit(slim_resnet("layer4"), config, TRAIN, VALIDATION, tmp_path, CPU, "float32")[1] == 7.0


class Program:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_state_that_holds_a_program_is_refused_and_not_executed(tmp_path):
    torch.save({"loop": Program(tmp_path / "made")}, tmp_path / "state.pt")
    with pytest.raises(pickle.UnpicklingError):
        train(tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, value):
    model, before = slim_resnet("layer4"), []

    def spoil(fc, _, logits):
        if fc.training:
            before.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            if len(before) == 5:
                impossible = float("nan") if value == "nan" else float("-inf")
                return torch.where(torch.arange(7) == 3, impossible, logits)
        return None

    model.fc.register_forward_hook(spoil)
    config = dataclasses.replace(TINY, label_smoothing=0.1)  # so that each class counts in each loss
    with pytest.raises(DivergedError, match=rf"loss became {value} in epoch 2, with learning_rate 0\.0005: lower it\."):
        fit(model, config, TRAIN, VALIDATION, tmp_path, CPU, "float32")
    assert len(before) == 5
    assert_same(dict(model.named_parameters()), {name: before[4][name] for name, _ in model.named_parameters()})


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
from test_loop import train

def kill(step):
    if step == 7:
        os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), fail=kill, epochs=4, cached_views=2)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path):
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here), str(here.parent)])}
    command = [sys.executable, "-c", KILLED_TRAINING, tmp_path / "killed"]
    killed = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.count("epoch ") == 2
    resumed, history, _ = train(tmp_path / "killed", epochs=4, cached_views=2)
    unbroken, expected, _ = train(tmp_path / "unbroken", epochs=4, cached_views=2)
    assert_same(resumed.state_dict(), unbroken.state_dict())
    assert history.drop(columns="seconds").equals(expected.drop(columns="seconds"))


def test_the_progress_bar_of_each_epoch_ends_full(tmp_path, monkeypatch):
    bars = []
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(
            loop, "progress_bar", lambda **options: bars.append(tqdm(**options, file=nowhere)) or bars[-1]
        )
        train(tmp_path)
    assert [(bar.n, bar.total, bar.desc, bar.unit) for bar in bars] == [
        (22, 22, f"epoch {epoch}/2", "image") for epoch in (1, 2)
    ]
