"""For maintainers: runs become what is committed: executed notebooks, figures, reference results, a checkpoint."""

import gzip
import shutil
from pathlib import Path

import nbformat
import torch
from nbformat import NotebookNode
from safetensors.torch import save_file

from ..classes import CLASSES
from ..files import atomic_path, write_json, write_text
from ..networks.cost import latency_ms
from ..networks.load import CHECKPOINTS
from ..paths import NOTEBOOKS, ROOT
from ..results.measures import per_class
from ..results.paper import PAPER_TABLE1
from ..results.reference_runs import FOLDER, reference_runs
from ..results.run_folder import DIGITS, Run
from .execute import INJECTED, Job, executed_copy
from .tables import markdown

MARKS = ("<!-- results: written by `publish` -->\n", "<!-- end of results -->")
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


def write_results(readme: Path) -> None:
    """Put the table of the paper's and the reference results between the marks in the README."""
    before, rest = readme.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    write_text(readme, before + MARKS[0] + results_table(reference_runs()) + MARKS[1] + after)


def results_table(runs: dict[str, Run]) -> str:
    """Accuracy on FER-2013 with 95 % intervals, the paper's and that of all `runs` on the whole data set; Markdown."""
    rows = ["| network | full test set | PrivateTest | leak-free | initial weights; trained, size, epochs |"]
    rows.append("|---|---|---|---|---|")
    for name, values in PAPER_TABLE1.iterrows():
        rows.append(
            f"| {name}, paper | {values['accuracy']:.3f} | | | ImageNet; from layer4, unknown size, 20 epochs |"
        )
    whole = [run for run in runs.values() if run.config["data"]["name"] == "FER-2013"]
    for run in sorted(
        whole, key=lambda run: ("random" in run.config["weights_label"], run.metrics["full"]["accuracy"])
    ):
        cells = [f"{run.metrics[name]['accuracy']:.3f}" for name in ("full", "PrivateTest", "leak-free")]
        low, high = run.metrics["full"]["intervals"]["accuracy"]
        cells[0] += f" ({low:.3f} to {high:.3f})"
        config = run.config
        start = {"layer4": "from layer4", "fc": "fc alone", "all": "all layers"}[config["trainable"]]
        what = f"{config['weights_label']}; {start}, {config['image_size']} px, {config['epochs_run']} epochs"
        what += f", {config['cached_views']} cached views" if config["cached_views"] else ""
        rows.append(f"| {config['model']} | {' | '.join(cells)} | {what} |")
    return "\n".join(rows) + "\n"


def publish_checkpoint(run: Run, name: str, folder: Path = CHECKPOINTS) -> Path:
    """Write the run's network as float16 to `folder/name.safetensors` with a model card beside it; returns the path."""
    state = {
        key: tensor.half() if tensor.dtype == torch.float32 else tensor
        for key, tensor in run.load_model().state_dict().items()
    }
    metadata = {"model": run.config["model"], "image_size": str(run.config["image_size"])}
    path = folder / f"{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata=metadata)
    write_text(path.with_suffix(".md"), model_card(run, name))
    return path


def model_card(run: Run, name: str) -> str:
    """What the network is, how it was made, how good it is, and what it must not be used for; Markdown."""
    config, size = run.config, run.config["image_size"]
    measured = "".join(
        f"| {test_set} | {values['support']:,} | {values['accuracy']:.3f} "
        f"({values['intervals']['accuracy'][0]:.3f} to {values['intervals']['accuracy'][1]:.3f}) "
        f"| {values['f1']:.3f} | {values['auc']:.3f} |\n"
        for test_set, values in run.metrics.items()
    )
    return f"""# {name}

{config["model"]} for seven facial expressions ({", ".join(CLASSES)}, in this order), float16, torchvision's names.

## Input

One grey face, cropped as in FER-2013, resized to {size} x {size} pixels, repeated to three channels and normalised
with ImageNet's mean and standard deviation: `fer_nb_utils.networks.transforms.Preprocess({size})`.

## Training

* Data: {config["data"]["name"]}, {config["data"]["fingerprint"]}
* Validation: {config["validation"]} (10 % of train)
* Initial weights: {config["weights_label"]} (SHA-256 {config["weights_sha256"]})
* Trained: {config["trainable"]}; {config["epochs_run"]} epochs, weights of epoch {config["best_epoch"]}, the best
  on validation
* {config["optimizer"]}, learning rate {config["learning_rate"]}, weight decay {config["weight_decay"]}
* {config["schedule"]} schedule, batches of {config["batch_size"]}, label smoothing {config["label_smoothing"]},
  seed {config["seed"]}
* {config["seconds"] / 60:.0f} minutes on {config["device"]} ({config["threads"]} threads, {config["precision"]}),
  torch {config["versions"]["torch"]}; finished {config["finished"]}

## Test results (float32 weights; test images seen once)

| test set | images | accuracy (95 % interval) | weighted F1 | AUC |
|---|---|---|---|---|
{measured}
Per expression, full test set:

{markdown(per_class(run.predictions))}
## Limits

* A label names a *posed or perceived expression* in one picture, not what a person feels. People agree with FER-2013's
  labels in about 65 % of cases, and some of the labels are wrong.
* The images were found by web search in 2013: ages, skin tones, cultures and camera angles are unevenly
  represented. Error rates on other people differ from the table.
* Not for decisions about people. The EU's AI Act forbids inferring emotions at work and in education, except for
  medical or safety reasons.

## Licence of the data

FER-2013 was collected by Pierre-Luc Carrier and Aaron Courville from web search results and published for the ICML
2013 workshop challenge (Goodfellow et al. 2013); the pictures' owners gave no licence. Kaggle states terms of use on
the data set's page: read them before you use these weights for more than research and teaching. The code's licence
does not cover the data.
"""
