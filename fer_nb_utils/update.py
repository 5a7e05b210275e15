"""For maintainers: executed copies of the default run become the committed notebooks, figures and tables."""

import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from .files import atomic_path
from .runner import INJECTED, NOTEBOOKS, ROOT, Job, executed_copy

WIDGET = "application/vnd.jupyter.widget-view+json"


def update(run_dir: Path, jobs: list[Job]) -> None:
    """Write cleaned copies over `notebooks/*.ipynb`, and the reference results' figures and tables over `figures/`."""
    for job in jobs:
        with atomic_path(NOTEBOOKS / f"{job.name}.ipynb") as temporary:
            nbformat.write(cleaned(nbformat.read(executed_copy(run_dir, job.name), as_version=4)), temporary)
    for kind in ("figures", "tables"):
        made = run_dir / "reference" / kind
        if made.is_dir():
            shutil.copytree(made, ROOT / "figures", dirs_exist_ok=True)


def cleaned(executed: NotebookNode) -> NotebookNode:
    """A copy without anything that differs between two runs: timings, widget states, injected parameters, ids.

    Two executions that print the same come out byte for byte the same. A widget is dropped with its output, because
    without a kernel it shows as an error; the notebooks show a static figure beside each.
    """
    notebook = nbformat.from_dict(executed)
    cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    count = 0
    for number, cell in enumerate(cells):
        cell.id = str(number)
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [_numbered(output, count) for output in _merged(cell.outputs) if not _is_widget(output)]
    notebook.cells = cells
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    return notebook


def _is_widget(output: NotebookNode) -> bool:
    return WIDGET in output.get("data", {})


def _numbered(output: NotebookNode, count: int) -> NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = count
    output.get("metadata", {}).clear()
    return output


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Pieces of the same stream, cut where the kernel happened to flush, as one."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged
