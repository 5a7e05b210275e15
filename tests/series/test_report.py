import json
import re
import shutil
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.paths import NOTEBOOKS
from fer_nb_utils.results.measures import metrics
from fer_nb_utils.series import report
from fer_nb_utils.series.parameters import literals
from fer_nb_utils.series.results_json import FOLDERS
from fer_nb_utils.series.workspace import Workspace

SCRIPT = "<script>alert(1)</script>"
SAMPLE = {"name": "synthetic sample", "fingerprint": "sha256:0123", "source": "sample", "synthetic": True}
OTHER = {"name": SCRIPT, "fingerprint": "sha256:4567", "source": "/home/me/My faces", "synthetic": False}


TWINS = ["image_1", "image_2"]


@cache
def predictions_and_metrics(seed):
    """Predictions of a network that is right more often than not, and their metrics."""
    rng = np.random.default_rng(seed)
    truth = np.arange(140) % 7
    scores = rng.dirichlet(np.ones(7), 140) + np.eye(7)[truth] * 0.4
    predictions = pd.DataFrame(scores / scores.sum(1, keepdims=True), columns=list(CLASSES))
    predictions.insert(0, "label", np.array(CLASSES)[truth])
    predictions.insert(0, "usage", np.where(np.arange(140) < 70, "PublicTest", "PrivateTest"))
    predictions.insert(0, "file", [f"image_{number}" for number in range(140)])
    return predictions, metrics(predictions, TWINS, n=50)


def write_run(folder, seed, model="resnet18", data=SAMPLE):
    """A finished run."""
    predictions, measured = predictions_and_metrics(seed)
    counts = {"all": dict.fromkeys((*CLASSES, "all"), 9)}
    config = {
        "model": model, "weights": "/home/me/resnet18.pth", "weights_label": "random", "trainable": "all",
        "image_size": 48, "epochs": 3, "epochs_run": 2, "best_epoch": 1, "batch_size": 32, "learning_rate": 0.001,
        "weight_decay": 0.02, "label_smoothing": 0.1, "augment": True, "recipe": {"flip": 0.5, "rotation": 10.0},
        "cached_views": 0, "seed": 0,
        "parameters": 11_180_103, "trained_parameters": 11_180_103, "multiply_adds": 10**8, "seconds": 12.3,
        "preparation_seconds": 0.0, "latency_ms": 9.87, "device": "cpu",
        "device_name": "<x86>", "fingerprint": data["fingerprint"],
        "data": data | {"counts": counts, "twins_in_train": TWINS}, "train_share": 1.0, "leak_free_train": False,
        "weights_kind": "random", "source_revision": None, "latency_device": "CPU, one thread", "sessions": [],
        "threads": 1, "precision": "float32",
    }  # fmt: skip
    folder.mkdir(parents=True)
    predictions.to_csv(folder / "predictions.csv", index=False)
    pd.DataFrame({"epoch": [1, 2]}).to_csv(folder / "history.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(measured))
    (folder / "config.json").write_text(json.dumps(config))


def a_figure(title="", note=""):
    figure = Figure(figsize=(6, 3))
    figure.add_subplot().plot([1, 3, 2])
    if title:
        figure.suptitle(title)
        figure.supxlabel(note)
    return figure


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    workspace = Workspace(folder)
    for seed, model in enumerate(("resnet18", "resnet34", "resnet50")):
        write_run(workspace.run_folder(model), seed, model)
    write_run(workspace.run_folder("resnet18_fc"), 9)
    workspace.save_figure(a_figure("Training", f"data:\n{SCRIPT}"), "fig2_training")
    workspace.save_figure(a_figure("Two & two", "note of\nits own"), "my own_figure")
    workspace.reference.save_figure(a_figure(), "fig1_architecture_resnet18")
    Image.new("RGB", (3000, 2000)).save(folder / "reference" / "figures" / "no_title_inside.png")
    claim = {"claim": f"It is so {SCRIPT}", "in these runs": "true", "verdict": "cannot tell", "evidence": "seen once"}
    workspace.save_table(pd.DataFrame([claim], index=["so"]), "claims", note="under what protocol")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A lesson")])
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "01_explore.ipynb")
    error = {
        "cell": "[3] (train(<x>))",
        "name": "ValueError",
        "message": f"{folder}/x.zip: not in /tmp/a/b or C:\\c\\d",
    }
    parameters = {"data": "/home/me/My faces/fer2013.zip", "run_dir": str(folder), "epochs": 3, "learning_rate": 1e-3}
    entries = {
        "01_explore": {"state": "finished", "error": None, "seconds": 3.2, "budget": 40, "parameters": parameters},
        "02_train": {"state": "failed", "error": error, "seconds": 1.0, "budget": 90, "parameters": parameters},
    }
    (folder / "run.json").write_text(json.dumps({"profile": "sample", "notebooks": entries}))
    report.write(folder)
    return folder


