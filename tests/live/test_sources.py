"""Cameras, videos, images and the demo clip; films are made here, and cameras are played."""

import runpy
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_nb_utils.errors import UserError
from fer_nb_utils.live import sources
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.sources import open_source

CODES = {".mp4": "mp4v", ".avi": "MJPG"}


def picture(level):
    """Noise, because cameras' pictures are large too, with a grey level of its own."""
    noise = np.random.default_rng(level).integers(0, 40, (120, 160, 3))
    return (noise + level).astype(np.uint8)


def make_video(path, frames=20, rate=10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODES[path.suffix.lower()]), rate, (160, 120))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(picture(10 * number))
    writer.release()
    return path


def cut(path, share):
    """The file as a copy leaves it that was interrupted."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the module is there, and run again
@pytest.mark.parametrize("place", ["cv2.utils.logging", "cv2"])
def test_each_opencv_is_silenced_where_it_keeps_that(place, monkeypatch):
    calls = []
    if place == "cv2":  # before 4.13
        monkeypatch.delattr(cv2.utils, "logging")
    monkeypatch.setattr(f"{place}.setLogLevel", calls.append, raising=False)
    runpy.run_module(sources.__name__)
    assert calls == [0]


def levels(frames):
    return [round(frame.image.mean() / 10) - 2 for frame in frames]


def frames_of(source):
    """All frames, and what went wrong."""
    with open_source(source) as opened:
        return list(opened), opened.problems


def sentence(source):
    """Why it cannot be opened."""
    with pytest.raises(UserError) as raised:
        open_source(source)
    text = str(raised.value)
    assert "\n" not in text and text.endswith(".")
    return text


@pytest.mark.parametrize("name", ["film.mp4", "FILM.MP4", "film.avi", "Größe 表情.avi", "Größe 表情.mp4"])
def test_a_video_has_its_frames_at_its_own_pace(name, tmp_path, capfd):
    with open_source(make_video(tmp_path / name)) as opened:
        assert (opened.name, opened.rate, opened.is_film, opened.frames) == (name, 10, True, 20)
        frames = list(opened)
    assert levels(frames) == list(range(20)) and opened.problems == []
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(20) / 10, atol=1e-6)
    assert all(frame.image.shape == (120, 160, 3) and frame.image.dtype == np.uint8 for frame in frames)
    assert capfd.readouterr().err == ""


def test_a_path_may_be_text_and_begin_at_home(tmp_path, monkeypatch):
    make_video(tmp_path / "film.avi")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert len(frames_of("~/film.avi")[0]) == 20


def test_a_video_that_is_cut_off_gives_what_it_has(tmp_path, capfd):
    frames, problems = frames_of(cut(make_video(tmp_path / "film.avi"), 0.6))
    assert 5 <= len(frames) < 15 and levels(frames)[:-1] == list(range(len(frames) - 1))  # the last may be half a frame
    assert problems == [f"film.avi ended after {frames[-1].seconds:.1f} of 2.0 s: cut off or damaged."]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("frames", "rate"), [(1, 1.0), (4, 0.4), (3, 1.5)])
def test_a_slow_video_is_whole(frames, rate, tmp_path):
    found, problems = frames_of(make_video(tmp_path / "film.avi", frames, rate))
    assert len(found) == frames and problems == []


def test_what_is_no_video_is_one_sentence(tmp_path, capfd):
    (tmp_path / "text.mp4").write_text("This is no film.\n" * 100)
    (tmp_path / "empty.mp4").touch()
    cut(make_video(tmp_path / "cut.mp4"), 0.5)  # the index that .mp4 has at its end is gone
    for name in ("text.mp4", "empty.mp4", "cut.mp4"):
        assert (
            sentence(tmp_path / name)
            == f"{tmp_path / name} is no video that OpenCV can read; convert it, or copy it again."
        )
    assert capfd.readouterr().err == ""


class Recorded:
    """A video as OpenCV gives it: the times of its frames in milliseconds, its claims, and whether it was released."""

    def __init__(self, times, rate=25.0, claimed=None):
        self.times, self.number, self.released = times, 0, False
        self.claims = {cv2.CAP_PROP_FPS: rate, cv2.CAP_PROP_FRAME_COUNT: len(times) if claimed is None else claimed}

    def __call__(self, _):
        return self

    def isOpened(self):  # noqa: N802
        return True

    def set(self, *_):
        return True

    def get(self, what):
        return self.times[self.number - 1] if what == cv2.CAP_PROP_POS_MSEC else self.claims[what]

    def read(self):
        if self.number == len(self.times):
            return False, None
        self.number += 1
        return True, picture(10 * self.number)

    def release(self):
        self.released = True


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Give this instead of what OpenCV finds; returns a path to open."""

    def play(recorded):
        monkeypatch.setattr(cv2, "VideoCapture", recorded)
        (tmp_path / "film.webm").touch()
        return tmp_path / "film.webm"

    return play


def test_a_browsers_recording_keeps_its_varying_pace(play):
    """Chromium writes no length, and OpenCV then reads a rate of 1000 and as many frames as milliseconds."""
    path = play(Recorded([0, 58, 110, 209, 2981], rate=1000, claimed=2981))
    frames, problems = frames_of(path)
    assert [frame.seconds for frame in frames] == [0, 0.058, 0.110, 0.209, 2.981] and problems == []
    assert open_source(path).rate == 25


