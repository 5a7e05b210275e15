"""Run the notebook series with papermill, in order, into one run folder."""

import json
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError

from ..data.formats import signature
from ..files import atomic_path, locked, write_json
from ..paths import NOTEBOOKS
from .plan import Job, Profile
from .workspace import Workspace

# The notebooks that show what others left in the run folder: they run after them, whether those failed or not, and
# again when one of them ran anew.
TRAINING = ("02_finetune_resnet18", "03_finetune_resnet34", "04_finetune_resnet50")
READS = {"05_compare_resnets": TRAINING, "08_beyond_the_paper": TRAINING}
COPY = "notebooks/{}.ipynb"  # where the executed copy of a notebook goes


class OwnKernel(AsyncKernelManager):
    """Starts this very interpreter, whatever kernels are installed and whatever MPLBACKEND says: with Agg, say,
    notebooks silently hold no figures. It logs only what kills it: Ctrl-C would end it with a traceback."""

    kernel_spec = KernelSpec(
        argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"],
        env={"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    )


class Series:
    """What happened to each notebook, kept in `run.json` of the run folder so that a rerun can go on from there."""

    def __init__(self, folder: Path, profile: str):
        self.folder, self.profile, self.notebooks = folder, profile, {}
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # none, or one that somebody has broken
            self.notebooks = json.loads((folder / "run.json").read_text(encoding="utf-8"))["notebooks"]

    def is_done(self, job: Job) -> bool:
        """Finished with the same code, parameters and inputs, after the notebooks that it reads, on trainings that are
        still there."""
        entry = self.notebooks.get(job.name, {})
        if entry.get("state") != "finished" or entry["fingerprint"] != job.fingerprint:
            return False
        earlier = [self.notebooks.get(name, {}).get("finished", "") for name in READS.get(job.name, ())]
        return (
            (self.folder / COPY.format(job.name)).exists()
            and all(finished < entry["finished"] for finished in earlier)
            and entry["training"].items() <= trainings(self.folder).items()
        )

    def record(self, job: Job, seconds: float, error: dict | None) -> None:
        entry = {"state": "failed" if error else "finished", "error": error, "seconds": round(seconds, 1)}
        entry |= {"budget": job.budget, "parameters": job.parameters, "fingerprint": job.fingerprint}
        entry |= {"training": trainings(self.folder), "finished": datetime.now(UTC).isoformat(timespec="microseconds")}
        self.notebooks[job.name] = entry
        ordered = dict(sorted(self.notebooks.items()))
        write_json(self.folder / "run.json", {"profile": self.profile, "notebooks": ordered})


def trainings(run_dir: Path) -> dict[str, str]:
    """The finished trainings of a run folder by name, each with a stamp that changes when one of its files does."""
    return {folder.name: signature(folder) for folder in Workspace(run_dir).run_folders()}


def run(profile: Profile, jobs: list[Job], run_dir: Path, folder: Path = NOTEBOOKS) -> list[str]:
    """Execute the jobs, one line each on standard output, and return one sentence for each notebook that failed.

    Notebooks already finished in `run_dir` are skipped where nothing they were made from has changed.
    `KeyboardInterrupt` stops the running notebook and its kernel and is passed on, and so is the `OSError` of a full
    disk. Raises UserError when another process runs notebooks in the same folder.
    """
    failures = []
    busy = f"Another run is at work in {run_dir}; wait for its end, or give another --run-dir."
    with locked(run_dir / ".lock", busy):
        series = Series(run_dir, profile.name)
        for job in jobs:
            if series.is_done(job):
                print(f"{job.name:28} finished before")
                continue
            start = time.monotonic()
            error = _execute(job, run_dir / COPY.format(job.name), profile.cell_timeout, folder)
            seconds = time.monotonic() - start
            series.record(job, seconds, error)
            taken, given = (f"{int(number) // 60:2d}:{int(number) % 60:02d}" for number in (seconds, job.budget))
            print(f"{job.name:28} {'FAILED' if error else 'done  '} {taken} of {given}", flush=True)
            if error:
                failures.append(f"{job.name}, cell {error['cell']}: {error['name']}: {error['message']}")
    return failures


def _execute(job: Job, copy: Path, timeout: int, folder: Path) -> dict | None:
    """Run one notebook into its copy; None, or what went wrong."""
    changed = {name: value for name, value in job.parameters.items() if value != job.defaults[name]}
    started = []
    options = {"kernel_name": "python3", "kernel_manager_class": OwnKernel, "language": "python", "cwd": folder}
    options |= {"progress_bar": {"desc": job.name, "leave": False} if sys.stderr.isatty() else False}
    options |= {"on_cell_start": lambda cell, cell_index: started.append(cell_index), "execution_timeout": timeout}
    with atomic_path(copy) as temporary:
        try:
            papermill.execute_notebook(nbformat.from_dict(job.notebook), temporary, changed, **options)
        except PapermillExecutionError as error:
            code = [line for line in error.source.splitlines() if line and not line.startswith("#")]
            cell = f"[{error.exec_count}] ({code[0] if code else ''})"
            return {"cell": cell, "name": error.ename, "message": error.evalue.strip()}
        except Exception as error:  # a kernel that died, hung or never started has failed like any cell
            if isinstance(error, OSError) and error.errno:  # a full disk, say; a cell's timeout has no number
                raise
            return {"cell": str(len(started)), "name": type(error).__name__, "message": str(error).strip()}
    return None
