"""Who trains: the workers of a dask cluster, of whom some are refused, some go away and some come late."""

import logging
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import distributed
import psutil
import torch
from dask.system import CPU_COUNT
from tqdm import tqdm

from ..errors import UserError
from .task import Refused, epochs_of, log_of

CODE = f"from {Refused.__module__} import train; train(task)"  # as text, so that a worker without it can say so
MEMORY = 3 * 1024**3  # bytes that one training may need


@contextmanager
def cluster(scheduler: str | None, workers: int | None, device: str) -> Iterator[tuple[distributed.Client, int]]:
    """A client of somebody's cluster at the address `scheduler`, or of one on this machine, and the GPUs to share.

    Here there is a worker a GPU (one for cuda:1), or a core as far as the memory goes: two trainings with a thread each
    get through 1.27 times as much as one after the other with two (README, "Speed").
    """
    if scheduler:
        try:
            client = distributed.Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise UserError(f"No dask scheduler answers at {scheduler} ({error}); start one or correct it.") from error
        with client:
            try:
                yield client, 0
            except Exception as error:
                if client.status == "running" and not isinstance(error, distributed.comm.CommClosedError):
                    raise
                raise UserError(f"The dask scheduler {scheduler} is gone; with another the command goes on.") from error
        return
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    cores = 1 if device.startswith("cuda:") else CPU_COUNT
    workers = workers or gpus or max(1, min(cores, psutil.virtual_memory().available // MEMORY))
    options = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the workers: Ctrl-C is the driver's business
    local = distributed.LocalCluster(**options, silence_logs=logging.CRITICAL)
    signal.signal(signal.SIGINT, handler)
    with local, distributed.Client(local) as client:
        yield client, gpus


class Workers:
    """Gives each of `tasks` (by name) to one worker with room, and to another where that one is refused or lost."""

    def __init__(self, client: distributed.Client, tasks: Mapping[str, dict]) -> None:
        self.client, self.tasks, self.waiting = client, tasks, list(tasks)
        self.at_work: dict[distributed.Future, tuple[str, str]] = {}  # the task's name, the worker's address
        self.refused: dict[str, str] = {}  # address: why
        self.at_once: Counter[str] = Counter()  # by host: the most it had, so that a loss leaves threads and results
        self.accepted = self.announced = False

    def hand_out(self) -> None:
        """Fill the workers that are there. Raises UserError when each is refused and none was ever accepted."""
        there = self.client.nthreads()
        room = Counter({address: threads for address, threads in there.items() if address not in self.refused})
        self.at_once |= Counter(map(_host_of, room.elements()))  # the larger of both
        if self.refused and not room and not self.accepted:
            raise UserError(f"No worker may train: {' '.join(self.refused.values())}")
        if self.waiting and not room and not self.announced:
            tqdm.write("No worker is there that may train: waiting for one.")
        self.announced = not room
        room.subtract(address for _, address in self.at_work.values())
        while self.waiting and +room:
            address, name = max(room, key=room.get), self.waiting.pop(0)
            task = self.tasks[name] | {"at_once": self.at_once[_host_of(address)]}
            log_of(task).write_bytes(b"")  # nothing of an earlier attempt
            future = self.client.submit(exec, CODE, {"task": task}, pure=False, workers=[address])
            self.at_work[future] = name, address
            room[address] -= 1

    def ended(self) -> Iterator[tuple[str, BaseException | None]]:
        """The tasks that ended since, with their errors; those of refused and lost workers wait for another instead."""
        there = self.client.nthreads()
        for future, (name, address) in list(self.at_work.items()):
            done, cancelled = future.status in ("finished", "error"), future.status == "cancelled"
            if not done and not cancelled and address in there:
                continue
            del self.at_work[future]
            error = future.exception() if done else RuntimeError(f"its worker {address} is gone")
            if isinstance(error, Refused | ImportError):
                why = str(error) if isinstance(error, Refused) else f"it cannot load this package ({error})."
                if address not in self.refused:
                    tqdm.write(f"The worker {address} is refused: {why}")
                self.refused[address] = why
                self.waiting.insert(0, name)
                continue
            self.accepted = True
            if done or not epochs_of(self.tasks[name]):  # else it was under way, and goes on from there
                yield name, error
            else:
                tqdm.write(f"{name}: {error}.")
                self.waiting.insert(0, name)


def _host_of(address: str) -> str:
    """The machine of a worker: "tcp://10.0.0.5:4711" -> "tcp://10.0.0.5"."""
    return address.rpartition(":")[0]
