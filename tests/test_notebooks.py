"""Guards over the committed notebooks. Their outputs are compared by nbval, which pytest collects beside this file."""

import json
import statistics
import subprocess
import sys

import jupytext
import nbformat
import pytest

from fer_nb_utils.series.execute import NOTEBOOKS, ROOT
from fer_nb_utils.series.parameters import FIRST_LINE, literals

NAMES = [
    "01_explore_fer2013",
    "02_finetune_resnet18",
    "03_finetune_resnet34",
    "04_finetune_resnet50",
    "05_compare_resnets",
    "06_live_webcam",
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
    assert contents(jupytext.read(path.with_suffix(".py"), fmt="py:percent")) == contents(notebook)


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
    first = code_cells(notebook)[0]
    assert tags(first) == ["parameters"] and first.source.startswith(FIRST_LINE)
    assert "run_dir" in literals(first.source)
    assert "check_parameters()" in code_cells(notebook)[1].source


def test_code_cells_are_short(notebook):
    assert statistics.median(len(cell.source.splitlines()) for cell in code_cells(notebook)) < 15


def test_interact_is_not_used(notebook):
    assert "interact(" not in "".join(cell.source for cell in code_cells(notebook))


def papermill(*arguments, folder):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("folder", [ROOT, NOTEBOOKS], ids=["root", "notebooks"])
def test_plain_papermill_works_from_both_folders(folder, tmp_path):
    source = NOTEBOOKS.joinpath("01_explore_fer2013.ipynb").relative_to(folder)
    done = papermill(source, tmp_path / "out.ipynb", "-p", "run_dir", tmp_path / "run", folder=folder)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("run/figures/*.png"))


def test_plain_papermill_with_an_unknown_parameter_fails(tmp_path):
    source = "notebooks/02_finetune_resnet18.ipynb"
    done = papermill(source, tmp_path / "out.ipynb", "-p", "epoch", "20", folder=ROOT)
    assert done.returncode != 0 and "no parameter epoch; its parameters are" in done.stderr


def test_the_series_runs_with_tiny_parameters(tmp_path):
    command = [sys.executable, "-m", "fer_nb_utils", "run", "--run-dir", tmp_path / "run", "--device", "cpu"]
    tiny = ["-p", "epochs", "1", "-p", "image_size", "32"]
    done = subprocess.run([*command, *tiny], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["data"][0]["synthetic"] and set(results["notebooks"]) == set(NAMES)
    assert {"resnet18", "resnet34", "resnet50"} <= set(results["table1"])
    figures = {path.stem for path in tmp_path.glob("run/figures/*.png")}
    assert {"fig1_architecture_resnet18", "fig2_training"} <= figures
    assert {"table1", "table2"} <= {path.stem for path in tmp_path.glob("run/tables/*.csv")}
    assert figures == {path.stem for path in tmp_path.glob("run/figures/*.svg")}
    assert {path.stem for path in tmp_path.glob("run/notebooks/*.html")} == set(NAMES)
