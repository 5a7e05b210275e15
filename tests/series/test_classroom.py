"""The offline pack. pip and uv are replaced: what they would fetch is checked by making a pack, not here."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner

from fer_nb_utils.__main__ import main
from fer_nb_utils.errors import UserError
from fer_nb_utils.paths import ROOT
from fer_nb_utils.series import classroom

run_real = subprocess.run


@pytest.fixture
def commands(monkeypatch):
    """The commands given, which make files as pip and uv would, and what was asked of the resolver."""
    given = []

    def run(command, **_):
        given.append(command)
        if "wheel" in command:
            (classroom.Path(command[command.index("--wheel-dir") + 1]) / "fer_nb_utils-0-py3-none-any.whl").touch()
        if "compile" in command:
            given.append(classroom.Path(command[-1]).read_text("utf-8").splitlines())
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
        *("wheels", "notebooks", "figures", "START HERE.html"),
        *("start-windows.bat", "start-macos.command", "start-linux.sh"),
    }
    for script in re.findall(r"start-[\w.]+", page.read_text("utf-8")):
        assert (stick / script).is_file()
    notebooks = {path.name for path in stick.glob("notebooks/**/*") if path.is_file()}
    assert "transfer_learning.ipynb" in notebooks and "06_live_webcam.ipynb" in notebooks
    assert not any("solutions" in name for name in notebooks)
    assert {name for name in notebooks if not name.endswith(".ipynb")} == {"lesson.py", "quizzes.toml"}
    for_the_teacher = {path.name for path in stick.with_name(f"{stick.name} for the teacher").iterdir()}
    assert for_the_teacher == {"transfer_learning_solutions.ipynb", "for_teachers.md", "lesson.py", "quizzes.toml"}


def test_torch_is_the_processors_alone_and_versions_are_the_tested_ones(commands, tmp_path):
    classroom.make_pack(tmp_path / "stick", ["windows", "linux"], "3.12", False)
    _, windows, for_windows, fetch_windows, linux, for_linux, fetch_linux = commands
    pins = (ROOT / "requirements.txt").read_text("utf-8")
    (torch,) = re.findall(r"^torch==\S+", pins, re.MULTILINE)
    assert torch in for_windows and torch + "+cpu" in for_linux
    (vision,) = re.findall(r"^torchvision==\S+", pins, re.MULTILINE)
    assert vision in for_windows and vision + "+cpu" in for_linux  # that of PyPI needs PyPI's torch
    assert set(for_windows) - {"setuptools", "wheel"} <= set(re.findall(r"^\S+==\S+", pins, re.M))
    for extra in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ].values():
        names = [re.match(r"[\w-]+", requirement)[0] for requirement in extra]
        assert not [line for line in for_windows if line.startswith(tuple(f"{name}==" for name in names))]
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


@pytest.fixture
def stick(commands, tmp_path):
    return classroom.make_pack(tmp_path / "stick", ["linux"], "3.13", False).parent


UNIX = pytest.mark.parametrize("name", ["start-linux.sh", "start-macos.command"])


@UNIX
def test_the_scripts_are_good_shell(name, stick):
    with_real_sh = run_real(["sh", "-n", stick / name])
    assert with_real_sh.returncode == 0 and "--no-index --find-links" in (stick / name).read_text("utf-8")


@UNIX
@pytest.mark.skipif(os.name == "nt", reason="scripts for sh")
def test_another_python_is_told_which_one_to_install(name, stick, tmp_path):
    for version, sentence in (("3.12", "This stick is for Python 3.13."), ("3.13", "no venv")):
        python = tmp_path / "python"
        python.write_text(f"""#!/bin/sh
[ "$1" = -c ] || {{ echo no venv; exit 1; }}
exec {sys.executable} -c "import sys; sys.version_info = ({version.replace(".", ", ")}); $2"
""")
        python.chmod(0o755)
        environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "FER_CLASS": str(tmp_path / "class")}
        done = run_real(["sh", stick / name], capture_output=True, text=True, env=environment)
        assert done.returncode == 1 and sentence in done.stdout and not (tmp_path / "class" / "ready").exists()


def test_every_page_and_script_names_the_sticks_python(stick):
    for path in filter(classroom.Path.is_file, stick.iterdir()):
        assert "3.13" in path.read_text("utf-8") and "PYTHON-VERSION" not in path.read_text("utf-8")
    assert b"\r\n" in (stick / "start-windows.bat").read_bytes() and os.access(stick / "start-linux.sh", os.X_OK)


def test_windows_script_has_its_labels_and_line_ends():
    text = (classroom.SCRIPTS / "start-windows.bat").read_text("utf-8")
    assert text.count("PYTHON-VERSION") == 3
    assert set(re.findall(r"goto (\w+)", text)) == set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert "--no-index --find-links" in text
    assert re.search(r"^\*\.bat eol=crlf$", (ROOT / ".gitattributes").read_text("utf-8"), re.MULTILINE)
