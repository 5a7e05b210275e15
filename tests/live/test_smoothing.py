"""Faces followed from frame to frame, on made-up boxes and probabilities."""

import numpy as np
import pytest

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live.smoothing import Smoother, overlap

HAPPY, SAD = np.eye(7)[CLASSES.index("happy")], np.eye(7)[CLASSES.index("sad")]
LEFT, RIGHT = (100, 100, 80, 80), (300, 100, 80, 80)


@pytest.mark.parametrize("settings", [(-0.3,), (0.3, -1), (0.3, 0.5, 1.1), (0.3, 0.5, -0.1)])
def test_impossible_settings_are_one_sentence(settings):
    with pytest.raises(UserError, match="are seconds from 0 on, the threshold lies between 0 and 1"):
        Smoother(*settings)


def boxes(*each):
    return np.array(each).reshape(-1, 4)


def numbers(smoother, seconds, *each):
    """The numbers that the faces in these boxes get."""
    return [track.number for track in smoother.update(seconds, boxes(*each), np.array([HAPPY] * len(each)))]


def labels(smoother, rate, looks):
    """What one face that looks like this is held for, frame after frame."""
    return [smoother.update(k / rate, boxes(LEFT), look[None])[0].expression for k, look in enumerate(looks)]


def test_overlap_is_intersection_over_union():
    one = (10, 20, 4, 2)
    others = [one, (12, 20, 4, 2), (12, 21, 4, 2), (11, 20, 2, 2), (14, 20, 4, 2), (500, 500, 9, 9)]
    np.testing.assert_allclose(overlap([one], others), [[1, 1 / 3, 1 / 7, 1 / 2, 0, 0]])
    assert overlap([one, one], others).shape == (2, 6)


@pytest.mark.parametrize("rate", [10, 30, 100])
@pytest.mark.parametrize("time_constant", [0.3, 1.0])
def test_a_change_is_shown_by_63_percent_after_the_time_constant_at_any_frame_rate(rate, time_constant):
    smoother = Smoother(time_constant)
    smoother.update(0, boxes(LEFT), SAD[None])
    for k in range(1, round(time_constant * rate) + 1):
        (track,) = smoother.update(k / rate, boxes(LEFT), HAPPY[None])
    shown = 1 - np.exp(-1)
    np.testing.assert_allclose(track.probabilities, shown * HAPPY + (1 - shown) * SAD)


def test_without_a_time_constant_each_frame_stands_for_itself():
    smoother = Smoother(0)
    smoother.update(0, boxes(LEFT), SAD[None])
    np.testing.assert_array_equal(smoother.update(0.01, boxes(LEFT), HAPPY[None])[0].probabilities, HAPPY)


def test_by_default_a_change_takes_three_tenths_and_a_label_stays_half_a_second():
    smoother, shown = Smoother(), []
    for k in range(7):
        (track,) = smoother.update(k / 10, boxes(LEFT), (SAD if k else HAPPY)[None])
        shown.append((track.expression, track.probabilities[CLASSES.index("sad")]))
    assert [label for label, _ in shown] == ["happy"] * 5 + ["sad"] * 2
    assert shown[3][1] == pytest.approx(1 - np.exp(-1))


def test_a_label_does_not_flicker():
    """Two expressions in turn, not smoothed: each is shown for the display duration at least."""
    shown = labels(Smoother(0, display_duration=0.5), 20, [HAPPY, SAD] * 50)
    changes = np.flatnonzero([a != b for a, b in zip(shown, shown[1:], strict=False)]) + 1
    assert len(changes) > 1 and np.diff([0, *changes]).min() >= 10


def test_a_label_does_not_stick():
    shown = labels(Smoother(0, display_duration=0.5), 20, [HAPPY] * 4 + [SAD] * 30)
    assert shown == ["happy"] * 10 + ["sad"] * 24
    shown = labels(Smoother(0, display_duration=0.5), 20, [HAPPY] * 30 + [SAD] * 3)
    assert shown == ["happy"] * 30 + ["sad"] * 3  # it has been there long enough


def test_a_held_label_shows_its_own_probability_and_below_the_threshold_it_is_none():
    smoother = Smoother(0, display_duration=0.5, threshold=0.3)
    looks = [(0, 0.6, HAPPY), (0.1, 0.65, SAD), (0.2, 0.75, SAD), (0.4, 0.65, SAD), (0.5, 0.7, SAD), (0.6, 0.9, HAPPY)]
    shown = []
    for seconds, share, look in looks:
        (track,) = smoother.update(seconds, boxes(LEFT), (share * look + (1 - share) * (HAPPY + SAD - look))[None])
        shown.append((track.label, pytest.approx(track.confidence)))
    held = [("happy", 0.6), ("happy", 0.35), (NOT_SURE, 0.25), ("happy", 0.35)]
    assert shown == [*held, ("sad", 0.7), (NOT_SURE, 0.1)]


