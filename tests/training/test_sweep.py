"""Sweeps: what is planned, that nothing is lost or taken twice, and real workers, one of them killed."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import distributed
import numpy as np
import pandas as pd
import pytest
import torch
from processes import heeds_ctrl_c

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import load
from fer_nb_utils.errors import UserError
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.training import experiment, sweep, task
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.sweep import SWEEPS, read_sweep, run_sweep, write_tables

FIXED = {
    "weights": "none", "trainable": "layer4", "image_size": 32, "epochs": 3, "batch_size": 16, "cached_views": 3,
    "precision": "float32",
}  # fmt: skip
GRID = {"learning_rate": [1e-4, 1e-3], "seed": [0, 1]}


def written(path, settings=FIXED, grid=GRID, more=""):
    tables = {"settings": settings, "grid": grid}
    lines = [line for name, table in tables.items() for line in (f"[{name}]", *map(_line, table.items()))]
    path.write_text("\n".join([*lines, more]))
    return path


def _line(item):
    return f"{item[0]} = {json.dumps(item[1])}"


# --- the plan


def test_every_combination_is_a_training_named_by_what_varies(tmp_path):
    trainings, varied = read_sweep(written(tmp_path / "s.toml"))
    assert varied == ["learning_rate", "seed"]
    names = ["learning_rate0.0001_seed0", "learning_rate0.0001_seed1"]
    assert list(trainings) == [*names, "learning_rate0.001_seed0", "learning_rate0.001_seed1"]
    assert trainings[names[1]] == TrainConfig(**FIXED, learning_rate=1e-4, seed=1)


def test_one_training_has_the_files_name(tmp_path):
    assert list(read_sweep(written(tmp_path / "single.toml", grid={}))[0]) == ["single"]


def test_weights_are_those_of_the_command_or_lie_beside_the_file(tmp_path):
    (tmp_path / "mine.pth").touch()
    path = written(tmp_path / "s.toml", FIXED | {"weights": "mine.pth"}, {"seed": [0]})
    assert read_sweep(path)[0]["seed0"].weights == str(tmp_path / "mine.pth")
    assert read_sweep(path, "embedded")[0]["seed0"].weights == "embedded"
    path = written(tmp_path / "s.toml", {}, {"weights": ["none", "mine.pth"]})
    assert {name: config.weights for name, config in read_sweep(path)[0].items()} == {
        "none": "none",
        "mine": str(tmp_path / "mine.pth"),
    }
    assert list(read_sweep(path, "imagenet")[0]) == ["s"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"settings": {"epoch": 3}}, "epoch is unknown or given twice"),
        ({"grid": {"epochs": [1, 2]}}, "epochs is unknown or given twice"),
        ({"more": "[extra]\n"}, "extra is unknown"),
        ({"grid": {"seed": 3}}, r"seed in \[grid\] must be a list"),
        ({"grid": {"seed": []}}, r"seed in \[grid\] must be a list"),
        ({"grid": {"seed": [1, 1]}}, "two trainings of the name seed1"),
        ({"settings": {"epochs": "3"}}, "epochs is '3'; give a value of type int"),
        ({"grid": {"seed": [0.5]}}, "seed is 0.5; give a value of type int"),
        ({"settings": {"augment": 1}}, "augment is 1; give a value of type bool"),
        ({"more": "= 3"}, "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(tmp_path, change, sentence):
    with pytest.raises(UserError, match=sentence):
        read_sweep(written(tmp_path / "s.toml", **change))
    with pytest.raises(UserError, match="cannot be read"):
        read_sweep(tmp_path / "none.toml")


@pytest.mark.parametrize("name", [path.stem for path in SWEEPS.glob("*.toml")])
def test_shipped_sweeps_are_the_papers_networks(name):
    trainings, varied = read_sweep(SWEEPS / f"{name}.toml")
    assert varied[0] == "model" and {config.model for config in trainings.values()} == {
        "resnet18",
        "resnet34",
        "resnet50",
    }
    assert {config.trainable for config in trainings.values()} == {"layer4"}


# --- the work


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A data set of 84 pictures of noise as a folder, which every process may load."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                picture = rng.integers(0, 256, (48, 48), dtype=np.uint8)
                cv2.imwrite(str(folder / split / label / f"{label}{number}.png"), picture)
    return load(folder)


@pytest.fixture(scope="module")
def client():
    """Two workers in this process; trainings still are processes of their own."""
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=2, **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return read_sweep(written(tmp_path_factory.mktemp("plan") / "s.toml"))


@pytest.fixture(scope="module")
def swept(plan, faces, client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    assert run_sweep(*plan, faces, folder, client) == {}
    return folder


def run_with(threads, config, dataset, folder):
    """A training without a sweep: with as many threads the sums come in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return experiment.run(config, dataset, folder, "cpu")
    finally:
        torch.set_num_threads(before)


