import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.results.measures import metrics
from fer_nb_utils.series import report
from fer_nb_utils.series.workspace import Workspace


def write_run(folder, seed, model="resnet18"):
    """A finished run with the predictions of a network that is right more often than not."""
    rng = np.random.default_rng(seed)
    truth = np.arange(140) % 7
    scores = rng.dirichlet(np.ones(7), 140) + np.eye(7)[truth] * 0.4
    predictions = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=list(CLASSES))
    predictions.insert(0, "label", np.array(CLASSES)[truth])
    predictions.insert(0, "usage", np.where(np.arange(140) < 70, "PublicTest", "PrivateTest"))
    predictions.insert(0, "file", [f"image_{number}" for number in range(140)])
    twins = ["image_1", "image_2"]
    counts = {"Training": dict.fromkeys(CLASSES, 9)}
    data = {"name": "synthetic sample", "fingerprint": "sha256:0123", "source": "sample", "synthetic": True}
    config = {
        "model": model,
        "weights_label": "random",
        "trainable": "all",
        "image_size": 48,
        "epochs_run": 2,
        "seed": 0,
    }
    config |= {"validation": "PublicTest" if model == "resnet50" else "stratified"}
    config |= {"parameters": 11_180_103, "trained_parameters": 11_180_103, "multiply_adds": 10**8, "seconds": 12.3}
    config |= {"latency_ms": 9.87, "peak_memory_mb": None, "device": "cpu", "device_name": "<x86>"}
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    pd.DataFrame({"epoch": [1, 2]}).to_csv(folder / "history.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics(predictions, twins, n=50)))
    (folder / "config.json").write_text(
        json.dumps(config | {"data": data | {"counts": counts, "twins_in_train": twins}})
    )


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    workspace = Workspace(folder)
    for seed, model in enumerate(("resnet18", "resnet34", "resnet50")):
        write_run(workspace.run_folder(model), seed, model)
    write_run(workspace.run_folder("resnet18_fc"), 9)
    figure = Figure(figsize=(6, 3))
    figure.add_subplot(title="synthetic sample").plot([1, 3, 2])
    workspace.save_figure(figure, "fig2_training")
    workspace.reference.save_figure(figure, "fig1_architecture_resnet18")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A lesson")])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "01_explore.ipynb")
    error = {"cell": "[3] (train(<x>))", "name": "ValueError", "message": "bad"}
    entries = {
        "01_explore": {"state": "finished", "error": None, "seconds": 3.2, "budget": 40},
        "02_train": {"state": "failed", "error": error, "seconds": 1.0, "budget": 90},
    }
    (folder / "run.json").write_text(json.dumps({"profile": "sample", "notebooks": entries}))
    report.write(folder)
    return folder


def test_results_hold_data_versions_tables_with_intervals_costs_and_the_paper(run_dir):
    found = json.loads((run_dir / "results.json").read_text())
    assert found["data"][0]["fingerprint"] == "sha256:0123" and found["data"][0]["synthetic"]
    assert {"python", "torch", "fer_nb_utils"} <= set(found["versions"])
    assert set(found["table1"]) == {"resnet18", "resnet34", "resnet50", "resnet18_fc"}
    for name, support in {"full": 140, "PublicTest": 70, "PrivateTest": 70, "leak-free": 138}.items():
        row = found["table1"]["resnet18"][name]
        low, high = row["intervals"]["accuracy"]
        assert row["support"] == support and low <= row["accuracy"] <= high
        assert set(found["table2"][name]) == set(CLASSES)
    assert found["runs"]["resnet34"]["multiply_adds"] == 10**8 and found["runs"]["resnet34"]["device"] == "cpu"
    assert found["paper"]["table1"]["resnet50"]["auc"] == 0.885


def test_table2_is_the_mean_over_the_three_models_alone(run_dir):
    found = json.loads((run_dir / "results.json").read_text())
    models = [json.loads((run_dir / "training" / name / "metrics.json").read_text()) for name in found["table1"]]
    names = [name for name in found["table1"] if name != "resnet18_fc"]
    of_three = [m for m, name in zip(models, found["table1"], strict=True) if name in names]
    expected = np.mean([m["full"]["per_class"]["happy"]["f1"] for m in of_three])
    assert found["table2"]["full"]["happy"]["f1"] == pytest.approx(expected)
    for row in found["table2"]["full"].values():
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_the_page_needs_no_network_and_shows_everything(run_dir):
    page = (run_dir / "index.html").read_text()
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", page) and "<script" not in page
    assert page.count("src='data:image/png;base64,") == 2
    assert "synthetic sample (sha256:0123)" in page and "Reference results on FER-2013" in page
    assert "failed in cell [3] (train(&lt;x&gt;)): ValueError" in page and "&lt;x86&gt;" in page
    for link in re.findall(r"href='([^']+)'", page):
        assert link.startswith("notebooks/")
    for name in ("full", "PublicTest", "PrivateTest", "leak-free"):
        assert f"synthetic sample, test set: {name}" in page
    assert "test set: full (PublicTest chose the epoch of resnet50)" in page
    assert "test set: PrivateTest<" in page and "random, from all, 48 px, 2 epochs" in page


def test_notebooks_become_html(run_dir):
    assert "A lesson" in (run_dir / "notebooks" / "01_explore.html").read_text()


def test_pictures_of_the_repository_are_part_of_the_html(tmp_path):
    cell = nbformat.v4.new_markdown_cell("![the camera](../figures/live_camera.png)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    assert 'src="data:image/png;base64,' in report.notebook_html(tmp_path / "x.ipynb")


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path):
    assert "no finished training run yet" in report.write(tmp_path).read_text()