def test_by_default_two_fifths_are_sure():
    for share, label in ((0.41, "happy"), (0.39, NOT_SURE)):
        spread = np.full(7, (1 - share) / 6)
        spread[CLASSES.index("happy")] = share
        (track,) = Smoother().update(0, boxes(LEFT), spread[None])
        assert track.label == label


def test_a_short_look_away_is_smoothed_out():
    assert set(labels(Smoother(0.3, 0), 20, [HAPPY] * 20 + [SAD] * 2 + [HAPPY] * 20)) == {"happy"}
    assert set(labels(Smoother(0, 0), 20, [HAPPY] * 20 + [SAD] * 2 + [HAPPY] * 20)) == {"happy", "sad"}


def test_faces_that_move_a_little_keep_their_numbers_and_come_in_the_order_asked():
    smoother = Smoother()
    assert numbers(smoother, 0, LEFT, RIGHT) == [1, 2]
    for k in range(1, 20):
        right, left = (300 - 5 * k, 100 + k, 80, 80), (100 + 3 * k, 100, 80 + k, 80 + k)
        assert numbers(smoother, k / 10, right, left) == [2, 1]


def test_each_face_has_its_own_probabilities_and_label():
    smoother = Smoother()
    smoother.update(0, boxes(LEFT, RIGHT), np.array([HAPPY, SAD]))
    first, second = smoother.update(0.1, boxes(RIGHT, LEFT), np.array([SAD, HAPPY]))
    assert (first.label, second.label) == ("sad", "happy")
    np.testing.assert_allclose([first.probabilities, second.probabilities], [SAD, HAPPY])
    np.testing.assert_array_equal([first.box, second.box], [RIGHT, LEFT])


def test_faces_that_pass_each_other_keep_their_numbers():
    smoother = Smoother()
    for k in range(41):  # 10 pixels a frame, one a little above the other
        assert numbers(smoother, k / 20, (100 + 10 * k, 60, 80, 80), (500 - 10 * k, 110, 80, 80)) == [1, 2]


def test_a_face_keeps_its_number_however_well_strangers_would_fit_together():
    before, after = [(500, 0, 100, 100), (400, 0, 100, 100)], [(455, 0, 100, 100), (555, 0, 100, 100)]
    same, strangers = overlap(before, after)[0]
    assert strangers < 0.3 < same < 2 * strangers
    smoother = Smoother()
    assert numbers(smoother, 0, *before) == [1, 2]
    assert numbers(smoother, 0.1, *after) == [1, 3]


@pytest.mark.parametrize(("away", "number"), [(0.9, 1), (1.0, 1), (1.1, 3)])
def test_a_face_that_comes_back_soon_is_the_same(away, number):
    smoother = Smoother()
    numbers(smoother, 0, LEFT, RIGHT)
    assert numbers(smoother, away / 2, RIGHT) == [2]
    assert numbers(smoother, away, RIGHT, LEFT) == [2, number]


def test_a_face_elsewhere_is_another():
    smoother = Smoother()
    assert numbers(smoother, 0, LEFT) == [1]
    assert numbers(smoother, 0.1, RIGHT) == [2]


def test_a_frame_that_comes_too_late_changes_nothing():
    """Two threads may give theirs in the wrong order."""
    smoother = Smoother(0.1)
    smoother.update(1.0, boxes(LEFT), SAD[None])
    (track,) = smoother.update(0.95, boxes(LEFT), HAPPY[None])
    np.testing.assert_array_equal(track.probabilities, SAD)


def test_a_frame_without_faces():
    smoother = Smoother()
    assert smoother.update(0, np.empty((0, 4), int), np.empty((0, 7))) == []
    assert numbers(smoother, 0.1, LEFT) == [1]
    assert smoother.update(0.2, np.empty((0, 4), int), np.empty((0, 7))) == []


def test_reset_forgets_the_faces_and_gives_no_number_twice():
    smoother = Smoother()
    smoother.update(5, boxes(LEFT), SAD[None])
    smoother.reset()
    (track,) = smoother.update(0, boxes(LEFT), HAPPY[None])  # time may start again
    assert (track.number, track.label) == (2, "happy")
    np.testing.assert_array_equal(track.probabilities, HAPPY)
