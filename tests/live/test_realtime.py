"""The pipeline on the demo clip and on frames that cameras also give, and `realtime_prediction` of whole sources."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from made_up_sessions import MODEL, TRANSFORM, face, read_video, unsure

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import realtime
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.detector import face_crop
from fer_nb_utils.live.memory import Snapshots
from fer_nb_utils.live.outputs import VideoError, annotate
from fer_nb_utils.live.realtime import (
    BOX,
    COLUMNS,
    STAGES,
    TIMES,
    Pipeline,
    realtime_prediction,
    stage_times,
    summary,
)
from fer_nb_utils.live.smoothing import Smoother, overlap
from fer_nb_utils.live.sources import Frame, Source
from fer_nb_utils.networks.load import folded, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.progress import progress_bar

EMPTY = np.full((480, 640, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def photo():
    return next(islice(demo_clip(), 20, None)).image


# The pipeline


@pytest.fixture(scope="module")
def network():
    return load_network()


@pytest.fixture
def pipeline(network):
    return Pipeline(network.model, network.transform)


def watch_inputs(pipeline):
    """What the network is given, batch by batch."""
    seen = []
    pipeline.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return seen


def test_every_face_of_the_demo_clip_is_found_and_keeps_its_number_and_label(pipeline):
    numbers, labels = {}, {}
    for frame in demo_clip(5):
        faces = pipeline(frame.image, frame.seconds).faces
        assert len(faces) == 1, frame.seconds
        assert overlap([faces[0].box], [frame.box])[0, 0] >= 0.5, frame.seconds
        drawn = frame.expression is not None
        numbers.setdefault(drawn, set()).add(faces[0].number)
        if faces[0].label != NOT_SURE:
            labels.setdefault(drawn, []).append(faces[0].label)
    assert [len(found) for found in numbers.values()] == [1, 1]
    changes = [sum(a != b for a, b in zip(found, found[1:], strict=False)) for found in labels.values()]
    assert changes[0] == 0  # a photograph keeps its expression
    assert changes[1] <= 2 * len(CLASSES)  # one that comes and goes may change the label twice


def test_live_crop_and_evaluation_give_the_network_equal_tensors(pipeline, network, photo):
    seen = watch_inputs(pipeline)
    face = pipeline(photo, 0.0).faces[0]
    images = torch.from_numpy(face_crop(photo, face.box))[None]
    assert torch.equal(seen[0], network.transform(images))
    assert np.allclose(face.probabilities, predict(network.model, images, network.transform)[0], atol=1e-4)


def test_faces_of_a_frame_are_one_batch(pipeline, photo):
    seen = watch_inputs(pipeline)
    many = cv2.resize(np.tile(photo, (2, 5, 1)), (1600, 640), interpolation=cv2.INTER_AREA)
    faces = pipeline(many, 0.0).faces
    assert len(faces) == 10 and [len(batch) for batch in seen] == [10]
    assert sorted(face.number for face in faces) == list(range(1, 11))


def test_frames_in_a_row_are_one_batch_and_get_the_answers_of_one_by_one(pipeline, network, photo):
    frames = [*islice(demo_clip(5), 18, 23)]  # the photograph, then the first drawing
    frames.insert(2, Frame(frames[1].seconds + 0.01, EMPTY))
    alone, seen = [pipeline(frame.image, frame.seconds) for frame in frames], watch_inputs(pipeline)
    pipeline.reset()
    for one, other in zip(alone, pipeline.label(frames), strict=True):
        assert [face.box for face in one.faces] == [face.box for face in other.faces]
        for each, same in zip(one.faces, other.faces, strict=True):
            np.testing.assert_allclose(each.probabilities, same.probabilities, atol=1e-5)
            assert each.label == same.label
    assert [len(batch) for batch in seen] == [5] and [len(one.faces) for one in alone] == [1, 1, 0, 1, 1, 1]


def test_a_frame_without_a_face_does_not_trouble_the_network(pipeline):
    seen = watch_inputs(pipeline)
    result = pipeline(np.full((480, 640, 3), 128, np.uint8), 0.0)
    assert result.faces == [] and seen == []


def test_every_stage_is_timed(pipeline, photo):
    milliseconds = pipeline(photo, 0.0).milliseconds
    assert tuple(milliseconds) == STAGES and min(milliseconds.values()) >= 0
    assert milliseconds["detect"] > 0.1 and milliseconds["classify"] > 0.1


def test_a_large_frame_shows_the_same_face(pipeline, photo):
    expected = pipeline(photo, 0.0).faces[0]
    pipeline.reset()
    (face,) = pipeline(cv2.resize(photo, (3840, 2880), interpolation=cv2.INTER_CUBIC), 0.0).faces
    scale = 2880 / len(photo)
    assert overlap([np.array(face.box) / scale], [expected.box])[0, 0] > 0.85
    assert face.label == expected.label


def test_a_face_at_the_edge_is_cropped_with_a_replicated_border(pipeline, photo):
    (face,) = pipeline(photo, 0.0).faces
    x, y, width, height = face.box
    cut = np.ascontiguousarray(photo[max(y - 12, 0) :, max(x - 12, 0) :])
    pipeline.reset()
    assert len(pipeline(cut, 0.0).faces) == 1


def in_a_new_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.mark.parametrize("call", [lambda function: function(), in_a_new_thread], ids=["this thread", "a new thread"])
def test_the_callers_model_and_the_processs_threads_stay_as_they_were(network, photo, call):
    """A frame itself takes one thread."""
    seen = []
    network.model.train()
    pipeline = Pipeline(network.model, network.transform)
    ask = torch.get_num_threads
    pipeline.model.register_forward_pre_hook(lambda *_: seen.extend([ask(), in_a_new_thread(ask)]))
    threads = ask()
    torch.set_num_threads(2)
    try:
        call(lambda: seen.append((len(pipeline(photo, 0.0).faces), ask())))
        assert seen == [1, 2, (1, 2)] and network.model.training and ask() == 2
    finally:
        torch.set_num_threads(threads)
        network.model.eval()


def test_threads_may_share_it(pipeline, photo):
    """OpenCV's cascade and the smoothing are not made for that, so calls wait for each other."""
    found, inside, follow = [], threading.Semaphore(), pipeline.detector.follow

    def alone(image, seconds):
        assert inside.acquire(blocking=False)
        time.sleep(0.005)  # time for another thread to come in
        boxes = follow(image, seconds)
        inside.release()
        return boxes

    pipeline.detector.follow = alone
    threads = [
        threading.Thread(target=lambda: found.extend(len(pipeline(photo, 0.0).faces) for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 20 and pipeline.smoother.count == 1


def test_folding_changes_neither_probabilities_nor_labels(network, sample):
    images = torch.from_numpy(sample.images[::40])
    same_after_folding(network, images)


def test_folding_changes_no_answer_on_fer2013(network, fer2013):
    test = fer2013.select("PublicTest", "PrivateTest")
    same_after_folding(network, torch.from_numpy(test.images))


def same_after_folding(network, images):
    model = folded(network.model).to(memory_format=torch.channels_last)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    before, after = (predict(each, images, network.transform) for each in (network.model, model))
    np.testing.assert_allclose(after, before, atol=1e-3)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_what_is_no_resnet_is_not_folded():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    assert [type(layer) for layer in folded(model)] == [torch.nn.Conv2d, torch.nn.BatchNorm2d]


def test_below_the_threshold_there_is_no_label(network, photo):
    (sure,), (unsure,) = (
        Pipeline(network.model, network.transform, Smoother(threshold=threshold))(photo, 0.0).faces
        for threshold in (0.0, 1.0)
    )
    assert sure.label in CLASSES and unsure.label == unsure.caption == NOT_SURE
    assert sure.caption == f"{sure.label} {sure.probabilities.max():.0%}" and unsure.confidence == sure.confidence


def test_a_face_brings_its_crop_and_what_is_wrong_with_it(pipeline, photo):
    (face,) = pipeline(photo, 0.0).faces
    np.testing.assert_array_equal(face.crop, face_crop(photo, face.box))
    assert face.problem == ""
    pipeline.reset()
    (dark,) = pipeline(photo // 5, 0.0).faces
    assert dark.problem == "too dark" and dark.caption.endswith(", too dark")


# Whole sources


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


@pytest.mark.parametrize("chunk", [1, 3, 6])
def test_a_film_labelled_by_several_frames_gives_the_table_of_one_by_one(play, photo, two_faces, monkeypatch, chunk):
    pictures = [photo, EMPTY, two_faces, photo // 2, photo]
    expected = play(*pictures)
    monkeypatch.setattr(Played, "together", 2)  # so that one is left over
    monkeypatch.setattr(realtime, "CHUNK", chunk)
    table = play(*pictures)
    pd.testing.assert_frame_equal(table.drop(columns=[*TIMES]), expected.drop(columns=[*TIMES]))
    assert list(table.dtypes) == list(expected.dtypes) and len(table) == 6 and table.attrs["frames"] == 5


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


def test_the_progress_bar_ends_where_the_session_does(monkeypatch):
    totals = []
    monkeypatch.setattr(
        realtime, "progress_bar", lambda **given: totals.append(given["total"]) or progress_bar(**given)
    )
    tables = [realtime_prediction(MODEL, TRANSFORM, source="demo", seconds=seconds) for seconds in (0.2, 60.0)]
    assert totals == [table.attrs["frames"] for table in tables] and totals[0] == 3


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
