import errno
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import papermill
import pytest
from filelock import FileLock
from maintain import cleaned
from small_series import PLAIN, SmallSeries, write_faces

from fer_nb_utils.errors import UserError
from fer_nb_utils.series import execute
from fer_nb_utils.series.execute import COPY
from fer_nb_utils.series.plan import Profile

NAMES = ("01_first", "02_finetune_resnet18", "05_compare_resnets")


@pytest.fixture
def series(tmp_path, monkeypatch):
    """Small notebooks that are not executed: `ran` tells which would have been, those in `broken` fail."""
    small = SmallSeries(tmp_path)
    small.ran, small.broken = [], {}

    def note(job, copy, timeout, folder):
        small.ran.append(f"{job.name[:2]} {job.parameters['epochs']}")
        copy.parent.mkdir(exist_ok=True)
        copy.touch()
        return small.broken.get(job.name)

    monkeypatch.setattr(execute, "_execute", note)
    return small


def finish_training(series, name):
    folder = series.run_dir / "training" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "predictions.csv"):
        (folder / file).write_text(file)
    return folder


def test_runs_in_order_and_skips_what_is_finished(series, capsys):
    assert series.run() == []
    assert series.ran == ["01 2", "02 3", "05 2"]
    printed = capsys.readouterr().out
    assert "02_finetune_resnet18         done" in printed and "of  0:05" in printed
    assert series.run() == []
    assert series.ran == ["01 2", "02 3", "05 2"]


def test_other_parameters_or_code_run_again_and_so_does_what_reads_them(series):
    series.run()
    series.write("02_finetune_resnet18", "# %%\nprint()")
    series.run()
    assert series.ran[3:] == ["02 3", "05 2"]
    series.run(epochs="7", only=("1",))
    assert series.ran[5:] == ["01 7"]


def test_failed_notebooks_run_again_and_so_does_what_reads_them(series):
    series.broken["02_finetune_resnet18"] = {"cell": "[4] (x)", "name": "ValueError", "message": "not good"}
    assert series.run() == ["02_finetune_resnet18, cell [4] (x): ValueError: not good"]
    record = json.loads((series.run_dir / "run.json").read_text("utf-8"))["notebooks"]
    assert [record[name]["state"] for name in NAMES] == ["finished", "failed", "finished"]
    series.broken.clear()
    assert series.run() == []
    assert series.ran[3:] == ["02 3", "05 2"]


@pytest.mark.parametrize("lost", ["config.json", "predictions.csv"])
def test_a_changed_or_removed_training_runs_again_what_was_made_from_it(series, lost):
    series.run(only=("01",))
    file = finish_training(series, "resnet18") / lost
    finish_training(series, "resnet18.previous-1")
    series.run()
    assert series.ran == ["01 2", "02 3", "05 2"]
    (series.run_dir / "training" / "resnet18.previous-1" / lost).unlink()  # an earlier run, which nobody shows
    series.run()
    assert len(series.ran) == 3
    file.unlink()
    series.run()
    assert series.ran[3:] == ["02 3", "05 2"]  # 01 was there before the training
    file.write_text("something else")
    series.run()
    assert series.ran[5:] == (["02 3", "05 2"] if lost == "predictions.csv" else [])


@pytest.mark.parametrize("broken", ["", "{", "[]", "{}"])
def test_a_broken_record_counts_as_none(series, broken):
    series.run()
    (series.run_dir / "run.json").write_text(broken)
    series.run()
    assert series.ran[3:] == ["01 2", "02 3", "05 2"]


