"""The command line, as people call it."""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from processes import heeds_ctrl_c

from fer_nb_utils import __version__
from fer_nb_utils.__main__ import main
from fer_nb_utils.errors import UserError
from fer_nb_utils.live.outputs import VideoError
from fer_nb_utils.live.sources import open_source
from fer_nb_utils.paths import ROOT
from fer_nb_utils.series import execute
from fer_nb_utils.series import plan as planning

FER2013 = Path(__file__).parents[2] / "shared" / "data" / "fer2013.zip"


HEAVY = {"torch", "matplotlib", "cv2", "pandas", "numpy", "papermill", "jinja2", "filelock"}


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize("arguments", [["-m", "fer_nb_utils", "--help"], ["-c", "import fer_nb_utils"]])
def test_help_and_import_load_nothing_heavy(arguments):
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "fer_nb_utils" in loaded and not loaded & HEAVY
    assert arguments[0] == "-c" or ("run" in done.stdout and "data" in done.stdout)


def test_where_nothing_is_installed_a_sentence_says_so():
    command = [sys.executable, "-S", "-E", "-m", "fer_nb_utils", "doctor"]  # without site-packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("Error: No module named 'click'; run python -m pip install")
    assert done.stderr.count("\n") == 1


def test_version():
    assert __version__ in call("--version").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("data check /no/such/place.zip", "/no/such/place.zip"),
        ("data check ''", "'' does not exist: give the path"),
        ("run --device meta --only 02", "The device 'meta' is not available here"),
        ("run -p image_size 1000000", "image_size is 1000000; it must be from 32 to 1024"),
        ("run --profile fast", "choose one of laptop, paper, sample"),
        ("run --profile odd.toml", "odd.toml: parameters is 3"),
        ("run --profile paper", "give --data PATH or set FER2013_PATH"),
        ("run --data missing.zip", "missing.zip does not exist"),
        ("run --data broken.zip --run-dir results", "broken.zip"),
        ("run --data=", "The parameter data is empty"),
        ("run -p weights resnet.pth", "resnet.pth does not exist"),
        ("run -p run_dir results", "give it as --run-dir"),
        ("run -p epochs -1", "cannot run: "),
        ("run -p trainable layer9", "cannot run: "),
        ("run --device gpu", "The device 'gpu' is not available here"),
        ("run --device cuda:99", "The device 'cuda:99' is not available here"),
        ("run --only 01 --device cpu", "01_explore_fer2013 has no parameter device"),
        ("run --run-dir broken.zip", "broken.zip/run.json cannot be written"),
        ("run 05", "write --only 05"),
        ("report .", "holds no results"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.delenv("FER2013_PATH", raising=False)
    monkeypatch.setattr(execute, "run", lambda *_: pytest.fail("it runs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.zip").write_bytes(b"PK not really")
    (tmp_path / "odd.toml").write_text("parameters = 3")
    answer = call(*shlex.split(arguments))
    assert answer.exit_code == 2 and answer.stdout == ""
    assert message in answer.stderr and answer.stderr.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"broken.zip", "odd.toml"}


def test_a_failing_disk_is_one_line_and_exit_2(calls, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/run.json")

    monkeypatch.setattr(planning, "plan", full)
    answer = call("run", "--run-dir", "results")
    assert answer.exit_code == 2 and answer.stdout == ""
    assert answer.stderr.startswith("Error: /somewhere/run.json: No space left on device; ")


def test_data_check_prints_counts_and_audit_of_the_sample():
    answer = call("data", "check", "sample")
    assert answer.exit_code == 0
    assert "synthetic sample" in answer.stdout and "surprise" in answer.stdout and "sha256:" in answer.stdout


@pytest.mark.skipif(not FER2013.exists(), reason="the real FER-2013 is not here")
def test_data_check_recognises_fer2013():
    answer = call("data", "check", FER2013)
    assert answer.exit_code == 0
    assert "This is FER-2013 as published" in answer.stdout
    assert all(number in answer.stdout for number in ("28,709", "1,516", "568", "57"))


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """What `run` would do, without doing it."""
    made = {}

    def plan(profile, given, only, run_dir):
        made.update(profile=profile.name, data=profile.parameters.get("data"), given=given, only=only, run_dir=run_dir)
        raise UserError("planned")

    monkeypatch.setattr(planning, "plan", plan)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces.zip").touch()
    return made


def run(*arguments):
    result = CliRunner().invoke(main, ["run", *arguments])
    assert "planned" in result.output
    return result


def test_defaults_are_the_sample_in_a_folder_of_its_own(calls):
    run()
    expected = {"profile": "sample", "data": "sample", "given": {}, "only": (), "run_dir": ROOT / "runs" / "sample"}
    assert calls == expected


def test_options_become_parameters_and_paths_count_from_here(calls, tmp_path):
    run("--data", "faces.zip", "--only", "02", "05", "-p", "epochs", "3", "--device", "cpu", "--weights", "none")
    data = str(tmp_path / "faces.zip")
    assert calls["given"] == {"epochs": "3", "data": data, "weights": "none", "device": "cpu"}
    assert calls["only"] == ("02", "05") and calls["run_dir"].name == "sample-faces"


def test_fer2013_path_serves_the_profiles_for_real_data_only(calls, tmp_path, monkeypatch):
    monkeypatch.setenv("FER2013_PATH", "faces.zip")
    run("--profile", "laptop", "--run-dir", "results")
    assert calls["data"] == str(tmp_path / "faces.zip") and calls["run_dir"] == tmp_path / "results"
    run("--profile", "laptop", "--only", "06")  # which has no such parameter, and none was given
    assert calls["given"] == {}
    run()
    assert calls["data"] == "sample" and calls["given"] == {}


def test_failed_notebooks_are_named_and_exit_1(monkeypatch, tmp_path):
    monkeypatch.setattr(planning, "plan", lambda *_: [])
    monkeypatch.setattr(execute, "run", lambda *_: ["02_finetune_resnet18, cell [3] (x): ValueError: bad"])
    result = CliRunner().invoke(main, ["run", "--run-dir", str(tmp_path)])
    assert result.exit_code == 1 and "failed:  02_finetune_resnet18, cell [3] (x): ValueError: bad" in result.output
    assert (tmp_path / "index.html").exists()


def test_ctrl_c_ends_without_a_traceback(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan", lambda *_: [])
    monkeypatch.setattr(execute, "run", interrupted)
    result = CliRunner().invoke(main, ["run", "--run-dir", str(tmp_path)])
    assert result.exit_code == 130 and "goes on from here" in result.output


def test_download_says_where_the_data_set_is(monkeypatch):
    monkeypatch.setattr("kagglehub.dataset_download", lambda name: f"/cache/{name}")
    result = call("data", "download")
    assert result.exit_code == 0 and result.output.startswith("FER-2013 is in /cache/msambare/fer2013\n")


@pytest.mark.parametrize(
    "error", [ConnectionError("no route\nto host"), PermissionError("401"), ImportError("kagglehub")]
)
def test_a_failed_download_says_how_to_get_the_file_by_hand(error, monkeypatch):
    def fetch(_):
        raise error

    monkeypatch.setattr("kagglehub.dataset_download", fetch)
    result = call("data", "download")
    assert result.exit_code == 2 and result.output.count("\n") == 1 and len(result.output) < 400
    parts = ("by hand", "https://www.kaggle.com/datasets/msambare/fer2013", "fer2013.zip", "FER2013_PATH")
    assert all(part in result.output for part in (type(error).__name__, *parts))


OUTPUTS = ("--table", "new/t.csv", "--video", "new/v.mp4")
LIVE = ("live", "--source", "demo", *OUTPUTS, "--device", "cpu")


def length(video):
    """Frames that can be read from it."""
    with open_source(video) as frames:
        return len(list(frames))


def test_live_writes_what_was_asked_for_and_ends_with_a_summary_also_under_nohup(tmp_path):
    (tmp_path / "new").mkdir()
    nohup = ["nohup"] if shutil.which("nohup") else []
    command = [*nohup, sys.executable, "-m", "fer_nb_utils", *LIVE, "--seconds", "1", "--report", "new/p.html"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=tmp_path, **pipes) as process:
        while nohup and process.poll() is None and not list(tmp_path.glob("new/.*.mp4")):
            time.sleep(0.05)
        if nohup:
            process.send_signal(signal.SIGHUP)
        printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors == ""
    lines = printed.splitlines()
    assert lines[0] == "demo clip (photograph, then synthetic face)"
    assert lines[1].startswith("15 frames in ") and lines[1].endswith(" frames/s")
    assert lines[2] == "faces in 15 of them, 1 followed" and lines[3].startswith("labels, frame by frame: ")
    stages = ["read", "detect", "crop", "classify", "smooth", "draw", "total"]
    assert [line.split()[0] for line in lines[-10:-3]] == stages
    assert lines[-3:] == [f"written: {tmp_path / 'new' / name}" for name in ("t.csv", "p.html", "v.mp4")]
    table = pd.read_csv(tmp_path / "new" / "t.csv")
    assert table["frame"].nunique() == 15 and {"face", "label", "happy", "classify"} < set(table)
    assert length(tmp_path / "new" / "v.mp4") == 15 and len(list((tmp_path / "new").iterdir())) == 3


@pytest.fixture
def many_pictures(tmp_path):
    """A folder of more pictures than can be seen before a signal comes: noise, which no codec makes small."""
    many = tmp_path / "many"
    many.mkdir()
    (tmp_path / "new").mkdir()
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8))
    for number in range(5000):
        (many / f"{number:04}.png").symlink_to(tmp_path / "noise.png")
    return many


def wait_for_frames(process, folder):
    """Until the growing video is larger than a frame as it is in memory: one at least is whole, and in the table."""
    while process.poll() is None and not any(path.stat().st_size > 240 * 320 * 3 for path in folder.glob(".*.mp4")):
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_ctrl_c_ends_live_with_all_that_was_seen(many_pictures, tmp_path):
    command = [sys.executable, "-m", "fer_nb_utils", *LIVE, "--source", str(many_pictures)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, cwd=tmp_path, preexec_fn=heeds_ctrl_c) as process:
        wait_for_frames(process, tmp_path / "new")
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and errors == ""
    frames = int(printed.splitlines()[1].split()[0])
    assert 0 < frames < 5000 and len(list((tmp_path / "new").iterdir())) == 2
    assert pd.read_csv(tmp_path / "new" / "t.csv")["frame"].nunique() == frames
    assert frames <= length(tmp_path / "new" / "v.mp4") <= frames + 1  # the last may be written and not in the table


@pytest.mark.skipif(sys.platform == "win32", reason="no such terminals there")
def test_a_closed_terminal_leaves_the_table(many_pictures, tmp_path):
    master, terminal = os.openpty()
    command = [sys.executable, "-m", "fer_nb_utils", *LIVE, "--source", str(many_pictures)]
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, cwd=tmp_path, start_new_session=True) as process:
        wait_for_frames(process, tmp_path / "new")
        os.close(terminal)
        os.close(master)
        process.terminate()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["t.csv", "v.mp4"]
    assert 0 < pd.read_csv(tmp_path / "new" / "t.csv")["frame"].nunique() < 5000


