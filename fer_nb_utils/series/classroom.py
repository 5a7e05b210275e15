"""An offline pack for laptops: wheels, notebooks, and a script for each system that makes the environment from them."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..paths import NOTEBOOKS, PACKAGE, ROOT, TEMPLATES

# what to call a system -> uv's name of it, and pip's, the newest kind of wheel first
MANYLINUX = tuple(f"manylinux_2_{minor}_x86_64" for minor in range(34, 4, -1)) + ("manylinux2014_x86_64",)
PLATFORMS = {
    "windows": ("x86_64-pc-windows-msvc", ("win_amd64",)),
    "macos": ("aarch64-apple-darwin", ("macosx_14_0_arm64",)),
    "linux": ("x86_64-manylinux_2_28", MANYLINUX),
}
CPU_TORCH = "https://download.pytorch.org/whl/cpu"  # PyPI's torch for Linux brings gigabytes of CUDA
SCRIPTS = TEMPLATES / "classroom"


def make_pack(folder: Path, platforms: Sequence[str], python: str, pypi_torch: bool) -> Path:
    """Fill `folder` for these PLATFORMS and this Python ("3.12"), and return the page to open first.

    All notebooks, solutions and the guide among them, go into a folder beside it, "<name> for the teacher".
    Versions are those of requirements.txt. `pypi_torch`: for Linux, too, take PyPI's torch, with its gigabytes of CUDA.
    Raises UserError outside a clone, for a folder in use, and with pip's or uv's words where packages cannot be had.
    """
    if not (pins := ROOT / "requirements.txt").exists():
        raise UserError(f"There is no {pins}; make the pack in a clone of the project.")
    teacher = folder.absolute().with_name(f"{folder.absolute().name} for the teacher")
    for used in (folder, teacher):
        if used.exists() and any(used.iterdir()):
            raise UserError(f"{used} is not empty; give a new folder.")
    try:
        _fetch(folder / "wheels", pins.read_text("utf-8"), platforms, python, pypi_torch)
        _copy(folder, teacher, python)
    except BaseException:  # the next try shall find the folders as they were
        for used in (folder, teacher):
            shutil.rmtree(used, ignore_errors=True)
        raise
    return folder / "START HERE.html"


def _fetch(wheels: Path, pins: str, platforms: Sequence[str], python: str, pypi_torch: bool) -> None:
    wheels.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:  # in the clone, pip would leave files and take old ones
        shutil.copytree(PACKAGE, Path(scratch, PACKAGE.name))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, scratch)
        _run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, scratch)
        asked, resolved = Path(scratch, "asked.txt"), Path(scratch, "resolved.txt")
        for platform in platforms:
            system, tags = PLATFORMS[platform]
            cpu = ["--extra-index-url", CPU_TORCH] if platform == "linux" and not pypi_torch else []
            asked.write_text("\n".join([*_runtime(pins, bool(cpu)), "setuptools", "wheel"]))
            choice = ["--python-platform", system, "--python-version", python, "--no-header", "--no-annotate"]
            found = ["--index-strategy", "unsafe-best-match", *cpu]
            _run("uv", "pip", "compile", "--quiet", *choice, *found, "--output-file", resolved, asked)
            names = [part for tag in (*tags, "any") for part in ("--platform", tag)]
            choice = ["--only-binary=:all:", "--no-deps", "--python-version", python, *names, "--dest", wheels]
            _run("pip", "download", "--quiet", *choice, *cpu, "--requirement", resolved)


def _copy(folder: Path, teacher: Path, python: str) -> None:
    hidden, answers = ("0*.py", "transfer_learning.py", ".*", "__*"), ("*_solutions.ipynb", "for_teachers.md")
    for place, ignored in ((folder, hidden + answers), (teacher, hidden)):
        shutil.copytree(NOTEBOOKS, place / "notebooks", ignore=shutil.ignore_patterns(*ignored))
        shutil.copytree(ROOT / "figures", place / "figures", ignore=shutil.ignore_patterns("*.csv", "*.svg"))
    shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True)
    for path in filter(Path.is_file, folder.iterdir()):  # not as text, whose line ends would change
        path.write_bytes(path.read_bytes().replace(b"PYTHON-VERSION", python.encode()))


def _runtime(pins: str, cpu: bool) -> list[str]:
    """The pinned packages without those of the extras; with `cpu`, torch and torchvision in their builds for that."""
    lines = (line.split("#")[0].strip() for line in pins.splitlines())
    extras = ("onnx", "pyarrow==", "pytest", "nbval==", "playwright==", "ruff==", "import-linter==", "-e ")
    kept = [line for line in lines if line and not line.startswith(extras)]
    return [line + "+cpu" if cpu and line.startswith(("torch==", "torchvision==")) else line for line in kept]


def _run(*command: object) -> None:
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # that of torch's wheels; uv's own is older
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, env=environment)
    if done.returncode:
        reason = " ".join((done.stderr.strip().splitlines() or ["no reason given"])[-3:])
        hint = "; --pypi-torch does without pytorch.org" if CPU_TORCH in command else ""
        hint = "; python -m pip install uv" if "No module named uv" in reason else hint
        raise UserError(f"Packages for the pack cannot be had ({command[0]}: {reason}){hint}.")
