"""The camera widget without a browser: its messages over a real kernel's comm, and its controls."""

import base64
import json
import queue
import threading
import time

import anywidget
import cv2
import numpy as np
import pytest
from jupyter_client.manager import start_new_kernel
from skimage import data

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.errors import UserError
from fer_nb_utils.live import widget
from fer_nb_utils.live.detector import DEFAULT
from fer_nb_utils.live.sources import Frame, Source
from fer_nb_utils.live.widget import LiveCamera

SETUP = """
from fer_nb_utils.live.widget import LiveCamera
camera = LiveCamera()
camera.view.give_up_seconds = 2
print(camera.view.comm.comm_id)
"""


def jpeg(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


@pytest.fixture(scope="module")
def photo():
    return cv2.resize(data.astronaut(), (480, 480))[:360, :, ::-1]


def custom(message):
    """The widget's own message in a message of the kernel, if there is one."""
    data = message["content"].get("data", {}) if message["msg_type"] == "comm_msg" else {}
    return [data["content"]] if data.get("method") == "custom" else []


class Front:
    """The browser's side of one widget."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(kernel_name="python3")
        self.messages = []  # that came while a cell ran
        self.comm = self.run(SETUP).strip()

    def run(self, code):
        printed = []

        def hook(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])
            assert message["msg_type"] != "error", message["content"]
            self.messages += custom(message)

        self.client.execute_interactive(code, timeout=60, output_hook=hook)
        return "".join(printed)

    def send(self, **content):
        self.send_content({"view": "a", **content})

    def send_frame(self, jpeg):
        """A picture of the browser's camera."""
        self.send(kind="frame", data=base64.b64encode(jpeg).decode())

    def send_content(self, content):
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": self.comm, "data": data})
        self.client.session.send(self.client.shell_channel.socket, message)

    def answer(self, *kinds, seconds=20):
        """The next message of the widget, if it is of one of these kinds."""
        end = time.monotonic() + seconds
        while not self.messages:
            try:
                self.messages += custom(self.client.get_iopub_msg(timeout=max(end - time.monotonic(), 0.01)))
            except queue.Empty:
                raise AssertionError(f"no answer of kind {kinds} in {seconds} s") from None
        answer = self.messages.pop(0)
        assert answer["kind"] in kinds, answer
        return answer

    def start(self, source):
        """Play a source of the kernel's machine."""
        self.run(f"camera.view.source = {str(source)!r}")
        self.send(kind="start")

    def playing(self):
        """How many sources the kernel plays."""
        return int(self.run("print(len(camera.view._playing))"))

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel():
    front = Front()
    yield front
    front.close()


@pytest.fixture
def front(kernel):
    """The widget with its browser's camera, and nothing left over from the test before."""
    kernel.run("camera.view.source = 'browser'; camera.stop()")
    kernel.answer("stop")
    kernel.messages.clear()
    return kernel


def test_a_frame_is_answered_with_its_faces(front, photo):
    front.send_frame(jpeg(photo))
    answer = front.answer("frame")
    (face,) = answer["faces"]
    assert answer["view"] == "a" and "data" not in answer
    assert sum(face["probabilities"]) == pytest.approx(1)
    confidence = face["probabilities"][CLASSES.index(face["label"])]
    assert confidence == max(face["probabilities"])
    assert face["caption"] == f"{face['label']} {confidence:.0%}" and face["crop"] == ""
    x, y, width, height = face["box"]
    assert 0 < x < x + width < 480 and 0 < y < y + height < 360


def test_the_crop_is_sent_on_demand(front, photo):
    front.run("camera.crop.value = True")
    front.send_frame(jpeg(photo))
    (face,) = front.answer("frame")["faces"]
    front.run("camera.crop.value = False")
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(face["crop"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert crop.shape == (48, 48) and crop.std() > 20


@pytest.mark.parametrize("damaged", [b"not a picture", b"\xff\xd8\xff\xe0", bytes(1000)])
def test_a_broken_frame_has_no_faces_and_the_next_is_fine(front, photo, damaged):
    front.send_frame(damaged)
    assert front.answer("frame")["faces"] == []
    front.send_frame(jpeg(photo)[:2000])
    front.answer("frame")
    front.send_frame(jpeg(photo))
    assert len(front.answer("frame")["faces"]) == 1


@pytest.mark.parametrize("content", [{"view": "a", "kind": "frame"}, {"kind": "start"}, "start", ["start"], None, 5])
def test_a_message_that_makes_no_sense_is_an_error_and_no_end(front, photo, content):
    front.send_content(content)
    assert front.answer("error")["text"]
    front.send_frame(jpeg(photo))
    assert len(front.answer("frame")["faces"]) == 1


def test_an_interrupt_that_meets_the_handler_still_gives_an_answer(front, photo):
    front.run(
        "pipeline = camera.view.pipeline\ndef interrupt(*_): raise KeyboardInterrupt\ncamera.view.pipeline = interrupt"
    )
    front.send_frame(jpeg(photo))
    assert "KeyboardInterrupt" in front.answer("error")["text"]
    front.run("camera.view.pipeline = pipeline")


def test_a_kernels_source_sends_pictures_with_faces_until_it_is_stopped(front):
    front.start("demo")
    for _ in range(4):
        frame = front.answer("frame")
        front.send(kind="next")
        image = cv2.imdecode(np.frombuffer(base64.b64decode(frame["data"]), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (480, 640, 3) and (frame["width"], frame["height"]) == (640, 480)
        assert len(frame["faces"]) == 1 and 0 < frame["age"] < 5 and 0 <= frame["early"] < 0.1
    front.send(kind="stop")
    front.run("pass")  # answered behind it
    assert front.playing() == 0
    assert [message["kind"] for message in front.messages] in ([], ["frame"])  # one may have been under way


def test_two_starts_in_a_row_play_once(front):
    front.run("camera.view.source = 'demo'")
    front.send(kind="start")
    front.send(kind="start")
    for _ in range(2):
        front.answer("frame")
    assert front.playing() == 1
    front.send(kind="stop")
    front.run("pass")
    assert front.playing() == 0


def test_a_frame_waits_until_the_one_before_was_shown(front):
    front.start("demo")
    front.answer("frame")
    time.sleep(0.5)
    front.run("pass")
    assert front.messages == []
    front.send(kind="next")
    front.answer("frame")
    front.send(kind="stop")


def test_a_view_that_shows_nothing_any_more_ends_the_source(front):
    front.start("demo")
    front.answer("frame")
    assert front.playing() == 1
    time.sleep(2.5)
    assert front.playing() == 0
    front.send(kind="next")
    assert "The page was silent for too long" in front.answer("error")["text"]


def test_a_camera_that_is_not_there_is_a_sentence(front):
    front.start("99")
    assert "There is no camera 99 on the machine" in front.answer("error")["text"]


def test_a_source_that_ends_says_so(front, photo, tmp_path):
    cv2.imwrite(str(tmp_path / "face.png"), photo)
    front.start(tmp_path / "face.png")
    assert len(front.answer("frame")["faces"]) == 1
    front.send(kind="next")
    assert "End of face.png" in front.answer("end")["text"]


def test_stop_reaches_all_views(front):
    front.run("camera.stop()")
    assert "view" not in front.answer("stop")


def test_the_session_keeps_snapshots_in_memory(front, photo):
    front.run("camera.snapshots.clear()")
    front.send_frame(jpeg(photo))
    label = front.answer("frame")["faces"][0]["label"]
    kept = front.run("import json; print(json.dumps({k: v.image.shape for k, v in camera.snapshots.items()}))")
    assert list(json.loads(kept)) == [label]


# Controls, without a kernel


@pytest.fixture(scope="module")
def camera():
    return LiveCamera(source="demo")


def test_controls_change_the_pipeline(camera):
    assert camera.cascade.value in DEFAULT  # the paper's
    before = camera.view.pipeline
    camera.smoothing.value, camera.duration.value = 1.5, 2.0
    assert camera.view.pipeline is before
    camera.threshold.value = 0.7
    assert (before.smoother.time_constant, before.smoother.display_duration) == (1.5, 2.0)
    assert before.smoother.threshold == 0.7
    camera.cascade.value = "frontalface_alt2"
    after = camera.view.pipeline
    assert after is not before and after.smoother.time_constant == 1.5 and after.smoother.threshold == 0.7
    camera.threshold.value = 0.0
    camera.source.value = "0"
    assert camera.view.source == "0"


def test_an_expression_shown_on_purpose_is_counted_and_stays_in_memory(camera, photo, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(widget.time, "monotonic", lambda: clock[0])
    (buttons,) = (child for child in camera.children if getattr(child, "children", None) and len(child.children) == 7)
    assert [button.description for button in buttons.children] == list(CLASSES)
    buttons.children[CLASSES.index("disgust")].click()
    assert "<b>disgust</b>" in camera.tried.value
    for seconds in (0.5, 2, 3, 4.1):
        clock[0] = 100 + seconds
        label = camera.view.label(photo)[0]["label"]
    assert camera.tries.counts.loc["disgust", label] == camera.tries.counts.to_numpy().sum() == 1
    assert "0 of 1 tries" in camera.tried.value and f"<th>{label}</th>" in camera.tried.value


class Slow(Source):
    """Frames of a second of film every 0.2 s: reading alone takes six times too long."""

    rate = 30.0

    def __iter__(self):
        for number in range(300):
            time.sleep(0.2)
            yield Frame(number / 30, np.zeros((48, 64, 3), np.uint8))


class Still(Source):
    """A frame that is due after 2.5 seconds, longer than is waited for an answer, and then another."""

    def __iter__(self):
        for _ in range(2):
            yield Frame(2.5, np.zeros((48, 64, 3), np.uint8))


@pytest.fixture
def played(camera, monkeypatch):
    """Play a source to a page that shows frames when they are due; its messages, with seconds since the start."""

    def played(source, enough):
        said, start = [], time.monotonic()
        monkeypatch.setattr(widget, "open_source", lambda _: source)
        monkeypatch.setattr(camera.view, "send", lambda message: said.append((message, time.monotonic() - start)))
        monkeypatch.setattr(camera.view, "give_up_seconds", 1.5)
        kind = "start"
        while [message["kind"] for message, _ in said].count("frame") < enough and kind:
            camera.view._receive(None, {"kind": kind, "view": "a"}, [])
            answer = said[-1][0]
            time.sleep(answer.get("early", 0))
            kind = "next" if answer["kind"] == "frame" else None
        camera.stop()
        return said

    return played


def test_a_film_that_cannot_be_read_in_time_shows_some_frames(played):
    said = played(Slow("slow"), enough=3)
    assert [message["kind"] for message, _ in said] == ["frame"] * 3 + ["stop"] and said[-1][1] < 5


def test_a_long_wait_for_the_next_frame_is_no_silence(played):
    said = played(Still("still"), enough=3)
    assert [message["kind"] for message, _ in said] == ["frame", "frame", "end", "stop"]
    assert said[0][0]["early"] == pytest.approx(2.5, abs=0.5) and said[1][1] >= 2


class OneAtATime(Source):
    """Frames from what only one may use."""

    in_use = threading.Lock()

    def __init__(self):
        super().__init__("camera")
        if not self.in_use.acquire(blocking=False):
            raise UserError("Another program uses it.")

    def __iter__(self):
        while True:
            yield Frame(0.0, np.zeros((48, 64, 3), np.uint8))

    def __exit__(self, *_):
        self.in_use.release()


def test_a_camera_is_free_again_when_stop_returns(camera, monkeypatch):
    said = []
    monkeypatch.setattr(widget, "open_source", lambda _: OneAtATime())
    monkeypatch.setattr(camera.view, "send", said.append)
    for view in ("a", "b"):
        camera.view._receive(None, {"kind": "start", "view": view}, [])
        camera.stop()
        assert not OneAtATime.in_use.locked()
    assert [message["kind"] for message in said] == ["frame", "stop"] * 2


def test_a_network_that_cannot_be_loaded_is_said_and_the_former_stays(camera, tmp_path, monkeypatch):
    before = camera.view.pipeline
    camera.network.options = {**dict(camera.network.options), "gone": tmp_path / "gone"}
    camera.network.value = tmp_path / "gone"
    assert "There is no network at" in camera.problem.value and camera.view.pipeline is before
    camera.network.index = 0
    assert camera.problem.value == ""


def test_a_file_is_offered_beside_the_usual_sources(tmp_path):
    camera = LiveCamera(source=tmp_path / "film.mp4")
    assert camera.view.source == str(tmp_path / "film.mp4")
    assert list(camera.source.options) == [*widget.SOURCES, "film.mp4"]


def test_no_picture_is_synchronised(camera):
    """What is, is saved with the notebook."""
    own = set(camera.view.get_state()) - set(anywidget.AnyWidget().get_state())
    assert own == {"_css", "source", "page", "give_up_seconds"}