@pytest.fixture(scope="module")
def found(run_dir):
    return json.loads((run_dir / "results.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """The report of runs on two data sets; the names of one run and of one data set would be markup."""
    workspace = Workspace(tmp_path_factory.mktemp("mixed"))
    write_run(workspace.run_folder("resnet18"), 0)
    write_run(workspace.run_folder("resnet34"), 1, "resnet34", OTHER)
    write_run(workspace.run_folder("resnet50"), 2, "resnet50", OTHER)
    write_run(workspace.run_folder("<img src=x onerror=alert(2)>"), 9, data=OTHER)
    report.write(workspace.folder)
    return workspace.folder


class Page(HTMLParser):
    """What a page holds; an element left open, or closed twice, is an assertion error."""

    VOID = {"meta", "img", "br", "wbr", "link"}

    def __init__(self, html):
        super().__init__()
        self.ids, self.links, self.images, self.captions, self.open, self.tags = [], [], [], [], [], set()
        self.tables = []  # the text of each
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.add(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        self.images += [attributes] if tag == "img" else []
        self.captions += [""] if tag == "figcaption" else []
        self.tables += [""] if tag == "table" else []
        self.open += [] if tag in self.VOID else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figcaption" in self.open:
            self.captions[-1] += data
        if "table" in self.open:
            self.tables[-1] += data


@pytest.fixture(scope="module")
def page(run_dir):
    return Page((run_dir / "index.html").read_text("utf-8"))


def test_results_hold_data_versions_tables_with_intervals_costs_and_the_paper(found):
    (entry,) = found["data_sets"]
    assert entry["fingerprint"] == "sha256:0123" and entry["synthetic"]
    assert {"python", "torch", "fer_nb_utils"} <= set(found["versions"])
    assert set(entry["table1"]) == {"resnet18", "resnet34", "resnet50", "resnet18_fc"}
    for name, support in {"full": 140, "PublicTest": 70, "PrivateTest": 70, "leak-free": 138}.items():
        row = entry["table1"]["resnet18"][name]
        low, high = row["intervals"]["accuracy"]
        assert row["support"] == support and low <= row["accuracy"] <= high
        assert set(entry["table2"]["test_sets"][name]) == set(CLASSES)
    run = entry["runs"]["resnet34"]
    assert run["multiply_adds"] == 10**8 and run["device"] == "cpu"
    assert run["learning_rate"] == 0.001 and run["batch_size"] == 32 and run["recipe"]["rotation"] == 10
    assert found["paper"]["table1"]["resnet50"]["auc"] == 0.885 and found["unreadable"] == {}


def test_results_hold_each_expression_of_each_network_with_its_interval(run_dir, found):
    measured = json.loads((run_dir / "training" / "resnet34" / "metrics.json").read_text("utf-8"))
    rows = found["data_sets"][0]["per_class"]["resnet34"]
    assert rows["leak-free"]["sad"] == measured["leak-free"]["per_class"]["sad"]
    for label in CLASSES:
        row = rows["full"][label]
        assert row["f1_low"] < row["f1"] < row["f1_high"] and row["f1"] == measured["full"]["per_class"][label]["f1"]


def test_results_hold_the_committed_reference_runs(found):
    (entry,) = found["reference"]
    assert entry["name"] == "FER-2013" and entry["table1"]["resnet18_layer4_seed0"]["full"]["support"] == 7178
    seeds = [f"resnet{depth}_layer4_seed{seed}" for depth in (18, 34, 50) for seed in range(3)]
    assert entry["table2"]["networks"] == seeds
    assert set(entry["runs"]) == set(entry["table1"]) == set(entry["per_class"]) > set(entry["table2"]["networks"])


def test_table2_is_the_mean_over_the_three_models_alone(run_dir, found):
    table = found["data_sets"][0]["table2"]
    assert table["networks"] == ["resnet18", "resnet34", "resnet50"]
    models = [
        json.loads((run_dir / "training" / name / "metrics.json").read_text("utf-8")) for name in table["networks"]
    ]
    expected = np.mean([measured["full"]["per_class"]["happy"]["f1"] for measured in models])
    assert table["test_sets"]["full"]["happy"]["f1"] == pytest.approx(expected)
    for row in table["test_sets"]["full"].values():
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def numbers(value, path=()):
    """The path of keys to every number."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in numbers(item, (*path, key))]
    if isinstance(value, list):
        return [found for item in value for found in numbers(item, path)]
    return [path] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_every_number_has_a_unit(found):
    units = found["units"]
    paths = numbers({key: value for key, value in found.items() if key != "units"})
    assert len(paths) > 1000 and all(isinstance(unit, str) and unit for unit in units.values())
    own = {"counts", "intervals", "recipe"}  # lists, and numbers by class or strength, share the unit of what they are
    for path in paths:
        assert path[-1] in units or (own & set(path) and set(path) & set(units)), path
    assert units["seconds"] == "seconds" and "milliseconds" in units["latency_ms"]
    given = [literals(cell.source) for path in NOTEBOOKS.glob("0*.py") for cell in jupytext.read(path).cells
             if "parameters" in cell.metadata.get("tags", [])]  # fmt: skip
    assert len(given) == 8 and {path[-1] for values in given for path in numbers(values)} <= set(units)


def test_no_absolute_path_is_left(run_dir):
    text = (run_dir / "results.json").read_text("utf-8")
    for value in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        assert not re.search(r"(^|[\s'\"(=:])(/\w|~/|[A-Za-z]:(/|\\\\))", value), value
    assert "/home" not in text and "/tmp" not in text and str(run_dir) not in text
    found = json.loads(text)["notebooks"]["02_train"]
    assert found["parameters"]["run_dir"] == run_dir.name and found["parameters"]["data"].endswith("fer2013.zip")
    assert found["error"]["message"] == "x.zip: not in b or d"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/data", "data"),
        ("see /tmp/a/b.csv, then 'C:\\Users\\me\\x.zip'", "see b.csv, then 'x.zip'"),
        ("~/faces/ and file:///tmp/y", "faces/ and y"),
        *[(same, same) for same in ("https://doi.org/10.1/x", "a/b and 1/2, 3 / 4", "$\\frac{", SCRIPT, "runs/x/y")],
    ],
)
def test_paths_are_cut_to_their_last_name(text, kept):
    assert FOLDERS.sub("", text) == kept


