"""The outcome of a run folder: notebooks as HTML, `results.json`, and everything on one page, `index.html`."""

import base64
import json
import platform
from html import escape
from importlib.metadata import version
from pathlib import Path

import nbformat
import pandas as pd
from nbconvert import HTMLExporter

from .. import __version__
from ..files import write_json, write_text
from ..paths import ROOT
from ..results.measures import MEASURES, table2, table2_intervals, test_sets
from ..results.paper import PAPER_TABLE1, PAPER_TABLE2
from ..results.run_folder import Run
from .tables import formatted
from .workspace import Workspace

VERSIONS = ("torch", "torchvision", "numpy", "scikit-learn")
PROTOCOL = ("model", "weights_label", "trainable", "image_size", "epochs_run", "validation", "seed")
COSTS = ("parameters", "trained_parameters", "multiply_adds", "seconds", "latency_ms", "peak_memory_mb", "device_name")
STYLE = """
:root { color-scheme: light dark; --line: #8884; --quiet: #777; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.note, figcaption { color: var(--quiet); }
.tables { display: flex; flex-wrap: wrap; column-gap: 3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; } th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
figure { margin: 1.5rem 0; } img { max-width: 100%; background: white; border-radius: 4px; }
.failed { color: #c22; font-weight: 600; }
"""


def write(run_dir: Path) -> Path:
    """Write all three from what `run_dir` holds so far, and return the path of the page."""
    for copy in sorted(run_dir.glob("notebooks/*.ipynb")):
        write_text(copy.with_suffix(".html"), notebook_html(copy))
    found = results(run_dir)
    write_json(run_dir / "results.json", found)
    write_text(run_dir / "index.html", page(run_dir, found))
    return run_dir / "index.html"


def notebook_html(path: Path) -> str:
    """An executed notebook as one HTML page; widgets, dead without a kernel, are left out."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    exporter = HTMLExporter(
        exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True, mathjax_url="", require_js_url=""
    )  # no scripts from elsewhere: the page is read without network, and holds no formula
    for cell in notebook.cells:  # pictures of the repository are embedded; nbconvert takes none from above its folder
        cell.source = cell.source.replace("](../figures/", "](figures/")
    resources = {"metadata": {"name": path.stem, "path": str(ROOT)}}
    body, _ = exporter.from_notebook_node(notebook, resources=resources)
    return body


def results(run_dir: Path) -> dict:
    """What `results.json` holds: data, versions, every training run, both tables per test set, the paper's values."""
    runs = Workspace(run_dir).runs()
    record = run_dir / "run.json"
    series = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"profile": None, "notebooks": {}}
    return {
        "profile": series["profile"],
        "notebooks": series["notebooks"],
        "data": _data_sets(runs),
        "versions": {"python": platform.python_version(), "fer_nb_utils": __version__}
        | {name: version(name) for name in VERSIONS},
        "runs": {name: _run(run) for name, run in runs.items()},
        "table1": {name: _table1(run) for name, run in runs.items()},
        "table2": _table2(runs),
        "paper": {
            "table1": json.loads(PAPER_TABLE1.to_json(orient="index")),
            "table2": json.loads(PAPER_TABLE2.to_json(orient="index")),
        },
    }


def _data_sets(runs: dict[str, Run]) -> list[dict]:
    """The data set of the runs; several where a folder was used with several."""
    keys = ("name", "fingerprint", "source", "synthetic", "counts")
    found = {run.config["data"]["fingerprint"]: {key: run.config["data"][key] for key in keys} for run in runs.values()}
    return list(found.values())


def _run(run: Run) -> dict:
    return {key: run.config.get(key) for key in (*PROTOCOL, "device", *COSTS)}


def _table1(run: Run) -> dict:
    """Per test set the measures of Table 1 and their 95 % intervals."""
    return {
        name: {measure: measured[measure] for measure in (*MEASURES, "intervals")}
        for name, measured in run.metrics.items()
    }


def _table2(runs: dict[str, Run]) -> dict:
    """Per test set, Table 2 over the runs named like the three models, with intervals."""
    main = {name: test_sets(run.predictions, run.twins_in_train) for name, run in _main(runs).items()}
    names = next(iter(main.values()), {})
    found = {}
    for name in names:
        rows = {model: sets[name] for model, sets in main.items()}
        table = table2(rows).join(table2_intervals(rows))
        found[name] = json.loads(table.to_json(orient="index"))
    return found


def _main(runs: dict[str, Run]) -> dict[str, Run]:
    return {name: run for name, run in runs.items() if name == run.config["model"]}


