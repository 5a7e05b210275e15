"""Runs become what is committed: executed notebooks, figures, reference results, checkpoints, backbones."""

import gzip
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import nbformat
import numpy as np
import pandas as pd
import torch
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from safetensors.torch import save_file
from torch import Tensor

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.files import atomic_path, write_json, write_text
from fer_nb_utils.networks.backbones import SCALE
from fer_nb_utils.networks.cost import latency_ms
from fer_nb_utils.networks.device import device_name
from fer_nb_utils.networks.load import CHECKPOINTS, checkpoint_metadata
from fer_nb_utils.networks.resnets import MODELS
from fer_nb_utils.paths import NOTEBOOKS, ROOT
from fer_nb_utils.results.claims import check_claims
from fer_nb_utils.results.measures import per_class
from fer_nb_utils.results.paper import PAPER_TABLE1
from fer_nb_utils.results.reference_runs import FOLDER, handmade_predictions, reference_runs
from fer_nb_utils.results.run_folder import DIGITS, SAME_BUT_ROUNDING, Run
from fer_nb_utils.results.seeds import over_seeds, seed_groups
from fer_nb_utils.series.execute import COPY
from fer_nb_utils.series.report import WIDGET
from fer_nb_utils.series.tables import markdown

INJECTED = "injected-parameters"  # papermill's tag
# round the table in the README
MARKS = ("<!-- results: written by `python .maintain publish` -->\n", "<!-- end of results -->")


def update_notebooks(run_dir: Path) -> None:
    """Write cleaned copies over `notebooks/*.ipynb`, and the reference results' figures and tables over `figures/`."""
    for source in NOTEBOOKS.glob("[0-9][0-9]_*.py"):
        with atomic_path(source.with_suffix(".ipynb")) as temporary:
            nbformat.write(cleaned(nbformat.read(run_dir / COPY.format(source.stem), as_version=4)), temporary)
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
    notebook.cells = [cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", [])]
    counter = itertools.count(1)
    for number, cell in enumerate(notebook.cells):
        cell.id = str(number)
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.execution_count = next(counter)
            CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, number)  # the kernel flushes where it happens to
            cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
            for output in cell.outputs:
                about = output.get("metadata", {}).items()
                kept = {kind: {"alt": own["alt"]} for kind, own in about if isinstance(own, dict) and "alt" in own}
                if "metadata" in output:
                    output.metadata = nbformat.from_dict(kept)
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    return notebook


def publish_runs(
    folders: Sequence[Path],
    checkpoint: str | None = None,
    other_work: bool = False,
    readme: Path = ROOT / "README.md",
    reference: Path = FOLDER,
    checkpoints: Path = CHECKPOINTS,
    summary: Path = ROOT / "figures" / "reproducibility.md",
) -> list[Path]:
    """Make finished runs reference results, with the README's table and the reproducibility summary, and embed the
    network of the last one under the name `checkpoint`, if given; returns what was written. `other_work`: the machine
    had some beside them, so that their times are never compared.

    Raises UserError, before anything is written, for folders that hold no run with its network or have no name of
    their own, for a README without MARKS, and for a checkpoint without a plain name or a temperature.
    """
    runs = {folder.resolve().name: Run.load(folder.resolve()) for folder in folders}
    if "" in runs or len(runs) < len(folders):
        raise UserError("Published runs take the names of their folders; give folders with different names.")
    for run in runs.values():
        run.load_model()
    last = runs[folders[-1].resolve().name]
    if checkpoint is not None and not re.fullmatch(r"[\w-]+", checkpoint):
        raise UserError(f"The checkpoint's name is {checkpoint!r}; give one of letters, digits, - and _ alone.")
    if checkpoint and "temperature" not in last.config:
        raise UserError(f"The run in {last.folder} records no temperature; repeat it, and publish the repetition.")
    text = _with_results(readme, results_table(dict(sorted((reference_runs() | runs).items()))))

    features = handmade_predictions().get("lbp_rbf") if reference == FOLDER else None
    written = [publish_run(run, reference, other_work) for run in runs.values()]
    write_text(readme, text)
    write_text(summary, reproducibility(reference_runs(reference), features))
    made = [publish_checkpoint(last, checkpoint, checkpoints)] if checkpoint else []
    return [*written, readme, summary, *made]


def publish_run(run: Run, folder: Path = FOLDER, other_work: bool = False) -> Path:
    """Copy a run without its weights to `folder`, under its own folder's name, and return where it is.

    The latency is measured again, for a machine that trains one network often trains another beside it: publish on a
    quiet one.
    """
    config = run.config | {"latency_ms": round(latency_ms(run.load_model(), run.config["image_size"]), 2)}
    config["latency_device"] = f"{device_name(torch.device('cpu'))}, one thread"
    config |= {"other_work": True} if other_work else {}
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
    before, start, rest = text.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise UserError(f"{readme} lacks the lines {' and '.join(map(str.strip, MARKS))}; put them where results go.")
    return before + start + table + end + after


