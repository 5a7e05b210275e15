"""What tests and notebooks share: figures without windows, runs in a folder of their own, and what nbval ignores.

At the top, because the notebooks, which lie beside `tests/`, are tests too.
"""

import os
import tempfile

import matplotlib
from xdist.scheduler import LoadFileScheduling

collect_ignore = ["notebooks/classroom/transfer_learning.ipynb"]  # its exercises are still to be written

matplotlib.use("Agg")  # not by MPLBACKEND: kernels would inherit it and the notebooks lose their figures


class WholeFiles(LoadFileScheduling):
    """Each file is one worker's, with all that its tests share, and so are the notebooks together: 05 shows the runs
    of 02 to 04, in the worker's own folder."""

    def _split_scope(self, nodeid):
        return "notebooks" if nodeid.startswith("notebooks/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return WholeFiles(config, log)


def pytest_configure(config):
    """The notebooks' kernels train anew: they neither read nor touch what a user has in `runs/`."""
    if config.getoption("numprocesses"):  # each worker, and what it starts, takes one core: more threads would wait
        os.environ["OMP_NUM_THREADS"] = "1"
    folder = tempfile.TemporaryDirectory(prefix="fer_nb_runs-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["FER_NB_RUNS"] = folder.name


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook; HTML repeats what is compared as plain text
        collector.skip_compare += ("stderr", "text/html")