def page(run_dir: Path, found: dict) -> str:
    """`index.html`: one page that needs no other file, but for the links to the notebooks."""
    data = found["data"]
    sections = [_notebooks(found["notebooks"])]
    sections += [
        _section("Table 1: test results", _tables1(found)),
        _section("Table 2: per expression", _tables2(found)),
    ]
    sections += [_section("Protocol and cost", _table(_costs(found["runs"]), 1))] if found["runs"] else []
    sections += [_section("Figures", *_figures(run_dir / "figures"))]
    reference = _figures(run_dir / "reference" / "figures")
    sections += [_section("Reference results on FER-2013, committed with the project", *reference)] if reference else []
    sections += [_section("Versions", _table(pd.DataFrame({"version": found["versions"]})))]
    what = "; ".join(f"{entry['name']} ({entry['fingerprint']})" for entry in data) or "no finished training run yet"
    note = "<p class='note'>Synthetic sample: it shows that everything works and says nothing about real faces.</p>"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Facial expressions: {escape(str(found['profile']))}</title><style>{STYLE}</style></head><body>"
        f"<h1>ResNets on facial expressions</h1><p>Data: {escape(what)}. Profile: {escape(str(found['profile']))}.</p>"
        f"{note if any(entry['synthetic'] for entry in data) else ''}{''.join(sections)}</body></html>\n"
    )


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(content) or '<p class=note>Nothing yet.</p>'}</section>"


def _notebooks(notebooks: dict[str, dict]) -> str:
    rows = []
    for name, entry in notebooks.items():
        error = entry["error"]
        state = f"<span class='failed'>{escape(_failure(error))}</span>" if error else "finished"
        link = f"<a href='notebooks/{name}.html'>{name}</a>"
        rows.append(
            f"<tr><td>{link}</td><td>{entry['seconds']:.0f} s</td><td>{entry['budget']} s</td><td>{state}</td></tr>"
        )
    head = "<tr><th>notebook</th><th>time</th><th>budget</th><th>outcome</th></tr>"
    return _section("Notebooks", f"<div class='wide'><table>{head}{''.join(rows)}</table></div>")


def _failure(error: dict) -> str:
    return f"failed in cell {error['cell']}: {error['name']}"


def _tables1(found: dict) -> str:
    names = next(iter(found["table1"].values()), {})
    return "".join(_table(_with_paper(found, name), caption=_caption(found, name)) for name in names)


def _with_paper(found: dict, test_set: str) -> pd.DataFrame:
    """Our rows with protocol and interval of the accuracy, and, under the full test set, the paper's."""
    rows = {}
    for name, sets in found["table1"].items():
        low, high = sets[test_set]["intervals"]["accuracy"]
        measures = {key: sets[test_set][key] for key in MEASURES} | {"accuracy, 95 %": f"{low:.3f} to {high:.3f}"}
        rows[name] = measures | {"protocol": _protocol(found["runs"][name])}
    if test_set == "full":
        protocol = {"protocol": "FER-2013, ImageNet, layer4+fc, 20 epochs"}
        rows |= {f"{name} (paper)": values | protocol for name, values in found["paper"]["table1"].items()}
    return pd.DataFrame.from_dict(rows, orient="index").astype({"support": int})


def _protocol(run: dict) -> str:
    """Initial weights, trained layers, size and epochs, without which a number means little."""
    return f"{run['weights_label']}, from {run['trainable']}, {run['image_size']} px, {run['epochs_run']} epochs"


def _caption(found: dict, test_set: str) -> str:
    """Data and test set, and which runs saw it while they chose their best epoch."""
    names = ", ".join(entry["name"] for entry in found["data"])
    selected = [name for name, run in found["runs"].items() if run["validation"] == "PublicTest"]
    mark = f" (PublicTest chose the epoch of {', '.join(selected)})" if selected and test_set != "PrivateTest" else ""
    return f"{names}, test set: {test_set}{mark}"


def _tables2(found: dict) -> str:
    tables = {f"{_caption(found, name)}, mean over the models": rows for name, rows in found["table2"].items()}
    tables["the paper"] = found["paper"]["table2"]
    shown = [_table(pd.DataFrame.from_dict(rows, orient="index"), caption=name) for name, rows in tables.items()]
    return f"<div class='tables'>{''.join(shown)}</div>"


def _costs(runs: dict[str, dict]) -> pd.DataFrame:
    return pd.DataFrame(runs).rename(index=lambda name: name.replace("_", " "))


def _table(table: pd.DataFrame, decimals: int = 3, caption: str = "") -> str:
    text = formatted(table, decimals).to_html(border=0, index_names=False)
    return f"<div class='wide'>{text.replace('<thead>', f'<caption>{escape(caption)}</caption><thead>', 1)}</div>"


def _figures(folder: Path) -> list[str]:
    """The paper's figures first, the others after them."""
    return [
        _figure(path) for path in sorted(folder.glob("*.png"), key=lambda path: (path.stem[:3] != "fig", path.stem))
    ]


def _figure(path: Path) -> str:
    image = base64.b64encode(path.read_bytes()).decode()
    name = escape(path.stem)
    return f"<figure><img src='data:image/png;base64,{image}' alt='{name}'><figcaption>{name}</figcaption></figure>"