@pytest.mark.parametrize(
    ("rate", "expected"), [(0, [0, 0.04, 0.08]), (10, [0, 0.1, 0.2]), (float("nan"), [0, 0.04, 0.08])]
)
def test_a_video_that_does_not_know_its_times(play, rate, expected):
    frames, problems = frames_of(play(Recorded([0, 0, 0], rate)))
    np.testing.assert_allclose([frame.seconds for frame in frames], expected)
    assert problems == []


def test_time_never_runs_backwards(play):
    frames, _ = frames_of(play(Recorded([0, 40, 80, 0, 40, 120])))
    assert [frame.seconds for frame in frames] == [0, 0.04, 0.08, 0.12, 0.12, 0.12]


def test_a_video_without_any_frame_says_so(play):
    frames, problems = frames_of(play(Recorded([])))
    assert frames == [] and "ended after 0.0 of 0.0 s" in problems[0]


@pytest.mark.parametrize("source", ["camera", "film"])
def test_it_is_given_back(source, play):
    recorded = Recorded([0, 40, 80])
    path = play(recorded)
    with pytest.raises(ZeroDivisionError), open_source(0 if source == "camera" else path) as opened:
        next(iter(opened))
        assert not recorded.released
        raise ZeroDivisionError
    assert recorded.released


@pytest.mark.parametrize("index", [2, "2"])
def test_a_camera_that_is_unplugged(index, play, monkeypatch):
    monkeypatch.setattr(sources, "HICCUP", 0.1)
    play(Recorded([0, 0, 0]))
    with open_source(index) as opened:
        assert opened.name == "camera 2" and opened.is_film
        frames = list(opened)
    assert levels(frames) == [1, 2, 3]
    assert opened.problems == ["The camera 2 gave no picture for 0.1 s; is it still plugged in?"]
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds) and 0 <= seconds[0] < 5


def test_a_camera_may_miss_a_frame_now_and_then(play):
    recorded = Recorded([0] * 5)
    read, calls = recorded.read, iter(range(100))
    recorded.read = lambda: (False, None) if next(calls) in (0, 2, 3) else read()
    play(recorded)
    with open_source(0) as opened:
        frames = list(islice(opened, 5))
    assert levels(frames) == [1, 2, 3, 4, 5] and opened.problems == []


@pytest.mark.parametrize("index", [99, "99", -1, 200, 10**12])
def test_no_such_camera_is_one_sentence_and_no_word_of_opencv(index, capfd):
    assert sentence(index) == (
        f"There is no camera {index} on the machine that Python runs on, another program uses it, or the "
        "system's settings for privacy forbid it; choose another source."
    )
    assert capfd.readouterr().err == ""


@pytest.fixture
def folder(tmp_path):
    """Three good images, a damaged one, an empty one, what macOS leaves beside one, and what is no image."""
    for level, name in enumerate(("10.png", "a.JPG", "ü.jpeg"), 1):
        (tmp_path / name).write_bytes(cv2.imencode(name[name.index(".") :], picture(10 * level))[1].tobytes())
    (tmp_path / "b damaged.png").write_bytes((tmp_path / "10.png").read_bytes()[:30])
    (tmp_path / "c empty.jpg").touch()
    (tmp_path / "._10.png").write_bytes(bytes(120))
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def test_a_folder_gives_its_images_and_names_the_damaged(folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for source in (folder, str(folder), "."):
        with open_source(source) as opened:
            assert (opened.name, opened.rate, opened.is_film, opened.frames) == (folder.name, 1, False, 5)
            frames = list(opened)
        assert levels(frames) == [1, 2, 3] and [frame.seconds for frame in frames] == [0, 1, 2]
        assert opened.problems == [f"{name} is no image that can be read." for name in ("b damaged.png", "c empty.jpg")]
    assert "WARN" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["10.png", "a.JPG", "ü.jpeg"])
def test_a_single_image(name, folder):
    with open_source(folder / name) as opened:
        assert opened.name == name and not opened.is_film
        (frame,) = opened
    assert frame.seconds == 0 and frame.image.shape == (120, 160, 3)


def test_a_grey_image_comes_in_colour(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), picture(50)[:, :, 0])
    ((frame,), _) = frames_of(tmp_path / "grey.png")
    assert frame.image.shape == (120, 160, 3)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert (
        sentence(tmp_path) == f"The folder {tmp_path} holds no images; give one with files like face.jpg or face.png."
    )


@pytest.mark.parametrize("name", ["missing.mp4", "missing.png", "missing"])
def test_nothing_there(name, tmp_path):
    text = sentence(tmp_path / name)
    assert text == f"There is no {tmp_path / name}; give a camera, a video, images or 'demo'."


@pytest.mark.parametrize("source", ["", " "])
def test_a_source_without_a_name_is_not_the_current_folder(source):
    assert sentence(source) == "The source has no name; give a camera, a video, a folder of images or 'demo'."


@pytest.mark.parametrize(("name", "method"), [("", "iterdir"), ("film.mp4", "open"), ("face.png", "open")])
def test_what_may_not_be_read_is_one_sentence(name, method, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "film.mp4").touch()
    (tmp_path / "face.png").touch()
    monkeypatch.setattr(Path, method, refuse)
    assert sentence(tmp_path / name) == (
        f"{tmp_path / name} cannot be read (Permission denied); choose another source."
    )


def test_the_demo_clip():
    with open_source("demo") as opened:
        frames = [frame for frame, _ in zip(opened, range(3), strict=False)]
    expected = [frame for frame, _ in zip(demo_clip(sources.Demo.rate), range(3), strict=False)]
    assert opened.is_film and opened.frames == 186 and [frame.seconds for frame in frames] == [0, 1 / 15, 2 / 15]
    assert all(np.array_equal(one.image, two.image) for one, two in zip(frames, expected, strict=True))
