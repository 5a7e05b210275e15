"""What `results.json` holds: a run folder's results apart for each data set, the reference results, and the units."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from ..paths import TEMPLATES
from ..results.comparison import common_protocol
from ..results.measures import MEASURES, table2, table2_intervals, test_sets
from ..results.paper import PAPER_TABLE1, PAPER_TABLE2
from ..results.reference_runs import reference_runs
from ..results.run_folder import Run
from ..results.seeds import seed_groups
from ..training.provenance import versions
from .workspace import Workspace

DATA = ("name", "fingerprint", "source", "synthetic", "counts")
ELSEWHERE = ("data", "versions", "sessions")  # what a run's config holds beside settings and costs
REFERENCE_NETWORKS = "_layer4"  # the runs of Table 2 among the reference runs end in this and their seed
# The folders of an absolute path, in the middle of a sentence too; not the slashes of addresses, tags and fractions.
FOLDERS = re.compile(r"(?<![\w.:/\\<])(?:file:/+|~/|[A-Za-z]:[/\\]+|\\\\|/)(?:[^\s/\\'\"<>|]+[/\\]+)*(?=[^\s/\\])")


def results(run_dir: Path) -> dict:
    """All of `results.json`, plain Python, without an absolute path.

    The unit of a number is the one that `units` gives for the innermost key on the way to it. What cannot be read is
    in `unreadable`, with the reason; everything else is there all the same.
    """
    unreadable: dict[str, str] = {}
    found = {"profile": None, "notebooks": {}}
    if (run_dir / "run.json").exists():
        with kept_apart("run.json", unreadable):
            record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
            found |= record | {"notebooks": {name: dict(entry) for name, entry in record["notebooks"].items()}}
    records = {}
    for folder in Workspace(run_dir).run_folders():
        with kept_apart(f"training/{folder.name}", unreadable):  # a file may be whole and yet lack what a record needs
            records[folder.name] = _record(Run.load(folder))
    found |= {
        "data_sets": _data_sets(records),
        "reference": _reference(),
        "paper": {name: _plain(table) for name, table in (("table1", PAPER_TABLE1), ("table2", PAPER_TABLE2))},
        "versions": versions() | {"scikit-learn": version("scikit-learn")},
        "unreadable": unreadable,
        "units": tomllib.loads((TEMPLATES / "units.toml").read_text(encoding="utf-8")),
    }
    return _without_folders(found)


@contextmanager
def kept_apart(what: str, unreadable: dict[str, str]) -> Iterator[None]:
    """Whatever is wrong with one file costs that one alone: it goes to `unreadable`, with the reason."""
    try:
        yield
    except Exception as error:
        unreadable[what] = FOLDERS.sub("", f"{type(error).__name__}: {error}".splitlines()[0][:300])


@cache
def _reference() -> list[dict]:
    return _data_sets({name: _record(run) for name, run in reference_runs().items()}, REFERENCE_NETWORKS)


def _record(run: Run) -> dict:
    """One run: itself, its data, settings and costs, and per test set Table 1's measures with their 95 % intervals and
    the measures of each expression, on the full set with their 95 % intervals."""
    table1 = {name: {key: measured[key] for key in (*MEASURES, "intervals")} for name, measured in run.metrics.items()}
    classes = {name: {label: dict(row) for label, row in of["per_class"].items()} for name, of in run.metrics.items()}
    for label, row in _plain(table2_intervals({"": run.predictions})).items():
        classes["full"][label] |= row
    pd.DataFrame(table1).loc[list(MEASURES)].astype(float)  # raises for what is no number
    settings = {key: value for key, value in run.config.items() if key not in ELSEWHERE} | {"protocol": run.protocol}
    data = {key: run.config["data"][key] for key in DATA}
    return {"run": run, "data": data, "runs": settings, "table1": table1, "per_class": classes}


def _data_sets(records: dict[str, dict], suffix: str = "") -> list[dict]:
    """Runs on different data share no table: one entry for each content, whatever its name."""
    groups: dict[str, dict[str, dict]] = {}
    for name, record in records.items():
        groups.setdefault(record["data"]["fingerprint"], {})[name] = record
    return [_data_set(group, suffix) for group in groups.values()]


def _data_set(group: dict[str, dict], suffix: str) -> dict:
    """The records of runs on the same data by kind; and Table 2: which networks it is the mean over, their protocol,
    and per test set the table, with 95 % intervals."""
    kinds = {key: {name: record[key] for name, record in group.items()} for key in ("runs", "table1", "per_class")}
    networks = re.compile(r"resnet\d+" + suffix + r"(_seed\d+)?")
    runs = {name: record["run"] for name, record in group.items() if networks.fullmatch(name)}
    sets = {name: test_sets(run.predictions, run.twins_in_train) for name, run in runs.items()}
    tables = {}
    for test_set in next(iter(sets.values()), {}):
        rows = {name: own[test_set] for name, own in sets.items()}
        tables[test_set] = _plain(table2(rows).join(table2_intervals(rows)))
    protocol = common_protocol(seed_groups(runs))
    data = next(iter(group.values()))["data"]
    return data | kinds | {"table2": {"networks": list(runs), "protocol": protocol, "test_sets": tables}}


def _plain(table: pd.DataFrame) -> dict:
    return json.loads(table.to_json(orient="index"))


def _without_folders(value: object) -> object:
    """The same with every absolute path cut down to its last name, for a report goes to other machines and people."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    return FOLDERS.sub("", value) if isinstance(value, str) else value
