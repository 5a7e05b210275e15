"""The paper's numbers and claims, as paper.toml quotes them."""

import tomllib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

PAPER = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PAPER_COUNTS = PAPER["counts"]
PAPER_TABLE1 = pd.DataFrame.from_dict(PAPER["table1"], orient="index").rename_axis("model")
PAPER_TABLE2 = pd.DataFrame.from_dict(PAPER["table2"], orient="index").rename_axis("expression")
# statements about its results: where each stands, its text, and the numbers in it where they are used
PAPER_CLAIMS = {key: SimpleNamespace(**claim) for key, claim in PAPER["claims"].items()}
