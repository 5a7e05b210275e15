"""The live camera as a person meets it: in JupyterLab, in a browser, with a camera."""

import io
import json
from dataclasses import fields
from importlib.util import find_spec

import cv2
import jupytext
import numpy as np
import pytest
from browser import astronaut_frame, chromium, jupyterlab, launch, opened, write_fake_camera
from PIL import Image

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.live.smoothing import overlap
from fer_nb_utils.live.sources import DEMO
from fer_nb_utils.networks.transforms import Augment
from fer_nb_utils.series.execute import NOTEBOOKS
from fer_nb_utils.series.puppet import UNITS

pytestmark = [
    pytest.mark.skipif(not chromium(), reason="there is no Chromium; on Debian: apt-get install chromium"),
    pytest.mark.skipif(not find_spec("playwright"), reason="playwright is not installed"),
]
# the kernel is shared, so earlier widgets are closed; the console may say "model not found" of those it was restoring
IMPORT = "import ipywidgets\nipywidgets.Widget.close_all()\nfrom fer_nb_utils.live.widget import LiveCamera"
CAMERA = "camera = LiveCamera()\ncamera"
IMPATIENT = "camera = LiveCamera(source=%r)\ncamera.view.give_up_seconds = 2\ncamera"
SLEEP = "import time\ntime.sleep(%d)"
RUNNING = "live?.dataset.state == 'running' && Number(live.dataset.frames) >= 3 && live.dataset.faces == '1'"
SOURCE_ENDS = """
import time
deadline = time.monotonic() + 15
while camera.view._playing:
    assert time.monotonic() < deadline
    time.sleep(0.2)
"""
SLOW_CAMERA = """
import time
from fer_nb_utils.live import widget
open_at_once, widget.open_source = widget.open_source, lambda source: time.sleep(5) or open_at_once(source)
"""
KNOBS = len(fields(Augment))
RIGHT_OF_THE_PAGE = """
    const outputs = [...document.querySelectorAll('.jp-OutputArea-output')];
    const kinds = 'label, input, select, button, img, .widget-readout';
    const parts = outputs.flatMap((output) => [...output.querySelectorAll(kinds)].map((part) =>
        [part, output.getBoundingClientRect().right]));
    const cut = parts.filter(([part, right]) => part.getBoundingClientRect().right > right + 1);
    return [parts.length, cut.map(([part]) => part.outerHTML.slice(0, 80))];
"""
TEXT_WIDTHS = """(select) => {
    const context = document.createElement("canvas").getContext("2d");
    context.font = getComputedStyle(select).font;
    return [...select.options].map((option) => context.measureText(option.text).width);
}"""
RELEASED = "tracks.length && tracks.every((track) => track.readyState == 'ended')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def playwright():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright, folder):
    camera = write_fake_camera(folder / "camera.mjpeg", [astronaut_frame()[0]])
    with launch(playwright, camera) as started:
        yield started


@pytest.fixture(scope="module")
def server(folder):
    with jupyterlab(folder) as started:
        yield started


@pytest.fixture
def notebook(browser, server, tmp_path):
    """with notebook(cells) as lab: by default a live camera; when the block fails, a picture is in tmp_path."""

    def notebook(*cells, subshells=True):
        cells = [IMPORT, *(cells or [CAMERA])]
        return opened(browser, server, cells, pictures=tmp_path, subshells=subshells)

    return notebook


def started(lab, widgets=1, before=0):
    """Run the first cells, press every Start, wait until each widget shows a labelled face."""
    for cell in range(1 + before + widgets):
        lab.run(cell)
    for widget in range(widgets):
        lab.start(widget)
    for widget in range(widgets):
        lab.wait(RUNNING, widget)


def frames(lab, widget=0):
    return int(lab.data(widget)["frames"])


def drawn(lab, widget=0):
    """Where the overlay changes the shown picture, as a box in pixels of the screen, and the width of the picture."""

    def picture():
        return np.asarray(Image.open(io.BytesIO(shown.screenshot())).convert("RGB")).astype(int)

    shown = lab.page.locator(".fer-live .overlay").nth(widget)
    with_overlay = picture()
    shown.evaluate("(overlay) => overlay.style.opacity = 0")
    rows, columns = np.nonzero(abs(with_overlay - picture()).max(-1) > 60)
    shown.evaluate("(overlay) => overlay.style.opacity = ''")
    return [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], with_overlay.shape[1]


