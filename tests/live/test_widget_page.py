"""The browser's side of the widget alone, in a real browser with a fake camera: no JupyterLab, no kernel."""

from importlib.util import find_spec

import pytest
from browser import astronaut_frame, chromium, launch, widget_page, write_fake_camera

from fer_nb_utils.classes import CLASSES
from fer_nb_utils.live.widget import FOLDER, PAGE

pytestmark = [
    pytest.mark.skipif(not chromium(), reason="there is no Chromium; on Debian: apt-get install chromium"),
    pytest.mark.skipif(not find_spec("playwright"), reason="playwright is not installed"),
]
STATE = {"source": "browser", "page": PAGE, "give_up_seconds": 10}
IN_USE = "devices.getUserMedia = () => Promise.reject(new DOMException('', 'NotReadableError'));"
SAYS_SAD = {"number": 1, "box": [9, 9, 9, 9], "caption": "happy 87%", "color": "#E69F00"} | {
    "probabilities": [0] * 5 + [1, 0],
    "crop": "",
}
PIXEL = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # a picture
FRAME = {"kind": "frame", "data": PIXEL, "width": 64, "height": 48, "age": 0.001, "early": 0, "faces": [SAYS_SAD]}


@pytest.fixture(scope="module")
def browsers(tmp_path_factory):
    """Makes browsers with or without a camera, allowed or denied, once."""
    from playwright.sync_api import sync_playwright

    camera = write_fake_camera(tmp_path_factory.mktemp("live") / "camera.mjpeg", [astronaut_frame()[0]])
    made = {}
    with sync_playwright() as playwright:

        def browser(with_camera=True, deny=False):
            if (with_camera, deny) not in made:
                made[with_camera, deny] = launch(playwright, camera if with_camera else None, deny)
            return made[with_camera, deny]

        yield browser
        for browser in made.values():
            browser.close()


@pytest.fixture
def shown(browsers):
    """with shown(source) as page: the widget before Start."""

    def shown(source="browser", browser=None, **options):
        return widget_page(browsers(**(browser or {})), FOLDER / "widget.js", STATE | {"source": source}, **options)

    return shown


@pytest.mark.parametrize(
    ("code", "message", "options"),
    [
        ("denied", "was not allowed", {"browser": {"deny": True}}),
        ("no-camera", "There is no camera on this computer", {"browser": {"with_camera": False}}),
        ("insecure", "secure pages only", {"url": "http://lab.test/"}),
        ("in-use", "in use by another program", {"script": IN_USE}),
        ("embedded", "in a tab of its own", {"headers": {"Permissions-Policy": "camera=()"}}),
    ],
)
def test_a_camera_that_cannot_be_had_is_explained(code, message, options, shown):
    with shown(**options) as page:
        page.start()
        page.wait("live.dataset.state == 'error'")
        assert page.data()["error"] == code and message in page.text()
        assert page.tracks() == []


def test_nothing_is_said_before_start_that_is_not_so(shown):
    with shown() as page:
        assert page.text().split() == ["Press", "Start.", "Start", *CLASSES]
        page.start()
        page.wait("live.dataset.state == 'running' && sent.at(-1).kind == 'frame'")
        page.js("hear({ view: sent.at(-1).view, kind: 'frame', faces: [] })")
        assert "no face" in page.text()


def test_the_caption_is_drawn_and_the_bars_show_what_is(shown):
    with shown() as page:
        page.start()
        page.wait("live.dataset.state == 'running' && sent.at(-1).kind == 'frame'")
        page.page.evaluate("(face) => hear({ view: sent.at(-1).view, kind: 'frame', faces: [face, face] })", SAYS_SAD)
        captions = page.js("return [...live.querySelectorAll('.caption')].map((caption) => caption.innerText)")
        assert captions == ["happy 87%"] * 2
        assert "largest of 2 faces" in page.text()
        bars = page.js("return [...live.querySelectorAll('.bar .percent')].map((percent) => percent.innerText)")
        assert dict(zip(CLASSES, bars, strict=True)) == dict.fromkeys(CLASSES, "0 %") | {"sad": "100 %"}


@pytest.mark.parametrize(("source", "button"), [("demo", "Replay"), ("film.mp4", "Replay"), ("0", "Start")])
def test_the_last_picture_of_a_source_goes_when_another_is_chosen(source, button, shown):
    with shown(source) as page:
        page.start()
        page.page.evaluate("hear", FRAME)
        page.wait("sent.at(-1).kind == 'next'")
        page.js("hear({ kind: 'end', text: 'over' })")
        assert page.status() == "over" and page.data()["faces"] == "1"
        assert page.js("return live.querySelector('button').innerText") == button
        assert page.js("return live.querySelector('img').hasAttribute('src')")

        page.js("change('source', 'browser')")
        assert page.js("return live.querySelector('button').innerText") == "Start"
        assert not page.js("return live.querySelector('img').hasAttribute('src')") and page.data()["faces"] == "0"
        page.start()
        page.wait("live.dataset.state == 'running' && sent.at(-1).kind == 'frame'")
        assert not page.js("return live.querySelector('img').hasAttribute('src')")


def test_start_again_does_not_show_the_last_picture_until_the_first_of_the_new(shown):
    with shown("demo") as page:
        page.start()
        page.page.evaluate("hear", FRAME)
        page.wait("sent.at(-1).kind == 'next'")
        page.js("hear({ kind: 'end', text: 'over' })")
        page.start()
        assert page.data()["state"] == "starting" and page.data()["faces"] == "0" and "face" not in page.text()
        assert not page.js("return live.querySelector('img').hasAttribute('src')")


def test_the_crop_is_shown_while_it_comes(shown):
    with shown("demo") as page:
        page.start()
        for crop, there in ((PIXEL, True), ("", False)):
            page.page.evaluate("hear", FRAME | {"faces": [SAYS_SAD | {"crop": crop}]})
            page.wait("sent.at(-1).kind == 'next'")
            page.wait(f"live.querySelector('.crop').hasAttribute('src') == {str(there).lower()}")
