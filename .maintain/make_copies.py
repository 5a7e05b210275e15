"""The lesson's two copies. Executing the solutions takes minutes.

Students get no solutions and no outputs; the solutions are executed. In the source, the lines of a cell tagged
`exercise` between `# solution` and `# end` are what pupils write themselves.
"""

import re
from collections.abc import Callable

import jupytext
import nbformat
import papermill
from maintain import cleaned
from nbformat import NotebookNode

from fer_nb_utils.files import atomic_path
from fer_nb_utils.paths import NOTEBOOKS
from fer_nb_utils.series.execute import OwnKernel

SOURCE = NOTEBOOKS / "classroom" / "transfer_learning.py"
STUDENTS, SOLUTIONS = SOURCE.with_suffix(".ipynb"), SOURCE.with_name("transfer_learning_solutions.ipynb")
SOLVED = re.compile(r"^( *)# solution\n(.*?)^ *# end\n?", re.MULTILINE | re.DOTALL)
STUB = 'raise NotImplementedError("Write this part yourself, then run the cell again.")\n'


def student_copy(source: NotebookNode) -> NotebookNode:
    """The lesson without solutions, outputs and counts."""
    copy = _copy(source, lambda part: part[1] + STUB)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    return copy


def solution_copy(source: NotebookNode) -> NotebookNode:
    """The lesson with solutions, without the marks around them."""
    return _copy(source, lambda part: part[2])


def _copy(source: NotebookNode, written: Callable[[re.Match], str]) -> NotebookNode:
    copy = nbformat.from_dict(source)
    for cell in copy.cells:
        if "exercise" in cell.metadata.get("tags", []):
            cell.source = SOLVED.sub(written, cell.source + "\n").rstrip("\n")
    return cleaned(copy)


def main() -> None:
    """Write both, as notebooks beside the source."""
    source = jupytext.read(SOURCE, fmt="py:percent")
    kernel = {"kernel_name": "python3", "kernel_manager_class": OwnKernel, "language": "python"}
    with atomic_path(SOLUTIONS) as temporary:
        papermill.execute_notebook(solution_copy(source), temporary, cwd=SOURCE.parent, progress_bar=False, **kernel)
        nbformat.write(cleaned(nbformat.read(temporary, as_version=4)), temporary)
    with atomic_path(STUDENTS) as temporary:
        nbformat.write(student_copy(source), temporary)
