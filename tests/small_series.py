"""A series of three small notebooks in a folder of its own, for the tests of planning and running."""

import textwrap
from pathlib import Path

import numpy as np
import PIL.Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.series import execute
from fer_nb_utils.series.plan import Job, Profile, plan

HEADER = textwrap.dedent("""
    # ---
    # jupyter:
    #   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
    # ---
    # %% tags=["parameters"]
    # parameters of this notebook
    run_dir = "runs/default"
    epochs = 2
    """).lstrip()
PROFILE = Profile("test", "a test", 60, {}, {"02_finetune_resnet18": {"budget": 5, "parameters": {"epochs": 3}}})
PLAIN = Profile("plain", "", 90, {}, {})


class SmallSeries:
    def __init__(self, folder: Path):
        self.notebooks, self.run_dir = folder / "notebooks", folder / "run"
        self.notebooks.mkdir()
        self.run_dir.mkdir()
        for name in ("01_first", "02_finetune_resnet18", "05_compare_resnets"):
            self.write(name, "# %%\nprint(epochs)")

    def write(self, name: str, code: str, parameters: str = "") -> None:
        (self.notebooks / f"{name}.py").write_text(HEADER + parameters + code)

    def plan(self, profile: Profile = PROFILE, only: tuple[str, ...] = (), **given: str) -> list[Job]:
        return plan(profile, given, only, self.run_dir, self.notebooks)

    def run(self, profile: Profile = PROFILE, only: tuple[str, ...] = (), **given: str) -> list[str]:
        return execute.run(profile, self.plan(profile, only, **given), self.run_dir, self.notebooks)


def write_faces(folder: Path) -> Path:
    """A data set of one plain grey image for each class and usage; returns the last one's path."""
    for usage in ("train", "test"):
        for number, name in enumerate(CLASSES):
            path = folder / usage / name / f"{usage}_{number}.png"
            path.parent.mkdir(parents=True)
            PIL.Image.fromarray(np.full((48, 48), 20 * number, np.uint8)).save(path)
    return path
