"""The committed results of this project's own runs on FER-2013, and of hand-made features."""

from pathlib import Path

import pandas as pd

from .measures import read_predictions
from .run_folder import Run

FOLDER = Path(__file__).parent / "reference"
HANDMADE = {"lbp": "LBP", "gradients": "HOG", "moments": "higher-order statistics", "rbf": "RBF", "linear": "linear"}


def reference_runs(folder: Path | None = None) -> dict[str, Run]:
    """The committed runs on FER-2013 by folder name, in alphabetical order; empty when none is there."""
    return {path.parent.name: Run.load(path.parent) for path in sorted((folder or FOLDER).glob("*/config.json"))}


def handmade_predictions() -> dict[str, pd.DataFrame]:
    """Committed test predictions from hand-made features by name, such as lbp_rbf (features and kernel); in words, in
    `attrs["machine"]` of each table: "LBP, RBF machine"."""
    paths = sorted(FOLDER.glob("svm_*/predictions.csv.gz"))
    found = {path.parent.name.removeprefix("svm_"): read_predictions(path) for path in paths}
    for name, table in found.items():
        table.attrs["machine"] = ", ".join(HANDMADE[part] for part in name.split("_")) + " machine"
    return found
