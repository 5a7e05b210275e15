"""Sweeps: what is planned, that nothing is lost or taken twice, and real workers, one of them killed."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import distributed
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from dask.system import CPU_COUNT
from processes import heeds_ctrl_c

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.data.dataset import load
from fer_nb_utils.errors import UserError
from fer_nb_utils.results.run_folder import Run
from fer_nb_utils.training import experiment, sweep, task, workers
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.sweep import FEATURES, SWEEPS, read_sweep, run_sweep
from fer_nb_utils.training.workers import cluster

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
    assert not (swept / FEATURES).exists()


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


def test_a_finished_training_is_not_done_again(swept, plan, faces, client, tmp_path, monkeypatch, capsys):
    name = next(iter(plan[0]))
    shutil.copytree(swept / name, tmp_path / name)
    shutil.copy(swept / f"{name}.log", tmp_path)
    monkeypatch.setattr(client, "submit", None)  # no worker is asked
    assert run_sweep({name: plan[0][name]}, plan[1], faces, tmp_path, client) == {}
    for file in ("config.json", "model.safetensors", "predictions.csv"):
        assert (tmp_path / name / file).read_bytes() == (swept / name / file).read_bytes()
    assert (tmp_path / f"{name}.log").read_bytes() == (swept / f"{name}.log").read_bytes() != b""
    assert f"{name}: finished before, validation accuracy" in capsys.readouterr().out


def test_a_run_of_another_plan_stands_in_no_table(swept, plan, faces, client, tmp_path, monkeypatch):
    mine, other, *_ = plan[0]
    shutil.copytree(swept / mine, tmp_path / mine)
    shutil.copytree(swept / mine, tmp_path / other)  # finished, with other settings than planned
    (tmp_path / "sweep.csv").write_text("run\nof another plan\n")

    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.Workers, "hand_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sweep({name: plan[0][name] for name in (mine, other)}, plan[1], faces, tmp_path, client)
    assert pd.read_csv(tmp_path / "sweep.csv")["run"].tolist() == [mine]
    assert np.isnan(pd.read_csv(tmp_path / "summary.csv").loc[0, "full sd"])


def test_a_training_that_fails_is_tried_once_more_and_named_while_others_go_on(faces, client, tmp_path, capsys):
    fixed = FIXED | {"epochs": 1, "cached_views": 1, "trainable": "fc"}
    trainings, varied = read_sweep(written(tmp_path / "s.toml", fixed, {"learning_rate": [1e30, 1e-3]}))
    fixed_batch = {name: dataclasses.replace(config, batch_size=8) for name, config in trainings.items()}
    errors = run_sweep(fixed_batch, varied, faces, tmp_path, client)
    assert list(errors) == ["learning_rate1e+30"] and "loss became" in errors["learning_rate1e+30"]
    printed = capsys.readouterr().out
    assert printed.count("is tried once more") == 1 and "learning_rate0.001: validation accuracy" in printed
    assert pd.read_csv(tmp_path / "sweep.csv")["run"].tolist() == ["learning_rate0.001"]
    assert (tmp_path / FEATURES).exists()  # for the next attempt


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("package", "it has fer_nb_utils .*, not 0.0"), ("data", "other data"), ("path", "exist"),
        ("folder", "--run-dir must be on a disk that all share"),
    ],
)  # fmt: skip
def test_workers_of_another_kind_are_refused_in_a_sentence(plan, faces, client, tmp_path, monkeypatch, what, sentence):
    if what == "package":
        monkeypatch.setattr(sweep, "VERSION", "0.0")
    elif what == "data":
        faces = dataclasses.replace(faces, fingerprint="sha256:other")
    elif what == "folder":
        monkeypatch.setattr(task, "log_of", lambda given: tmp_path / "elsewhere" / "run.log")
    elif what == "path":
        faces = dataclasses.replace(faces, source=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=f"No worker may train: .*{sentence}"):
        run_sweep(*plan, faces, tmp_path, client)
    assert not list(tmp_path.glob("*/config.json"))


def test_one_refused_worker_leaves_the_work_to_the_other(plan, faces, client, tmp_path, monkeypatch, capsys):
    strange = min(client.nthreads())
    examine = task._examine

    def refuse_one(given):
        if distributed.get_worker().address == strange:
            raise task.Refused("its disk is full.")
        examine(given)

    monkeypatch.setattr(task, "_examine", refuse_one)
    trainings = dict(list(plan[0].items())[:2])
    assert run_sweep(trainings, plan[1], faces, tmp_path, client) == {}
    assert f"The worker {strange} is refused: its disk is full." in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "sweep.csv")) == 2


def test_a_late_worker_takes_its_share(plan, faces, tmp_path):
    """Of two trainings the second waits for a worker with room: for the first, or for one that comes meanwhile."""
    trainings = {name: dataclasses.replace(plan[0][name], epochs=40, cached_views=4) for name in list(plan[0])[:2]}
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, **options) as local, distributed.Client(local) as client:
        timer = threading.Timer(3, local.scale, [2])
        timer.start()
        assert run_sweep(trainings, plan[1], faces, tmp_path, client) == {}
        timer.join()
    first, second = (Run.load(tmp_path / name).config for name in trainings)
    assert second["sessions"][0]["began"] < first["finished"]
    assert (first["threads"], second["threads"]) == (CPU_COUNT, max(1, CPU_COUNT // 2))


def test_a_training_that_the_system_kills_is_said_to_be_killed(plan, faces, client, tmp_path, capsys):
    name = next(iter(plan[0]))
    config = dataclasses.replace(plan[0][name], epochs=40, cached_views=4)

    def kill():
        wait_until(lambda: epochs_in(tmp_path / f"{name}.log") >= 2)
        children = psutil.Process().children()
        next(child for child in children if "fer_nb_utils.training.task" in child.cmdline()).kill()

    killer = threading.Thread(target=kill)
    killer.start()
    assert run_sweep({name: config}, plan[1], faces, tmp_path, client) == {}
    killer.join()
    if sys.platform != "win32":
        assert f"{name}: failed, is tried once more: signal 9 ended it" in capsys.readouterr().out
    assert len(Run.load(tmp_path / name).config["sessions"]) == 2  # and went on


class Future:
    """What becomes of a task, without dask."""

    def __init__(self, status="pending", error=None):
        self.status, self.error = status, error

    def exception(self):
        return self.error


class Threads:
    """A dask client that knows of workers alone, and what it was given: name, address, at once."""

    def __init__(self, **there):
        self.there, self.given = there, []

    def nthreads(self):
        return self.there

    def submit(self, function, code, variables, pure, workers):
        task = variables["task"]
        self.given.append((task["name"], *workers, task["at_once"]))
        return Future()


@pytest.fixture
def crew(tmp_path):
    client = Threads(**{"tcp://a:1": 2, "tcp://a:2": 1, "tcp://b:1": 1})
    return workers.Workers(client, {name: {"name": name, "folder": str(tmp_path / name)} for name in "12345"})


def test_tasks_are_spread_and_a_lost_worker_leaves_the_threads_of_the_others(crew):
    crew.hand_out()
    given = crew.client.given
    assert {name for name, *_ in given} == set("1234") and crew.waiting == ["5"]
    assert sorted(one[1:] for one in given) == [
        ("tcp://a:1", 3), ("tcp://a:1", 3), ("tcp://a:2", 3), ("tcp://b:1", 1),
    ]  # fmt: skip
    crew.hand_out()
    assert len(given) == 4  # for nobody has room
    del crew.client.there["tcp://a:2"]
    crew.at_work.clear()
    crew.hand_out()
    assert given[-1] == ("5", "tcp://a:1", 3)


def test_a_lost_training_goes_on_if_it_was_under_way_and_else_has_failed(crew, tmp_path, capsys):
    """A training that takes its worker with it each time is not to be handed out for ever."""
    crew.hand_out()
    (tmp_path / "1.log").write_text("epoch 1/3 of a training that was under way\n")
    first, second, *_ = crew.at_work
    first.status = "cancelled"  # the scheduler forgot it
    del crew.client.there[crew.at_work[second][1]]
    ended = dict(crew.ended())
    lost = {name for name, *_ in crew.client.given} - {name for name, _ in crew.at_work.values()}
    assert "1" in lost and crew.waiting[0] == "1" and ended.keys() == lost - {"1"}
    assert all("is gone" in str(error) for error in ended.values())
    assert capsys.readouterr().out.startswith("1: its worker ") and len(crew.at_work) == 4 - len(lost)


def test_a_workers_refusal_is_said_once_and_its_other_training_counts(crew, capsys):
    crew.hand_out()
    (one, (name, address)), (other, (last, _)) = [item for item in crew.at_work.items() if item[1][1] == "tcp://a:1"]
    one.status, one.error, other.status = "error", task.Refused("its disk is away."), "finished"
    assert list(crew.ended()) == [(last, None)] and crew.waiting == [name, "5"]
    crew.hand_out()
    assert capsys.readouterr().out == f"The worker {address} is refused: its disk is away.\n"
    assert len(crew.at_work) == 2  # no more for that one
    del crew.client.there["tcp://a:2"]
    crew.client.there["tcp://a:3"] = 1
    crew.hand_out()
    assert crew.client.given[-1][:2] == (name, "tcp://a:3")


def test_a_result_that_comes_late_to_this_machine_is_looked_for_once_more(faces, client, tmp_path, monkeypatch, capsys):
    fixed = FIXED | {"epochs": 1, "cached_views": 1, "trainable": "fc"}
    trainings, varied = read_sweep(written(tmp_path / "s.toml", fixed, {"seed": [0]}))
    answers = iter([False])
    monkeypatch.setattr(sweep, "is_finished", lambda folder: next(answers, True))
    assert run_sweep(trainings, varied, faces, tmp_path, client) == {}
    assert "seed0: failed, is tried once more: its result is not to be seen here\n" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "sweep.csv")["run"].tolist() == ["seed0"]


@pytest.mark.parametrize(
    ("device", "expected"), [("auto", (2, 2)), ("cuda", (2, 2)), ("cuda:1", (1, 0)), ("cpu", (3, 0))]
)
def test_there_is_a_worker_a_gpu_or_a_core_as_the_device_asks(monkeypatch, device, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(workers, "CPU_COUNT", 3)
    monkeypatch.setattr(workers.psutil, "virtual_memory", lambda: SimpleNamespace(available=64 * 1024**3))
    monkeypatch.setattr(distributed, "LocalCluster", lambda n_workers, **_: contextlib.nullcontext(n_workers))
    monkeypatch.setattr(distributed, "Client", lambda local: local)
    with cluster(None, None, device) as found:
        assert found == expected


@pytest.mark.parametrize(("visible", "expected"), [("", {"0", "1"}), ("5,GPU-7", {"5", "GPU-7"})])
def test_each_worker_trains_on_a_gpu_of_its_own(faces, client, tmp_path, monkeypatch, visible, expected):
    used = []

    class Process(contextlib.nullcontext):
        returncode = 0

        def __init__(self, command, env, **_):
            used.append(env["CUDA_VISIBLE_DEVICES"])

        def __enter__(self):
            return self

        def poll(self):
            return 0

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(task.subprocess, "Popen", Process)
    given = {"data": faces.source, "fingerprint": faces.fingerprint, "package": task.VERSION, "device": "cpu"}
    given |= {"folder": str(tmp_path / "run"), "gpus": 2, "at_once": 1}
    task.log_of(given).touch()
    for address in client.nthreads():
        client.submit(task.train, given, workers=[address], pure=False).result()
    assert set(used) == expected and len(used) == 2


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


@pytest.fixture
def dask_processes(tmp_path):
    """(start a process of dask with these arguments, the address of a running scheduler)"""
    with contextlib.ExitStack() as stack:

        def start(*command, **environment):
            command = [sys.executable, "-m", "dask", *command, "--no-dashboard"]
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path, env=os.environ | environment)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        file = tmp_path / "scheduler.json"
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        wait_until(file.exists)
        yield start, json.loads(file.read_text("utf-8"))["address"]


def started_sweep(path, folder, faces, address, processes):
    """A sweep under way on the cluster at `address`, once it has that many workers."""
    with distributed.Client(address) as client:
        client.wait_for_workers(processes)
    command = sweep_command(path, folder, faces, "--scheduler", address)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_the_worker_at_work(address):
    with distributed.Client(address) as client:
        working = next(address for address, keys in client.processing().items() if keys)
        pid = client.run(os.getpid, workers=[working])[working]
    os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_a_killed_worker_changes_nothing(long_plan, faces, client, tmp_path, dask_processes):
    start, address = dask_processes
    for _ in range(2):
        start("worker", address, "--nthreads", "1", "--no-nanny")
    driver = started_sweep(long_plan, tmp_path / "killed", faces, address, 2)
    wait_until(lambda: epochs_in(tmp_path / "killed" / "seed0.log") >= 3)
    kill_the_worker_at_work(address)
    printed, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0 and "seed0: validation accuracy" in printed
    assert re.search(r"^seed0: its worker \S+ is gone\.$", printed, re.MULTILINE)
    killed = Run.load(tmp_path / "killed" / "seed0")
    assert len(killed.config["sessions"]) == 2  # it was under way, and went on
    assert run_sweep(*read_sweep(long_plan), faces, tmp_path / "whole", client, device="cpu") == {}
    assert predictions(tmp_path / "whole", ["seed0"]) == predictions(tmp_path / "killed", ["seed0"])


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_a_worker_without_the_package_is_refused_and_a_better_one_waited_for(
    long_plan, faces, tmp_path, dask_processes
):
    start, address = dask_processes
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "fer_nb_utils.py").write_text("raise ModuleNotFoundError('No module named fer_nb_utils')")
    start("worker", address, "--no-nanny", "--nthreads", "4", PYTHONPATH=str(tmp_path / "without"))
    good = start("worker", address, "--nthreads", "1", "--no-nanny")
    written(long_plan, FIXED | {"epochs": 8, "cached_views": 0, "trainable": "all"}, {"seed": [0, 1]})
    driver = started_sweep(long_plan, tmp_path / "runs", faces, address, 2)
    wait_until(lambda: epochs_in(tmp_path / "runs" / "seed0.log") >= 3)
    good.kill()  # the strange one alone is left
    time.sleep(3)
    assert driver.poll() is None
    start("worker", address, "--nthreads", "1", "--no-nanny")
    printed, errors = driver.communicate(timeout=300)
    assert driver.returncode == 0, errors
    assert printed.count("is refused: it cannot load this package (No module named fer_nb_utils).") == 1
    assert printed.count("No worker is there that may train: waiting for one.") == 1
    assert len(Run.load(tmp_path / "runs" / "seed0").config["sessions"]) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_a_cluster_stops_training_when_the_sweep_was_killed_and_the_next_call_goes_on(
    long_plan, faces, tmp_path, dask_processes
):
    start, address = dask_processes
    start("worker", address, "--nthreads", "1", "--no-nanny")
    driver = started_sweep(long_plan, tmp_path / "runs", faces, address, 1)
    wait_until(lambda: epochs_in(tmp_path / "runs" / "seed0.log") >= 3)
    driver.kill()
    driver.communicate()
    with distributed.Client(address) as client:
        wait_until(lambda: not any(client.processing().values()))
    time.sleep(3)
    reached = epochs_in(tmp_path / "runs" / "seed0.log")
    time.sleep(3)
    assert epochs_in(tmp_path / "runs" / "seed0.log") == reached < 8  # nobody trains on
    again = sweep_command(long_plan, tmp_path / "runs", faces, "--scheduler", address)
    subprocess.run(again, check=True, timeout=300)
    assert len(Run.load(tmp_path / "runs" / "seed0").config["sessions"]) == 2


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


def test_a_scheduler_that_is_not_there_is_one_sentence():
    with (
        pytest.raises(UserError, match="No dask scheduler answers at tcp://127.0.0.1:9"),
        cluster("tcp://127.0.0.1:9", None, "auto"),
    ):
        pass


def test_a_scheduler_that_goes_away_is_one_sentence(dask_processes):
    _, address = dask_processes
    with pytest.raises(UserError, match="No worker"), cluster(address, None, "auto"):
        raise UserError("No worker may train.")
    with (
        pytest.raises(UserError, match=f"The dask scheduler {address} is gone; with another"),
        cluster(address, None, "auto") as (client, _),
    ):
        distributed.Client(address).shutdown()
        client.nthreads()
