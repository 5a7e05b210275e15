"""Run the notebook series with papermill, in order, into one run folder."""

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from ..errors import UserError
from ..files import write_json
from ..paths import NOTEBOOKS
from .parameters import checked, convert, literals, refuse_unknown

PROFILES = Path(__file__).parent / "profiles"
# A notebook that shows what others left in the run folder: it runs after them, whether they failed or not, and again
# when one of them ran anew.
READS = {"05_compare_resnets": ("02_finetune_resnet18", "03_finetune_resnet34", "04_finetune_resnet50")}
INJECTED = "injected-parameters"  # papermill's tag
CELL_TIMEOUT = 14_400  # seconds, where a profile names none


@dataclass(frozen=True)
class Profile:
    """Common parameters, and for each notebook its own parameters and the seconds it may take."""

    name: str
    title: str
    cell_timeout: int
    parameters: dict[str, object]
    notebooks: dict[str, dict]


@dataclass(frozen=True)
class Job:
    """One notebook with the parameters it is to run with."""

    name: str
    notebook: NotebookNode
    defaults: dict[str, object]
    parameters: dict[str, object]  # all of them, defaults included
    budget: float  # seconds

    @property
    def fingerprint(self) -> str:
        """Changes with the code and the parameters of the notebook."""
        sources = [cell.source for cell in self.notebook.cells if cell.cell_type == "code"]
        return hashlib.sha256(json.dumps([sources, self.parameters]).encode()).hexdigest()[:16]


@dataclass
class Series:
    """What happened to each notebook, kept in `run.json` of the run folder so that a rerun can go on from there."""

    folder: Path
    profile: str
    notebooks: dict[str, dict] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, profile: str) -> "Series":
        record = folder / "run.json"
        known = json.loads(record.read_text(encoding="utf-8"))["notebooks"] if record.exists() else {}
        return cls(folder, profile, known)

    def is_done(self, job: Job) -> bool:
        """Finished with the same code and parameters, and after the notebooks that it reads."""
        entry = self.notebooks.get(job.name, {})
        if entry.get("state") != "finished" or entry["fingerprint"] != job.fingerprint:
            return False
        earlier = [self.notebooks.get(name, {}).get("finished", "") for name in READS.get(job.name, ())]
        return executed_copy(self.folder, job.name).exists() and all(
            finished < entry["finished"] for finished in earlier
        )

    def record(self, job: Job, seconds: float, error: dict | None) -> None:
        self.notebooks[job.name] = {
            "state": "failed" if error else "finished",
            "error": error,
            "seconds": round(seconds, 1),
            "budget": job.budget,
            "parameters": job.parameters,
            "fingerprint": job.fingerprint,
            "finished": datetime.now(UTC).isoformat(timespec="microseconds"),
        }
        ordered = dict(sorted(self.notebooks.items()))
        write_json(self.folder / "run.json", {"profile": self.profile, "notebooks": ordered})


def executed_copy(run_dir: Path, name: str) -> Path:
    """Where the executed copy of a notebook goes."""
    return run_dir / "notebooks" / f"{name}.ipynb"


def load_profile(name: str) -> Profile:
    """Read `profiles/<name>.toml`, or a TOML file of the user's own. Raises UserError when there is none."""
    path = Path(name) if name.endswith(".toml") else PROFILES / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.toml")))
        raise UserError(f"There is no profile {name!r}; choose one of {known}, or give a .toml file.")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    notebooks = content.get("notebooks", {})
    return Profile(
        path.stem,
        content.get("title", path.stem),
        content.get("cell_timeout", CELL_TIMEOUT),
        content.get("parameters", {}),
        notebooks,
    )


def plan(
    profile: Profile, given: dict[str, str], only: tuple[str, ...], run_dir: Path, folder: Path = NOTEBOOKS
) -> list[Job]:
    """The notebooks to run with all their parameters; raises UserError for anything that no notebook knows.

    `given` are the command line's values, as text; `only` are the numbers of notebooks (`02`), none for all.
    """
    notebooks = {path.stem: jupytext.read(path, fmt="py:percent") for path in sorted(folder.glob("[0-9][0-9]_*.py"))}
    if not notebooks:
        raise UserError(f"There are no notebooks in {folder}; run this from a clone of the repository.")
    defaults = {name: _defaults(name, notebook) for name, notebook in notebooks.items()}
    chosen = _select(list(notebooks), only)
    refuse_unknown(set(profile.parameters), set().union(*defaults.values()), f"Profile {profile.name}: the series")
    refuse_unknown(set(given), set().union(*(defaults[name] for name in chosen)), ", ".join(chosen))

    jobs = []
    for name in chosen:
        section = profile.notebooks.get(name, {})
        own = section.get("parameters", {})
        refuse_unknown(set(own), set(defaults[name]), f"Profile {profile.name}: {name}")
        values = {**profile.parameters, **own, "run_dir": str(run_dir)}
        known = {
            key: checked(key, value, defaults[name][key]) for key, value in values.items() if key in defaults[name]
        }
        known |= {key: convert(key, text, defaults[name][key]) for key, text in given.items() if key in defaults[name]}
        jobs.append(Job(name, notebooks[name], defaults[name], defaults[name] | known, section.get("budget", 600)))
    return jobs


