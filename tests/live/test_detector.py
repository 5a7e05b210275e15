"""Faces are found where they are, whatever the frame's size, and cut out exactly."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb_utils.errors import UserError
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.detector import DEFAULT, FaceDetector, crop_problem, face_crop, square
from fer_nb_utils.live.smoothing import overlap

SIDE = 150  # pixels of a pasted head


@pytest.fixture(scope="module")
def detector():
    return FaceDetector()


@pytest.fixture(scope="module")
def frame():
    return next(islice(demo_clip(), 10, None)).image


def test_opencv_brings_the_papers_cascade_and_others():
    names = [path.name for path in Path(cv2.data.haarcascades).glob("*.xml")]
    assert DEFAULT in names and "haarcascade_eye.xml" in names
    readable = [name for name in names if "plate" not in name]  # an old format, and no face
    assert all(FaceDetector(name)(np.zeros((48, 64, 3), np.uint8)).shape == (0, 4) for name in readable)


@pytest.mark.parametrize("height", [2160, 1080, 720, 240])
def test_the_place_does_not_depend_on_the_frames_size(detector, frame, height):
    factor = height / len(frame)
    resized = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    box, other = detector(frame), detector(resized)
    assert len(box) == len(other) == 1 and other.dtype.kind == "i"
    assert overlap(other / factor, box)[0, 0] > 0.85


def test_no_face_no_box(detector):
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for picture in (noise, np.full((480, 640, 3), 128, np.uint8), np.zeros((2, 3, 3), np.uint8)):
        assert detector(picture).shape == (0, 4)


def test_ten_faces_give_ten_boxes_the_largest_first(detector, frame):
    x, y, side, _ = detector(frame)[0]
    head = square(frame, (x, y, side, side), 0.25)
    sizes = np.linspace(236, 200, 10).astype(int)
    picture = np.full((480, 1200, 3), 128, np.uint8)
    for number, size in enumerate(sizes):
        top, left = 240 * (number // 5), 240 * (number % 5)
        picture[top : top + size, left : left + size] = cv2.resize(head, (size, size), interpolation=cv2.INTER_AREA)
    boxes = detector(picture)
    assert len(boxes) == 10 and (np.diff(boxes[:, 2]) <= 0).all() and boxes[0, 2] > boxes[-1, 2]
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    assert len({tuple(cell) for cell in middles // 240}) == 10


def test_an_unusable_cascade_is_an_error_that_helps(tmp_path):
    empty = tmp_path / "empty.xml"
    empty.touch()
    other = tmp_path / "other.xml"
    other.write_text('<?xml version="1.0"?><opencv_storage><a>1</a></opencv_storage>')
    for name in ("haarcascade_nobody.xml", str(empty), str(other)):
        with pytest.raises(UserError, match=r"below 5 \(pip install -r requirements.txt\)") as failure:
            FaceDetector(name)
        assert name in str(failure.value)


def test_a_cascade_needs_no_path_that_opencv_can_open(monkeypatch, frame):
    """As on Windows, in the folder of a user called Müller."""

    class Pathless:
        def __init__(self):
            self.cascade = cascade()  # not a base class: OpenCV's types crash the garbage collector then

        def load(self, _):
            return False

        def __getattr__(self, name):
            return getattr(self.cascade, name)

    cascade, expected = cv2.CascadeClassifier, FaceDetector()(frame)
    monkeypatch.setattr(cv2, "CascadeClassifier", Pathless)
    np.testing.assert_array_equal(FaceDetector()(frame), expected)


def test_opencv_5_is_an_error_that_helps(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match=f"{DEFAULT} .*below 5"):
        FaceDetector()


def test_crop_takes_the_margin_on_each_side():
    ramp = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    for margin, left, right in ((0, 60, 100), (0.25, 50, 110), (-0.25, 70, 90)):
        for picture, axis in ((ramp, 1), (np.ascontiguousarray(ramp.T), 0)):
            cut = square(picture, (60, 60, 40, 40), margin)
            assert cut.shape == (right - left,) * 2
            np.testing.assert_array_equal(np.take(cut, 0, axis=1 - axis), np.arange(left, right))


def test_crop_takes_a_hundredth_of_the_box_on_each_side():
    """As FER-2013 does; 98 columns become 48."""
    ramp = np.tile(np.arange(200, dtype=np.uint8)[:, None], (200, 1, 3))
    width = 98 / 48
    np.testing.assert_allclose(face_crop(ramp, (40, 40, 96, 96))[0], 38.5 + width * (np.arange(48) + 0.5), atol=0.51)


def test_a_box_that_is_no_square_keeps_its_middle():
    ramp = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    cut = square(ramp, (60, 50, 40, 60), 0)
    np.testing.assert_array_equal(cut, np.tile(np.arange(50, 110), (60, 1)))


def test_beyond_the_edge_the_border_is_repeated():
    picture = np.arange(100, dtype=np.uint8).reshape(10, 10)
    cut = square(picture, (-2, -3, 6, 6), 0)
    assert cut.shape == (6, 6)
    np.testing.assert_array_equal(cut[3:, 2:], picture[:3, :4])
    assert (cut[:3] == cut[3]).all() and (cut[:, :2] == cut[:, 2:3]).all()
    cut = square(picture, (7, 6, 6, 6), 0)
    np.testing.assert_array_equal(cut[:4, :3], picture[6:, 7:])
    assert (cut[4:] == cut[3]).all() and (cut[:, 3:] == cut[:, 2:3]).all()


@pytest.mark.parametrize("side", [12, 48, 300])
def test_crop_is_grey_of_one_size_and_leaves_the_frame_alone(frame, side):
    before, box = frame.copy(), (620, 10, side, side)
    crop = face_crop(frame, box)
    assert crop.shape == (48, 48) and crop.dtype == np.uint8
    np.testing.assert_array_equal(frame, before)


def test_an_image_of_fer2013_passes_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    around = cv2.cvtColor(cv2.copyMakeBorder(image, 8, 8, 8, 8, cv2.BORDER_REPLICATE), cv2.COLOR_GRAY2BGR)
    np.testing.assert_array_equal(face_crop(around, (9, 9, 47, 47)), image)  # 47 and a hundredth on each side are 48


# Faces that are followed


@pytest.fixture(scope="module")
def head(detector):
    """A head on plain ground, (SIDE, SIDE), and where a mask shows it."""
    photo = next(islice(demo_clip(), 20, None)).image
    x, y, side, _ = detector(photo)[0]
    head = cv2.resize(square(photo, (x, y - side // 10, side, side), 0.35), (SIDE, SIDE)).astype(float)
    mask = np.zeros((SIDE, SIDE))
    cv2.ellipse(mask, (SIDE // 2, SIDE // 2), (50, 65), 0, 0, 360, 1, cv2.FILLED)
    return head, cv2.GaussianBlur(mask, None, 6)[..., None]


def scene(head, *places):
    """A frame of 480x270 with heads at these places (left, top), the last in front; they may leave it."""
    picture = np.full((270 + 2 * SIDE, 480 + 2 * SIDE, 3), 128.0)
    for left, top in places:
        part = picture[round(top) + SIDE :, round(left) + SIDE :][:SIDE, :SIDE]
        part += head[1] * (head[0] - part)
    return picture[SIDE:-SIDE, SIDE:-SIDE].round().astype(np.uint8)


def followed(frames):
    """Boxes of each frame by the search of the whole frame, and by following; and how many whole frames that took."""
    whole, follower, searches = FaceDetector(), FaceDetector(), []
    search = follower._search
    follower._search = lambda part, height, *sides: searches.append(len(part) == height) or search(part, height, *sides)
    pairs = [(whole(image), follower.follow(image, seconds)) for seconds, image in frames]
    return pairs, sum(searches)


def test_every_face_of_the_demo_clip_is_followed_with_few_searches_of_the_whole_frame():
    pairs, searches = followed((frame.seconds, frame.image) for frame in islice(demo_clip(15), 120))
    assert all(len(box) == len(other) == 1 and overlap(box, other)[0, 0] > 0.75 for box, other in pairs)
    assert searches < len(pairs) / 3


def agree(pairs):
    """Whether both find the same faces in every frame."""
    return all(
        len(boxes) == len(others) and (not len(boxes) or (overlap(boxes, others) > 0.7).any(axis=1).all())
        for boxes, others in pairs
    )


def test_two_faces_that_cross_are_followed_as_the_whole_search_finds_them(head):
    places = [((k * 6, 5), (324 - k * 6, 60)) for k in range(55)]
    pairs, _ = followed((k / 30, scene(head, *both)) for k, both in enumerate(places))
    assert agree(pairs)
    assert {1, 2} <= {len(boxes) for boxes, _ in pairs}  # one hides the other for a while


def test_a_face_that_leaves_is_gone_and_one_that_returns_is_there(head):
    places = [160 + 280 * np.sin(2 * np.pi * k / 60) for k in range(120)]
    pairs, searches = followed((k / 15, scene(head, (x, 60))) for k, x in enumerate(places))
    there = [len(boxes) for boxes, _ in pairs]
    assert agree(pairs) and searches < len(pairs)
    assert np.count_nonzero(np.diff(there)) >= 6 and set(there) == {0, 1}  # away and back, on both sides


def test_a_second_face_is_found_within_the_time_between_two_searches_of_the_whole_frame(head):
    frames = [(k / 30, scene(head, (25, 50), *([(300, 50)] if k >= 10 else []))) for k in range(20)]
    pairs, _ = followed(frames)
    found = [len(others) for _, others in pairs]
    assert found[:10] == [1] * 10 and found[-1] == 2 and sorted(found) == found and found.index(2) <= 10 + 6


@pytest.mark.parametrize(
    "then",
    [lambda follower, image: follower.forget(), lambda follower, image: follower.follow(image[:250], 0.04)],
    ids=["forgotten", "another size"],
)
def test_another_film_is_searched_as_a_whole(head, then):
    follower = FaceDetector()
    follower.follow(scene(head, (25, 50)), 0.0)
    then(follower, scene(head, (25, 50)))
    assert len(follower.follow(scene(head, (25, 50), (300, 50)), 0.05)) == 2


def test_time_that_runs_backwards_searches_the_whole_frame(head):
    follower = FaceDetector()
    follower.follow(scene(head, (25, 50)), 5.0)
    assert len(follower.follow(scene(head, (25, 50), (300, 50)), 0.0)) == 2


def test_a_face_can_be_found_and_yet_be_too_small():
    frame = next(islice(demo_clip(), 20, None)).image
    (box,) = FaceDetector()(frame)
    for side, problem in ((26, "too small"), (40, "")):
        small = cv2.resize(frame, None, fx=side / box[2], fy=side / box[2], interpolation=cv2.INTER_AREA)
        (found,) = FaceDetector()(small)
        assert crop_problem(face_crop(small, found), found, small.shape) == problem


@pytest.mark.parametrize(
    ("box", "grey", "problem"),
    [
        ((100, 100, 100, 100), 41, ""),
        ((100, 100, 100, 100), 39, "too dark"),
        ((100, 100, 31, 31), 41, "too small"),
        ((100, 100, 32, 32), 41, ""),
        ((3, 100, 100, 100), 41, "cut off"),
        ((100, 3, 100, 100), 41, "cut off"),
        ((537, 100, 100, 100), 41, "cut off"),
        ((100, 377, 100, 100), 41, "cut off"),
        ((4, 376, 100, 100), 41, ""),
    ],
)
def test_a_bad_crop_is_named(box, grey, problem):
    assert crop_problem(np.full((48, 48), grey, np.uint8), box, (480, 640, 3)) == problem