def test_a_disk_that_is_full_before_the_video_is_done_leaves_the_table(tmp_path, monkeypatch):
    @contextmanager
    def full(path, rate):
        yield lambda image, seconds: None
        raise VideoError("The video could not be written whole.")

    monkeypatch.setattr("fer_nb_utils.live.realtime.video_writer", full)
    monkeypatch.chdir(tmp_path)
    outputs = ["--table", "t.csv", "--video", "v.mp4", "--seconds", "0.2"]
    result = CliRunner().invoke(main, ["live", "--source", "demo", "--device", "cpu", *outputs])
    assert result.exit_code == 1 and len(pd.read_csv("t.csv")) == 3
    assert result.stdout.splitlines()[-2:] == [
        "The video could not be written whole.",
        f"written: {tmp_path / 't.csv'}",
    ]


def test_live_without_any_frame_says_why_exits_1_and_leaves_former_results(tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"no picture")
    (tmp_path / "t.csv").write_text("former")
    outputs = ["--video", str(tmp_path / "v.mp4"), "--table", str(tmp_path / "t.csv")]
    result = CliRunner().invoke(main, ["live", "--source", str(tmp_path), *outputs])
    assert (tmp_path / "t.csv").read_text("utf-8") == "former"
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [tmp_path.name, "no frames", "damaged.png is no image that can be read."]
    assert not (tmp_path / "v.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--source 99", "There is no camera 99 on the machine"),
        ("--source film.mp4", "film.mp4; give a camera, a video"),
        ("--source demo --table t.xlsx", "The table t.xlsx must end in .csv or .parquet"),
        ("--source text.mp4 --video text.mp4", "text.mp4 is read or written too; choose another name"),
        ("--source page.html --report page.html", "page.html is read or written too; choose another name"),
        ("--source demo --table t.csv --report ./t.csv", "The report t.csv must end in .html"),
        ("--source demo --video v.mp4 --report v.mp4", "The report v.mp4 must end in .html"),
        ("--source text.mp4", "text.mp4 is no video that OpenCV can read"),
        ("--source folder.csv", "The folder folder.csv holds no images"),
        ("--source demo --cascade frontal.xml", "The cascade frontal.xml cannot be loaded"),
        ("--source demo --checkpoint text.mp4", "text.mp4 does not say which network it holds"),
        ("--source demo --checkpoint resnet18", "There is no network at resnet18"),
        ("--source demo --table folder.csv", "folder.csv is a folder"),
        ("--source demo --video v.mov", "The video v.mov must end in .mp4 or .avi"),
        ("--source film.mp4 --table t.csv --video v.mp4", "film.mp4; give a camera, a video"),
        ("--source demo --device abacus", "The device 'abacus' is not available here"),
        ("--source=", "The source has no name"),
        ("--source demo --table new/t.csv", "/new for t.csv; make it first"),
        ("--source demo --video new/v.mp4", "/new for v.mp4; make it first"),
        ("--source demo --checkpoint results", "such as results/training/resnet18, or choose another folder."),
    ],
)
def test_a_mistake_with_live_is_one_line_and_exit_2(arguments, message, tmp_path, monkeypatch, capfd):
    (tmp_path / "text.mp4").write_text("This is no film.")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "results/training/resnet18").mkdir(parents=True)
    (tmp_path / "results/training/resnet18/config.json").touch()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["live", *arguments.split()])
    assert result.exit_code == 2 and result.stdout == ""
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert capfd.readouterr().err == ""  # nor a word of OpenCV
    assert {path.name for path in tmp_path.iterdir()} == {"text.mp4", "folder.csv", "results"}
