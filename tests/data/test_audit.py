"""The audit: planted defects are found, and those of FER-2013 are the known ones."""

import numpy as np
import pytest

from fer_nb_utils.classes import CLASSES, USAGES
from fer_nb_utils.data.audit import audit, audit_index, data_report, index, load_index
from fer_nb_utils.data.dataset import PUBLISHED, Dataset, count_images

TRAIN, PUBLIC, PRIVATE = USAGES
DEFECTS = {  # of FER-2013, counted independently
    "groups of identical images": 1516,
    "images in these groups": 3369,
    "groups that span train and test": 531,
    "groups with conflicting labels": 57,
    "test images with a twin in train": 568,
    "test images without one (leak-free)": 6610,
    "constant images": 13,
}


@pytest.fixture
def flawed() -> Dataset:
    """Content number, label and usage of ten images; content 0 is blank."""
    rows = [
        (1, 3, TRAIN), (1, 3, TRAIN), (1, 3, PUBLIC),  # spans train and test
        (2, 0, TRAIN), (2, 2, PRIVATE),  # spans, and carries two labels
        (3, 5, PUBLIC), (3, 5, PRIVATE),  # twins within test only
        (4, 6, TRAIN), (5, 6, PRIVATE), (0, 4, TRAIN),
    ]  # fmt: skip
    contents, labels, usage = (np.array(column) for column in zip(*rows, strict=True))
    pictures = np.random.default_rng(0).integers(0, 256, (6, 48, 48), np.uint8)
    pictures[0] = 77
    files = np.array([f"{name}_{i}" for i, name in enumerate(usage)])
    return Dataset(pictures[contents], labels, usage, files, "flawed", "sha256:0", "flawed")


def test_planted_defects_are_found(flawed):
    found = audit(flawed)
    assert found.groups.tolist() == [0, 0, 0, 1, 1, 2, 2, -1, -1, -1]
    assert found.spanning.tolist() == [0, 1]
    assert found.conflicting.tolist() == [1]
    assert np.flatnonzero(found.twin_in_train).tolist() == [2, 4]
    assert np.flatnonzero(found.leak_free).tolist() == [5, 6, 8]
    assert np.flatnonzero(found.constant).tolist() == [9]
    assert found.summary().to_dict() == dict(zip(DEFECTS, [3, 7, 2, 1, 2, 3, 1], strict=True))
    assert found.summary().name == "count"


@pytest.mark.parametrize(("level", "constant"), [(1.9, True), (2.1, False)])
def test_an_image_is_constant_below_two_grey_levels(flawed, level, constant):
    flawed.images[7] = np.random.default_rng(0).normal(100, level, (48, 48)).round()
    assert flawed.images[7].std() == pytest.approx(level, abs=0.09)
    assert audit(flawed).constant[7] == constant


def test_clean_data_have_no_findings(flawed):
    found = audit(flawed.subset([7, 8]))
    assert found.summary().tolist() == [0, 0, 0, 0, 0, 1, 0]


def test_index_describes_each_image(flawed):
    table = index(flawed)
    assert table.columns.tolist() == ["file", "usage", "label", "mean", "std", "group"]
    assert table["label"].tolist() == [CLASSES[label] for label in flawed.labels]
    assert table["mean"].iloc[9] == 0.302  # 77 / 255, four decimals
    assert table["std"].iloc[9] == 0
    assert table["std"].iloc[7] == pytest.approx(flawed.images[7].std() / 255, abs=5e-5)


def test_report_of_the_sample_says_what_it_is(sample):
    report = data_report(sample)
    assert report.startswith(f"synthetic sample: 1,750 images, {sample.fingerprint}\n\n")
    assert report.endswith("\n\nThis is the synthetic sample, not FER-2013.")
    for word in (*CLASSES, *USAGES, "test images with a twin in train", "sha256:"):
        assert word in report


def test_report_of_other_data_says_where_they_differ(flawed):
    verdict = "This is not FER-2013 as published: the counts differ, most in happy Training (-7,213)."
    assert data_report(flawed).endswith(f"\n\n{verdict}")


def test_committed_index_holds_the_facts_of_fer2013():
    table = load_index()
    assert (count_images(table["label"], table["usage"]).loc[list(CLASSES), list(USAGES)] == PUBLISHED).all(axis=None)
    assert table["file"].is_unique
    assert audit_index(table).summary().to_dict() == DEFECTS


def test_fer2013_has_the_known_defects(fer2013):
    assert audit(fer2013).summary().to_dict() == DEFECTS
    report = data_report(fer2013)
    assert report.endswith("\n\nThis is FER-2013 as published: the counts agree.")
    assert "6,610" in report


def test_committed_index_is_that_of_fer2013(fer2013):
    made, committed = index(fer2013), load_index()
    for column in made:
        if column in ("mean", "std"):  # JPEG decoders may differ in the last grey level
            np.testing.assert_allclose(committed[column], made[column], atol=2e-3)
        else:
            assert committed[column].tolist() == made[column].tolist()
