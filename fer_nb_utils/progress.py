"""A progress bar on a terminal, silence elsewhere."""

from tqdm import tqdm


def progress_bar(**options) -> tqdm:
    """tqdm, hidden where standard error is no terminal: in notebooks and logs a bar would leave a trail of lines."""
    return tqdm(disable=None, leave=False, **options)
