"""The outcome of a run folder: notebooks as HTML, `results.json`, and everything on one page, `index.html`."""

import base64
import io
import tomllib
from pathlib import Path

import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from nbconvert import HTMLExporter
from PIL import Image

from ..files import write_json, write_text
from ..paths import ROOT, TEMPLATES
from .results_json import kept_apart, results
from .tables import format_number

WIDGET = "application/vnd.jupyter.widget-view+json"
PREVIEW = (960, 720)  # pixels: twice what the page shows, for fine screens and for a page sent without its folder


def write(run_dir: str | Path) -> Path:
    """Write all three from what `run_dir` holds so far, however it came there, and return the path of the page."""
    run_dir = Path(run_dir).absolute()
    found = results(run_dir)
    for copy in sorted(run_dir.glob("notebooks/[!.]*.ipynb")):
        with kept_apart(f"notebooks/{copy.name}", found["unreadable"]):
            write_text(copy.with_suffix(".html"), notebook_html(copy))
    content = {folder: _folder(run_dir, folder, found["unreadable"]) for folder in ("", "reference/")}
    write_json(run_dir / "results.json", found)
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = format_number
    names = ("training/*/*", "tables/*", "reference/tables/*", "notebooks/*.html")
    files = sorted(path.relative_to(run_dir).as_posix() for name in names for path in run_dir.glob(name))
    page = environment.get_template("report.html").render(found, content=content, files=files)
    write_text(run_dir / "index.html", page)  # it needs no other file; its links lead to the files beside it
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
        shown = [each for each in cell.get("outputs", ()) if WIDGET not in each.get("data", {})]
        cell.update({"outputs": shown} if cell.cell_type == "code" else {})
    resources = {"metadata": {"name": path.stem, "path": str(ROOT)}}
    body, _ = exporter.from_notebook_node(notebook, resources=resources)
    return body


def _folder(run_dir: Path, folder: str, unreadable: dict[str, str]) -> dict:
    """What the notebooks left in `figures/` and `tables/` of the run folder (""), or of its `reference/`."""
    captions = tomllib.loads((TEMPLATES / "captions.toml").read_text(encoding="utf-8"))
    claims, figures, tables = None, [], run_dir / folder / "tables"
    if (tables / "claims.csv").exists():
        with kept_apart(f"{folder}tables/claims.csv", unreadable):
            rows = pd.read_csv(tables / "claims.csv", index_col=0, dtype=str, keep_default_na=False).to_dict("records")
            text = (tables / "claims.md").read_text(encoding="utf-8").rstrip()  # ends in the table's note
            claims = {"rows": rows, "note": text.splitlines()[-1].strip("*") if text.endswith("*") else ""}
    for path in (run_dir / folder).glob("figures/[!.]*.png"):
        with kept_apart(f"{folder}figures/{path.name}", unreadable):
            figures.append(_figure(path, captions) | {"href": f"{folder}figures/{path.name}"})
    return {"claims": claims, "figures": sorted(figures, key=lambda figure: (figure["order"], figure["href"]))}


def _figure(path: Path, captions: dict[str, dict]) -> dict:
    """Caption and preview of a figure: known figures by the longest name that theirs begins with, others by the title
    and the note inside the file."""
    with Image.open(path) as image:
        title, note = (image.info.get(key, "") for key in ("Title", "Description"))
        image = image.convert("RGB")
    image.thumbnail(PREVIEW, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    known = max((name for name in captions if path.stem.startswith(name)), key=len, default="")
    caption = captions.get(known) or {"title": title or path.stem.replace("_", " ").capitalize(), "text": ""}
    order = list(captions).index(known) if known else len(captions)
    preview = base64.b64encode(buffer.getvalue()).decode()
    svg = path.with_suffix(".svg").exists()
    return caption | {"note": note, "order": order, "size": image.size, "preview": preview, "svg": svg}