def test_two_runs_in_one_folder_are_refused(series):
    with FileLock(series.run_dir / ".lock"), pytest.raises(UserError, match="Another run is at work in .*run; wait"):
        series.run()
    assert series.ran == []
    assert series.run() == []


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Really executed: a good notebook (twice, with other parameters), one that fails, dies, hangs."""
    folder = tmp_path_factory.mktemp("series")
    small = SmallSeries(folder)
    small.write(
        "01_first",
        "# %%\nprint('a', flush=True)\nprint('b')\n# %%\nepochs * 0\n# %%\nimport sys, os, matplotlib.pyplot as plt\n"
        "print(sys.executable, os.getcwd())\nplt.plot([1]); plt.show()",
    )
    (small.notebooks / "02_finetune_resnet18.py").unlink()
    small.write("02_fails", "# %%\nx = 1\n# %%\n# a comment\nraise ValueError('not good')")
    small.write("03_dies", "# %%\nimport os; os._exit(1)")
    small.write("04_hangs", "# %%\nimport time; time.sleep(60)")
    foreign = folder / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    foreign.joinpath("kernel.json").write_text(json.dumps({"argv": ["/no/python"], "display_name": "x"}))
    small.copies = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("MPLBACKEND", "Agg")
        patch.chdir(folder)
        for epochs in ("5", "6"):
            small.run(PLAIN, only=("01",), epochs=epochs)
            small.copies.append(nbformat.read(small.run_dir / COPY.format("01_first"), 4))
        small.failures = small.run(Profile("short", "", 2, {}, {}), only=("02", "03", "04"))
        assert os.environ["MPLBACKEND"] == "Agg" and os.environ["JUPYTER_PATH"] == str(folder / "jupyter")
    return small


def test_the_kernel_is_this_interpreter_and_figures_are_kept(executed):
    outputs = executed.copies[0].cells[-1].outputs
    assert outputs[0].text.split() == [sys.executable, str(executed.notebooks)]
    assert "image/png" in outputs[1].data


def test_a_failure_names_notebook_cell_and_error_and_stops_no_other(executed):
    fails, dies, hangs = executed.failures
    assert fails == "02_fails, cell [4] (raise ValueError('not good')): ValueError: not good"
    assert dies.startswith("03_dies, cell 3: DeadKernelError")
    assert hangs.startswith("04_hangs, cell ") and "Timeout" in hangs
    left = {path.name for path in (executed.run_dir / "notebooks").iterdir()}
    assert left == {"01_first.ipynb", "02_fails.ipynb", "03_dies.ipynb", "04_hangs.ipynb"}
    assert "not good" in (executed.run_dir / COPY.format("02_fails")).read_text("utf-8")


def test_cleaned_copies_of_two_runs_are_identical(executed):
    clean = [cleaned(copy) for copy in executed.copies]
    nbformat.validate(clean[0])
    texts = [nbformat.writes(copy).replace(str(executed.notebooks), "") for copy in clean]
    assert texts[0] == texts[1]
    assert [cell.execution_count for cell in clean[0].cells] == [1, 2, 3, 4]
    assert clean[0].cells[1].outputs[0].text == "a\nb\n" and clean[0].cells[2].outputs[0].execution_count == 3


def test_a_full_disk_ends_the_run_and_cuts_no_copy(tmp_path, monkeypatch):
    small = SmallSeries(tmp_path)
    copy = small.run_dir / COPY.format("01_first")
    copy.parent.mkdir()
    copy.write_text("the former copy")

    def full(text, path, *_):
        with open(path, "w") as file:
            file.write(text[:20])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(papermill.iorw.LocalHandler, "write", lambda _, *given: full(*given))
    with pytest.raises(OSError, match="No space left"):
        small.run()
    assert [path.read_text("utf-8") for path in copy.parent.iterdir()] == ["the former copy"]


@pytest.mark.parametrize("terminal", [True, False])
def test_papermills_bar_is_shown_on_a_terminal_only(terminal, tmp_path, monkeypatch):
    bars = []

    def execute_notebook(notebook, output, parameters, progress_bar, **_):
        bars.append(progress_bar)
        output.touch()

    monkeypatch.setattr(papermill, "execute_notebook", execute_notebook)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    SmallSeries(tmp_path).run(only=("01",))
    assert bars == [{"desc": "01_first", "leave": False} if terminal else False]


COMMAND = """
import signal, sys; from functools import partial; from pathlib import Path
from fer_nb_utils.__main__ import main; from fer_nb_utils.series import execute, plan
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may have inherited 'ignore'
run_dir, notebooks, profile = sys.argv[1:]
plan.plan = partial(plan.plan, folder=Path(notebooks))
execute.run = partial(execute.run, folder=Path(notebooks))
main(["run", "--profile", profile, "--run-dir", run_dir])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
def test_ctrl_c_stops_at_once_with_one_line_and_the_rerun_goes_on(series, tmp_path):
    started = series.run_dir / "started"
    series.write("01_first", "# %%\nprint(epochs)", 'data = "sample"\n')
    series.write("02_finetune_resnet18", f"# %%\nopen({str(started)!r}, 'w').close()\nimport time; time.sleep(60)")
    profile = tmp_path / "short.toml"
    profile.write_text('[parameters]\ndata = "faces"\n')
    write_faces(tmp_path / "faces")
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, series.run_dir, series.notebooks, profile],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not started.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the kernel gets it too
        printed, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "\nStopped. The same command goes on from here.\n")
    assert "01_first                     done" in printed
    assert [path.name for path in (series.run_dir / "notebooks").iterdir()] == ["01_first.ipynb"]
    series.run(PLAIN, data=str(tmp_path / "faces"))
    assert series.ran == ["02 2", "05 2"]
