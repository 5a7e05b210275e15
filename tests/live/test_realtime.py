"""`realtime_prediction`: from a source to a table, a video, snapshots and a window."""

import multiprocessing
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import count, islice

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import ImageGrab
from torch import nn

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import realtime
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.overlay import BGR, annotate
from fer_nb_utils.live.realtime import BOX, COLUMNS, TIMES, realtime_prediction, stage_times, summary
from fer_nb_utils.live.smoothing import Face
from fer_nb_utils.live.snapshots import Snapshots
from fer_nb_utils.live.sources import Frame, Source
from fer_nb_utils.live.video import VideoError, video_writer
from fer_nb_utils.networks.transforms import Preprocess

EMPTY = np.full((480, 640, 3), 128, np.uint8)


class Mean(nn.Module):
    """The brighter the face, the more likely each class than the one before."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.arange(7.0))

    def forward(self, inputs):
        return inputs.mean(dim=(1, 2, 3))[:, None] * self.slope


MODEL, TRANSFORM = Mean(), Preprocess(32)


class Played(Source):
    """These pictures, ten a second; an exception among them is raised, a number is a pause in seconds."""

    rate = 10.0

    def __init__(self, *pictures):
        super().__init__("played")
        self.pictures = pictures

    def __iter__(self):
        seconds = 0.0
        for picture in self.pictures:
            if isinstance(picture, type):
                raise picture
            if isinstance(picture, float):
                seconds += picture
            else:
                yield Frame(seconds, picture)
                seconds += 0.1


@pytest.fixture
def play(monkeypatch):
    """`realtime_prediction` of these pictures."""

    def play(*pictures, **options):
        monkeypatch.setattr(realtime, "open_source", lambda _: Played(*pictures))
        return realtime_prediction(MODEL, TRANSFORM, **options)

    return play


def face(label, confidence, box=(100, 100, 50, 50), probable=None):
    """With a label that leads, or, where another expression is `probable`, one that is held."""
    probabilities = np.full(7, 0.0)
    if probable:
        probabilities[CLASSES.index(probable)] = 1
    probabilities[CLASSES.index(label)] = confidence
    return Face(1, box, probabilities, label, 0.0, 0.0, label)


def unsure(box):
    return Face(1, box, np.full(7, 1 / 7), "sad", 0.0, 0.0, NOT_SURE)


@pytest.fixture(scope="module")
def photo():
    return next(islice(demo_clip(), 20, None)).image


@pytest.fixture(scope="module")
def two_faces(photo):
    return np.tile(photo, (1, 2, 1))


def read_video(path):
    """Its frames and their number a second."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def test_the_table_has_a_row_for_every_face_and_one_for_a_frame_without(play, photo, two_faces):
    table = play(photo, EMPTY, two_faces)
    assert tuple(table.columns) == COLUMNS
    assert table["frame"].tolist() == [0, 1, 2, 2] and table["seconds"].tolist() == pytest.approx([0, 0.1, 0.2, 0.2])
    found = table.drop(index=1)
    assert found.notna().all(axis=None) and found["label"].isin([*CLASSES, NOT_SURE]).all()
    assert found.loc[2, "face"] != found.loc[3, "face"]
    np.testing.assert_allclose(found[list(CLASSES)].sum(axis=1), 1)
    assert (found[["width", "height"]] > 30).all(axis=None)
    assert table.loc[1, ["face", *BOX, "label", *CLASSES]].isna().all()
    assert (table[list(TIMES)] >= 0).all(axis=None) and (table[["detect", "draw"]] > 0).all(axis=None)
    assert table.attrs["source"] == "played" and table.attrs["frames"] == 3 and table.attrs["problems"] == []
    assert 0 < table.attrs["seconds"] < 60


def test_a_session_without_frames(play):
    table = play()
    assert tuple(table.columns) == COLUMNS and table.empty and table.attrs["frames"] == 0
    assert summary(table) == "played\nno frames"


def test_it_stops_after_the_seconds_of_the_source():
    table = realtime_prediction(MODEL, TRANSFORM, source="demo", seconds=0.5)
    assert table["frame"].nunique() == table.attrs["frames"] == 8 and table["seconds"].max() == pytest.approx(7 / 15)


