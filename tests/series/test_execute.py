import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import nbformat
import pytest

from fer_nb_utils.errors import UserError
from fer_nb_utils.series import execute
from fer_nb_utils.series.execute import Profile
from fer_nb_utils.series.maintain import cleaned

HEADER = textwrap.dedent("""
    # ---
    # jupyter:
    #   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
    # ---
    # %% tags=["parameters"]
    # parameters of this notebook
    run_dir = "runs/default"
    epochs = 2
    """).lstrip()
PROFILE = Profile("test", "a test", 60, {}, {"02_finetune_resnet18": {"budget": 5, "parameters": {"epochs": 3}}})
LOG = "# %%\nfrom pathlib import Path\nwith open(Path(run_dir) / 'log', 'a') as log: log.write('{} %d\\n' % epochs)"


@pytest.fixture
def series(tmp_path):
    """Three small notebooks that note in a log of the run folder that they ran; run(...) runs them."""

    class Small:
        notebooks = tmp_path / "notebooks"
        run_dir = tmp_path / "run"

        def write(self, name, code):
            (self.notebooks / f"{name}.py").write_text(HEADER + code)

        def run(self, profile=PROFILE, only=(), **given):
            jobs = execute.plan(profile, given, only, self.run_dir, self.notebooks)
            return execute.run(profile, jobs, self.run_dir, self.notebooks)

        @property
        def log(self):
            return (self.run_dir / "log").read_text().split("\n")[:-1]

    small = Small()
    small.notebooks.mkdir()
    small.run_dir.mkdir()
    for name in ("01_first", "02_finetune_resnet18", "05_compare_resnets"):
        small.write(name, LOG.format(name[:2]))
    return small


def test_runs_in_order_and_skips_what_is_finished(series, capsys):
    assert series.run() == []
    assert series.log == ["01 2", "02 3", "05 2"]
    printed = capsys.readouterr().out
    assert "02_finetune_resnet18         done" in printed and "of  0:05" in printed
    assert series.run() == []
    assert series.log == ["01 2", "02 3", "05 2"]


def test_other_parameters_or_code_run_again_and_so_does_what_reads_them(series):
    series.run()
    series.write("02_finetune_resnet18", LOG.format("02") + "\nprint()")
    series.run()
    assert series.log[3:] == ["02 3", "05 2"]
    series.run(epochs="7", only=("1",))
    assert series.log[5:] == ["01 7"]


def test_a_failure_names_notebook_cell_and_error_and_stops_no_other(series):
    broken = "# %%\nx = 1\n# %%\n# a comment\nraise ValueError('not good')"
    series.write("02_finetune_resnet18", broken)
    assert series.run() == ["02_finetune_resnet18, cell [4] (raise ValueError('not good')): ValueError: not good"]
    assert series.log == ["01 2", "05 2"]
    record = json.loads((series.run_dir / "run.json").read_text())["notebooks"]["02_finetune_resnet18"]
    assert record["state"] == "failed" and record["error"]["name"] == "ValueError"
    series.write("02_finetune_resnet18", LOG.format("02"))
    assert series.run() == []
    assert series.log == ["01 2", "05 2", "02 3", "05 2"]


def test_a_kernel_that_dies_is_a_failure(series):
    series.write("01_first", "# %%\nimport os; os._exit(1)")
    (failure,) = series.run(only=("01",))
    assert failure.startswith("01_first, cell 3: DeadKernelError")


def test_a_cell_that_hangs_is_ended(series):
    series.write("01_first", "# %%\nimport time; time.sleep(60)")
    start = time.monotonic()
    failures = series.run(Profile("test", "", 2, {}, {}), only=("01",))
    assert failures and time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": "3"}, "no parameter epoch; its parameters are epochs, run_dir"),
        ({"epochs": "many"}, "epochs is 'many'"),
        ({"only": ("07",)}, "There is no notebook 07; choose from 01, 02, 05"),
        ({"profile": Profile("p", "", 9, {"sizes": 1}, {})}, "Profile p: the series has no parameter sizes"),
        ({"profile": Profile("p", "", 9, {}, {"01_first": {"parameters": {"b": 1}}})}, "Profile p: 01_first has no"),
        ({"profile": Profile("p", "", 9, {"epochs": "x"}, {})}, "epochs is 'x'"),
    ],
)
def test_what_no_notebook_knows_is_refused_before_anything_starts(series, options, message):
    with pytest.raises(UserError, match=message):
        series.run(**options)
    assert not list(series.run_dir.iterdir())


def test_a_parameters_cell_with_code_is_refused(series):
    series.write("01_first", '# %% tags=["parameters"]\nsize = len("x")')
    with pytest.raises(UserError, match="01_first cannot run"):
        series.run()


def test_the_kernel_is_this_interpreter_and_figures_are_kept(series, tmp_path, monkeypatch):
    foreign = tmp_path / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    foreign.joinpath("kernel.json").write_text(json.dumps({"argv": ["/no/python"], "display_name": "x"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    code = (
        "# %%\nimport sys, os, matplotlib.pyplot as plt\nprint(sys.executable, os.getcwd())\nplt.plot([1]); plt.show()"
    )
    series.write("01_first", code)
    assert series.run(only=("01",)) == []
    outputs = nbformat.read(execute.executed_copy(series.run_dir, "01_first"), 4).cells[-1].outputs
    assert outputs[0].text.split() == [sys.executable, str(series.notebooks)]
    assert "image/png" in outputs[1].data
    assert os.environ["MPLBACKEND"] == "Agg" and os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_ctrl_c_stops_at_once_and_the_rerun_goes_on(series):
    started = series.run_dir / "started"
    series.write("02_finetune_resnet18", f"# %%\nopen({str(started)!r}, 'w').close()\nimport time; time.sleep(60)")
    script = (
        "import signal, sys; from pathlib import Path; from fer_nb_utils.series import execute\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job may have inherited 'ignore'
        "p = execute.Profile('test', '', 90, {}, {}); d = Path(sys.argv[1]); n = Path(sys.argv[2])\n"
        "execute.run(p, execute.plan(p, {}, (), d, n), d, n)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, series.run_dir, series.notebooks], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert errors.decode().rstrip().endswith("KeyboardInterrupt")
    series.write("02_finetune_resnet18", LOG.format("02"))
    assert series.run(Profile("test", "", 90, {}, {})) == []
    assert series.log == ["01 2", "02 2", "05 2"]


def test_cleaned_copies_of_two_runs_are_identical(series):
    texts = []
    for value in ("5", "6"):
        series.write("01_first", "# %%\nprint('a', flush=True)\nprint('b')\n# %%\n1 + 1")
        series.run(only=("01",), epochs=value)
        clean = cleaned(nbformat.read(execute.executed_copy(series.run_dir, "01_first"), 4))
        nbformat.validate(clean)
        texts.append(nbformat.writes(clean))
    assert texts[0] == texts[1]
    assert [cell.execution_count for cell in clean.cells] == [1, 2, 3]
    assert clean.cells[1].outputs[0].text == "a\nb\n" and clean.cells[2].outputs[0].execution_count == 3


@pytest.mark.parametrize("name", ["sample", "laptop", "paper"])
def test_profiles_fit_the_notebooks(name, tmp_path):
    profile = execute.load_profile(name)
    jobs = execute.plan(profile, {"data": "sample"}, (), tmp_path)
    assert {job.name for job in jobs} == set(profile.notebooks)


def test_an_unknown_profile_is_refused():
    with pytest.raises(UserError, match="choose one of laptop, paper, sample"):
        execute.load_profile("fast")
