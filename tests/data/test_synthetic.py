"""The embedded sample: reproducible, shaped like FER-2013, face-like, and neither trivial nor hopeless."""

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fer_nb_utils.classes import CLASSES, USAGES
from fer_nb_utils.data.synthetic import (
    ACTION_UNITS,
    TRAIN_COUNTS,
    TWINS,
    draw_face,
    make_sample,
    random_identity,
    random_view,
)


def people(count):
    return [random_identity(np.random.default_rng([1, i])) for i in range(count)]


def test_sample_has_the_form_of_fer2013(sample):
    images, labels, usage, files = sample.images, sample.labels, sample.usage, sample.files
    assert images.shape == (1750, 48, 48) and images.dtype == np.uint8 and labels.dtype == np.int64
    assert [(usage == name).sum() for name in USAGES] == [1400, 175, 175]
    assert len(set(files)) == len(files) and all(f.startswith(u) for f, u in zip(files, usage, strict=True))
    for name in USAGES:
        counts = np.bincount(labels[usage == name], minlength=len(CLASSES))
        assert counts.min() >= 3
        np.testing.assert_allclose(counts / counts.sum(), np.array(TRAIN_COUNTS) / 28709, atol=0.02)
    assert 0.35 < images.mean() / 255 < 0.6 and 0.15 < images.std() / 255 < 0.3


def test_same_seed_same_bytes_other_seed_other_faces():
    first, again, other = (make_sample(seed, train=120, test=24) for seed in (5, 5, 6))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not (first[0] == other[0]).all(axis=(1, 2)).any()


def test_twins_span_the_splits_and_one_conflicts(sample):
    images, labels, usage = sample.images, sample.labels, sample.usage
    groups = {}
    for i, image in enumerate(images):
        groups.setdefault(image.tobytes(), []).append(i)
    pairs = [group for group in groups.values() if len(group) > 1]
    assert len(pairs) == TWINS and all(len(pair) == 2 for pair in pairs)
    assert all(usage[a] == "Training" and usage[b] != "Training" for a, b in pairs)
    assert sum(labels[a] != labels[b] for a, b in pairs) == 1


def test_too_small_a_sample_is_refused():
    with pytest.raises(ValueError, match="at least"):
        make_sample(train=10, test=10)


def test_expressions_are_the_classes_and_differ():
    assert tuple(ACTION_UNITS) == CLASSES
    person = people(1)[0]
    faces = {draw_face(person, name, size=96).tobytes() for name in CLASSES}
    assert len(faces) == len(CLASSES)


@pytest.mark.parametrize("expression", [name for name in CLASSES if name != "neutral"])
def test_intensity_moves_away_from_neutral(expression):
    person = people(1)[0]
    neutral = draw_face(person, size=96).astype(float)
    change = [np.abs(draw_face(person, expression, x, 96) - neutral).mean() for x in (0, 0.3, 0.6, 1.0)]
    assert change[0] == 0 and all(np.diff(change) > 0)


@pytest.mark.parametrize("size", [48, 97, 200, 480])
def test_any_size_on_a_plain_background(size):
    face = draw_face(people(1)[0], "happy", size=size, background=150)
    assert face.shape == (size, size) and face.dtype == np.uint8
    assert (face[: size // 2, : size // 20] == 150).all() and face[size // 2, size // 2] != 150


def test_view_and_noise_are_drawn_from_the_generator():
    person, rng = people(1)[0], np.random.default_rng(0)
    still = draw_face(person, "sad")
    np.testing.assert_array_equal(still, draw_face(person, "sad"))
    assert (draw_face(person, "sad", view=random_view(rng)) != still).any()
    assert (draw_face(person, "sad", rng=rng) != still).any()


def test_haar_cascade_finds_the_faces():
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    found = [
        len(detector.detectMultiScale(draw_face(person, name, 1.0, 200, background=150), 1.1, 5, minSize=(60, 60)))
        for person in people(8)
        for name in CLASSES
    ]
    assert np.mean(np.array(found) == 1) >= 0.9


def test_a_simple_model_learns_something_but_not_everything(sample):
    labels, train = sample.labels, sample.usage == "Training"
    pixels = sample.images.reshape(-1, 12, 4, 12, 4).mean(axis=(2, 4)).reshape(len(labels), -1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    accuracy = model.fit(pixels[train], labels[train]).score(pixels[~train], labels[~train])
    majority = np.bincount(labels[~train]).max() / (~train).sum()
    assert majority + 0.1 < accuracy < 0.9
