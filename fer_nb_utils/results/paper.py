"""The paper's numbers and claims, as paper.toml quotes them."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

PAPER = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PAPER_COUNTS = PAPER["counts"]
PAPER_TABLE1 = pd.DataFrame.from_dict(PAPER["table1"], orient="index").rename_axis("model")
PAPER_TABLE2 = pd.DataFrame.from_dict(PAPER["table2"], orient="index").rename_axis("expression")


@dataclass(frozen=True)
class Claim:
    """One statement of the paper about its results: where it stands, and the numbers in it that are used."""

    where: str
    text: str
    numbers: dict[str, float] = field(default_factory=dict)


PAPER_CLAIMS = {key: Claim(**claim) for key, claim in PAPER["claims"].items()}