def test_a_face_is_framed_labelled_and_measured_and_stop_releases_the_camera(notebook):
    photo, face = astronaut_frame()
    with notebook() as lab:
        lab.run_all()
        lab.wait("live?.dataset.state == 'idle'")
        assert lab.tracks() == []  # not before Start
        lab.start()
        lab.wait(RUNNING)
        lab.wait("/[1-9]\\d* frames\\/s, \\d+ ms/.test(live.querySelector('.status').innerText)")
        data = lab.data()
        width, height = map(int, data["frameSize"].split("x"))
        (box,) = json.loads(data["boxes"])
        sent = np.multiply(face, width / photo.shape[1])
        assert width / height == photo.shape[1] / photo.shape[0] and overlap([box], [sent])[0, 0] > 0.5
        assert 0 < float(data["latency"]) < 5000

        around, shown_width = drawn(lab)
        mirrored = [width - sent[0] - sent[2], *sent[1:]]
        assert overlap([around], [np.multiply(mirrored, shown_width / width)])[0, 0] > 0.5
        bars = lab.js(
            "return [...live.querySelectorAll('.bar')].map((bar) => [bar.dataset.expression, "
            "parseFloat(bar.querySelector('.fill').style.width)])"
        )
        assert [name for name, _ in bars] == list(CLASSES)
        assert sum(share for _, share in bars) == pytest.approx(100, abs=1)
        assert lab.js("return live.querySelector('button.start').innerText") == "Stop"
        assert lab.tracks() == ["live"]

        lab.stop()
        lab.wait(f"live.dataset.state == 'stopped' && {RELEASED}")
        assert lab.js("return live.querySelector('button.start').innerText") == "Start"
        lab.start()
        lab.wait(RUNNING)
        assert lab.tracks() == ["ended", "live"]


def test_the_camera_of_notebook_06_labels_a_face(notebook):
    code = [cell.source for cell in jupytext.read(NOTEBOOKS / "06_live_webcam.py").cells if cell.cell_type == "code"]
    (camera,) = (number for number, source in enumerate(code) if "LiveCamera(" in source)
    with notebook(*code[: camera + 1]) as lab:
        lab.run_all()
        lab.start()
        lab.wait(RUNNING)


def test_another_source_releases_the_camera_and_goes_on(notebook):
    with notebook() as lab:
        started(lab)
        lab.choose_source("demo clip", DEMO)
        lab.wait(f"live.dataset.frameSize == '640x480' && {RUNNING} && {RELEASED}")


def test_frames_flow_while_a_cell_runs(notebook):
    with notebook(CAMERA, SLEEP % 5) as lab:
        started(lab)
        lab.run(2, wait=False)
        lab.wait("busy")
        lab.wait(f"busy && Number(live.dataset.frames) > {frames(lab) + 5}")


def test_without_subshells_frames_wait_for_a_cell_and_go_on_after_it(notebook):
    with notebook(CAMERA, SLEEP % 4, subshells=False) as lab:
        started(lab)
        lab.run(2, wait=False)
        lab.wait("/^the kernel is busy \\(\\d s without an answer\\)$/.test(live.querySelector('.status').innerText)")
        before = frames(lab)
        lab.wait(f"!busy && Number(live.dataset.frames) > {before + 3}")
        assert lab.tracks() == ["live"] and "frames/s" in lab.status()


def test_a_kernel_silent_for_long_releases_the_camera(notebook):
    with notebook(IMPATIENT % "browser", SLEEP % 5, subshells=False) as lab:
        started(lab)
        lab.run(2, wait=False)
        lab.wait(f"live.dataset.error == 'kernel-silent' && {RELEASED}")
        assert lab.busy() and "has not answered for 2 s" in lab.text()
        lab.wait("!busy")
        lab.start()
        lab.wait(RUNNING)


def test_a_source_of_the_kernel_waits_for_a_cell_and_can_be_started_again(notebook):
    with notebook(IMPATIENT % "demo", SLEEP % 5, subshells=False) as lab:
        started(lab)
        lab.run(2, wait=False)
        lab.wait("busy && live.dataset.state == 'error'")
        assert "answered for 2 s" in lab.text()
        lab.wait("!busy")
        lab.start()
        lab.wait(RUNNING)


def test_a_camera_of_the_kernel_may_take_long_to_open(notebook):
    cells = SLOW_CAMERA, IMPATIENT % "demo"
    with notebook(*cells, "widget.open_source = open_at_once") as lab:
        started(lab, before=1)
        lab.run(3)  # the kernel is shared


def test_the_demo_clip_needs_no_camera(notebook):
    with notebook() as lab:
        lab.run_all()
        lab.choose_source("demo clip", DEMO)
        lab.start()
        lab.wait(RUNNING)
        sent, shown = lab.js("""
            const picture = live.querySelector('.overlay').getBoundingClientRect();
            const box = live.querySelector('.box').getBoundingClientRect();
            const scale = live.dataset.frameSize.split('x')[0] / picture.width;
            const shown = [box.x - picture.x, box.y - picture.y, box.width, box.height];
            return [JSON.parse(live.dataset.boxes)[0], shown.map((value) => value * scale)];
        """)
        assert shown == pytest.approx(sent, abs=1)  # and not mirrored
        assert lab.tracks() == []
        lab.stop()
        lab.wait("live.dataset.state == 'stopped'")