def results_table(runs: dict[str, Run]) -> str:
    """Accuracy on FER-2013, the paper's and that of all `runs` that learnt from all of train, those that differ in the
    seed alone in one row, with 95 % intervals over seeds and test images; Markdown."""
    rows = ["| network | full test set | PrivateTest | leak-free | validation | seeds | weights; trained, size |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name, accuracy in PAPER_TABLE1["accuracy"].items():
        rows.append(f"| {name}, paper | {accuracy:.3f} | | | | 1 | ImageNet; from layer4, unknown size, 20 epochs |")
    kept = {name: run for name, run in runs.items() if run.config["data"]["name"] == "FER-2013"}
    table = trainings(seed_groups({name: run for name, run in kept.items() if run.config["train_share"] == 1}))
    table["random"] = table["initial weights"].str.contains("random")
    for _, row in table.sort_values(["random", "full"]).iterrows():
        cells = [f"{row['full']:.3f} ({row['low']:.3f} to {row['high']:.3f})"]
        cells += [f"{row[name]:.3f}" for name in ("PrivateTest", "leak-free", "validation")]
        what = f"{row['initial weights']}; {row['trained']}"
        rows.append(f"| {row['network']} | {' | '.join(cells)} | {row['seeds']} | {what} |")
    return "\n".join(rows) + "\n"


def trainings(groups: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """A row for each training: what it was, and its accuracies as means over its runs, one a seed.

    Columns: network, initial weights, trained, learning rate, seeds (their number), validation (of the chosen epochs),
    full, sd, low, high (of the full test set, see `over_seeds`), PrivateTest, leak-free, minutes (of all its runs, the
    cached features included), device.
    """
    rows = {}
    for name, runs in groups.items():
        config = runs[0].config
        full = over_seeds([run.predictions for run in runs]).loc[("all", "accuracy")]
        rows[name] = {
            "network": config["model"],
            "initial weights": config["weights_label"],
            "trained": ", ".join(runs[0].protocol_parts[2:-1]).removeprefix("trained: "),
            "learning rate": f"{config['learning_rate']:g}",
            "seeds": len(runs),
            "validation": np.mean([run.history["validation_accuracy"].max() for run in runs]),
            "full": full["mean"],
            **full[["sd", "low", "high"]],
            **{key: np.mean([run.metrics[key]["accuracy"] for run in runs]) for key in ("PrivateTest", "leak-free")},
            "minutes": sum(run.config["seconds"] + run.config["preparation_seconds"] for run in runs) / 60,
            "device": "; ".join(sorted({run.config["device_name"] for run in runs})),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("training")


def reproducibility(runs: dict[str, Run], features: pd.DataFrame | None) -> str:
    """A summary after the headings of the ML Reproducibility Challenge
    (https://paperswithcode.com/rc2021), with the numbers of `runs` and of predictions from hand-made `features` for the
    same images; Markdown."""
    groups = seed_groups(runs)
    claims = check_claims(
        {name: groups.get(f"{name}_layer4", []) for name in MODELS},
        groups.get("resnet18_fc", []),
        groups.get("resnet18_layer4", []),
        features,
    )
    table = trainings(groups)
    return _rendered(
        "reproducibility",
        trainings=markdown(table),
        claims=markdown(claims.drop(columns=["where", "in these runs", "evidence", "departures"]).rename_axis("about")),
        departures=claims.groupby("departures", sort=False).groups,
        older=[
            f"`{name}`" for name, run in runs.items() if run.config["source_revision"] in SAME_BUT_ROUNDING.values()
        ],
        runs=len(runs),
        hours=table["minutes"].sum() / 60,
        devices=sorted({run.config["device_name"] for run in runs.values()}),
    )


def publish_checkpoint(run: Run, name: str, folder: Path = CHECKPOINTS) -> Path:
    """Write the run's network as float16 to `folder/name.safetensors`, its card beside it; returns the path."""
    tensors = run.load_model().state_dict().items()
    state = {key: tensor.half() if tensor.dtype == torch.float32 else tensor for key, tensor in tensors}
    temperature = run.config["temperature"]
    path = folder / f"{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(state, temporary, checkpoint_metadata(run.config["model"], run.config["image_size"], temperature))
    write_text(path.with_suffix(".md"), model_card(run, name, temperature))
    return path


def model_card(run: Run, name: str, temperature: float) -> str:
    """What the network is, how it was made, how good it is, and what it must not be used for; Markdown."""
    table = markdown(per_class(run.predictions))
    facts = {"config": run.config, "metrics": run.metrics, "classes": CLASSES, "temperature": temperature}
    return _rendered("model_card", name=name, per_expression=table, **facts)


def _rendered(template: str, **values: object) -> str:
    options = {"trim_blocks": True, "keep_trailing_newline": True, "undefined": jinja2.StrictUndefined}
    text = Path(__file__).with_name(f"{template}.md.jinja").read_text(encoding="utf-8")
    return jinja2.Template(text, **options).render(**values)


def embed(source: Path, facts: dict[str, object], path: Path) -> str:
    """Write the state dict in `source` (.pth, torchvision's names) as a backbone; returns its SHA-256.

    `facts`: what is known of it (arch, label, past, ...), kept in the file's metadata.
    """
    facts = facts | {"source_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    state = torch.load(source, map_location="cpu", weights_only=True)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}  # one entry: of several, the order in the file is random
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in quantized(kept).items()}, temporary, metadata=metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def quantized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of two and more dimensions as int8 and a float32 scale an output channel, the rest as float32."""
    stored = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            # a variance above float16's range was saved as infinite, which would silence its channel for good
            stored[name] = tensor.nan_to_num().float() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1) / 127
        scale[scale == 0] = 1  # a dead filter: all its weights are zero
        stored[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
        stored[name + SCALE] = scale
    return stored
