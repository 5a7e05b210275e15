"""requirements.txt, pyproject.toml, environment.yml, README and .ci/run tell the same story."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
README = (ROOT / "README.md").read_text("utf-8")
RUN = "python -m pip install -r requirements.txt && python -m fer_nb_utils run"
TEST = "python -m pip install -r requirements.txt && python -m pytest -n 2"


def ranges():
    texts = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, texts)}


def pins():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()]
    requirements = [Requirement(line) for line in lines if line and line != "-e ."]
    assert "-e ." in lines
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def test_the_package_stays_small():
    """7,500 lines of Python, JavaScript and CSS, and no function of Python as long as sixty."""
    files = [path for kind in ("py", "js", "css") for path in (ROOT / "fer_nb_utils").rglob(f"*.{kind}")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    assert sum(text.count("\n") for text in texts.values()) <= 7500
    for path, text in texts.items():
        for node in ast.walk(ast.parse(text)) if path.suffix == ".py" else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno + 1 < 60, f"{path}: {node.name}"


def test_the_same_packages_are_pinned_and_ranged():
    assert pins().keys() == ranges().keys()


def test_each_pin_is_exact_and_in_its_range():
    for name, pin in pins().items():
        version = re.fullmatch(r"==([\d.]+)", pin)[1]
        assert ranges()[name].contains(version), name


def test_every_requirement_says_why():
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        if "==" in line and not line.startswith("opencv"):  # its reason takes two lines, above
            assert re.search(r"  # \w", line), line


def test_conda_makes_its_environment_from_the_same_requirements():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))["dependencies"]
    assert dependencies == ["python" + PROJECT["requires-python"], "pip", {"pip": ["-r requirements.txt"]}]


def test_supported_ranges():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    opencv = ranges()["opencv-python-headless"]
    assert opencv.contains("4.14.0.94") and not opencv.contains("5.0.0.93")
    assert ranges()["torch"].contains("2.11.0")


def test_everything_imported_is_declared():
    distributions = packages_distributions()
    always_with = {"ipywidgets": {"traitlets"}, "ipykernel": {"jupyter-client", "psutil"}, "pytest": {"packaging"}}
    always_with |= {"papermill": {"pyyaml"}, "torch": {"filelock"}}
    declared = set(ranges()) | set().union(*always_with.values()) | {"fer-nb-utils"}
    assert always_with.keys() <= ranges().keys()
    files = [
        file for folder in ("fer_nb_utils", "tests", "notebooks", ".maintain") for file in (ROOT / folder).rglob("*.py")
    ]
    for file in files:
        for module in imported(file) - set(sys.stdlib_module_names) - {other.stem for other in files}:
            names = {canonicalize_name(name) for name in distributions.get(module, [module])}
            assert names & declared, f"{file.name} imports {module}"


def imported(path):
    """Top-level names of the absolute imports in a file."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    deep = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in plain | deep}


@pytest.mark.parametrize("command", [RUN, TEST])
def test_the_readme_gives_the_commands_on_lines_of_their_own(command):
    assert command in README.splitlines()


def test_ci_runs_the_readmes_test_command():
    pattern = re.search(r"grep --max-count=1 -E '(.+)' README.md", (ROOT / ".ci" / "run").read_text("utf-8"))[1]
    assert [line for line in README.splitlines() if re.search(pattern, line)] == [TEST]


def test_the_readmes_small_torch_is_the_pinned_one():
    for name in ("torch", "torchvision"):
        assert f" {name}{pins()[name]} " in README


def test_package_data_is_found():
    import fer_nb_utils

    folder = Path(fer_nb_utils.__file__).parent
    assert {path.stem for path in folder.glob("series/profiles/*.toml")} == {"sample", "laptop", "paper"}
    assert (folder / "data" / "fer2013_index.csv.gz").exists()


def test_the_readme_links_to_files_that_exist():
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_no_room_imports_from_a_floor_above():
    assert lint_imports() == 0  # the contract stands in pyproject.toml


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_is_content(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_binder_takes_the_pinned_torch():
    dependencies = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text("utf-8"))["dependencies"]
    small = dependencies[-1]["pip"]
    assert {f"{name}{pins()[name]}+cpu" for name in ("torch", "torchvision")} <= set(small)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "notebooks/classroom/for_teachers.md"])
def test_other_pages_link_to_files_that_exist(name):
    page = ROOT / name
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_the_site_documents_every_module():
    named = re.findall(r"automodule:: (\S+)", (ROOT / ".site" / "api.md").read_text(encoding="utf-8"))
    paths = [path for path in (ROOT / "fer_nb_utils").rglob("*.py") if not path.name.startswith("__")]
    assert sorted(named) == sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
