"""Run the notebook series with papermill, in order, into one run folder."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from ..files import atomic_path, locked, write_json
from ..paths import NOTEBOOKS
from .plan import Job, Profile, digest
from .workspace import Workspace

# A notebook that shows what others left in the run folder: it runs after them, whether they failed or not, and again
# when one of them ran anew.
READS = {"05_compare_resnets": ("02_finetune_resnet18", "03_finetune_resnet34", "04_finetune_resnet50")}
INJECTED = "injected-parameters"  # papermill's tag


@dataclass
class Series:
    """What happened to each notebook, kept in `run.json` of the run folder so that a rerun can go on from there."""

    folder: Path
    profile: str
    notebooks: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, profile: str) -> "Series":
        record = folder / "run.json"
        try:
            known = json.loads(record.read_text(encoding="utf-8"))["notebooks"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, or one that somebody has broken
            known = {}
        return cls(folder, profile, known)

    def is_done(self, job: Job) -> bool:
        """Finished with the same code, parameters and inputs, after the notebooks that it reads, on trainings that are
        still there."""
        entry = self.notebooks.get(job.name, {})
        if entry.get("state") != "finished" or entry["fingerprint"] != job.fingerprint:
            return False
        earlier = [self.notebooks.get(name, {}).get("finished", "") for name in READS.get(job.name, ())]
        return (
            executed_copy(self.folder, job.name).exists()
            and all(finished < entry["finished"] for finished in earlier)
            and entry["training"].items() <= trainings(self.folder).items()
        )

    def record(self, job: Job, seconds: float, error: dict | None) -> None:
        self.notebooks[job.name] = {
            "state": "failed" if error else "finished",
            "error": error,
            "seconds": round(seconds, 1),
            "budget": job.budget,
            "parameters": job.parameters,
            "fingerprint": job.fingerprint,
            "training": trainings(self.folder),
            "finished": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        ordered = dict(sorted(self.notebooks.items()))
        write_json(self.folder / "run.json", {"profile": self.profile, "notebooks": ordered})


def executed_copy(run_dir: Path, name: str) -> Path:
    """Where the executed copy of a notebook goes."""
    return run_dir / "notebooks" / f"{name}.ipynb"


def trainings(run_dir: Path) -> dict[str, str]:
    """The finished trainings of a run folder by name, each with a stamp that changes when one of its files does."""
    stamps = {}
    for folder in Workspace(run_dir).run_folders():
        files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".csv", ".safetensors")]
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        stamps[folder.name] = digest(repr(stats).encode())
    return stamps


def run(profile: Profile, jobs: list[Job], run_dir: Path, folder: Path = NOTEBOOKS) -> list[str]:
    """Execute the jobs, one line each on standard output, and return one sentence for each notebook that failed.

    Notebooks already finished in `run_dir` are skipped where nothing they were made from has changed.
    `KeyboardInterrupt` stops the running notebook and its kernel and is passed on, and so is the `OSError` of a full
    disk. Raises UserError when another process runs notebooks in the same folder.
    """
    failures = []
    busy = f"Another run is at work in {run_dir}; wait for its end, or give another --run-dir."
    with locked(run_dir / ".lock", busy), own_kernel():
        series = Series.open(run_dir, profile.name)
        for job in jobs:
            if series.is_done(job):
                print(f"{job.name:28} finished before")
                continue
            start = time.monotonic()
            error = _execute(job, executed_copy(run_dir, job.name), profile.cell_timeout, folder)
            seconds = time.monotonic() - start
            series.record(job, seconds, error)
            outcome = "FAILED" if error else "done"
            print(f"{job.name:28} {outcome:6} {_clock(seconds)} of {_clock(job.budget)}", flush=True)
            if error:
                failures.append(f"{job.name}, cell {error['cell']}: {error['name']}: {error['message']}")
    return failures


def _execute(job: Job, copy: Path, timeout: int, folder: Path) -> dict | None:
    """Run one notebook into its copy; None, or what went wrong."""
    changed = {name: value for name, value in job.parameters.items() if value != job.defaults[name]}
    started = []
    with atomic_path(copy) as temporary:
        try:
            papermill.execute_notebook(
                nbformat.from_dict(job.notebook),
                temporary,
                changed,
                kernel_name="python3",
                language="python",
                cwd=folder,
                execution_timeout=timeout,
                progress_bar={"desc": job.name, "leave": False} if sys.stderr.isatty() else False,
                on_cell_start=lambda cell, cell_index: started.append(cell_index),
            )
        except PapermillExecutionError as error:
            return {"cell": _describe(error), "name": error.ename, "message": error.evalue.strip()}
        except Exception as error:  # a kernel that died, hung or never started has failed like any cell
            if isinstance(error, OSError) and error.errno:  # a full disk, say; a cell's timeout has no number
                raise
            return {"cell": str(len(started)), "name": type(error).__name__, "message": str(error).strip()}
    return None


def _describe(error: PapermillExecutionError) -> str:
    lines = [line for line in error.source.splitlines() if line and not line.startswith("#")]
    return f"[{error.exec_count}] ({lines[0] if lines else ''})"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:2d}:{int(seconds) % 60:02d}"


@contextmanager
def own_kernel() -> Iterator[None]:
    """Make "python3" mean this very interpreter, whatever kernels are installed.

    A kernel specification in a temporary folder that Jupyter searches first. MPLBACKEND is put aside, because with
    it (Agg, say) executed notebooks silently hold no figures. The kernel logs only what kills it: one that is stopped
    by Ctrl-C would print a traceback about its closed sockets.
    """
    former = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "MPLBACKEND")}
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
        specification = {"argv": argv, "display_name": "Python 3 (ipykernel)", "language": "python"}
        write_json(Path(folder) / "kernels" / "python3" / "kernel.json", specification)
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [folder, former["JUPYTER_PATH"]]))
        os.environ.pop("MPLBACKEND", None)
        try:
            yield
        finally:
            for name, value in former.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
