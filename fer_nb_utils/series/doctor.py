"""Can this computer run the series? One check after another, and what to do where one fails.

A check returns what it found, or raises; every import that could fail stands in one.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable
from importlib.metadata import distributions, requires, version
from pathlib import Path

from ..paths import ROOT

INSTALL = "python -m pip install -r requirements.txt, in the clone and in this environment"


def examine() -> list[dict[str, str]]:
    """Each check as name, state ("ok", "failed", or "absent" where the series runs without it), found and remedy."""
    results = []
    for name, (needed, check, remedy) in CHECKS.items():
        try:
            results.append({"name": name, "state": "ok", "found": str(check()), "remedy": ""})
        except Exception as error:  # a broken environment can raise anything
            found = " ".join(str(error).split()) or type(error).__name__
            state = "failed" if needed else "absent"
            results.append({"name": name, "state": state, "found": found, "remedy": remedy})
    return results


def _sure(found: object, otherwise: str) -> object:
    if not found:
        raise ValueError(otherwise)
    return found


def _python() -> str:
    found = f"{sys.version.split()[0]} at {sys.executable}"
    return _sure((3, 11) <= sys.version_info[:2] <= (3, 13) and found, f"{found} is not 3.11, 3.12 or 3.13")


def _packages() -> str:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    every = reversed([*distributions()])  # of two of one name, the first counts
    installed = {canonicalize_name(each.name): each.version for each in every}
    lines = [*requires("fer_nb_utils"), *(requires("torchvision") if "torchvision" in installed else ())]
    asked = [Requirement(line) for line in lines if "extra ==" not in line]
    versions = {each: installed.get(canonicalize_name(each.name), "missing") for each in asked}
    wrong = [each for each, found in versions.items() if found == "missing" or found not in each.specifier]
    _sure(not wrong, "; ".join(f"{each.name} is {versions[each]}, needs {each.specifier}" for each in wrong))
    pins = ROOT / "requirements.txt"
    lines = pins.read_text("utf-8").splitlines() if pins.exists() else []
    pinned = [line.split()[0].split("==") for line in lines if "==" in line]
    other = ["==".join(p) for p in pinned if installed.get(canonicalize_name(p[0]), "none").split("+")[0] != p[1]]
    return f"{len(asked)} in their ranges" + (f"; not the tested version: {', '.join(other)}" if other else "")


def _kernel() -> str:
    from jupyter_client.kernelspec import get_kernel_spec

    program = Path(get_kernel_spec("python3").argv[0])
    own = program.name == str(program) or program.absolute().parent == Path(sys.executable).absolute().parent
    return _sure(own and "python3, of this environment", f"python3 runs {program}, not this environment's Python")


def _jupyterlab() -> str:
    extensions = Path(sys.prefix, "share", "jupyter", "labextensions")
    names = ("@jupyter-widgets/jupyterlab-manager", "anywidget")  # uninstalled ones can leave empty folders
    missing = [name for name in names if not (extensions / name / "package.json").is_file()]
    return _sure(not missing and f"{version('jupyterlab')} with widgets", f"without {', '.join(missing)}")


def _torch() -> str:
    import torch

    from ..networks.resnets import build_model

    model, images = build_model("resnet18", "embedded", "all").train(), torch.rand(32, 3, 48, 48)
    ends = [model(images).sum().backward() or time.perf_counter() for _ in range(4)]  # the first one warms up
    speed = 3 * len(images) / (ends[3] - ends[0])
    return f"{torch.__version__}: {speed:.0f} images/s forward and back (ResNet18), {torch.get_num_threads()} threads"


def _opencv() -> str:
    import cv2

    faces = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    return _sure(not faces.empty() and cv2.__version__, "its face cascades are missing")


def _camera() -> str:
    import cv2

    getattr(cv2.utils, "logging", cv2).setLogLevel(0)  # its warnings would stand between the checks
    return _sure(cv2.VideoCapture(0).read()[0] and "camera 0 gives pictures", "camera 0 gives no picture")


def _cache() -> Path:
    from ..data.cache import cache_folder
    from ..files import check_writable

    check_writable(cache_folder() / "doctor")
    return cache_folder()


def _imagenet() -> str:
    import torch

    folder = Path(torch.hub.get_dir(), "checkpoints")
    missing = [name for name in ("resnet18", "resnet34", "resnet50") if not [*folder.glob(f"{name}-*.pth")]]
    return _sure(not missing and f"all three in {folder}", f"without {', '.join(missing)} in {folder}")


def _fer2013() -> str:
    from ..data.dataset import load

    path = os.environ.get("FER2013_PATH", "")
    found = load(_sure(path, "FER2013_PATH is not set"))
    return _sure(found.name == "FER-2013" and path, f"{path} is {found.name}, not FER-2013 as published")


def _chromium() -> str:
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    return _sure(next(found, None), "no chromium or google-chrome on the path")


def _disk() -> str:
    free = shutil.disk_usage(ROOT).free / 1e9
    return _sure(free > 1 and f"{free:.0f} GB free", f"{free:.1f} GB free at {ROOT}")


# name -> whether the series needs it, check, and what to do where it fails
CHECKS: dict[str, tuple[bool, Callable[[], object], str]] = {
    "Python": (True, _python, "install Python 3.12 and make a fresh environment"),
    "packages": (True, _packages, INSTALL),
    "kernel": (True, _kernel, f"{INSTALL}; then python -m ipykernel install --sys-prefix"),
    "JupyterLab": (True, _jupyterlab, INSTALL),
    "torch": (True, _torch, f"{INSTALL}; on Linux without GPU, the README's CPU build first"),
    "OpenCV": (True, _opencv, f"pip uninstall opencv-python opencv-python-headless, then {INSTALL}"),
    "disk": (True, _disk, "free a gigabyte"),
    "cache": (True, _cache, "set FER_NB_CACHE to a folder that you may write to"),
    "camera": (False, _camera, "choose the demo clip; on macOS give the terminal the right to use the camera"),
    "Chromium": (False, _chromium, "only the tests of the live camera need it: apt install chromium"),
    "FER-2013": (False, _fer2013, "the synthetic sample takes its place; README, FER-2013, says where to get it"),
    "ImageNet weights": (False, _imagenet, "the embedded backbones take their place; --weights imagenet fetches them"),
}