@pytest.mark.parametrize("second", ["LiveCamera()", "camera"], ids=["two widgets", "two views of one"])
def test_two_pictures_do_not_disturb_each_other(second, notebook):
    with notebook(CAMERA, second) as lab:
        started(lab, widgets=2)
        lab.stop(0)
        lab.wait("live.dataset.state == 'stopped'", 0)
        lab.wait(f"Number(live.dataset.frames) > {frames(lab, 1) + 5}", 1)
        assert lab.tracks().count("live") == 1


@pytest.mark.parametrize(
    ("happens", "state"),
    [
        (lambda lab: lab.run(2), "stopped "),
        (lambda lab: lab.run(1), "idle "),  # a new widget in place of the old
        (lambda lab: lab.delete(1), None),
        (lambda lab: lab.close_view(), None),
    ],
    ids=[
        "camera.stop()",
        "the cell is run again",
        "the cell is deleted",
        "the tab is closed",
    ],
)
def test_the_camera_is_released_when(happens, state, notebook):
    with notebook(CAMERA, "globals().get('camera') and camera.stop()") as lab:
        started(lab)
        happens(lab)
        lab.wait(RELEASED)
        lab.wait(f"(live && `${{live.dataset.state}} ${{live.dataset.error}}`) == {json.dumps(state)}")


def test_a_source_of_the_kernel_ends_when_the_tab_is_closed(notebook):
    with notebook(IMPATIENT % "demo") as lab:
        started(lab)
        lab.close_view()
    with notebook(SOURCE_ENDS) as lab:
        lab.run(1)


@pytest.mark.parametrize("above", [0, 300], ids=["landscape", "portrait"])
def test_the_last_picture_of_a_source_stays_with_its_faces(above, notebook, tmp_path):
    path = tmp_path / "face.png"
    photo, (x, y, width, height) = astronaut_frame()
    photo = cv2.copyMakeBorder(photo, above, above, 0, 0, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(path), photo)
    with notebook(f"camera = LiveCamera(source={str(path)!r})\ncamera") as lab:
        lab.run_all()
        lab.start()
        lab.wait("live.dataset.state == 'stopped'")
        assert lab.data()["faces"] == "1" and "End of face.png" in lab.status()
        assert lab.js("return live.querySelector('img').naturalWidth") == 640
        around, shown_width = drawn(lab)
        face = np.multiply([x, y + above, width, height], shown_width / 640)
        assert overlap([around], [face])[0, 0] > 0.5  # neither mirrored nor out of shape
        assert lab.js("return live.querySelector('.picture').clientHeight") <= 520  # seen without scrolling


@pytest.mark.parametrize("width", [1200, 700])
def test_every_control_says_what_it_is_for_and_is_wide_enough_for_its_texts(width, notebook):
    with notebook() as lab:
        lab.page.set_viewport_size({"width": width, "height": 900})
        lab.run_all()
        lab.wait("live?.dataset.state == 'idle'")
        titled = ".widget-dropdown .widget-label [title], .widget-slider .widget-label[title]"
        titles = lab.js(f"return [...panel.node.querySelectorAll('{titled}')].map((each) => each.title)")
        assert len(titles) == 6 and all(len(title) > 10 for title in titles)
        assert lab.js("return panel.node.querySelectorAll('[title=null]').length") == 0
        for name in ("source", "network", "cascade"):
            select = lab.page.get_by_label(name, exact=True)
            lengths = select.evaluate(TEXT_WIDTHS)
            assert max(lengths) < select.evaluate("(select) => select.clientWidth") - 30  # for the arrow
        assert lab.js(RIGHT_OF_THE_PAGE)[1] == []


@pytest.mark.parametrize("width", [1400, 700])
def test_the_controls_of_other_notebooks_wrap_and_none_is_cut(width, notebook):
    load = "from fer_nb_utils.data.dataset import load\nfrom fer_nb_utils.series import widgets\ndata = load('sample')"
    knobs, faces = "widgets.augmentation_knobs(data.select('Training'))", "widgets.browse_faces(data)"
    puppet = "from fer_nb_utils.networks.load import EMBEDDED\n"
    puppet += "from fer_nb_utils.series.puppet import Puppet\nPuppet({'embedded': EMBEDDED})"
    with notebook(load, knobs, faces, puppet) as lab:
        lab.page.set_viewport_size({"width": width, "height": 900})
        lab.run_all()
        lab.wait(f"document.querySelectorAll('.widget-readout').length >= {KNOBS + len(UNITS) + 3}")
        tracks = lab.js("return [...panel.node.querySelectorAll('.noUi-base')].map((each) => each.clientWidth)")
        assert min(tracks) > 20
        shown, cut = lab.js(RIGHT_OF_THE_PAGE)
        assert shown > 20 and cut == []


def test_a_restart_of_the_kernel_releases_the_camera_and_says_what_to_run(notebook):
    """Last: the kernel would import torch anew."""
    with notebook() as lab:
        started(lab)
        lab.restart_kernel()
        lab.wait(f"{RELEASED} && live.dataset.error == 'kernel-gone'")
        lab.start()
        lab.wait("live.dataset.error == 'kernel-gone'")
        assert "Run all cells above, then this one" in lab.text() and lab.tracks() == ["ended"]
