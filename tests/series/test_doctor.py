"""The doctor on this environment, and on broken ones."""

import json
import re
import sys
from importlib.metadata import distributions
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from fer_nb_utils.__main__ import main
from fer_nb_utils.series import doctor

OPENCV = "opencv-python-headless"
NEEDED = [name for name, (needed, *_) in doctor.CHECKS.items() if needed]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The measured training step and the camera are asked for by one test alone."""
    for name in ("torch", "camera"):
        needed, _, remedy = doctor.CHECKS[name]
        monkeypatch.setitem(doctor.CHECKS, name, (needed, lambda: "there", remedy))


def state(name):
    return next(each for each in doctor.examine() if each["name"] == name)


def test_this_environment_can_run_the_series(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_NB_CACHE", str(tmp_path))
    failed = [each for each in doctor.examine() if each["state"] == "failed" and each["name"] != "kernel"]
    assert not failed  # the kernel of a test environment may be another's
    assert str(tmp_path) in state("cache")["found"]


def test_a_training_step_is_measured():
    assert "images/s" in doctor._torch()


@pytest.mark.parametrize("name", doctor.CHECKS)
def test_a_failure_names_its_remedy_and_decides_the_exit_status(name, monkeypatch):
    def broken():
        raise ImportError("DLL load failed\nwhile importing")

    for each, (needed, _, remedy) in doctor.CHECKS.items():
        monkeypatch.setitem(doctor.CHECKS, each, (needed, broken if each == name else lambda: "fine", remedy))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == (name in NEEDED)
    assert "DLL load failed while importing" in done.output and f"to do: {doctor.CHECKS[name][2]}" in done.output
    results = json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)
    assert [each["name"] for each in results if each["state"] != "ok"] == [name]


def test_packages_missing_or_out_of_range(monkeypatch):
    real = doctor.distributions()
    wrong = [
        SimpleNamespace(name="torch", version="2.1.0"),
        SimpleNamespace(name="opencv-python-headless", version="5.0"),
    ]
    kept = [each for each in real if each.name not in ("torch", OPENCV, "papermill")]
    shadowed = SimpleNamespace(name="torch", version="2.15.0")  # further down the path
    monkeypatch.setattr(doctor, "distributions", lambda: [*kept, *wrong, shadowed])
    found = state("packages")
    assert found["state"] == "failed" and "pip install -r requirements.txt" in found["remedy"]
    for part in ("torch is 2.1.0, needs >=2.6", f"{OPENCV} is 5.0", "papermill is missing"):
        assert part in found["found"]
    assert "ipykernel" not in found["found"]


def test_a_torchvision_of_another_torch(monkeypatch):
    real = doctor.requires
    needs = {"torchvision": ["numpy", "torch (==2.12.0)", "scipy ; extra == 'scipy'"]}
    monkeypatch.setattr(doctor, "requires", lambda name: needs.get(name) or real(name))
    found = state("packages")
    assert found["state"] == "failed" and "needs ==2.12.0" in found["found"] and found["found"].startswith("torch is ")


def test_a_version_in_range_that_was_not_tested_is_named(monkeypatch):
    others = [each for each in doctor.distributions() if each.name != "seaborn"]
    monkeypatch.setattr(doctor, "distributions", lambda: [*others, SimpleNamespace(name="seaborn", version="0.14+a")])
    found = state("packages")
    assert found["state"] == "ok" and "seaborn==" in found["found"] and "numpy==" not in found["found"]


def test_no_kernel_or_another_environments(monkeypatch, tmp_path):
    import jupyter_client.kernelspec

    def no_kernel(name):
        raise jupyter_client.kernelspec.NoSuchKernel(name)

    monkeypatch.setattr(jupyter_client.kernelspec, "get_kernel_spec", no_kernel)
    assert state("kernel")["state"] == "failed" and "requirements.txt" in state("kernel")["remedy"]  # ipykernel first
    assert state("kernel")["remedy"].endswith("; then python -m ipykernel install --sys-prefix")
    other = SimpleNamespace(argv=[str(tmp_path / "bin" / "python")])
    monkeypatch.setattr(jupyter_client.kernelspec, "get_kernel_spec", lambda _: other)
    assert "not this environment's" in state("kernel")["found"]
    own = SimpleNamespace(argv=[sys.executable])
    monkeypatch.setattr(jupyter_client.kernelspec, "get_kernel_spec", lambda _: own)
    assert state("kernel")["state"] == "ok"


def test_each_opencv_is_asked_for_pictures_in_silence(monkeypatch):
    import cv2

    calls = []
    monkeypatch.delattr(cv2.utils, "logging")  # OpenCV before 4.13
    monkeypatch.setattr(cv2, "setLogLevel", calls.append, raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: SimpleNamespace(read=lambda: (True, None)))
    assert doctor._camera() == "camera 0 gives pictures" and calls == [0]


def test_opencv_without_cascades(monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "CascadeClassifier")
    assert state("OpenCV")["state"] == "failed" and "CascadeClassifier" in state("OpenCV")["found"]


def test_widgets_of_another_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    without = "without @jupyter-widgets/jupyterlab-manager, anywidget"
    assert state("JupyterLab")["found"] == without
    (tmp_path / "share" / "jupyter" / "labextensions" / "anywidget" / "static").mkdir(parents=True)  # uninstalled
    assert state("JupyterLab")["found"] == without


def test_an_old_python(monkeypatch):
    class Old(tuple):
        pass

    monkeypatch.setattr(sys, "version_info", Old((3, 10, 0)))
    assert state("Python")["state"] == "failed"


def test_data_and_weights_are_absent_not_failed(monkeypatch, tmp_path):
    import torch

    monkeypatch.delenv("FER2013_PATH", raising=False)
    assert state("FER-2013")["found"] == "FER2013_PATH is not set"
    monkeypatch.setenv("FER2013_PATH", str(tmp_path / "nowhere"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert state("FER-2013")["state"] == state("ImageNet weights")["state"] == "absent"
    monkeypatch.setenv("FER2013_PATH", str(tmp_path))  # a folder without images
    assert state("FER-2013")["state"] == "absent"
    monkeypatch.setenv("FER2013_PATH", "sample")
    assert state("FER-2013")["found"].endswith("not FER-2013 as published")
    (tmp_path / "checkpoints").mkdir()
    for name in ("resnet18-f37072fd", "resnet34-b627a593", "resnet152-394f9c45"):
        (tmp_path / "checkpoints" / f"{name}.pth").touch()
    assert state("ImageNet weights")["found"].startswith("without resnet50 in ")
    (tmp_path / "checkpoints" / "resnet50-11ad3fa6.pth").touch()
    assert state("ImageNet weights")["state"] == "ok"


def test_fer_2013_is_looked_at(monkeypatch):
    monkeypatch.setenv("FER2013_PATH", "anywhere")
    monkeypatch.setattr("fer_nb_utils.data.dataset.load", lambda path: SimpleNamespace(name="FER-2013"))
    assert state("FER-2013") == {"name": "FER-2013", "state": "ok", "found": "anywhere", "remedy": ""}


def test_chromium_is_wanted_for_tests_alone(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", {"google-chrome": "/usr/bin/google-chrome"}.get)
    assert state("Chromium")["found"] == "/usr/bin/google-chrome"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert state("Chromium")["state"] == "absent"


def test_a_longer_version_is_another_version(monkeypatch):
    real = {each.name: each.version for each in reversed([*distributions()])} | {"ipython": "9.18"}  # pinned: 9.18.1
    listed = [SimpleNamespace(name=name, version=version) for name, version in real.items()]
    monkeypatch.setattr(doctor, "distributions", lambda: listed)
    assert re.search(r"not the tested version: .*ipython==9\.18\.", doctor._packages())
