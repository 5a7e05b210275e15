"""The committed results of this project's own runs on FER-2013."""

from pathlib import Path

from .run_folder import Run

FOLDER = Path(__file__).parent / "reference"


def reference_runs(folder: Path = FOLDER) -> dict[str, Run]:
    """The committed runs on FER-2013 by folder name, in alphabetical order; empty when none is there."""
    return {path.parent.name: Run.load(path.parent) for path in sorted(folder.glob("*/config.json"))}