def test_the_page_is_well_formed_and_its_links_lead_somewhere(run_dir, page):
    assert len(page.ids) == len(set(page.ids))
    inside = [link[1:] for link in page.links if link.startswith("#")]
    files = [link for link in page.links if not link.startswith("#")]
    assert len(inside) > 8 and set(inside) <= set(page.ids)
    for heading in ("data-1", "data-1-table1", "data-1-table2", "claims", "figures", "reference-1", "files"):
        assert heading in inside
    for link in files:
        assert (run_dir / unquote(link)).exists(), link
    wanted = {
        "results.json",
        "training",
        "training/resnet18/config.json",
        "tables/claims.csv",
        "figures/my%20own_figure.png",
    }
    assert wanted | {"figures/fig2_training.svg", "notebooks/01_explore.html"} <= set(files)


def test_the_page_needs_no_network_and_shows_everything(run_dir, page):
    text = (run_dir / "index.html").read_text("utf-8")
    assert not re.search(r"(src|href)=['\"]?(https?:)?//", text) and "script" not in page.tags
    assert "failed</span> in cell [3] (train(&lt;x&gt;)): ValueError" in text and "&lt;x86&gt;" in text
    for name in ("full", "PublicTest", "PrivateTest", "leak-free"):
        assert f"synthetic sample, test set: {name}" in text
    assert "mean over resnet18, resnet34, resnet50." in text
    assert (
        "It is so &lt;script&gt;" in text and "under what protocol" in text and "Reference results on FER-2013" in text
    )


