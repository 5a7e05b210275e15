"""The pipeline on the demo clip and on frames that cameras also give."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
import pytest
import torch

from fer_nb_utils.classes import CLASSES, NOT_SURE
from fer_nb_utils.live.demo import demo_clip
from fer_nb_utils.live.detector import face_crop
from fer_nb_utils.live.pipeline import STAGES, Pipeline
from fer_nb_utils.live.smoothing import Smoother, overlap
from fer_nb_utils.networks.load import folded, load_network
from fer_nb_utils.networks.prediction import predict


@pytest.fixture(scope="module")
def network():
    return load_network()


@pytest.fixture
def pipeline(network):
    return Pipeline(network.model, network.transform)


@pytest.fixture(scope="module")
def frame():
    return next(islice(demo_clip(), 20, None)).image


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


def test_live_crop_and_evaluation_give_the_network_equal_tensors(pipeline, network, frame):
    seen = watch_inputs(pipeline)
    face = pipeline(frame, 0.0).faces[0]
    images = torch.from_numpy(face_crop(frame, face.box))[None]
    assert torch.equal(seen[0], network.transform(images))
    assert np.allclose(face.probabilities, predict(network.model, images, network.transform)[0], atol=1e-4)


def test_faces_of_a_frame_are_one_batch(pipeline, frame):
    seen = watch_inputs(pipeline)
    many = cv2.resize(np.tile(frame, (2, 5, 1)), (1600, 640), interpolation=cv2.INTER_AREA)
    faces = pipeline(many, 0.0).faces
    assert len(faces) == 10 and [len(batch) for batch in seen] == [10]
    assert sorted(face.number for face in faces) == list(range(1, 11))


def test_a_frame_without_a_face_does_not_trouble_the_network(pipeline):
    seen = watch_inputs(pipeline)
    result = pipeline(np.full((480, 640, 3), 128, np.uint8), 0.0)
    assert result.faces == [] and seen == []


def test_every_stage_is_timed(pipeline, frame):
    milliseconds = pipeline(frame, 0.0).milliseconds
    assert tuple(milliseconds) == STAGES and min(milliseconds.values()) >= 0
    assert milliseconds["detect"] > 0.1 and milliseconds["classify"] > 0.1


def test_a_large_frame_shows_the_same_face(pipeline, frame):
    expected = pipeline(frame, 0.0).faces[0]
    pipeline.reset()
    (face,) = pipeline(cv2.resize(frame, (3840, 2880), interpolation=cv2.INTER_CUBIC), 0.0).faces
    scale = 2880 / len(frame)
    assert overlap([np.array(face.box) / scale], [expected.box])[0, 0] > 0.85
    assert face.label == expected.label


def test_a_face_at_the_edge_is_cropped_with_a_replicated_border(pipeline, frame):
    (face,) = pipeline(frame, 0.0).faces
    x, y, width, height = face.box
    cut = np.ascontiguousarray(frame[max(y - 12, 0) :, max(x - 12, 0) :])
    pipeline.reset()
    assert len(pipeline(cut, 0.0).faces) == 1


def in_a_new_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.mark.parametrize("call", [lambda function: function(), in_a_new_thread], ids=["this thread", "a new thread"])
def test_the_callers_model_and_the_processs_threads_stay_as_they_were(network, frame, call):
    """A frame itself takes one thread."""
    seen = []
    network.model.train()
    pipeline = Pipeline(network.model, network.transform)
    ask = torch.get_num_threads
    pipeline.model.register_forward_pre_hook(lambda *_: seen.extend([ask(), in_a_new_thread(ask)]))
    threads = ask()
    torch.set_num_threads(2)
    try:
        call(lambda: seen.append((len(pipeline(frame, 0.0).faces), ask())))
        assert seen == [1, 2, (1, 2)] and network.model.training and ask() == 2
    finally:
        torch.set_num_threads(threads)
        network.model.eval()


def test_threads_may_share_it(pipeline, frame):
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
        threading.Thread(target=lambda: found.extend(len(pipeline(frame, 0.0).faces) for _ in range(5)))
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
    same_after_folding(network, torch.from_numpy(test.images[::10]))


def same_after_folding(network, images):
    model = folded(network.model).to(memory_format=torch.channels_last)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    before, after = (predict(each, images, network.transform) for each in (network.model, model))
    np.testing.assert_allclose(after, before, atol=1e-3)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))


def test_what_is_no_resnet_is_not_folded():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    assert [type(layer) for layer in folded(model)] == [torch.nn.Conv2d, torch.nn.BatchNorm2d]


def test_below_the_threshold_there_is_no_label(network, frame):
    (sure,), (unsure,) = (
        Pipeline(network.model, network.transform, Smoother(threshold=threshold))(frame, 0.0).faces
        for threshold in (0.0, 1.0)
    )
    assert sure.label in CLASSES and unsure.label == unsure.caption == NOT_SURE
    assert sure.caption == f"{sure.label} {sure.probabilities.max():.0%}" and unsure.confidence == sure.confidence


def test_a_face_brings_its_crop_and_what_is_wrong_with_it(pipeline, frame):
    (face,) = pipeline(frame, 0.0).faces
    np.testing.assert_array_equal(face.crop, face_crop(frame, face.box))
    assert face.problem == ""
    pipeline.reset()
    (dark,) = pipeline(frame // 5, 0.0).faces
    assert dark.problem == "too dark" and dark.caption.endswith(", too dark")
