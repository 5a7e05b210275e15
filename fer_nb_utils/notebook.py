"""What the notebooks need besides the lesson: parameters checked, results saved under one folder, tables shown."""

import math
import os
from html import escape
from io import BytesIO
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
from IPython import get_ipython
from IPython.display import Image, display

from .files import atomic_path, write_text
from .parameters import FIRST_LINE, checked, literals, refuse_unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .runs import Run


def check_parameters() -> None:
    """Raise UserError when papermill injected a parameter that the notebook does not have, or of another type.

    Reads the session's input cells: the parameters cell, and the one papermill puts after it (`# Parameters`).
    """
    cells = get_ipython().user_ns["In"]
    own = next((cell for cell in cells if cell.startswith(FIRST_LINE)), None)
    injected = next((cell for cell in cells if cell.startswith("# Parameters\n")), None)
    if own is None or injected is None:  # nbval keeps no history, and a plain run injects nothing
        return
    defaults, given = literals(own), literals(injected)
    refuse_unknown(set(given), set(defaults), "This notebook")
    for name, value in given.items():
        checked(name, value, defaults[name])


def repository_root() -> Path:
    """The folder above the current one (or itself) that holds the notebooks; else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if _is_root(folder)), here)


def _is_root(folder: Path) -> bool:
    return (folder / "notebooks").is_dir() and (folder / "fer_nb_utils").is_dir()


class Workspace:
    """The run folder: `training/` holds the runs, `figures/` and `tables/` what the notebooks show.

    A relative `run_dir` counts from the repository's root, so that it is the same folder from wherever a notebook
    runs; or from the folder in the variable FER_NB_RUNS, so that tests leave a user's runs alone. Figures and tables
    made from the committed reference results go to `.reference`, apart from this run's.
    """

    def __init__(self, run_dir: str | Path):
        self.folder = Path(os.environ.get("FER_NB_RUNS") or repository_root()) / run_dir

    @property
    def reference(self) -> "Workspace":
        return Workspace(self.folder / "reference")

    def run_folder(self, name: str) -> Path:
        """Where the training run of this name goes."""
        return self.folder / "training" / name

    def runs(self) -> dict[str, "Run"]:
        """The finished training runs by name, in alphabetical order; runs of former settings are left out."""
        from .runs import Run  # here, because figures and tables alone should not load torch

        folders = sorted(path.parent for path in self.folder.glob("training/*/config.json"))
        return {folder.name: Run.load(folder) for folder in folders if ".previous-" not in folder.name}

    def save_figure(self, figure: "Figure", name: str) -> None:
        """Write `figures/<name>.png` (150 dots per inch) and `.svg`, the same bytes for the same figure."""
        for suffix, options in ((".png", {"dpi": 150}), (".svg", {"metadata": {"Date": None}})):
            path = self.folder / "figures" / (name + suffix)
            with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": name}):
                figure.savefig(temporary, bbox_inches="tight", **options)

    def save_table(self, table: pd.DataFrame, name: str, note: str = "") -> None:
        """Write `tables/<name>.csv` (six digits) and `.md` (three decimals, and the note below the table)."""
        with atomic_path(self.folder / "tables" / f"{name}.csv") as temporary:
            table.to_csv(temporary, float_format="%.6g")
        write_text(self.folder / "tables" / f"{name}.md", markdown(table) + (f"\n*{note}*\n" if note else ""))


def show_figure(figure: "Figure", photographs: bool = False) -> None:
    """Display a figure as a PNG with 256 colours, a third of the usual size, and close it.

    For notebooks with many figures, so that the executed copy stays below a megabyte. `photographs` need more colours:
    they are shown as a JPEG.
    """
    whole, small = BytesIO(), BytesIO()
    figure.savefig(whole, format="png", bbox_inches="tight", dpi=90)
    image = PIL.Image.open(whole).convert("RGB")
    if photographs:
        image.save(small, "jpeg", quality=88)
    else:
        image.quantize(256).save(small, "png", optimize=True)
    display(Image(small.getvalue(), alt=figure.get_suptitle()))
    plt.close(figure)


def show_table(table: pd.DataFrame, decimals: int = 3, note: str = "") -> None:
    """Display a table with rounded numbers and a note below it, whole in both plain text and HTML."""
    text = formatted(table, decimals)
    plain, html = text.to_string(), text.to_html(border=0)
    if note:
        plain, html = f"{plain}\n{note}", f"{html}\n<p><em>{escape(note)}</em></p>"
    display({"text/plain": plain, "text/html": html}, raw=True)


def markdown(table: pd.DataFrame, decimals: int = 3) -> str:
    """The table in Markdown's pipe syntax, index included."""
    text = formatted(table, decimals).reset_index()
    rows = [[_label(name) for name in text.columns], ["---"] * text.shape[1], *text.to_numpy().tolist()]
    lines = (" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows)
    return "".join(f"| {line} |\n" for line in lines)


def formatted(table: pd.DataFrame, decimals: int = 3) -> pd.DataFrame:
    """The table as text: floats rounded, thousands apart in integers, nothing for missing values."""
    return table.astype(object).map(lambda value: format_number(value, decimals))


def format_number(value: object, decimals: int = 3) -> str:
    """One value as text: large numbers without decimals, small ones as "<0.001", nothing for missing ones."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral) or abs(value) >= 1000:
        return f"{value:,.0f}"
    smallest = 10**-decimals
    return f"<{smallest:.{decimals}f}" if 0 < value < smallest / 2 else f"{value:.{decimals}f}"


def _label(name: object) -> str:
    return " ".join(str(part) for part in name) if isinstance(name, tuple) else str(name)
