"""`realtime_prediction`: from a source to a table, a video, snapshots and a window."""

import sys
from contextlib import contextmanager
from itertools import islice

import cv2
import numpy as np
import pandas as pd
import pytest
from made_up_sessions import MODEL, TRANSFORM, face, read_video, unsure

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import realtime
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.memory import Snapshots
from fer_nb_utils.live.outputs import VideoError, annotate
from fer_nb_utils.live.realtime import BOX, COLUMNS, TIMES, realtime_prediction, stage_times, summary
from fer_nb_utils.live.sources import Frame, Source

EMPTY = np.full((480, 640, 3), 128, np.uint8)


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


@pytest.fixture(scope="module")
def photo():
    return next(islice(demo_clip(), 20, None)).image


@pytest.fixture(scope="module")
def two_faces(photo):
    return np.tile(photo, (1, 2, 1))


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


def test_a_video_that_is_not_whole_leaves_the_table(play, photo, tmp_path, monkeypatch):
    @contextmanager
    def full(path, rate):
        yield lambda image, seconds: None
        raise VideoError("The video could not be written whole.")

    monkeypatch.setattr(realtime, "video_writer", full)
    table = play(photo, EMPTY, video=tmp_path / "video.mp4")
    assert len(table) == 2 and table.attrs["problems"] == ["The video could not be written whole."]
    assert table.attrs["video"] is None


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
