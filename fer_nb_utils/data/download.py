"""FER-2013 from Kaggle."""

from collections.abc import Callable
from pathlib import Path

from ..errors import DataError

DATASET = "msambare/fer2013"


def download(fetch: Callable[[str], str] | None = None) -> Path:
    """Fetch the data set into kagglehub's cache and return its folder.

    `fetch`: takes the name on Kaggle and returns the folder; by default `kagglehub.dataset_download`.
    Raises DataError that says how to get the file by hand and where to put it.
    """
    try:
        if fetch is None:
            from kagglehub import dataset_download as fetch  # here, because only this command needs it
        return Path(fetch(DATASET))
    except Exception as error:  # no kagglehub, credentials, or network, and what else a remote service brings
        raise DataError(
            f"Kaggle did not give the data set ({type(error).__name__}); by hand: sign in at "
            f"https://www.kaggle.com/datasets/{DATASET}, press Download, save the zip, still packed, as "
            f"{Path('data', 'fer2013.zip')}, and add --data {Path('data', 'fer2013.zip')} to the command, "
            "or set FER2013_PATH to that path"
        ) from error
