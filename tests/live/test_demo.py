"""The demo clip: always the same, and with a face that the detector finds in every frame."""

from itertools import groupby, islice

import numpy as np
import pytest

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.live import demo
from fer_nb_utils.live.demo import SECONDS, demo_clip
from fer_nb_utils.live.detector import DEFAULT, FaceDetector
from fer_nb_utils.live.smoothing import overlap


@pytest.fixture(scope="module")
def clip():
    return list(demo_clip())


def test_length_times_and_form(clip):
    assert 11 < SECONDS < 13 and len(clip) == round(SECONDS * 15)
    np.testing.assert_allclose([frame.seconds for frame in clip], np.arange(len(clip)) / 15)
    assert all(frame.image.shape == (480, 640, 3) and frame.image.dtype == np.uint8 for frame in clip)


def test_a_photograph_then_seven_expressions_in_order(clip):
    parts = [(key, len(list(group))) for key, group in groupby(clip, lambda frame: frame.expression)]
    assert [key for key, _ in parts] == [None, *CLASSES]
    assert parts[0][1] == 60 and all(count == 18 for _, count in parts[1:])


@pytest.mark.parametrize("number", range(len(CLASSES)))
def test_an_expression_grows_from_neutral_and_goes_back(monkeypatch, number):
    drawings, blank = [], np.zeros((demo.DRAWING, demo.DRAWING), np.uint8)
    monkeypatch.setattr(demo, "_drawing", lambda *drawing: drawings.append(drawing) or blank)
    begin = demo.PHOTOGRAPH_SECONDS + number * demo.EXPRESSION_SECONDS
    for part in (np.arange(24) + 0.5) / 24:
        assert demo._drawing_frame(begin + part * demo.EXPRESSION_SECONDS).expression == CLASSES[number]
    steps = [step for _, step in drawings]
    assert steps[0] == steps[-1] == 0 and max(steps) == (demo.STEPS if CLASSES[number] != "neutral" else 0)
    assert np.abs(np.diff(steps)).max() <= 1
    assert all(expression == (CLASSES[number] if step else "neutral") for expression, step in drawings)


def test_another_generation_at_another_rate_shows_the_same_at_the_same_time(clip):
    demo._drawing.cache_clear()
    slow = list(demo_clip(3))
    assert len(slow) == round(SECONDS * 3)
    for frame, same in zip(slow, clip[::5], strict=False):
        np.testing.assert_array_equal(frame.image, same.image)
        assert (frame.box, frame.expression) == (same.box, same.expression)


def test_frames_are_made_when_they_are_asked_for(monkeypatch):
    made = []
    original = demo._photograph_frame
    monkeypatch.setattr(demo, "_photograph_frame", lambda *args: made.append(args) or original(*args))
    list(islice(demo_clip(), 3))
    assert len(made) == 3


def test_the_known_box_is_inside_and_moves_smoothly(clip):
    boxes = np.array([frame.box for frame in clip])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= (640, 480)).all()
    assert (boxes[:, 2] == boxes[:, 3]).all() and boxes[:, 2].min() >= 110 and boxes[:, 2].max() <= 250
    assert np.ptp(boxes[:60, 2]) > 50 and np.ptp(boxes[60:, 0]) > 50  # zoomed; moved
    cut = [frame.expression for frame in clip].index(CLASSES[0])
    assert np.abs(np.delete(np.diff(boxes, axis=0), cut - 1, axis=0)).max() <= 12


def test_the_picture_has_no_empty_border(clip):
    """The moving crop stays inside the photograph."""
    for frame in clip[:60]:
        assert all(edge.any(axis=-1).mean() > 0.9 for edge in (frame.image[0], frame.image[:, 0], frame.image[:, -1]))


@pytest.mark.parametrize(("cascade", "step"), [(DEFAULT, 1), ("haarcascade_frontalface_alt2.xml", 4)])
def test_the_detector_finds_the_face_and_nothing_else_in_every_frame(clip, cascade, step):
    detector = FaceDetector(cascade)
    for frame in clip[::step]:
        boxes = detector(frame.image)
        assert len(boxes) == 1, frame.seconds
        assert overlap(boxes, [frame.box])[0, 0] >= 0.5, frame.seconds
