"""Processes that tests start."""

import signal


def heeds_ctrl_c() -> None:
    """For `preexec_fn`: tests that run in the background ignore SIGINT, and their children would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