def test_table1_has_the_accuracy_first_and_the_papers_rows_beside_fer2013_alone(page):
    sample, reference = (
        next(table for table in page.tables if f"{name}, test set: full." in table)
        for name in ("synthetic sample", "FER-2013")
    )
    assert re.search(r"network\s*accuracy\s*95 % interval", sample) and "protocol" not in sample
    assert "resnet50, paper" in reference and "paper" not in sample
    protocol = next(table for table in page.tables if "learning rate" in table)
    assert re.search(r"resnet18\s*random\s*all layers\s*48 px\s*2 \(1\)\s*0.001\s*32\s*yes\s*0.1\s*0\s", protocol)


def test_every_figure_has_a_caption_in_words(run_dir, page):
    names = [path.stem for path in run_dir.rglob("*.png")]
    assert len(page.images) == len(page.captions) == len(names) == 4
    assert all(image["src"].startswith("data:image/webp;base64,") and image["alt"] for image in page.images)
    for caption in page.captions:
        assert len(caption) > 8 and not any(name in caption for name in names)
    first, own, architecture, untitled = page.captions
    assert first.startswith("Fig. 2: training of the three networks") and f"data: {SCRIPT}" in first
    assert own.startswith("Two & two") and "note of its own" in own
    assert "the layers of ResNet18" in architecture and untitled.startswith("No title inside")


def test_runs_on_different_data_share_no_table(mixed):
    page = Page((mixed / "index.html").read_text("utf-8"))
    found = json.loads((mixed / "results.json").read_text("utf-8"))
    by_name = {entry["name"]: entry for entry in found["data_sets"]}
    assert set(by_name["synthetic sample"]["table1"]) == {"resnet18"}
    assert by_name[SCRIPT]["table2"]["networks"] == ["resnet34", "resnet50"]
    f1 = [by_name[SCRIPT]["per_class"][name]["full"]["sad"]["f1"] for name in ("resnet34", "resnet50")]
    assert by_name[SCRIPT]["table2"]["test_sets"]["full"]["sad"]["f1"] == pytest.approx(np.mean(f1))
    for table in page.tables:
        assert not ("synthetic sample" in table and ("resnet34" in table or SCRIPT in table))
    assert "runs on 2 different data sets" in (mixed / "index.html").read_text("utf-8")


def test_names_are_never_markup(mixed):
    text = (mixed / "index.html").read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags and not page.images  # the only image would be the run's name
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "onerror=alert(2)&gt;" in text
    for link in page.links:
        assert link.startswith("#") or (mixed / unquote(link)).exists(), link


DAMAGES = {
    "predictions.csv": "file,usage\n",
    "history.csv": "",
    "metrics.json": '{"full": {}}',
    "config.json": '{"model": "res',
}


