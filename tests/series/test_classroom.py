"""The offline pack. pip and uv are replaced: what they would fetch is checked by making a pack, not here."""

import re
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fer_nb_utils.__main__ import main
from fer_nb_utils.errors import UserError
from fer_nb_utils.paths import ROOT
from fer_nb_utils.series import classroom


@pytest.fixture
def commands(monkeypatch):
    """The commands given, which make files as pip and uv would, and what was asked of the resolver."""
    given = []

    def run(command, **_):
        given.append(command)
        if "wheel" in command:
            (classroom.Path(command[command.index("--wheel-dir") + 1]) / "fer_nb_utils-0-py3-none-any.whl").touch()
        if "compile" in command:
            given.append(classroom.Path(command[-1]).read_text().splitlines())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(classroom.subprocess, "run", run)
    return given


def test_the_pack_is_whole(commands, tmp_path, monkeypatch):
    clone = shutil.copytree(classroom.NOTEBOOKS, tmp_path / "clone")
    for left in ("__pycache__/lesson.cpython-311.pyc", ".ipynb_checkpoints/transfer_learning-checkpoint.ipynb"):
        (clone / "classroom" / left).parent.mkdir(exist_ok=True)
        (clone / "classroom" / left).touch()  # of a teacher who has run the lesson
    monkeypatch.setattr(classroom, "NOTEBOOKS", clone)
    page = classroom.make_pack(tmp_path / "stick", ["windows", "linux"], "3.12", False)
    stick = page.parent
    assert {path.name for path in stick.iterdir()} == {
        *("wheels", "notebooks", "figures", "for the teacher", "START HERE.html"),
        *("start-windows.bat", "start-macos.command", "start-linux.sh"),
    }
    for script in re.findall(r"start-[\w.]+", page.read_text()):
        assert (stick / script).is_file()
    notebooks = {path.name for path in stick.glob("notebooks/**/*") if path.is_file()}
    assert "transfer_learning.ipynb" in notebooks and "06_live_webcam.ipynb" in notebooks
    assert not any("solutions" in name for name in notebooks)
    assert {name for name in notebooks if not name.endswith(".ipynb")} == {"lesson.py", "quizzes.toml"}
    assert (stick / "for the teacher" / "transfer_learning_solutions.ipynb").is_file()


def test_torch_is_the_processors_alone_and_versions_are_the_tested_ones(commands, tmp_path):
    classroom.make_pack(tmp_path / "stick", ["windows", "linux"], "3.12", False)
    _, windows, for_windows, fetch_windows, linux, for_linux, fetch_linux = commands
    pins = (ROOT / "requirements.txt").read_text()
    (torch,) = re.findall(r"^torch==\S+", pins, re.MULTILINE)
    assert torch in for_windows and torch + "+cpu" in for_linux
    (vision,) = re.findall(r"^torchvision==\S+", pins, re.MULTILINE)
    assert vision in for_windows and vision + "+cpu" in for_linux  # that of PyPI needs PyPI's torch
    assert set(for_windows) - {"setuptools", "wheel"} <= set(re.findall(r"^\S+==\S+", pins, re.M))
    assert not [line for line in for_windows if line.startswith(("pytest", "ruff", "-e"))]
    assert classroom.CPU_TORCH in linux and classroom.CPU_TORCH in fetch_linux
    assert classroom.CPU_TORCH not in windows and "win_amd64" in fetch_windows
    assert "x86_64-pc-windows-msvc" in windows and "--only-binary=:all:" in fetch_windows


def test_pypis_torch(commands, tmp_path):
    classroom.make_pack(tmp_path / "stick", ["linux"], "3.11", True)
    assert not [line for line in commands[2] if "+cpu" in line] and classroom.CPU_TORCH not in commands[1]
    assert "manylinux_2_28_x86_64" in commands[3]


def test_where_pytorch_org_is_out_of_reach_it_says_what_to_do(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no route\n")
    monkeypatch.setattr(classroom.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="no route.*--pypi-torch"):
        classroom._run("uv", "pip", "compile", "--extra-index-url", classroom.CPU_TORCH)


def test_a_folder_in_use_is_left_alone(commands, tmp_path):
    (tmp_path / "mine").touch()
    done = CliRunner().invoke(main, ["classroom", str(tmp_path)])
    assert done.exit_code == 2 and "is not empty" in done.output and not commands


def test_pips_reason_is_told(monkeypatch, tmp_path):
    failed = subprocess.CompletedProcess([], 1, "", "a\nERROR: No matching distribution found for torch==9\n")
    monkeypatch.setattr(classroom.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="No matching distribution found for torch==9"):
        classroom.make_pack(tmp_path / "stick", ["linux"], "3.12", False)
    assert not (tmp_path / "stick").exists()


def test_without_uv_it_says_how_to_get_it(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", f"{sys.executable}: No module named uv\n")
    monkeypatch.setattr(classroom.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="python -m pip install uv"):
        classroom._run("uv", "pip", "compile")


@pytest.mark.parametrize("name", ["start-linux.sh", "start-macos.command"])
def test_the_scripts_are_good_shell(name):
    script = classroom.SCRIPTS / name
    assert subprocess.run(["sh", "-n", script]).returncode == 0
    assert "--no-index --find-links" in script.read_text()


def test_windows_script_has_its_labels_and_line_ends():
    text = (classroom.SCRIPTS / "start-windows.bat").read_text()
    assert set(re.findall(r"goto (\w+)", text)) == set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert "--no-index --find-links" in text
    assert re.search(r"^\*\.bat eol=crlf$", (ROOT / ".gitattributes").read_text(), re.MULTILINE)
