"""A notebook's surroundings: its parameters checked, and one folder for all its results."""

import os
from pathlib import Path

import matplotlib
import pandas as pd
from IPython import get_ipython
from matplotlib.figure import Figure

from ..files import atomic_path, write_text
from ..results.run_folder import Run
from .parameters import FIRST_LINE, checked, literals, refuse_unknown
from .tables import markdown


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


class Workspace:
    """The run folder: `training/` holds the runs, `figures/` and `tables/` what the notebooks show.

    A relative `run_dir` counts from the clone's root, wherever in it a notebook runs, and outside a clone from the
    current folder, where papermill was called; or from the folder in the variable FER_NB_RUNS, so that tests leave a
    user's runs alone. What is made from the committed reference results goes to `.reference`, apart from this run's.
    """

    def __init__(self, run_dir: str | Path):
        here, parts = Path.cwd(), ("notebooks", "fer_nb_utils")
        clones = (folder for folder in (here, *here.parents) if all((folder / part).is_dir() for part in parts))
        self.folder = Path(os.environ.get("FER_NB_RUNS") or next(clones, here)) / run_dir

    @property
    def reference(self) -> "Workspace":
        return Workspace(self.folder / "reference")

    def run_folder(self, name: str) -> Path:
        """Where the training run of this name goes."""
        return self.folder / "training" / name

    def runs(self) -> dict[str, Run]:
        """The finished training runs by name, in alphabetical order; runs of former settings are left out."""
        return {folder.name: Run.load(folder) for folder in self.run_folders()}

    def run_folders(self) -> list[Path]:
        """The folders of `runs`, whether they can be read or not."""
        folders = sorted(path.parent for path in self.folder.glob("training/*/config.json"))
        return [folder for folder in folders if ".previous-" not in folder.name]

    def save_figure(self, figure: Figure, name: str) -> None:
        """Write `figures/<name>.png` (150 dots per inch) and `.svg`, the same bytes for the same figure.

        The figure's title and note go into both as metadata, where the report finds its captions.
        """
        texts = {"Title": figure.get_suptitle(), "Description": figure.get_supxlabel()}
        texts = {key: " ".join(text.split()) for key, text in texts.items() if text}
        options_of = {".png": {"dpi": 150, "metadata": texts}, ".svg": {"metadata": texts | {"Date": None}}}
        for suffix, options in options_of.items():
            path = self.folder / "figures" / (name + suffix)
            with atomic_path(path) as temporary, matplotlib.rc_context({"svg.hashsalt": name}):
                figure.savefig(temporary, bbox_inches="tight", **options)

    def save_table(self, table: pd.DataFrame, name: str, note: str = "") -> None:
        """Write `tables/<name>.csv` (six digits) and `.md` (three decimals, and the note below the table)."""
        with atomic_path(self.folder / "tables" / f"{name}.csv") as temporary:
            table.to_csv(temporary, float_format="%.6g")
        write_text(self.folder / "tables" / f"{name}.md", markdown(table) + (f"\n*{note}*\n" if note else ""))
