"""Guards over the committed notebooks. Their outputs are compared by nbval, which pytest collects beside this file."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import jupytext
import nbformat
import pytest
from browser import TOKEN, jupyterlab
from click.testing import CliRunner
from jupytext.compare import compare_notebooks

from fer_nb_utils.__main__ import main
from fer_nb_utils.paths import NOTEBOOKS, ROOT
from fer_nb_utils.series.parameters import FIRST_LINE, literals

NAMES = [
    "01_explore_fer2013",
    "02_finetune_resnet18",
    "03_finetune_resnet34",
    "04_finetune_resnet50",
    "05_compare_resnets",
    "06_live_webcam",
    "07_inside_the_network",
    "08_beyond_the_paper",
]
MEGABYTE = 1_000_000


@pytest.fixture(params=NAMES)
def path(request):
    return NOTEBOOKS / f"{request.param}.ipynb"


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell):
    return cell.metadata.get("tags", [])


def contents(notebook):
    return [(cell.cell_type, cell.source, tags(cell)) for cell in notebook.cells]


def test_these_are_all_notebooks():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} >= set(NAMES)
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {path.stem for path in NOTEBOOKS.glob("*.py")}


def test_pairs_agree(path, notebook):
    text = jupytext.read(path.with_suffix(".py"), fmt="py:percent")
    assert contents(text) == contents(notebook)
    compare_notebooks(notebook, text, fmt="py:percent")  # raises where jupytext finds a difference


def test_jupyterlab_opens_and_saves_notebooks_as_they_are(tmp_path):
    with jupyterlab(tmp_path) as server:
        clone = server.folder / "clone"
        (clone / "notebooks").mkdir(parents=True)
        shutil.copy(ROOT / "pyproject.toml", clone)
        path = Path(shutil.copy(NOTEBOOKS / "01_explore_fer2013.ipynb", clone / "notebooks"))
        text = Path(shutil.copy(NOTEBOOKS / "01_explore_fer2013.py", clone / "notebooks"))
        os.utime(text, (0, 0))  # a pull has brought another .ipynb alone
        pulled = json.loads(path.read_text("utf-8"))
        pulled["cells"][0]["source"] = ["# Another title"]
        path.write_text(json.dumps(pulled))
        before = text.read_bytes(), text.stat().st_mtime
        url = f"{server.url}/api/contents/clone/notebooks/{path.name}"
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        opened = json.load(urlopen(Request(url, headers=headers)))  # raises for any status but 200
        assert opened["content"]["cells"][0]["source"] == "# Another title"
        assert "jupytext" not in opened["content"]["metadata"]
        opened["content"]["cells"][1]["source"] = "Saved"
        model = json.dumps({"type": "notebook", "content": opened["content"]}).encode()
        assert urlopen(Request(url, model, headers, method="PUT")).status == 200
        assert "Saved" in path.read_text("utf-8") and (text.read_bytes(), text.stat().st_mtime) == before


def test_executed_once_from_top_to_bottom_without_errors(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any(output.output_type != "stream" for output in outputs)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]


def test_clean(path, notebook):
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]
    assert path.stat().st_size < MEGABYTE
    assert str(ROOT) not in path.read_text(encoding="utf-8")


def test_no_cell_ends_with_a_semicolon(notebook):
    assert not [cell.source for cell in code_cells(notebook) if cell.source.rstrip().endswith(";")]


def test_first_code_cell_holds_the_parameters(notebook):
    first, second = [cell for cell in code_cells(notebook) if "colab" not in tags(cell)][:2]
    assert tags(first) == ["parameters"] and first.source.startswith(FIRST_LINE)
    assert "run_dir" in literals(first.source)
    assert "check_parameters()" in second.source


def test_code_cells_are_short(notebook):
    assert statistics.median(len(cell.source.splitlines()) for cell in code_cells(notebook)) < 15


def test_interact_is_not_used(notebook):
    assert "interact(" not in "".join(cell.source for cell in code_cells(notebook))


def test_the_run_folder_is_explained_alike(path):
    comment = "for results; relative to the clone's root or, outside a clone, to the current folder"
    assert f'run_dir = "runs/default"  # {comment}\n' in path.with_suffix(".py").read_text(encoding="utf-8")


def papermill(*arguments, folder):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_plain_papermill_writes_where_it_is_called_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_NB_RUNS")
    done = papermill(NOTEBOOKS / "01_explore_fer2013.ipynb", "out.ipynb", "-p", "run_dir", "mine", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("mine/figures/*.png"))
    result = CliRunner().invoke(main, ["report", str(tmp_path / "mine")])
    assert result.exit_code == 0 and (tmp_path / "mine" / "index.html").exists()


def test_plain_papermill_with_an_unknown_parameter_fails(tmp_path):
    source = "notebooks/01_explore_fer2013.ipynb"
    done = papermill(source, tmp_path / "out.ipynb", "-p", "epoch", "20", folder=ROOT)
    assert done.returncode != 0 and "no parameter epoch; its parameters are" in done.stderr


def test_notebooks_run_with_tiny_parameters(tmp_path):
    """Those that every run goes through: one that trains, and the one that compares. nbval runs all of them."""
    tiny = ["-p", "epochs", "1", "-p", "image_size", "32", "--device", "cpu"]
    only = ["--only", "03", "05"]
    result = CliRunner().invoke(main, ["run", "--run-dir", str(tmp_path / "run"), *tiny, *only])
    assert result.exit_code == 0, result.output
    results = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))
    (data_set,) = results["data_sets"]
    assert data_set["synthetic"] and set(results["notebooks"]) == {NAMES[2], NAMES[4]}
    assert set(data_set["table1"]) == {"resnet34"}
    assert {path.stem for path in tmp_path.glob("run/notebooks/*.html")} == {NAMES[2], NAMES[4]}
    figures = {path.stem for path in tmp_path.glob("run/figures/*.png")}
    assert {"fig1_architecture_resnet34"} <= figures
    assert figures == {path.stem for path in tmp_path.glob("run/figures/*.svg")}
    assert {"table1", "table2"} <= {path.stem for path in tmp_path.glob("run/tables/*.csv")}


def printed(name):
    """All that the committed notebook printed or showed as text."""
    outputs = [
        output for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells for output in cell.get("outputs", [])
    ]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_the_committed_notebooks_come_from_one_execution():
    """What 02 tells of its run, 05 tells of the same: seconds of training and accuracy on the test set."""
    row = re.search(r"pretrained, layer4 \+ fc +[\d.]+ +[\d.]+ +([\d.]+) +[\d.]+ +[\d.]+ +([\d.]+)", printed(NAMES[1]))
    accuracy, seconds = row.groups()
    costs = [
        line for line in printed(NAMES[4]).splitlines() if line.startswith("resnet18 ") and seconds in line.split()
    ]
    assert len(costs) == 1 and accuracy in costs[0].split()
    for model, name in (("resnet34", NAMES[2]), ("resnet50", NAMES[3])):  # and 03 and 04 of theirs: accuracy, F1, AUC
        (tested,) = re.findall(r"^full +350 +([\d.]+) +([\d.]+) +([\d.]+)", printed(name), re.MULTILINE)
        (told,) = (line for line in printed(NAMES[4]).splitlines() if re.match(rf"{model} +ours .* 350 ", line))
        assert set(tested) <= set(told.split())


def test_every_committed_picture_has_an_alternative_text():
    for name in NAMES:
        for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells:
            for output in cell.get("outputs", []):
                for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                    assert output.metadata[kind]["alt"], (name, cell.source)
