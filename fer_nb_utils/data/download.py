"""FER-2013 from Kaggle."""

from pathlib import Path

from ..errors import DataError

DATASET = "msambare/fer2013"


def download() -> Path:
    """Fetch the data set into kagglehub's cache and return its folder.

    Raises DataError that says how to get the file by hand and where to put it.
    """
    try:
        import kagglehub  # here, because only this command needs it

        return Path(kagglehub.dataset_download(DATASET))
    except Exception as error:  # no kagglehub, credentials, or network, and what else a remote service brings
        raise DataError(
            f"Kaggle did not give the data set ({type(error).__name__}); by hand: sign in at "
            f"https://www.kaggle.com/datasets/{DATASET}, press Download, save the zip, still packed, as "
            f"{Path('data', 'fer2013.zip')}, and add --data {Path('data', 'fer2013.zip')} to the command, "
            "or set FER2013_PATH to that path"
        ) from error
