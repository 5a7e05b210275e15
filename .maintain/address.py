"""The project's public address on GitHub, written wherever it is named, and the notebooks' way to Colab and Binder."""

import re
from pathlib import Path

import jupytext
import nbformat
from maintain import cleaned
from make_copies import SOLUTIONS, SOURCE, STUDENTS, student_copy
from nbformat import NotebookNode

from fer_nb_utils.errors import UserError
from fer_nb_utils.files import atomic_path, write_text
from fer_nb_utils.paths import NOTEBOOKS, ROOT

GITHUB = re.compile(r"https://github\.com/([\w-]+/[\w.-]+?)(?:\.git)?/?")
BADGES = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{name}/blob/main/{path})
[![Open in Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{name}/main?urlpath=lab/tree/{path})

"""
TAGS = ["colab", "remove-cell"]  # the site leaves out cells with the second one
# the folder's name is not the package's, which would else be found there, empty
SETUP = """\
# for Colab: fetch the project, and what it needs that is not there; elsewhere this does nothing
from importlib.util import find_spec

if not find_spec("{module}"):
    import runpy
    import subprocess
    from pathlib import Path

    address = "https://github.com/{name}"
    if not Path("fer_notebooks").exists():
        subprocess.run(["git", "clone", "--quiet", "--depth=1", address, "fer_notebooks"], check=True)
    runpy.run_path("fer_notebooks/.binder/colab.py")"""


def write_address(url: str) -> None:
    """Write it into pyproject.toml, CITATION.cff and the notebooks, each pair alike, in the place of a former one.

    Raises UserError, before anything is written, for what is no project's address on GitHub.
    """
    found = GITHUB.fullmatch(url)
    if not found:
        raise UserError(
            f"{url} is not the address of a project on GitHub; give one like https://github.com/OWNER/NAME."
        )
    name = found[1]
    url = f"https://github.com/{name}"
    _put(ROOT / "pyproject.toml", f'Repository = "{url}"', after="[project.urls]")
    _put(ROOT / "CITATION.cff", f"repository-code: {url}", after="license: ")

    for source in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py")):
        _write(_linked(jupytext.read(source, fmt="py:percent"), name, source), source)
        copy = source.with_suffix(".ipynb")
        _write(cleaned(_linked(nbformat.read(copy, as_version=4), name, source)), copy)
    lesson = _linked(jupytext.read(SOURCE, fmt="py:percent"), name, SOURCE)
    _write(lesson, SOURCE)
    _write(student_copy(lesson), STUDENTS)
    _write(cleaned(_linked(nbformat.read(SOLUTIONS, as_version=4), name, SOURCE)), SOLUTIONS)


def _put(path: Path, line: str, after: str) -> None:
    """Write a line into a file, over the former one of the same name or below the line that begins with `after`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [each for each in lines if each.split()[:1] != line.split()[:1]]
    above = next(number for number, each in enumerate(lines) if each.startswith(after))
    write_text(path, "\n".join([*lines[: above + 1], line, *lines[above + 1 :]]) + "\n")


def _linked(notebook: NotebookNode, name: str, source: Path) -> NotebookNode:
    """A copy with the badges below its title, and the cell for Colab after that."""
    notebook = nbformat.from_dict(notebook)
    path = source.with_suffix(".ipynb").relative_to(ROOT).as_posix()
    title, text = re.sub(r"^\[!\[Open in \w+\]\(.+\n+", "", notebook.cells[0].source, flags=re.MULTILINE).split(
        "\n\n", 1
    )
    notebook.cells[0].source = f"{title}\n\n{BADGES.format(name=name, path=path)}{text}"
    module = "lesson" if source == SOURCE else "fer_nb_utils"  # a restarted kernel finds neither
    setup = nbformat.v4.new_code_cell(SETUP.format(name=name, module=module), metadata={"tags": TAGS})
    others = [cell for cell in notebook.cells[1:] if cell.metadata.get("tags") != TAGS]
    notebook.cells = [notebook.cells[0], setup, *others]
    return notebook


def _write(notebook: NotebookNode, path: Path) -> None:
    if path.suffix == ".py":
        write_text(path, jupytext.writes(notebook, fmt="py:percent"))
        return
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)
