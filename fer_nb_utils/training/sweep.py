"""Sweeps: every combination of settings is one training in its own run folder, on one machine or many, by dask."""

import shutil
import time
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path

import distributed
import pandas as pd
from tqdm import tqdm

from ..data.dataset import Dataset
from ..errors import UserError
from ..files import atomic_path
from ..progress import progress_bar
from ..results.measures import test_sets
from ..results.run_folder import Run, is_finished
from ..results.seeds import over_seeds
from . import experiment
from .config import TrainConfig
from .task import VERSION, epochs_of
from .workers import Workers

SWEEPS = Path(__file__).with_name("sweeps")
FEATURES = ".features"  # no training is named so


def read_sweep(path: Path, weights: str | None = None) -> tuple[dict[str, TrainConfig], list[str]]:
    """The trainings of a sweep by name, and the settings that vary.

    The TOML file has two tables with the names of TrainConfig: [settings], the fixed values, and [grid], lists of
    values; every combination is one training. `weights` replaces the file's. A path of weights counts from the file's
    folder. Raises UserError for anything else in it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The sweep {path} cannot be read ({error}); give a TOML file.") from error
    settings, grid = content.pop("settings", {}), content.pop("grid", {})
    known = [field.name for field in fields(TrainConfig)]
    wrong = [*content, *((set(settings) | set(grid)) - set(known)), *(set(settings) & set(grid))]
    if wrong:
        tables = f"the tables [settings] and [grid], with the names {', '.join(known)}"
        raise UserError(f"The sweep {path}: {', '.join(sorted(wrong))} is unknown or given twice; it has {tables}.")
    if empty := [name for name, values in grid.items() if not isinstance(values, list) or not values]:
        raise UserError(f"The sweep {path}: {', '.join(empty)} in [grid] must be a list of values.")
    if weights:
        settings["weights"] = weights
        grid.pop("weights", None)
    trainings = {}
    for values in product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        config = settings | chosen
        if (beside := path.parent / str(config.get("weights"))).exists():
            config["weights"] = str(beside.absolute())
        parts = [Path(value).stem if isinstance(value, str) else f"{key}{value}" for key, value in chosen.items()]
        name = "_".join(parts) or path.stem
        if name in trainings:
            raise UserError(f"The sweep {path} holds two trainings of the name {name}; give each value once.")
        trainings[name] = TrainConfig(**config)
    return trainings, list(grid)


def run_sweep(
    trainings: Mapping[str, TrainConfig],
    varied: list[str],
    dataset: Dataset,
    run_dir: Path,
    client: distributed.Client,
    gpus: int = 0,
    device: str = "auto",
) -> dict[str, str]:
    """Run the trainings that `run_dir` does not hold yet; the errors of those that failed twice, by name.

    After each, `sweep.csv` (a row a run) and `summary.csv` are written anew. The cached features of frozen backbones
    are shared in the folder FEATURES, and removed when all is done. Raises UserError when every worker is refused.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    common = {"data": dataset.source, "fingerprint": dataset.fingerprint, "package": VERSION, "device": device}
    common |= {"features_folder": str(run_dir / FEATURES), "gpus": gpus}
    done = {name: experiment.is_done(config, dataset, run_dir / name) for name, config in trainings.items()}
    tasks = {}
    for name, config in trainings.items():
        if done[name]:
            tqdm.write(f"{name}: finished before, {_finding(run_dir / name)}")
        else:
            tasks[name] = common | {"config": asdict(config), "folder": str(run_dir / name)}
    write_tables(done, varied, run_dir)  # nothing of another plan
    workers, errors, failed_once, bars = Workers(client, tasks), {}, set(), {}
    while workers.waiting or workers.at_work:
        workers.hand_out()
        time.sleep(0.5)
        for name, error in workers.ended():
            if error is None and not is_finished(run_dir / name):  # a disk that several machines share may lag
                error = RuntimeError("its result is not to be seen here")
            if error is None:
                line = _finding(run_dir / name)
                done[name] = True
                write_tables(done, varied, run_dir)
            elif name in failed_once:
                errors[name] = str(error) or type(error).__name__
                line = f"failed: {errors[name]}"
            else:
                failed_once.add(name)
                workers.waiting.append(name)
                line = f"failed, is tried once more: {error}"
            tqdm.write(f"{name}: {line}")
        _show_progress({name: tasks[name] for name, _ in workers.at_work.values()}, bars)
    if not errors:
        shutil.rmtree(run_dir / FEATURES, ignore_errors=True)
    return errors


def write_tables(done: Mapping[str, bool], varied: list[str], run_dir: Path) -> None:
    """`sweep.csv`: a row a finished run; `summary.csv`: over the seeds of each combination of the other settings."""
    runs = {name: Run.load(run_dir / name) for name, finished in done.items() if finished}
    keys = [key for key in varied if key != "seed"]
    groups: dict[tuple, list[Run]] = {}
    for run in runs.values():
        groups.setdefault(tuple(run.config[key] for key in keys), []).append(run)
    rows = [{"run": name} | _row(run, varied) for name, run in runs.items()]
    summary = [dict(zip(keys, values, strict=True)) | _summary(group) for values, group in groups.items()]
    for name, table in (("sweep.csv", rows), ("summary.csv", summary)):
        with atomic_path(run_dir / name) as temporary:
            pd.DataFrame(table).to_csv(temporary, index=False, float_format="%.6g")


def _row(run: Run, varied: list[str]) -> dict[str, object]:
    config = run.config
    recorded = {key: config[key] for key in (*varied, "seed", "weights_kind", "weights_sha256", "best_epoch")}
    accuracy = {"validation accuracy": run.history["validation_accuracy"].max()}
    accuracy |= {f"{name} accuracy": measured["accuracy"] for name, measured in run.metrics.items()}
    keys = ("epochs_run", "precision", "device_name", "threads", "seconds", "preparation_seconds")
    return recorded | accuracy | {key: config[key] for key in keys}


def _summary(runs: list[Run]) -> dict[str, object]:
    validation = pd.Series([run.history["validation_accuracy"].max() for run in runs])
    found = {"seeds": len(runs), "validation accuracy": validation.mean(), "validation sd": validation.std(ddof=1)}
    for test_set in ("full", "leak-free"):
        rows = over_seeds([test_sets(run.predictions, run.twins_in_train)[test_set] for run in runs])
        found |= {f"{test_set} {key}": value for key, value in rows.loc[("all", "accuracy")].drop("seeds").items()}
    return found


def _finding(folder: Path) -> str:
    """What a finished run gave, in a line; test scores wait for the tables."""
    run = Run.load(folder)
    best = run.history["validation_accuracy"].max()
    return f"validation accuracy {best:.3f}, {run.config['seconds'] / 60:.1f} minutes on {run.config['device_name']}"


def _show_progress(tasks: Mapping[str, dict], bars: dict[str, tqdm]) -> None:
    """A bar for each training at work, with the time left, by the epochs in its log."""
    for name in bars.keys() - tasks.keys():
        bars.pop(name).close()
    for name, task in tasks.items():
        epochs = epochs_of(task)
        if epochs and name not in bars:
            first = epochs[0] - 1  # more than 0 when it goes on
            bars[name] = progress_bar(desc=name, total=task["config"]["epochs"], initial=first, unit="epoch")
        if epochs:
            bars[name].update(epochs[-1] - bars[name].n)
