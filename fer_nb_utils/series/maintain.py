"""For maintainers: runs become what is committed: executed notebooks, figures, reference results, a checkpoint."""

import gzip
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import jinja2
import nbformat
import torch
from nbformat import NotebookNode
from safetensors.torch import save_file

from ..classes import CLASSES
from ..data.dataset import load
from ..errors import UserError
from ..files import atomic_path, write_json, write_text
from ..networks.cost import latency_ms
from ..networks.load import CHECKPOINTS, checkpoint_metadata
from ..paths import NOTEBOOKS, ROOT
from ..results.measures import per_class
from ..results.paper import PAPER_TABLE1
from ..results.reference_runs import FOLDER, reference_runs
from ..results.run_folder import DIGITS, Run
from ..training.config import TrainConfig
from ..training.experiment import validation_temperature
from ..training.selection import select_images
from .execute import INJECTED, executed_copy
from .plan import Job
from .tables import markdown

MARKS = ("<!-- results: written by `publish` -->\n", "<!-- end of results -->")
WIDGET = "application/vnd.jupyter.widget-view+json"
CARD = Path(__file__).parent / "templates" / "model_card.md.jinja"


def update_notebooks(run_dir: Path, jobs: list[Job]) -> None:
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
            cell.outputs = [output for output in _merged(cell.outputs) if WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                output.get("metadata", {}).clear()
                if output.output_type == "execute_result":
                    output.execution_count = count
    notebook.cells = cells
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    return notebook


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Pieces of the same stream, cut where the kernel happened to flush, as one."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def publish_runs(
    folders: Sequence[Path],
    checkpoint: str | None = None,
    data: str | None = None,
    readme: Path = ROOT / "README.md",
    reference: Path = FOLDER,
    checkpoints: Path = CHECKPOINTS,
) -> list[Path]:
    """Make finished runs reference results, with the table in the README, and embed the network of the last one under
    the name `checkpoint`, if given; returns what was written. `data`: that of a last run which records no temperature.

    Raises UserError, before anything is written, for folders that hold no run with its network or have no name of
    their own, for a README without the marks of the table, and for a checkpoint's name that is no plain one.
    """
    runs = {folder.resolve().name: Run.load(folder.resolve()) for folder in folders}
    if "" in runs or len(runs) < len(folders):
        raise UserError("Published runs take the names of their folders; give folders with different names.")
    if checkpoint is not None and not re.fullmatch(r"[\w-]+", checkpoint):
        raise UserError(f"The checkpoint's name is {checkpoint!r}; give one of letters, digits, - and _ alone.")
    for run in runs.values():
        run.load_model()
    last = runs[folders[-1].resolve().name]
    text = _with_results(readme, results_table(dict(sorted((reference_runs() | runs).items()))))
    temperature = temperature_of(last, data) if checkpoint else 1.0

    written = [publish_run(run, reference) for run in runs.values()]
    write_text(readme, text)
    return [*written, readme, *([publish_checkpoint(last, checkpoint, temperature, checkpoints)] if checkpoint else [])]


def publish_run(run: Run, folder: Path = FOLDER) -> Path:
    """Copy a run without its weights to `folder`, under its own folder's name, and return where it is.

    The latency is measured again, for a machine that trains one network often trains another beside it: publish on a
    quiet one.
    """
    config = run.config | {"latency_ms": round(latency_ms(run.load_model(), run.config["image_size"]), 2)}
    target = folder / run.folder.name
    with atomic_path(target / "history.csv") as temporary:
        run.history.to_csv(temporary, index=False, float_format="%.6g")
    predictions = run.predictions.to_csv(index=False, float_format=DIGITS)
    with atomic_path(target / "predictions.csv.gz") as temporary:
        temporary.write_bytes(gzip.compress(predictions.encode(), mtime=0))
    write_json(target / "metrics.json", run.metrics)
    write_json(target / "config.json", config)
    return target


def _with_results(readme: Path, table: str) -> str:
    """The README's text with the table of the paper's and the reference results between its marks."""
    text = readme.read_text(encoding="utf-8")
    if [text.count(mark) for mark in MARKS] != [1, 1] or text.index(MARKS[0]) > text.index(MARKS[1]):
        raise UserError(f"{readme} lacks the lines {' and '.join(map(str.strip, MARKS))}; put them where results go.")
    before, rest = text.split(MARKS[0])
    return before + MARKS[0] + table + MARKS[1] + rest.split(MARKS[1])[1]


def results_table(runs: dict[str, Run]) -> str:
    """Accuracy on FER-2013 with 95 % intervals, the paper's and that of all `runs` on the whole data set; Markdown."""
    rows = ["| network | full test set | PrivateTest | leak-free | initial weights; trained, size, epochs |"]
    rows.append("|---|---|---|---|---|")
    for name, accuracy in PAPER_TABLE1["accuracy"].items():
        rows.append(f"| {name}, paper | {accuracy:.3f} | | | ImageNet; from layer4, unknown size, 20 epochs |")
    whole = [run for run in runs.values() if run.config["data"]["name"] == "FER-2013"]
    whole.sort(key=lambda run: ("random" in run.config["weights_label"], run.metrics["full"]["accuracy"]))
    for run in whole:
        cells = [f"{run.metrics[name]['accuracy']:.3f}" for name in ("full", "PrivateTest", "leak-free")]
        low, high = run.metrics["full"]["intervals"]["accuracy"]
        cells[0] += f" ({low:.3f} to {high:.3f})"
        config = run.config
        start = {"fc": "fc alone", "all": "all layers"}.get(config["trainable"], f"from {config['trainable']}")
        what = f"{config['weights_label']}; {start}, {config['image_size']} px, {config['epochs_run']} epochs"
        what += f", {config['cached_views']} cached views" if config["cached_views"] else ""
        rows.append(f"| {config['model']} | {' | '.join(cells)} | {what} |")
    return "\n".join(rows) + "\n"


def temperature_of(run: Run, data: str | None) -> float:
    """The run's temperature; where it records none, fitted now on its validation images, out of its `data`."""
    if "temperature" in run.config:
        return run.config["temperature"]
    dataset = load(data) if data else None
    if dataset is None or dataset.fingerprint != run.config["data"]["fingerprint"]:
        raise UserError(
            f"The run in {run.folder} records no temperature; give its data ({run.config['data']['name']})."
        )
    config = TrainConfig(**{key: value for key, value in run.config.items() if key in TrainConfig.__dataclass_fields__})
    return validation_temperature(run.load_model(), select_images(dataset, config)[1], config.image_size)


def publish_checkpoint(run: Run, name: str, temperature: float, folder: Path = CHECKPOINTS) -> Path:
    """Write the run's network as float16 to `folder/name.safetensors`, its card beside it; returns the path."""
    tensors = run.load_model().state_dict().items()
    state = {key: tensor.half() if tensor.dtype == torch.float32 else tensor for key, tensor in tensors}
    metadata = checkpoint_metadata(run.config["model"], run.config["image_size"], temperature)
    path = folder / f"{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
    write_text(path.with_suffix(".md"), model_card(run, name, temperature))
    return path


def model_card(run: Run, name: str, temperature: float) -> str:
    """What the network is, how it was made, how good it is, and what it must not be used for; Markdown."""
    options = {"trim_blocks": True, "keep_trailing_newline": True, "undefined": jinja2.StrictUndefined}
    template = jinja2.Template(CARD.read_text(encoding="utf-8"), **options)
    table = markdown(per_class(run.predictions))
    facts = {"config": run.config, "metrics": run.metrics, "classes": CLASSES, "temperature": temperature}
    return template.render(name=name, per_expression=table, **facts)
