"""What tests and notebooks share: figures without windows, runs in a folder of their own, and what nbval ignores."""

import os
import tempfile

import matplotlib

collect_ignore = ["notebooks/classroom/transfer_learning.ipynb"]  # its exercises are still to be written

matplotlib.use("Agg")  # not by MPLBACKEND: kernels would inherit it and the notebooks lose their figures


def pytest_configure(config):
    """The notebooks' kernels train anew: they neither read nor touch what a user has in `runs/`."""
    folder = tempfile.TemporaryDirectory(prefix="fer_nb_runs-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    os.environ["FER_NB_RUNS"] = folder.name


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook; HTML repeats what is compared as plain text
        collector.skip_compare += ("stderr", "text/html")
