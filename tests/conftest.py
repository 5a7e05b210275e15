"""Fixtures of the unit tests: a cache of their own, and the real data set where it is there."""

from pathlib import Path

import pytest

from fer_nb_utils.data.dataset import load


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Decoded copies stay among the tests, and the user's choice of data outside."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_NB_CACHE", str(folder))
        patch.delenv("FER2013_PATH", raising=False)
        yield folder


@pytest.fixture(scope="session")
def sample(own_cache):
    return load("sample")


@pytest.fixture(scope="session")
def finished_run(sample, tmp_path_factory):
    """A run of TINY_RUN on the sample. Read only: copy its folder before you change anything in it."""
    from tiny_training import TINY_RUN  # here: most tests need no torch

    from fer_nb_utils.training import experiment

    return experiment.run(TINY_RUN, sample, tmp_path_factory.mktemp("runs") / "resnet18_tiny", "cpu")


@pytest.fixture(scope="session")
def fer2013_zip():
    path = Path(__file__).parents[2] / "shared" / "data" / "fer2013.zip"
    if not path.is_file():
        pytest.skip("FER-2013 is not at ../shared/data/fer2013.zip beside the repository")
    return path


@pytest.fixture(scope="session")
def fer2013(fer2013_zip, own_cache):
    return load(fer2013_zip)