def predictions(folder, names):
    return {name: (folder / name / "predictions.csv").read_bytes() for name in names}


def test_a_sweep_equals_its_trainings_one_by_one(swept, plan, faces, tmp_path):
    for name, config in plan[0].items():
        threads = Run.load(swept / name).config["threads"]
        run_with(threads, config, faces, tmp_path / name)
    assert predictions(tmp_path, plan[0]) == predictions(swept, plan[0])
    assert not (swept / "features").exists()


def test_tables_hold_what_the_runs_hold(swept, plan):
    table = pd.read_csv(swept / "sweep.csv").set_index("run")
    assert list(table.index) == list(plan[0])
    for name, row in table.iterrows():
        run = Run.load(swept / name)
        assert (row["learning_rate"], row["seed"]) == (run.config["learning_rate"], run.config["seed"])
        assert row["full accuracy"] == pytest.approx(run.metrics["full"]["accuracy"], abs=1e-6)
        assert row["validation accuracy"] == pytest.approx(run.history["validation_accuracy"].max(), abs=1e-6)
        assert row["weights_kind"] == "random" and row["threads"] >= 1 and row["seconds"] > 0
    summary = pd.read_csv(swept / "summary.csv").set_index("learning_rate")
    assert summary["seeds"].tolist() == [2, 2] and "seed" not in summary
    for rate, row in summary.iterrows():
        of_seeds = table.loc[table["learning_rate"] == rate, "full accuracy"]
        assert row["full mean"] == pytest.approx(of_seeds.mean(), abs=1e-6)
        assert row["full sd"] == pytest.approx(of_seeds.std(ddof=1), abs=1e-6)
        assert row["full low"] < row["full mean"] < row["full high"]


def test_a_finished_training_is_not_done_again(swept, plan, faces, client, tmp_path):
    name = next(iter(plan[0]))
    shutil.copytree(swept / name, tmp_path / name)
    assert run_sweep({name: plan[0][name]}, plan[1], faces, tmp_path, client) == {}
    for file in ("config.json", "model.safetensors", "predictions.csv"):
        assert (tmp_path / name / file).stat().st_mtime_ns == (swept / name / file).stat().st_mtime_ns


def test_a_training_that_fails_is_tried_once_more_and_named_while_others_go_on(faces, client, tmp_path, capsys):
    fixed = FIXED | {"epochs": 1, "cached_views": 1, "trainable": "fc"}
    trainings, varied = read_sweep(written(tmp_path / "s.toml", fixed, {"learning_rate": [1e30, 1e-3]}))
    fixed_batch = {name: dataclasses.replace(config, batch_size=8) for name, config in trainings.items()}
    errors = run_sweep(fixed_batch, varied, faces, tmp_path, client)
    assert list(errors) == ["learning_rate1e+30"] and "loss became" in errors["learning_rate1e+30"]
    printed = capsys.readouterr().out
    assert printed.count("is tried once more") == 1 and "learning_rate0.001: validation accuracy" in printed
    assert pd.read_csv(tmp_path / "sweep.csv")["run"].tolist() == ["learning_rate0.001"]
    assert (tmp_path / "features").exists()  # for the next attempt


@pytest.mark.parametrize(
    ("what", "sentence"), [("package", "it has fer_nb_utils .*, not 0.0"), ("data", "other data"), ("path", "exist")]
)
def test_workers_of_another_kind_are_refused_in_a_sentence(plan, faces, client, tmp_path, monkeypatch, what, sentence):
    if what == "package":
        monkeypatch.setattr(sweep, "VERSION", "0.0")
    elif what == "data":
        faces = dataclasses.replace(faces, fingerprint="sha256:other")
    else:
        faces = dataclasses.replace(faces, source=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=f"No worker may train: .*{sentence}"):
        run_sweep(*plan, faces, tmp_path, client)
    assert not list(tmp_path.glob("*/config.json"))


