"""Exported networks answer as the package does, and say what they are."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fer_nb_utils import __version__
from fer_nb_utils.__main__ import main
from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError, WeightsError
from fer_nb_utils.live.realtime import realtime_prediction
from fer_nb_utils.networks import export as exporting
from fer_nb_utils.networks.export import export
from fer_nb_utils.networks.load import load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.paths import ROOT

README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def network(finished_run):
    return load_network(finished_run.folder)


@pytest.fixture(scope="module")
def faces(sample):
    return sample.images[::50]


@pytest.fixture(scope="module")
def onnx_file(network, tmp_path_factory):
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("export") / "network.onnx"
    export(network, path)
    return path


def session(path):
    return pytest.importorskip("onnxruntime").InferenceSession(path)


def same_answers(found, network, faces):
    expected = predict(network.model, torch.from_numpy(faces), network.transform)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def said(metadata, network):
    """Whether the metadata say what the network is."""
    assert metadata["name"] == network.name and metadata["version"] == __version__
    assert tuple(json.loads(metadata["classes"])) == CLASSES
    assert (metadata["temperature"], metadata["image_size"]) == (str(network.temperature), "32")
    assert "uint8 (n, 48, 48)" in metadata["input"]


def test_onnx_has_equal_answers_for_any_number_of_faces_and_says_what_it_is(onnx_file, network, faces):
    running = session(onnx_file)
    for some in (faces, faces[:1]):
        same_answers(running.run(["probabilities"], {"faces": some})[0], network, some)
    said(running.get_modelmeta().custom_metadata_map, network)
    assert list(onnx_file.parent.iterdir()) == [onnx_file]  # no weights beside it


def test_torchscript_has_equal_answers_and_says_what_it_is(network, faces, tmp_path):
    export(network, tmp_path / "network.pt", "torchscript")
    extra = {"metadata": ""}
    loaded = torch.jit.load(tmp_path / "network.pt", _extra_files=extra)
    for some in (faces, faces[:1]):
        same_answers(loaded(torch.from_numpy(some)).numpy(), network, some)
    said(json.loads(extra["metadata"]), network)


@pytest.fixture(scope="module")
def embedded_onnx(tmp_path_factory):
    """The network of the camera, which answers each face otherwise: garbage is far from it."""
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("embedded") / "faces.onnx"
    export(load_network(), path)
    return path


def test_the_embedded_network_answers_alike_as_onnx(embedded_onnx, sample):
    some = sample.images[::5]
    same_answers(session(embedded_onnx).run(None, {"faces": some})[0], load_network(), some)


def test_int8_is_a_quarter_as_large_and_close(embedded_onnx, sample, tmp_path):
    path, some = tmp_path / "int8.onnx", sample.images[::5]
    export(load_network(), path, calibration=sample.images[1::7])
    assert path.stat().st_size < 0.27 * embedded_onnx.stat().st_size
    running = session(path)
    found, expected = (each.run(None, {"faces": some})[0] for each in (running, session(embedded_onnx)))
    assert np.abs(found - expected).mean() < 0.02  # another face's answers: 0.16
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    metadata = running.get_modelmeta().custom_metadata_map
    assert metadata["name"] == load_network().name and tuple(json.loads(metadata["classes"])) == CLASSES


def test_the_readmes_lines_need_onnx_runtime_alone(embedded_onnx):
    pytest.importorskip("onnxruntime")
    (lines,) = re.findall(r"```python\n(import json, numpy, onnxruntime\n.*?)```", README, re.DOTALL)
    without = "import sys\nsys.modules.update(torch=None, torchvision=None, fer_nb_utils=None, onnx=None)\n"
    command = [sys.executable, "-c", without + lines]
    done = subprocess.run(command, cwd=embedded_onnx.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"'(\w+)': (?:np\.float32\()?([\d.e-]+)", done.stdout)
    assert tuple(name for name, _ in told) == CLASSES and sum(float(p) for _, p in told) == pytest.approx(1, abs=1e-5)


def test_a_missing_package_and_int8_of_torchscript_are_one_sentence(network, faces, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="Only onnx has int8"):
        export(network, tmp_path / "network.pt", "torchscript", faces)
    monkeypatch.setattr(exporting, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r'needs onnx; install it with pip install -e "\.\[export\]"\.$'):
        export(network, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_file_that_was_asked_for(finished_run, tmp_path):
    output = tmp_path / "network.pt"
    arguments = ["export", str(finished_run.folder), "--format", "torchscript", "--output", str(output)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and result.stdout.startswith(f"written: {output}, 4")
    assert list(tmp_path.iterdir()) == [output]
    result = CliRunner().invoke(main, ["export", "nowhere", "--output", "network.onnx"])
    assert result.exit_code == 2 and "There is no network at nowhere" in result.stderr
    weights = finished_run.folder / "model.safetensors"
    result = CliRunner().invoke(main, ["export", str(weights), "--output", str(weights)])
    assert result.exit_code == 2 and f"{weights} must end in .onnx." in result.stderr


def test_an_exported_network_is_loaded_like_any_other(onnx_file, network, faces):
    loaded = load_network(onnx_file)
    assert (loaded.name, loaded.temperature) == (network.name, network.temperature)
    same_answers(predict(loaded.model, torch.from_numpy(faces), loaded.transform), network, faces)
    with pytest.raises(UserError, match="is an exported network already"):
        export(loaded, onnx_file.with_name("again.onnx"))


def test_an_exported_network_labels_the_demo_clip_as_the_network_does(embedded_onnx):
    tables = []
    for each in (load_network(embedded_onnx), load_network()):
        tables.append(realtime_prediction(each.model, each.transform, source="demo", seconds=8))
    exported, original = tables
    assert len(exported) == len(original) > 30 and original["label"].nunique() > 1
    assert exported[["frame", "face", "label"]].equals(original[["frame", "face", "label"]])
    np.testing.assert_allclose(exported[list(CLASSES)], original[list(CLASSES)], atol=1e-3)


def test_what_is_no_exported_network_is_one_sentence(onnx_file, tmp_path, monkeypatch):
    import onnx

    (tmp_path / "text.onnx").write_text("no network")
    strange = onnx.load(onnx_file)
    del strange.metadata_props[:]
    onnx.save(strange, tmp_path / "strange.onnx")
    for name in ("text.onnx", "strange.onnx"):
        with pytest.raises(WeightsError, match=f"{name} is no network that .* wrote; export it again"):
            load_network(tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match="needs ONNX Runtime; install it with"):
        load_network(onnx_file)