def test_images_of_a_folder_stand_each_for_itself(photo, tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), photo)
    cv2.imwrite(str(tmp_path / "2.png"), photo // 2)
    both = realtime_prediction(MODEL, TRANSFORM, source=tmp_path, smoothing=5)
    alone = realtime_prediction(MODEL, TRANSFORM, source=tmp_path / "2.png", smoothing=5)
    assert both["face"].tolist() == [1, 2] and both["file"].tolist() == ["1.png", "2.png"]
    pd.testing.assert_frame_equal(both.loc[1:, list(CLASSES)].reset_index(drop=True), alone[list(CLASSES)])
    assert not np.allclose(both.loc[0, list(CLASSES)].astype(float), alone.loc[0, list(CLASSES)].astype(float))


def test_smoothing_and_display_duration_are_those_asked_for(play, photo):
    dark = photo // 4
    labels = {}
    for duration in (0, 0.5):
        labels[duration] = play(photo, *[dark] * 7, smoothing=0, threshold=0, display_duration=duration)[
            "label"
        ].tolist()
    old, new = labels[0][:2]
    assert old != new and labels == {0: [old] + [new] * 7, 0.5: [old] * 5 + [new] * 3}
    smooth = play(photo, dark, smoothing=0.1)[list(CLASSES)].to_numpy()
    plain = play(photo, dark, smoothing=0)[list(CLASSES)].to_numpy()
    np.testing.assert_allclose(smooth[1], plain[0] + (1 - np.exp(-1)) * (plain[1] - plain[0]))


# Boxes and labels


def test_a_face_is_boxed_and_labelled_in_its_own_colour():
    picture = np.zeros((480, 640, 3), np.uint8)
    drawn = annotate(picture, [face("happy", 0.8, (200, 150, 120, 100))])
    rows, columns = np.nonzero((drawn == BGR["happy"]).all(axis=-1))
    assert drawn.shape == (480, 640, 3) and not picture.any()
    beside = columns[rows > 200]  # lines are two or three pixels wide
    assert (beside.min(), beside.max(), rows.max()) == (199, 321, 251)
    assert 115 < rows.min() < 130 and not drawn[160:240, 210:310].any()  # the label is above, and the face is seen


@pytest.mark.parametrize("corner", [(0, 0), (580, 420)])
def test_a_label_at_the_edge_stays_whole(corner):
    plain = np.zeros((480, 640, 3), np.uint8)
    boxed = [annotate(plain, [face("happy", 0.8, (*place, 60, 60))]) for place in ((200, 200), corner)]
    inside, outside = ((drawn == BGR["happy"]).all(axis=-1).sum() for drawn in boxed)
    assert outside > 0.9 * inside


def test_the_percentage_is_the_confidence_whatever_leads():
    plain = np.zeros((480, 640, 3), np.uint8)
    leads, held, other = (
        annotate(plain, [face("happy", *rest)]) for rest in ((0.8,), (0.8, (100, 100, 50, 50), "sad"), (0.7,))
    )
    assert np.array_equal(leads, held) and not np.array_equal(leads, other)


@pytest.mark.parametrize(("size", "drawn"), [((48, 48), (640, 640)), ((240, 320), (480, 640)), ((1200, 900), None)])
def test_a_small_picture_is_enlarged_so_that_its_label_can_be_read(size, drawn):
    height, width = size
    picture = annotate(np.zeros((*size, 3), np.uint8), [face("sad", 0.5, (width // 4, height // 2, 12, 12))])
    assert picture.shape[:2] == (drawn or size)
    rows, columns = np.nonzero((picture == BGR["sad"]).all(axis=-1))
    scale = len(picture) / height
    assert columns.min() == pytest.approx(width // 4 * scale, abs=4)
    assert rows.max() == pytest.approx((height // 2 + 12) * scale, abs=4)


def test_a_face_without_a_label_is_boxed_in_the_colour_of_none():
    drawn = annotate(np.zeros((480, 640, 3), np.uint8), [unsure((200, 150, 120, 100))])
    assert (drawn == BGR[NOT_SURE]).all(axis=-1).sum() > 500


def test_below_the_threshold_the_table_says_not_sure(play, photo):
    assert play(photo, threshold=1.0)["label"].tolist() == [NOT_SURE]
    assert play(photo, threshold=0.0)["label"].isin(CLASSES).all()


# Video


@pytest.mark.parametrize("name", ["video.mp4", "new/VIDEO.AVI", "ü.mp4"])
def test_the_video_shows_every_frame_with_its_boxes(name, tmp_path):
    path = tmp_path / name
    table = realtime_prediction(MODEL, TRANSFORM, source="demo", seconds=1, video=path)
    frames, rate = read_video(path)
    assert len(frames) == 15 and rate == pytest.approx(15) and list(path.parent.iterdir()) == [path]
    for number, (shown, taken) in enumerate(zip(frames, demo_clip(15), strict=False)):
        assert shown.shape == (480, 640, 3)
        rows = table[table["frame"] == number].to_dict("records")
        said = [(row["label"], row.get(row["label"], 0), [row[name] for name in BOX]) for row in rows]
        faces = [face(*each) if each[0] in CLASSES else unsure(each[2]) for each in said]
        error, without = (np.abs(shown.astype(int) - other) for other in (annotate(taken.image, faces), taken.image))
        assert np.percentile(error, 99.5) < 60 < 100 < np.percentile(without, 99.5)


def test_ctrl_c_keeps_the_table_and_the_video(play, photo, tmp_path):
    table = play(photo, EMPTY, photo, KeyboardInterrupt, photo, video=tmp_path / "video.mp4")
    assert table.attrs["frames"] == 3 and len(read_video(tmp_path / "video.mp4")[0]) == 3
    assert table.attrs["video"] == str(tmp_path / "video.mp4")


def test_a_failure_half_way_leaves_no_file(play, photo, tmp_path):
    with pytest.raises(ZeroDivisionError):
        play(photo, photo, ZeroDivisionError, video=tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_session_without_frames_leaves_no_file(play, tmp_path):
    play(video=tmp_path / "new" / "video.mp4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("new/video.mov", r"must end in \.mp4 or \.avi\.$"),
        ("video", r"must end in \.mp4 or \.avi\.$"),
        ("file.txt/new/video.mp4", r"cannot be written \(.+\); choose another place\.$"),
        ("folder.mp4", r"is a folder; give the name of a file in it\.$"),
    ],
)
def test_a_video_that_cannot_be_written_is_one_sentence_before_the_first_frame(name, message, play, tmp_path):
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=message):
        play(ZeroDivisionError, video=tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_a_video_that_the_disk_has_no_room_for_leaves_the_former_one(name, tmp_path):
    (tmp_path / name).write_text("former")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "import numpy as np\n"
        "from fer_nb_utils.live.video import video_writer\n"
        "noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)\n"
        "with video_writer(sys.argv[1], 10) as write:\n"
        "    for number in range(30):\n"
        "        write(np.roll(noise, number, axis=0), number / 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, name], capture_output=True, text=True, cwd=tmp_path)
    assert f"VideoError: The video {name} could not be written whole; is the disk full?" in done.stderr
    assert (tmp_path / name).read_text() == "former" and len(list(tmp_path.iterdir())) == 1


def test_a_video_that_is_not_whole_leaves_the_table(play, photo, tmp_path, monkeypatch):
    @contextmanager
    def full(path, rate):
        yield lambda image, seconds: None
        raise VideoError("The video could not be written whole.")

    monkeypatch.setattr(realtime, "video_writer", full)
    table = play(photo, EMPTY, video=tmp_path / "video.mp4")
    assert len(table) == 2 and table.attrs["problems"] == ["The video could not be written whole."]
    assert table.attrs["video"] is None


def test_frames_of_another_size_are_fitted(tmp_path):
    white = np.full((480, 640, 3), 255, np.uint8)
    with video_writer(tmp_path / "video.avi", 10) as write:
        for number, size in enumerate([(640, 480), (100, 100), (1280, 320), (3000, 1)]):
            write(cv2.resize(white, size), number / 10)
    frames, _ = read_video(tmp_path / "video.avi")
    shares = [(frame > 128).mean() for frame in frames]
    assert shares == pytest.approx([1, 480 / 640, 160 / 480, 1 / 480], abs=0.01)
    assert frames[1][:, 90:550].min() > 200 and frames[1][:, :70].max() < 50  # in the middle


def test_the_video_keeps_the_pace_of_its_source(tmp_path):
    """Frames are repeated or left out, and a long pause is cut short."""
    times = [5, 5.1, 5.2, 5.21, 5.22, 5.3, 100]
    with video_writer(tmp_path / "video.avi", 20) as write:
        for number, seconds in enumerate(times):
            write(np.full((48, 64, 3), 30 * number, np.uint8), seconds)
    shown = [round(frame.mean() / 30) for frame in read_video(tmp_path / "video.avi")[0]]
    assert shown[:5] == [0, 1, 1, 2, 2] and shown.count(5) + shown.count(4) == 2 and shown[7:] == [6] * 20


def test_a_source_is_not_overwritten_by_its_own_video(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "film.mp4").touch()
    for source, video in (("~/film.mp4", tmp_path / "film.mp4"), (tmp_path / "film.mp4", "~/film.mp4")):
        with pytest.raises(UserError, match="is the source itself"):
            realtime_prediction(MODEL, TRANSFORM, source=source, video=video)


# Times


@pytest.fixture
def table():
    """Three frames: with one face, two, and none."""
    rows = [
        (0, 0.0, 1, 10, 20, 30, 40, "happy", *np.eye(7)[3], 50, 1, 2, 3, 4, 5, ""),
        (1, 0.5, 1, 10, 20, 30, 40, "happy", *np.eye(7)[3], 10, 2, 3, 4, 5, 6, ""),
        (1, 0.5, 2, 90, 20, 30, 40, "sad", *np.eye(7)[5], 10, 2, 3, 4, 5, 6, ""),
        (2, 1.0, *[None] * 6, *[np.nan] * 7, 10, 4, 0, 0, 0, 0, ""),
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    table.attrs = {"source": "film.mp4", "frames": 3, "seconds": 1.5, "problems": ["film.mp4 ended early."]}
    return table


def test_stage_times_count_every_frame_once(table):
    times = stage_times(table)
    assert times.index.tolist() == ["read", "detect", "crop", "classify", "smooth", "draw", "total"]
    assert times["median"].tolist() == [10, 2, 2, 3, 4, 5, 15]
    np.testing.assert_allclose(times["p95"], [46, 3.8, 2.9, 3.9, 4.9, 5.9, 19.5])


def test_the_summary_says_what_it_came_to(table):
    lines = summary(table).splitlines()
    assert lines[:2] == ["film.mp4", "3 frames in 1.5 s, 2.0 frames/s"]
    assert lines[2:4] == ["faces in 2 of them, 2 followed", "labels, frame by frame: happy 2, sad 1"]
    assert [line.split() for line in lines[4:7]] == [
        ["median", "p95"],
        ["milliseconds", "a", "frame"],
        ["read", "10.0", "46.0"],
    ]
    assert lines[-2].split() == ["total", "15.0", "19.5"] and lines[-1] == "film.mp4 ended early."


# Snapshots


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


def test_a_session_fills_the_snapshots(play, photo, two_faces):
    snapshots = Snapshots()
    table = play(photo, EMPTY, two_faces, snapshots=snapshots, smoothing=0)
    assert set(snapshots) == set(table["label"].dropna()) - {NOT_SURE}
    for label, snapshot in snapshots.items():
        assert snapshot.probability == pytest.approx(table.loc[table["label"] == label, label].max())


# Window


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there is always a display")
def test_no_display_is_one_sentence(play, photo, monkeypatch, tmp_path):
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UserError, match=r"^There can be no window here \(no display .*\); write a video instead\.$"):
        play(photo, window=True, video=tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_python_without_tkinter_is_one_sentence(play, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(UserError, match=r"^There can be no window here \(.*tkinter.*\); write a video instead\.$"):
        play(photo, window=True)


@pytest.fixture
def on_a_display(monkeypatch):
    """Run a function where there is a screen that nobody sees.

    In a process of its own: Tk keeps its connection, and ends the process when the screen goes away.
    """
    pytest.importorskip("tkinter")
    if not shutil.which("Xvfb"):
        pytest.skip("Xvfb is not installed")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        monkeypatch.setenv("DISPLAY", f":{server.stdout.readline().strip()}")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=60)
        server.terminate()


def look_at_a_window():
    """The colours in the middle of a window, and the place a picture takes."""
    from fer_nb_utils.live.window import Window

    seen = []
    with Window("title") as window:
        for color in ((255, 0, 0), (0, 200, 50)):
            window.show(np.full((200, 300, 3), color, np.uint8))
            middle = window.label.winfo_rootx() + 150, window.label.winfo_rooty() + 100
            seen.append(ImageGrab.grab().getpixel(middle))
        window.show(np.zeros((400, 100, 3), np.uint8))
        height = window.label.winfo_height()
        window.show(np.zeros((2160, 3840, 3), np.uint8))
        fits = window.label.winfo_width() < window.root.winfo_screenwidth()
        return seen, window.root.title(), window.is_open, height, fits


def close_after_a_second(folder):
    """The seconds that the window of a session with the folder's images is open."""
    from fer_nb_utils.live.window import Window

    wait = Window.wait

    def close_later(window, *seconds):
        if not seconds:  # the last picture
            window.root.after(1000, window._leave)
        wait(window, *seconds)

    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Window, "wait", close_later)
        frames = realtime_prediction(MODEL, TRANSFORM, source=folder, window=True).attrs["frames"]
    return frames, time.monotonic() - start


def close_a_window(how):
    """The frames of a session whose window is closed during the third."""
    from fer_nb_utils.live.window import Window

    numbers, show = count(1), Window.show

    def close_at_the_third(window, image):
        if next(numbers) == 3:
            if how == "cross":
                window.root.tk.call(window.root.protocol("WM_DELETE_WINDOW"))
            else:
                window.root.focus_force()
                window.root.event_generate(how)
        show(window, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Window, "show", close_at_the_third)
        return realtime_prediction(MODEL, TRANSFORM, source="demo", window=True).attrs["frames"]


def test_a_window_on_a_display(on_a_display, photo, tmp_path):
    seen, title, is_open, height, fits = on_a_display(look_at_a_window)
    assert seen == [(0, 0, 255), (50, 200, 0)] and title == "title" and is_open and height >= 400 and fits
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
    frames, seconds = on_a_display(close_after_a_second, tmp_path)
    assert frames == 2 and seconds > 1.9  # a second each
    for how in ("<Escape>", "q", "cross"):
        assert on_a_display(close_a_window, how) == 3
