"""One training of a sweep: what a dask worker does, and the process of its own that it starts for it."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from dask.system import CPU_COUNT
from distributed import get_worker

from .. import __version__
from ..data.dataset import load
from ..errors import UserError
from . import experiment
from .config import TrainConfig
from .provenance import source_revision

VERSION = f"{__version__}, training code {source_revision()}"


class Refused(Exception):
    """A worker must not train; why, in a sentence."""


def train(task: dict) -> None:
    """On a worker: run one training to its end in a process of its own, which dies with the worker.

    `task`: `config`, `folder`, `data` (paths mean the same everywhere), `fingerprint`, `package`, `features_folder`,
    `device`, `gpus` and `at_once` (GPUs and trainings of this machine). What it prints goes to `<folder>.log`. It ends
    when dask no longer wants it. Raises Refused, and RuntimeError with the last line of that log.
    """
    _examine(task)
    worker, key = get_worker(), get_worker().get_current_task()
    threads = str(max(1, CPU_COUNT // task["at_once"]))  # dask's nanny sets 1 for all
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if task["gpus"]:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(task["gpus"])))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(worker.name) % task["gpus"]]
    command = [sys.executable, "-m", __name__, json.dumps(task)]
    with log_of(task).open("wb") as output:
        streams = {"stdin": subprocess.PIPE, "stdout": output, "stderr": output}
        with subprocess.Popen(command, **streams, env=environment) as process:  # closes stdin, which ends it, and waits
            while process.poll() is None and worker.state.tasks[key].state == "executing":
                time.sleep(1)
    if process.returncode < 0:
        raise RuntimeError(f"signal {-process.returncode} ended it; 9 often means too little memory: try fewer workers")
    if process.returncode:
        raise RuntimeError(log_of(task).read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2])


def log_of(task: dict) -> Path:
    """Where a training writes what it prints."""
    return Path(task["folder"] + ".log")


def epochs_of(task: dict) -> list[int]:
    """The numbers of the epochs that its log tells of: not from 1 on when it goes on."""
    return [int(number) for number in re.findall(rb"^epoch +(\d+)/", log_of(task).read_bytes(), re.MULTILINE)]


def _examine(task: dict) -> None:
    """Refuse to train with other code, data or folders than the sweep was planned with."""
    if task["package"] != VERSION:
        raise Refused(f"it has fer_nb_utils {VERSION}, not {task['package']}; install the same there.")
    if not log_of(task).exists():  # which the sweep has made
        raise Refused(f"it does not see {task['folder']}; --run-dir must be on a disk that all share.")
    try:
        found = load(task["data"]).fingerprint
    except UserError as error:
        raise Refused(str(error)) from error
    if found != task["fingerprint"]:
        raise Refused(f"its {task['data']} is other data ({found}, not {task['fingerprint']}).")


def _main() -> None:
    task = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        config, features = TrainConfig(**task["config"]), Path(task["features_folder"])
        experiment.run(config, load(task["data"]), task["folder"], task["device"], features)
    except UserError as error:
        sys.exit(str(error))


def _end_with_parent() -> None:
    sys.stdin.read()  # nothing is sent: this returns when the worker closes it or dies
    os._exit(1)


if __name__ == "__main__":
    _main()
