"""No work is lost, and none is taken for what it is not: kills, other machines, full disks, two at once."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from fer_nb_utils.errors import DivergedError, UserError
from fer_nb_utils.files import write_json
from fer_nb_utils.networks.load import EMBEDDED
from fer_nb_utils.networks.transforms import Augment
from fer_nb_utils.results import claims
from fer_nb_utils.training import experiment, features, loop, provenance
from fer_nb_utils.training.config import TrainConfig

TINY = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=2, cached_views=1, precision="float32")


@pytest.fixture(scope="module")
def few(sample):
    """Some images of every class and split."""
    return sample.subset(slice(0, None, 8))


@pytest.fixture(scope="module")
def finished(few, tmp_path_factory):
    return experiment.run(TINY, few, tmp_path_factory.mktemp("runs") / "tiny", "cpu")


@pytest.fixture
def copied(finished, tmp_path):
    """The finished run in a folder that may be changed."""
    return shutil.copytree(finished.folder, tmp_path / "tiny")


def stop_in_epoch(number, patch):
    """Let a training end as by Ctrl-C in this epoch."""
    whole_epoch = loop._Loop.epoch

    def epoch(self, epoch, source):
        if epoch == number:
            raise KeyboardInterrupt
        return whole_epoch(self, epoch, source)

    patch.setattr(loop._Loop, "epoch", epoch)


def interrupted(config, dataset, folder, monkeypatch, epoch=2):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_in_epoch(epoch, patch)
        experiment.run(config, dataset, folder, "cpu")


def test_preparation_is_counted_over_all_sessions(few, tmp_path, monkeypatch):
    clock = iter(float(second) for second in range(0, 100_000, 10))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))  # each reading 10 s after the last
    interrupted(TINY, few, tmp_path / "run", monkeypatch)
    config = experiment.run(TINY, few, tmp_path / "run", "cpu").config
    assert config["preparation_seconds"] == 20.0 and config["seconds"] == 20.0


def test_a_resumed_run_keeps_its_precision_and_names_both_machines(few, tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(TINY, precision="auto")
    monkeypatch.setattr(experiment, "best_precision", lambda device: "float32")
    monkeypatch.setattr(experiment, "device_name", lambda device: "laptop")
    interrupted(config, few, tmp_path / "run", monkeypatch)
    monkeypatch.setattr(experiment, "best_precision", lambda device: "bfloat16")
    monkeypatch.setattr(experiment, "device_name", lambda device: "server")
    done = experiment.run(config, few, tmp_path / "run", "cpu").config
    assert done["precision"] == "float32"
    assert [session["device_name"] for session in done["sessions"]] == ["laptop", "server"]
    assert "began on laptop and goes on on server" in capsys.readouterr().out


def test_latency_is_marked_as_the_cpus(finished):
    assert finished.config["latency_device"].endswith("one thread")


def test_the_record_holds_the_recipe_and_the_revision(finished):
    recipe = finished.config["recipe"]
    assert recipe["augmentation"] == dataclasses.asdict(Augment())
    assert recipe["warm_up"] == loop.WARM_UP and recipe["normalization"]["mean"][0] == 0.485
    assert len(finished.config["source_revision"]) == 12
    assert finished.config["weights_kind"] == "random"
    data = finished.config["data"]
    assert data["train_images"] + data["validation_images"] == data["counts"]["Training"]["all"]


def test_another_recipe_is_another_run(copied, few, monkeypatch):
    monkeypatch.setattr(Augment.__init__, "__defaults__", (0.5, 10.0, 0.08, 0.1, 15.0, 0.2, 0.2))
    with pytest.raises(UserError, match="made with another augmentation"):
        experiment.repeat(copied / "config.json", few, copied.with_name("again"), device="cpu")
    again = experiment.run(TINY, few, copied, "cpu")
    assert again.config["recipe"]["augmentation"]["shear"] == 15.0
    assert copied.with_name("tiny.previous-1").exists()


def test_a_repetition_by_other_code_says_so(copied, few, monkeypatch, capsys):
    config, changed = json.loads((copied / "config.json").read_text("utf-8")), copied.with_name("changed.json")
    repeated = experiment.repeat(copied / "config.json", few, copied, device="cpu")
    assert repeated.config == config and not capsys.readouterr().err
    write_json(changed, config | {"source_revision": "0" * 12})
    experiment.repeat(changed, few, copied, device="cpu")
    assert "code has changed since" in capsys.readouterr().err
    assert config["source_revision"] in claims.SAME_BUT_ROUNDING  # else the reference runs' code counts as another
    write_json(changed, config | {"source_revision": "75fbbf2c49a6"})
    experiment.repeat(changed, few, copied, device="cpu")
    assert not capsys.readouterr().err


def test_the_revision_changes_with_code_alone(tmp_path, monkeypatch):
    for name in provenance.SOURCES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(provenance.PACKAGE / name, tmp_path / name)
    revision = provenance.source_revision()
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    assert provenance.source_revision() == revision
    edited = tmp_path / "networks/transforms.py"
    text = edited.read_text("utf-8")
    edited.write_text('"""Another docstring."""\n' + text.partition("\n")[2] + "\n# a comment\n")
    assert provenance.source_revision() == revision
    edited.write_text(text.replace('padding_mode="border"', 'padding_mode="zeros"'))
    assert provenance.source_revision() != revision


def test_a_training_that_diverges_says_so_and_leaves_nothing(few, tmp_path):
    wild = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=3, learning_rate=1e38, precision="float32")
    for _ in range(2):  # a second call says the same
        with pytest.raises(DivergedError, match="loss became .* in epoch .*: lower it"):
            experiment.run(wild, few, tmp_path / "run", "cpu")
        assert not (tmp_path / "run").exists()


def test_a_training_whose_last_step_spoils_the_weights_leaves_nothing(few, tmp_path):
    one_step = TrainConfig(
        weights="none", trainable="fc", image_size=32, epochs=1, batch_size=100_000, cached_views=1,
        learning_rate=1e38, precision="float32",
    )  # fmt: skip
    for _ in range(2):
        with pytest.raises(DivergedError, match="loss became nan in epoch 1, with learning_rate 1e.38: lower it"):
            experiment.run(one_step, few, tmp_path / "run", "cpu")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("to_mother.txt", "Dear"),
        ("config.json", '{"a": 1}'),
        ("settings.json", '{"editor.fontSize": 12}'),
        ("settings.json", "no JSON"),
        ("settings.json", "[1]"),
    ],
)
def test_a_folder_with_something_else_is_refused(few, tmp_path, name, content):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / name).write_text(content)
    with pytest.raises(UserError, match="holds something else than a training run"):
        experiment.run(TINY, few, tmp_path / "letters", "cpu")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == [name]
    assert (tmp_path / "letters" / name).read_text("utf-8") == content


LOCKED = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_share_a_folder(few, tmp_path):
    lock = str(tmp_path / ".run.lock")
    other = subprocess.Popen([sys.executable, "-c", LOCKED, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(UserError, match="Another process trains in"):
            experiment.run(TINY, few, tmp_path / "run", "cpu")
        assert not (tmp_path / "run").exists()
    finally:
        other.communicate()


def test_features_shared_by_runs_change_no_number_and_are_computed_once(few, tmp_path, monkeypatch):
    first = dataclasses.replace(TINY, weights=str(EMBEDDED))  # the same backbone whatever the seed
    second = dataclasses.replace(first, seed=1, learning_rate=1e-3)
    alone = experiment.run(second, few, tmp_path / "alone", "cpu")
    computed, whole = [], features.compute_features
    monkeypatch.setattr(features, "compute_features", lambda *args, **kw: computed.append(args) or whole(*args, **kw))
    for config in (first, second):
        done = experiment.run(config, few, tmp_path / str(config.seed), "cpu", features_folder=tmp_path / "features")
    assert len(computed) == len(list((tmp_path / "features").glob("*.npy"))) == 1
    assert len(computed[0][0].images) == len(few.select("Training"))  # validation's too: other seeds train on them
    for file in ("predictions.csv", "metrics.json"):
        assert (done.folder / file).read_bytes() == (alone.folder / file).read_bytes()
    weights, others = (load_file(run.folder / "model.safetensors") for run in (done, alone))
    assert weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    assert done.history.drop(columns="seconds").equals(alone.history.drop(columns="seconds"))


def test_after_the_last_epoch_no_feature_is_computed_again(few, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(experiment, "audit", lambda dataset: 1 / 0)  # a crash between training and its record
        experiment.run(TINY, few, tmp_path / "run", "cpu")
    monkeypatch.setattr(loop, "compute_features", None)  # would fail if called
    assert experiment.run(TINY, few, tmp_path / "run", "cpu").config["epochs_run"] == 2


@pytest.mark.parametrize("full", ["known before", "found out while writing"])
def test_a_full_disk_is_one_sentence_and_leaves_no_features(few, tmp_path, monkeypatch, full):
    monkeypatch.setattr(features, "MEMORY_LIMIT", 0)
    if full == "known before":
        monkeypatch.setattr(features.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    else:

        def refuse(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(features.os, "posix_fallocate", refuse)
    with pytest.raises(UserError, match="Cached features need .* GB in"):
        experiment.run(TINY, few, tmp_path / "run", "cpu")
    assert not list((tmp_path / "run").glob("*features*"))
    monkeypatch.undo()
    assert experiment.run(TINY, few, tmp_path / "run", "cpu").config["epochs_run"] == 2
