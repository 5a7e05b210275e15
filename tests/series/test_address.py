"""The project's address, written into a copy of the repository, and the notebooks' cell for Colab, executed."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import address
import nbformat
import pytest
import yaml

from fer_nb_utils.errors import UserError
from fer_nb_utils.paths import ROOT

URL = "https://github.com/some-school/faces.in_class"
LEFT_OUT = (".git", ".*_cache", "__pycache__", "runs", "build", "reference", "*.safetensors", "*.egg-info")
GUARDS = "pairs_agree or executed_once or test_clean or first_code_cell or cop or enough_exercises or alternative_text"
COLAB = ["colab", "remove-cell"]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def write_address(clone, url):
    done = subprocess.run([sys.executable, clone / ".maintain", "address", url], capture_output=True, text=True)
    return done.returncode, done.stderr


def left_out(folder, names):
    environments = {name for name in names if Path(folder, name, "pyvenv.cfg").is_file()}
    return environments | shutil.ignore_patterns(*LEFT_OUT)(folder, names)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the repository with an address."""
    folder = shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "clone", ignore=left_out)
    assert write_address(folder, URL) == (0, "")
    return folder


def texts(clone):
    files = (path for path in clone.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in files}


def notebooks(folder):
    paths = sorted((folder / "notebooks").rglob("*.ipynb"))
    assert len(paths) == 10
    return {path.relative_to(folder).as_posix(): nbformat.read(path, as_version=4) for path in paths}


def test_every_notebook_leads_to_colab_and_binder(clone):
    for path, notebook in notebooks(clone).items():
        place = path.replace("_solutions", "")  # both copies of the lesson lead to the students'
        lines = notebook.cells[0].source.split("\n")
        assert lines[0].startswith("# ") and lines[1] == lines[4] == "" and lines[5].startswith("**You will learn**")
        colab, binder = (
            re.fullmatch(r"\[!\[Open in \w+\]\(https://[^)]+\.svg\)\]\((.+)\)", line)[1] for line in lines[2:4]
        )
        assert colab == f"https://colab.research.google.com/github/some-school/faces.in_class/blob/main/{place}"
        assert binder == f"https://mybinder.org/v2/gh/some-school/faces.in_class/main?urlpath=lab/tree/{place}"
        assert notebook.cells[1].metadata.tags == COLAB and f'"{URL}"' in notebook.cells[1].source


def test_all_else_stays_outputs_too(clone):
    former = notebooks(ROOT)
    for path, notebook in notebooks(clone).items():
        assert others(notebook) == others(former[path])


def others(notebook):
    """All cells but the first and that for Colab, with their outputs, but not numbered."""
    cells = [cell for cell in notebook.cells[1:] if cell.metadata.get("tags") != COLAB]
    outputs = [[{**each, "execution_count": 0} for each in cell.get("outputs", [])] for cell in cells]
    return [(cell.source, cell.metadata, shown) for cell, shown in zip(cells, outputs, strict=True)]


def test_the_repositorys_guards_hold_with_an_address(clone):
    """Pairs, numbers of cells and executions, the lesson's copies, style."""
    files = [clone / "tests" / name for name in ("test_notebooks.py", "series/test_lesson.py", "series/test_show.py")]
    pytest_command = ["pytest", "-q", "-p", "no:cacheprovider", *files, "-k", GUARDS]
    environment = os.environ | {"PYTHONPATH": str(clone)}
    for command in (["ruff", "check"], ["ruff", "format", "--check"], pytest_command):
        command = [sys.executable, "-m", *command]
        done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_address_stands_in_the_projects_facts_and_on_the_site(clone, monkeypatch):
    project = tomllib.loads((clone / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"] == {"Repository": URL} and "export" in project["optional-dependencies"]
    assert yaml.safe_load((clone / "CITATION.cff").read_text(encoding="utf-8"))["repository-code"] == URL
    monkeypatch.setattr(sys, "path", sys.path.copy())
    options = runpy.run_path(str(clone / ".site" / "conf.py"))["html_theme_options"]
    assert (options["repository_url"], options["repository_branch"]) == (URL, "main")
    assert {"binderhub_url", "colab_url"} <= options["launch_buttons"].keys()


@pytest.fixture
def here(clone, monkeypatch):
    """This process writes into the copy."""
    for name in ("ROOT", "NOTEBOOKS", "SOURCE", "STUDENTS", "SOLUTIONS"):
        monkeypatch.setattr(address, name, clone / getattr(address, name).relative_to(ROOT))


def test_another_address_replaces_it_and_the_same_one_changes_nothing(clone, here):
    before = texts(clone)
    address.write_address(URL + ".git")
    assert texts(clone) == before
    address.write_address("https://github.com/other/place/")
    changed = [path for path, text in texts(clone).items() if text != before[path]]
    assert len(changed) == 2 + 2 * 8 + 3
    assert not any("some-school" in (clone / path).read_text(encoding="utf-8") for path in changed)
    address.write_address(URL)
    assert texts(clone) == before


@pytest.mark.parametrize("url", ["github.com/a/b", "https://github.com/a", "https://github.com/a/b/tree/main"])
def test_what_is_no_address_on_github_is_refused(clone, here, url):
    before = texts(clone)
    with pytest.raises(UserError, match=f"^{url} is not the address of a project on GitHub; give one like"):
        address.write_address(url)
    assert texts(clone) == before


def test_the_command_refuses_in_a_sentence(clone):
    status, said = write_address(clone, "https://gitlab.com/a/b")
    assert status == 2 and said.startswith("Error: https://gitlab.com/a/b is not") and said.count("\n") == 1


def setup_cell(clone, name):
    return nbformat.read(clone / "notebooks" / f"{name}.ipynb", as_version=4).cells[1].source


@pytest.mark.parametrize("name", ["01_explore_fer2013", "classroom/transfer_learning"])
def test_the_cell_for_colab_does_nothing_where_the_package_is(clone, name, monkeypatch):
    for module, function in ((subprocess, "run"), (runpy, "run_path")):
        monkeypatch.setattr(module, function, lambda *_, **__: pytest.fail("it does something"))
    exec(setup_cell(clone, name), {})


@pytest.fixture
def origin(clone, tmp_path):
    """A repository that needs a package which is there, and an IPython that Colab has not."""
    folder = shutil.copytree(clone, tmp_path / "origin", ignore=shutil.ignore_patterns("tests", "*.ipynb", "*.gz"))
    text = re.sub(
        r"dependencies = \[.*?\n\]", 'dependencies = ["pip", "ipython>=999"]', PROJECT, count=1, flags=re.DOTALL
    )
    (folder / "pyproject.toml").write_text(text)
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("name", ["01_explore_fer2013", "classroom/transfer_learning"])
def test_elsewhere_it_fetches_the_project_once(clone, origin, tmp_path, name):
    code = setup_cell(clone, name).replace(URL, origin.as_uri())
    code += """
from importlib.util import find_spec
from fer_nb_utils.paths import NOTEBOOKS
assert find_spec("lesson")
print(NOTEBOOKS)
"""
    for _ in range(2):  # the second time in a new kernel, whose path lacks the clone
        # no site-packages, as if nothing were installed; pip's own process has them
        done = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.stdout.strip() == str(tmp_path / "fer_notebooks" / "notebooks"), done.stderr
        shutil.rmtree(origin, ignore_errors=True)
