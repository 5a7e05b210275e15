"""What becomes of labelled frames: drawings, videos, tables, and a window."""

import multiprocessing
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count

import cv2
import numpy as np
import pandas as pd
import pytest
from made_up_sessions import MODEL, TRANSFORM, face, read_video, unsure
from PIL import ImageGrab

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import outputs
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.outputs import BGR, Window, annotate, check_table, video_writer, write_table
from fer_nb_utils.live.realtime import realtime_prediction

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


# Video


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("name", ["v.mp4", "v.avi"])
def test_a_video_that_the_disk_has_no_room_for_leaves_the_former_one(name, tmp_path):
    (tmp_path / name).write_text("former")
    limited = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "import numpy as np\n"
        "from fer_nb_utils.live.outputs import video_writer\n"
        "noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)\n"
        "with video_writer(sys.argv[1], 10) as write:\n"
        "    for number in range(30):\n"
        "        write(np.roll(noise, number, axis=0), number / 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", limited, name], capture_output=True, text=True, cwd=tmp_path)
    assert f"VideoError: The video {name} could not be written whole; is the disk full?" in done.stderr
    assert (tmp_path / name).read_text("utf-8") == "former" and len(list(tmp_path.iterdir())) == 1


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


# Tables


def test_a_table_is_the_same_in_csv_and_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    table = realtime_prediction(MODEL, TRANSFORM, source="demo", seconds=0.3)
    for name in ("t.csv", "t.PARQUET"):
        check_table(tmp_path / name)
        write_table(table, tmp_path / name)
    parquet, csv = pd.read_parquet(tmp_path / "t.PARQUET"), pd.read_csv(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(parquet, table, check_dtype=False)
    np.testing.assert_allclose(csv[list(CLASSES)], table[list(CLASSES)], rtol=1e-5)


def test_a_table_of_another_kind_or_without_its_package_is_one_sentence(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"t\.xlsx must end in \.csv or \.parquet\.$"):
        check_table(tmp_path / "t.xlsx")
    monkeypatch.setattr(outputs, "find_spec", lambda _: None)
    check_table(tmp_path / "t.csv")
    with pytest.raises(UserError, match=r"^Parquet needs pyarrow .*t\.parquet the ending \.csv\.$"):
        check_table(tmp_path / "t.parquet")


# Window


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
    wait = Window.wait

    def close_later(window, *seconds):
        if not seconds:  # the last picture
            window.root.after(1000, window._leave)
        return wait(window, *seconds)

    start = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Window, "wait", close_later)
        frames = realtime_prediction(MODEL, TRANSFORM, source=folder, window=True).attrs["frames"]
    return frames, time.monotonic() - start


def close_a_window(how):
    """The frames of a session whose window is closed during the third."""
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


def test_a_window_on_a_display(on_a_display, tmp_path):
    seen, title, is_open, height, fits = on_a_display(look_at_a_window)
    assert seen == [(0, 0, 255), (50, 200, 0)] and title == "title" and is_open and height >= 400 and fits
    photo = next(demo_clip()).image
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
    frames, seconds = on_a_display(close_after_a_second, tmp_path)
    assert frames == 2 and seconds > 1.9  # a second each
    for how in ("<Escape>", "q", "cross"):
        assert on_a_display(close_a_window, how) == 3