def test_what_is_damaged_is_named_and_the_rest_is_shown(run_dir, tmp_path):
    folder = shutil.copytree(run_dir, tmp_path / "copy")
    for number, (name, content) in enumerate(DAMAGES.items()):
        run = shutil.copytree(folder / "training" / "resnet18", folder / "training" / f"damaged_{number}")
        (run / name).write_text(content)
    shutil.copytree(folder / "training" / "resnet18", folder / "training" / "damaged_4")
    (folder / "training" / "damaged_4" / "predictions.csv").unlink()
    whole = (folder / "notebooks" / "01_explore.ipynb").read_text("utf-8")
    (folder / "notebooks" / "02_train.ipynb").write_text(whole[: len(whole) // 2])
    (folder / "figures" / "cut.png").write_bytes((folder / "figures" / "fig2_training.png").read_bytes()[:2000])
    (folder / "tables" / "claims.csv").write_text("")
    (folder / "run.json").write_text("[")
    text = report.write(folder).read_text("utf-8")
    found = json.loads((folder / "results.json").read_text("utf-8"))
    damaged = {f"training/damaged_{number}" for number in range(5)}
    damaged |= {"notebooks/02_train.ipynb", "figures/cut.png", "tables/claims.csv", "run.json"}
    assert set(found["unreadable"]) == damaged and all(name in text for name in damaged)
    assert set(found["data_sets"][0]["table1"]) == {"resnet18", "resnet34", "resnet50", "resnet18_fc"}
    assert str(folder.parent) not in (folder / "results.json").read_text("utf-8")
    assert "Fig. 2: training of the three networks" in text and (folder / "notebooks" / "01_explore.html").exists()
    Page(text)


@pytest.mark.parametrize("record", ['{"notebooks": null}', '{"notebooks": 3}', '{"notebooks": {"01": 3}}', "{}"])
def test_a_strange_record_costs_the_record_alone(run_dir, tmp_path, record):
    shutil.copytree(run_dir / "training" / "resnet18", tmp_path / "training" / "resnet18")
    metrics = json.loads((run_dir / "training" / "resnet18" / "metrics.json").read_text("utf-8"))
    metrics["full"]["accuracy"] = "x"
    strange = shutil.copytree(tmp_path / "training" / "resnet18", tmp_path / "training" / "strange")
    (strange / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "run.json").write_text(record)
    Page(report.write(tmp_path).read_text("utf-8"))
    found = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert set(found["unreadable"]) == {"run.json", "training/strange"}
    assert set(found["data_sets"][0]["table1"]) == {"resnet18"}


def test_previews_are_small(run_dir, page):
    sizes = [(int(image["width"]), int(image["height"])) for image in page.images]
    assert (960, 640) in sizes  # of 3000 x 2000 pixels
    assert all(width <= 960 and height <= 720 for width, height in sizes)
    assert (run_dir / "index.html").stat().st_size < 300_000


def test_notebooks_become_html(run_dir):
    text = (run_dir / "notebooks" / "01_explore.html").read_text("utf-8")
    assert "A lesson" in text and not re.search(r"<(script|link|img)[^>]*(src|href)=['\"]?(https?:)?//", text)


def test_pictures_of_the_repository_are_part_of_the_html(tmp_path):
    cell = nbformat.v4.new_markdown_cell("![the camera](../figures/live_camera.png)")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    assert 'src="data:image/png;base64,' in report.notebook_html(tmp_path / "x.ipynb")


def test_a_widget_is_left_out_of_the_html_and_the_rest_stays(tmp_path):
    outputs = [nbformat.v4.new_output("display_data", {"text/plain": text}) for text in ("VBox(children=()", "a table")]
    outputs[0].data[report.WIDGET] = {"model_id": "0", "version_major": 2, "version_minor": 0}
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    page = report.notebook_html(tmp_path / "x.ipynb")
    assert "a table" in page and "VBox" not in page


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path):
    text = report.write(tmp_path).read_text("utf-8")
    assert "There is no finished training run yet" in text and "Reference results on FER-2013" in text
    Page(text)


def test_a_folder_of_plain_papermill_is_shown_and_a_run_of_an_older_version_named(run_dir, tmp_path):
    for name in ("resnet18", "older"):
        shutil.copytree(run_dir / "training" / "resnet18", tmp_path / "training" / name)
    path = tmp_path / "training" / "older" / "config.json"
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({key: value for key, value in config.items() if key != "recipe"}))
    assert "has no record of notebooks" in report.write(tmp_path).read_text("utf-8")
    found = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert "an older version made it" in found["unreadable"]["training/older"]
    assert list(found["data_sets"][0]["runs"]) == ["resnet18"]