def _select(names: list[str], only: tuple[str, ...]) -> list[str]:
    numbers = {name[:2] for name in names}
    wanted = {number.zfill(2) for number in only}
    unknown = sorted(wanted - numbers)
    if unknown:
        raise UserError(f"There is no notebook {', '.join(unknown)}; choose from {', '.join(sorted(numbers))}.")
    return [name for name in names if not wanted or name[:2] in wanted]


def _defaults(name: str, notebook: NotebookNode) -> dict[str, object]:
    cells = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    try:
        return literals("\n".join(cells))
    except (ValueError, SyntaxError) as error:
        raise UserError(f"The notebook {name} cannot run: {error}.") from error


def run(profile: Profile, jobs: list[Job], run_dir: Path, folder: Path = NOTEBOOKS) -> list[str]:
    """Execute the jobs, one line each on standard output, and return one sentence for each notebook that failed.

    Notebooks already finished in `run_dir` with the same code and parameters are skipped. `KeyboardInterrupt` stops
    the running notebook and its kernel and is passed on.
    """
    series = Series.open(run_dir, profile.name)
    failures = []
    with _own_kernel():
        for job in jobs:
            if series.is_done(job):
                print(f"{job.name:28} finished before")
                continue
            start = time.monotonic()
            with _Progress(job) as progress:
                error = _execute(job, executed_copy(run_dir, job.name), profile.cell_timeout, folder, progress)
            seconds = time.monotonic() - start
            series.record(job, seconds, error)
            outcome = "FAILED" if error else "done"
            print(f"{job.name:28} {outcome:6} {_clock(seconds)} of {_clock(job.budget)}", flush=True)
            if error:
                failures.append(f"{job.name}, cell {error['cell']}: {error['name']}: {error['message']}")
    return failures


def _execute(job: Job, copy: Path, timeout: int, folder: Path, progress: "_Progress") -> dict | None:
    """Run one notebook into its copy; None, or what went wrong."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    changed = {name: value for name, value in job.parameters.items() if value != job.defaults[name]}
    try:
        papermill.execute_notebook(
            nbformat.from_dict(job.notebook),
            copy,
            changed,
            kernel_name="python3",
            language="python",
            cwd=folder,
            execution_timeout=timeout,
            progress_bar=False,
            on_cell_start=progress.cell_started,
        )
    except PapermillExecutionError as error:
        return {"cell": _describe(error), "name": error.ename, "message": error.evalue.strip()}
    except Exception as error:  # a kernel that died or never started has failed like any cell
        return {"cell": str(progress.cell), "name": type(error).__name__, "message": str(error).strip()}
    return None


def _describe(error: PapermillExecutionError) -> str:
    lines = [line for line in error.source.splitlines() if line and not line.startswith("#")]
    return f"[{error.exec_count}] ({lines[0] if lines else ''})"


class _Progress:
    """On a terminal, keeps the line of the running notebook up to date: time, budget, cell."""

    def __init__(self, job: Job):
        self.job = job
        self.cell = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def cell_started(self, cell: NotebookNode, cell_index: int) -> None:
        self.cell = cell_index + 1

    def __enter__(self) -> "_Progress":
        if sys.stdout.isatty():
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _tick(self) -> None:
        start, cells = time.monotonic(), len(self.job.notebook.cells)
        while not self._stop.wait(1):
            times = f"{_clock(time.monotonic() - start)} of {_clock(self.job.budget)}"
            print(f"\r{self.job.name:28} {times}, cell {self.cell} of {cells}", end="", flush=True)
        print("\r" + " " * 70, end="\r", flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:2d}:{int(seconds) % 60:02d}"


@contextmanager
def _own_kernel() -> Iterator[None]:
    """Make "python3" mean this very interpreter, whatever kernels are installed.

    A kernel specification in a temporary folder that Jupyter searches first. MPLBACKEND is put aside, because with
    it (Agg, say) executed notebooks silently hold no figures.
    """
    former = {name: os.environ.get(name) for name in ("JUPYTER_PATH", "MPLBACKEND")}
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
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
