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
    guide = stick.with_name("stick for the teacher") / "notebooks" / "classroom" / "for_teachers.md"
    assert {path.name for path in guide.parent.iterdir()} == {
        *("transfer_learning.ipynb", "transfer_learning_solutions.ipynb", "for_teachers.md"),
        *("lesson.py", "quizzes.toml"),
    }
    links = re.findall(r"\]\(([^)#]+)\)", guide.read_text("utf-8"))
    assert links and all((guide.parent / link).exists() for link in links if "://" not in link)


def test_a_teachers_own_notes_are_never_overwritten_nor_left_half(commands, tmp_path, monkeypatch):
    notes = tmp_path / "stick for the teacher" / "notes.md"
    notes.parent.mkdir()
    notes.touch()
    with pytest.raises(UserError, match="stick for the teacher is not empty; give a new folder"):
        classroom.make_pack(tmp_path / "stick", ["linux"], "3.12", False)
    assert notes.exists() and not (tmp_path / "stick").exists()
    notes.unlink()
    monkeypatch.setattr(classroom, "SCRIPTS", tmp_path / "nowhere")  # the last that is copied
    with pytest.raises(FileNotFoundError):
        classroom.make_pack(tmp_path / "stick", ["linux"], "3.12", False)
    assert not list(tmp_path.iterdir())


def test_the_command_names_both_folders_and_refuses_a_python_without_wheels(commands, tmp_path):
    done = CliRunner().invoke(main, ["classroom", str(tmp_path / "stick"), "--platform", "linux"])
    assert done.exit_code == 0 and done.stdout.splitlines() == [
        str(tmp_path / "stick" / "START HERE.html"), f"solutions and guide: {tmp_path / 'stick for the teacher'}"
    ]  # fmt: skip
    for python in ("3.12.4", "3", "3.14"):
        done = CliRunner().invoke(main, ["classroom", str(tmp_path / "other"), "--python", python])
        assert done.exit_code == 2 and not (tmp_path / "other").exists()


def test_torch_is_the_processors_alone_and_versions_are_the_tested_ones(commands, tmp_path):
    classroom.make_pack(tmp_path / "stick", ["windows", "linux"], "3.12", False)
    _, windows, for_windows, fetch_windows, linux, for_linux, fetch_linux = commands
    pins = (ROOT / "requirements.txt").read_text("utf-8")
    (torch,) = re.findall(r"^torch==\S+", pins, re.MULTILINE)
    assert torch in for_windows and torch + "+cpu" in for_linux
    (vision,) = re.findall(r"^torchvision==\S+", pins, re.MULTILINE)
    assert vision in for_windows and vision + "+cpu" in for_linux  # that of PyPI needs PyPI's torch
    assert set(for_windows) - {"setuptools", "wheel"} <= set(re.findall(r"^\S+==\S+", pins, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extra in project["optional-dependencies"].values():
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


@UNIX
@pytest.mark.skipif(os.name == "nt", reason="scripts for sh")
@pytest.mark.parametrize("machine", ["Linux x86_64", "Darwin arm64", "Linux aarch64"])
def test_the_lesson_opens_in_spite_of_the_doctor_and_only_where_the_wheels_fit(name, stick, tmp_path, machine):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "uname").write_text(f"#!/bin/sh\necho {machine}\n")
    (tools / "python").write_text("""#!/bin/sh
case "$*" in
  *"-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  *doctor*) echo "failed  disk"; exit 1 ;;
  *jupyterlab*) echo "the lesson opens" ;;
esac
""")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "PYTHON": str(tools / "python")}
    environment["FER_CLASS"] = str(tmp_path / "class")
    done = run_real(["sh", stick / name], capture_output=True, text=True, env=environment)
    if machine != "Linux aarch64":
        assert done.stdout.splitlines()[-3:] == [
            "failed  disk", "The lesson opens all the same; show the lines above to your teacher.", "the lesson opens",
        ]  # fmt: skip
    else:
        assert done.returncode == 1 and f"No stick fits this laptop ({machine})" in done.stdout


def test_the_page_says_which_machines_a_stick_fits(stick):
    page = (stick / "START HERE.html").read_text("utf-8")
    assert "64-bit Windows and Linux on Intel or AMD, and macOS 14 or later on Apple's" in page
    assert classroom.PLATFORMS["macos"] == ("aarch64-apple-darwin", ("macosx_14_0_arm64",))


def test_every_page_and_script_names_the_sticks_python(stick):
    for path in filter(classroom.Path.is_file, stick.iterdir()):
        assert "3.13" in path.read_text("utf-8") and "PYTHON-VERSION" not in path.read_text("utf-8")
    assert b"\r\n" in (stick / "start-windows.bat").read_bytes() and os.access(stick / "start-linux.sh", os.X_OK)


def test_windows_script_has_its_labels_and_line_ends():
    text = (classroom.SCRIPTS / "start-windows.bat").read_text("utf-8")
    assert text.count("PYTHON-VERSION") == 3
    assert set(re.findall(r"goto (\w+)", text)) == set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert "--no-index --find-links" in text
    assert re.search(r"-m jupyterlab .*transfer_learning\.ipynb \|\| goto failed$", text, re.MULTILINE)
    assert re.search(r"-m fer_nb_utils doctor \|\| echo The lesson opens all the same", text)
    assert re.search(r"^\*\.bat eol=crlf$", (ROOT / ".gitattributes").read_text("utf-8"), re.MULTILINE)
