"""What is remembered of a session: snapshots, and the private confusion table of expressions shown on purpose."""

import numpy as np
import pytest
from made_up_sessions import face

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.live.memory import READY, WATCHED, Snapshots, Tries

END = READY + WATCHED


def test_the_most_confident_snapshot_of_each_label_is_kept():
    snapshots = Snapshots()
    for seconds, (level, *faces) in enumerate(
        [
            (10, face("happy", 0.5)),
            (20, face("happy", 0.9), face("sad", 0.4)),
            (30, face("happy", 0.8), face("sad", 0.6)),
            (40, face("sad", 0.6)),
            (50, face("happy", 0.95, probable="sad"), face("fear", 0.9, probable="sad")),  # held: it shows another
        ]
    ):
        snapshots.add(np.full((240, 320, 3), level, np.uint8), faces, float(seconds))
    kept = {label: (snap.probability, snap.seconds, snap.image.mean()) for label, snap in snapshots.items()}
    assert kept == {"happy": (0.9, 1.0, 20.0), "sad": (0.6, 2.0, 30.0)}


@pytest.mark.parametrize("box", [(100, 100, 50, 50), (0, 0, 50, 50), (270, 190, 50, 50)])
def test_a_snapshot_is_a_square_copy_round_the_face(box):
    image = np.zeros((240, 320, 3), np.uint8)
    x, y, width, height = box
    image[y : y + height, x : x + width] = 200
    snapshots = Snapshots()
    snapshots.add(image, [face("fear", 0.7, box)], 0.0)
    image[:] = 99
    kept = snapshots["fear"].image
    assert kept.shape == (85, 85, 3) and (kept[18:67, 18:67] == 200).all() and 99 not in kept


def tried(tries, expression, labels, start=10.0):
    """Whether each frame with these labels, evenly from `start` to the end and a last one, ended the try."""
    tries.begin(expression, start)
    times = [start + END * k / len(labels) for k in range(len(labels))]
    return [tries.see(label, seconds) for label, seconds in zip([*labels, "fear"], [*times, start + END], strict=True)]


def test_a_try_counts_once_under_the_label_that_most_frames_had():
    tries = Tries()
    ended = tried(tries, "sad", ["happy"] * 25 + ["neutral"] * 40 + ["sad"] * 35)
    assert ended == [False] * 100 + [True]
    assert tries.counts.loc["sad", "neutral"] == tries.counts.to_numpy().sum() == 1
    assert not tries.see("happy", 100.0)  # over


def test_the_time_to_make_a_face_does_not_count():
    tries = Tries()
    tried(tries, "happy", ["neutral"] * 24 + ["happy"] * 2 + [None] * 74)  # a quarter is READY
    assert tries.counts.loc["happy", "happy"] == 1


def test_a_try_without_a_face_does_not_count_and_not_sure_does():
    tries = Tries()
    assert tried(tries, "happy", [None] * 20)[-1] and not tries.counts.any(axis=None)
    assert tries.html().startswith("No face was seen in that try")
    tried(tries, "happy", [NOT_SURE] * 20)
    assert tries.counts.loc["happy", NOT_SURE] == 1
    assert tries.html().endswith("0 of 1 tries were labelled as meant.")


def test_another_button_drops_the_try_before():
    tries = Tries()
    tries.begin("happy", 0.0)
    tries.see("happy", 2.0)
    tried(tries, "sad", ["sad"] * 20, start=3.0)
    assert tries.counts.loc["sad", "sad"] == tries.counts.to_numpy().sum() == 1


def test_the_table_shows_what_was_tried_and_how_often_it_was_as_meant():
    tries = Tries()
    for label in ("happy", "happy", "sad"):
        tried(tries, "happy", [label] * 20)
    assert "2 of 3 tries were labelled as meant" in tries.html()
    assert "<th>happy</th>" in tries.html() and tries.html().count("<tr>") == 2  # of the body: a name row, and one
    assert list(tries.counts.columns) == [*CLASSES, NOT_SURE]
