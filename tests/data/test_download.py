"""The download: what it returns, and what it says when Kaggle gives nothing."""

import pytest

from fer_nb_utils.data.download import DATASET, download
from fer_nb_utils.errors import UserError


def test_returns_the_folder_that_was_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr("kagglehub.dataset_download", lambda name: str(tmp_path / name))
    assert download() == tmp_path / "msambare/fer2013"


@pytest.mark.parametrize(
    "error", [ConnectionError("no route\nto host"), PermissionError("401"), ImportError("kagglehub")]
)
def test_failure_says_how_to_get_the_file_by_hand(error, monkeypatch):
    def fetch(name: str) -> str:
        raise error

    monkeypatch.setattr("kagglehub.dataset_download", fetch)
    with pytest.raises(UserError) as caught:
        download()
    message = str(caught.value)
    assert type(error).__name__ in message
    assert f"https://www.kaggle.com/datasets/{DATASET}" in message
    assert "fer2013.zip" in message
    assert "FER2013_PATH" in message
    assert "\n" not in message
    assert len(message) < 400