def test_one_refused_worker_leaves_the_work_to_the_other(plan, faces, client, tmp_path, monkeypatch, capsys):
    strange = min(client.nthreads())
    examine = task._examine

    def refuse_one(given, address):
        if address == strange:
            raise task.Refused(address, "its disk is full.")
        examine(given, address)

    monkeypatch.setattr(task, "_examine", refuse_one)
    trainings = dict(list(plan[0].items())[:2])
    assert run_sweep(trainings, plan[1], faces, tmp_path, client) == {}
    assert f"The worker {strange} is refused: its disk is full." in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "sweep.csv")) == 2


def test_an_interrupted_sweep_has_its_tables_so_far(swept, plan, tmp_path):
    name = next(iter(plan[0]))
    (tmp_path / name).symlink_to(swept / name)
    write_tables(*plan, tmp_path)
    assert pd.read_csv(tmp_path / "sweep.csv")["run"].tolist() == [name]
    assert np.isnan(pd.read_csv(tmp_path / "summary.csv").loc[0, "full sd"])


# --- real processes


def sweep_command(path, folder, faces, *options):
    command = [sys.executable, "-m", "fer_nb_utils", "sweep", str(path), "--run-dir", str(folder)]
    return [*command, "--data", faces.source, "--device", "cpu", *options]


def wait_until(true, seconds=120):
    for _ in range(seconds * 20):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def epochs_in(log):
    return log.read_text("utf-8").count("\nepoch") + log.read_text("utf-8").startswith("epoch") if log.exists() else 0


@pytest.fixture
def long_plan(tmp_path):
    """One training of some fifteen seconds: there is time to kill it in the middle."""
    return written(tmp_path / "s.toml", FIXED | {"epochs": 8, "cached_views": 0, "trainable": "all"}, {"seed": [0]})


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_a_killed_worker_changes_nothing(long_plan, faces, tmp_path):
    with contextlib.ExitStack() as stack:
        environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS__TASK_STREAM_LENGTH": "1"}

        def start(*command):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command], stderr=subprocess.DEVNULL, env=environment
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        address_file = tmp_path / "scheduler.json"
        start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address_file)
        )
        wait_until(address_file.exists)
        address = json.loads(address_file.read_text("utf-8"))["address"]
        for number in (0, 1):
            start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", str(number))
        driver = subprocess.Popen(
            sweep_command(long_plan, tmp_path / "killed", faces, "--scheduler", address),
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(driver.kill)
        log = tmp_path / "killed" / "seed0.log"
        wait_until(lambda: epochs_in(log) >= 3)
        with distributed.Client(address) as client:
            working = next(address for address, keys in client.processing().items() if keys)
            pid = client.run(os.getpid, workers=[working])[working]
        os.kill(pid, signal.SIGKILL)
        printed, _ = driver.communicate(timeout=300)
        assert driver.returncode == 0 and "seed0: validation accuracy" in printed
    killed = Run.load(tmp_path / "killed" / "seed0")
    assert [session["threads"] for session in killed.config["sessions"]] == [1, 1]  # it was under way, and went on
    undisturbed = run_with(1, read_sweep(long_plan)[0]["seed0"], faces, tmp_path / "whole")
    assert undisturbed.predictions.equals(killed.predictions)


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_ctrl_c_ends_the_trainings_and_the_next_call_goes_on(long_plan, faces, tmp_path):
    command = sweep_command(long_plan, tmp_path / "runs", faces, "--workers", "1")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heeds_ctrl_c,
    )  # fmt: skip
    log = tmp_path / "runs" / "seed0.log"
    wait_until(lambda: epochs_in(log) >= 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.strip() == "Stopped. The same command goes on from here."
    state = tmp_path / "runs" / "seed0" / "state.pt"
    before = state.stat().st_mtime_ns
    time.sleep(1)
    assert state.stat().st_mtime_ns == before  # nobody trains on
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert len(Run.load(tmp_path / "runs" / "seed0").config["sessions"]) == 2


def test_two_sweeps_do_not_share_a_folder(long_plan, faces, tmp_path):
    from filelock import FileLock

    with FileLock(tmp_path / ".sweep.lock"):
        done = subprocess.run(sweep_command(long_plan, tmp_path, faces), capture_output=True, text=True)
    assert done.returncode == 2 and "Another sweep is at work" in done.stderr and "Traceback" not in done.stderr


def test_a_scheduler_that_is_not_there_is_one_sentence(long_plan, faces, tmp_path, monkeypatch):
    with (
        pytest.raises(UserError, match="No dask scheduler answers at tcp://127.0.0.1:9"),
        sweep.cluster("tcp://127.0.0.1:9", None),
    ):
        pass
