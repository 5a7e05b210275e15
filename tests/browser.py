"""A real JupyterLab in a real Chromium with a fake camera, for tests of what people see and the camera's benchmark.

with jupyterlab(folder) as server, sync_playwright() as playwright:
    browser = launch(playwright, camera=write_fake_camera(folder / "camera.mjpeg", [astronaut_frame()[0]]))
    with opened(browser, server, ["from fer_nb_utils.live.widget import LiveCamera", "LiveCamera()"]) as lab:
        lab.run_all()
        lab.start()
        lab.wait("live.dataset.faces == '1'")
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import nbformat
import numpy as np
import psutil

TOKEN = "e2e"
# what the page's scripts get from the camera, kept for the tests to ask whether it was ended
KEEP_TRACKS = """
    window.tracks = [];
    const devices = navigator.mediaDevices, ask = devices?.getUserMedia.bind(devices);
    if (devices) devices.getUserMedia = async (...given) => {
        const stream = await ask(...given);
        window.tracks.push(...stream.getTracks());
        return stream;
    };
"""
QUIET = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--mute-audio", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
]


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome; Playwright's own is not looked for."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def astronaut_frame() -> tuple[np.ndarray, list[int]]:
    """A photo of 640x480 (BGR) with one face, and the face from hair to chin as [x, y, width, height]."""
    from skimage import data  # the one free photo of a face that comes in a wheel

    photo = cv2.resize(data.astronaut(), (880, 880), interpolation=cv2.INTER_CUBIC)[:480, 140:780, ::-1]
    frame = cv2.GaussianBlur(photo, None, 25)  # nothing round the head that could be taken for a face
    frame[14:426, 80:410] = photo[14:426, 80:410]
    return frame, [163, 117, 168, 179]


def write_fake_camera(path: Path, frames: Iterable[np.ndarray]) -> Path:
    """A file of frames (BGR, all of one size) that Chromium plays as its camera, 30 a second, again and again."""
    path.write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    return path


@dataclass
class Server:
    url: str
    folder: Path  # of the notebooks
    process: subprocess.Popen

    def memory(self) -> int:
        """Bytes held by the kernels, all of them together."""
        return sum(kernel.memory_info().rss for kernel in psutil.Process(self.process.pid).children())


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """JupyterLab with nothing of the user's: own settings, token and port, notebooks in `folder`/notebooks."""
    own, notebooks = folder / "jupyter", folder / "notebooks"
    settings = own / "settings" / "@jupyterlab" / "apputils-extension"
    for path in (notebooks, settings):
        path.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment |= {f"JUPYTERLAB_{name}_DIR": str(own / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 18888,  # or one of the next that is free
        "ServerApp.port_retries": 100,
        "ServerApp.root_dir": notebooks,
        "IdentityProvider.token": TOKEN,
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    log = own / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=environment | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        info, deadline = own / "runtime" / f"jpserver-{process.pid}.json", time.monotonic() + 90
        while not (info.is_file() and info.read_text("utf-8").rstrip().endswith("}")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"JupyterLab does not start; its log:\n{log.read_text('utf-8')[-5000:]}")
            time.sleep(0.1)
        yield Server(f"http://127.0.0.1:{json.loads(info.read_text('utf-8'))['port']}", notebooks, process)
    finally:
        if process.poll() is None:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            process.send_signal(signal.SIGTERM)  # shuts the kernels down
            for left in psutil.wait_procs(family, timeout=10)[1]:
                left.kill()
            process.wait()


def launch(playwright, camera: Path | None = None, deny: bool = False):
    """A Chromium whose only camera plays the file `camera` (None: without any), allowed without asking or denied."""
    args = [*QUIET, f"--use-fake-ui-for-media-stream{'=deny' if deny else ''}"]
    if camera:
        args += ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={camera.resolve()}"]
    else:
        args += ["--use-fake-device-for-media-stream=device-count=0"]
    return playwright.chromium.launch(executable_path=chromium(), headless=True, args=args)


VIEWPORT = {"width": 1200, "height": 1000}


@contextmanager
def opened(
    browser, server: Server, cells: list[str], name: str = "live", pictures: Path | None = None, subshells: bool = True
) -> Iterator["Lab"]:
    """JupyterLab with a new notebook of these cells, ready to run; the page of the notebook before is used again.

    A notebook of a name used before continues in its kernel. `subshells`: whether comm messages are handled in a
    subshell, as they are by default, or wait for cells to end. When the block fails, a screenshot goes to `pictures`,
    what the page's console said is printed, and the page is closed.
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, server.folder / f"{name}.ipynb")
    if not browser.contexts:  # one for all pages of a browser, whose cache makes JupyterLab start twice as fast
        browser.new_context()
    (context,) = browser.contexts
    page = context.pages[0] if context.pages else context.new_page()
    page.set_viewport_size(VIEWPORT)  # the notebook before may have had another
    lab = Lab(page)
    try:
        if page.url.startswith(server.url):
            lab.js("[...jupyterapp.shell.widgets('main')].forEach((widget) => widget.dispose()); window.tracks = []")
            lab.js(f"await jupyterapp.commands.execute('docmanager:open', {{ path: '{name}.ipynb' }})")
        else:
            page.add_init_script(KEEP_TRACKS)
            url = f"{server.url}/lab/tree/{name}.ipynb?token={TOKEN}&reset"
            page.goto(url, wait_until="domcontentloaded", timeout=120_000)
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext", timeout=120_000)
        lab.js("await jupyterapp.restored; await panel.context.ready; await panel.sessionContext.ready")
        lab.js("await panel.sessionContext.session.kernel.info")
        over = "perCommTarget" if subshells else "disabled"
        lab.js(f"panel.sessionContext.session.kernel.commsOverSubshells = '{over}'")
        yield lab
    except BaseException:
        print(*lab.console, sep="\n")
        if pictures:
            print("screenshot:", lab.screenshot(pictures / "failed.png"))
        page.close()
        raise


@contextmanager
def widget_page(
    browser, code: Path, state: dict, url: str = "http://localhost/", headers: dict[str, str] | None = None, script=""
) -> Iterator["Lab"]:
    """The widget of this JavaScript file alone in an empty page of any address, without JupyterLab and kernel.

    In the page, `state` holds the model's values, `sent` the messages that went up, and `hear(message)` gives one down.
    `script` runs before the page's own.
    """
    page = browser.new_page()
    try:
        page.route(
            "**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html", headers=headers)
        )
        page.add_init_script(KEEP_TRACKS + script)
        page.goto(url)
        page.evaluate(RENDER, [code.read_text(encoding="utf-8"), state])
        yield Lab(page)
    finally:
        page.context.close()


RENDER = """async ([code, state]) => {
    const heard = {};
    const model = {
        get: (name) => state[name], off: () => {}, send: (message) => sent.push(message),
        on: (event, listener) => (heard[event] ??= []).push(listener),
    };
    Object.assign(window, { state, sent: [], hear: (message) => heard["msg:custom"].forEach((each) => each(message)) });
    window.change = (name, value) => { state[name] = value; heard[`change:${name}`].forEach((each) => each()); };
    window.module = await import("data:text/javascript," + encodeURIComponent(code));
    module.default.render({ model, el: document.body });
}"""


class Lab:
    """The page of a notebook. Names in its JavaScript: `live`, a widget; `panel`, the notebook; `busy`: a cell runs."""

    def __init__(self, page):
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda said: said.type in ("warning", "error") and self.console.append(said.text))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    def js(self, code: str, widget: int = 0, timeout: float = 120) -> Any:
        """Run JavaScript statements in the page; the result is what they return, awaited."""
        return self.page.evaluate(
            f"""() => Promise.race([
                (async () => {{ {NAMES % widget} {code} }})(),
                new Promise((_, no) => setTimeout(() => no(Error('no answer within {timeout} s')), {timeout * 1000})),
            ])"""
        )

    def wait(self, condition: str, widget: int = 0, timeout: float = 30) -> None:
        """Wait until a JavaScript expression is true."""
        from playwright.sync_api import TimeoutError

        try:
            function = f"() => {{ {NAMES % widget} return {condition} }}"
            self.page.wait_for_function(function, timeout=timeout * 1000, polling=50)
        except TimeoutError:
            shown = self.js(
                "return live && {...live.dataset, status: live.querySelector('.status')?.innerText}", widget
            )
            raise AssertionError(f"not within {timeout} s: {condition}; the widget: {shown}") from None

    def data(self, widget: int = 0) -> dict[str, str]:
        """The widget's data-... attributes."""
        return self.js("return {...live.dataset}", widget)

    def status(self, widget: int = 0) -> str:
        return self.js("return live.querySelector('.status').innerText", widget)

    def start(self, widget: int = 0) -> None:
        """Press the widget's button, which starts and stops; it waits for nothing."""
        self.page.locator(".fer-live").nth(widget).locator("button.start").click()

    stop = start

    def run_all(self) -> None:
        """Run all cells; an exception in one of them is raised."""
        self.js("await jupyterapp.commands.execute('notebook:run-all-cells')")
        self._check()

    def run(self, cell: int, wait: bool = True) -> None:
        """Run one cell; without `wait` it goes on in the background."""
        run = "jupyterapp.commands.execute('notebook:run-cell')"
        self.js(f"panel.content.activeCellIndex = {cell}; {'await ' * wait}{run}")
        if wait:
            self._check()

    def delete(self, cell: int) -> None:
        self.js(f"panel.content.activeCellIndex = {cell}; await jupyterapp.commands.execute('notebook:delete-cell')")

    def busy(self) -> bool:
        """Whether a cell is running."""
        return self.js("return busy")

    def choose(self, description: str, option: str, widget: int = 0) -> None:
        """Choose in one of the dropdowns above the widget."""
        self.page.get_by_label(description, exact=True).nth(widget).select_option(option)

    def choose_source(self, option: str, value: str) -> None:
        """Choose a source, and wait until the kernel has told the picture: its `source` is then `value`."""
        self.choose("source", option)
        self.wait(f"live.dataset.source == '{value}'")

    def text(self, widget: int = 0) -> str:
        """All that the widget shows as text."""
        return self.js("return live.innerText", widget)

    def restart_kernel(self) -> None:
        self.js("await panel.sessionContext.restartKernel()")

    def close_view(self) -> None:
        """Close the notebook's tab, unsaved; the kernel goes on."""
        self.js("panel.dispose()")

    def tracks(self) -> list[str]:
        """The state, live or ended, of every track that the page ever got from the camera."""
        return self.js("return tracks.map((track) => track.readyState)")

    def heap(self) -> int:
        """Bytes of the page's JavaScript objects, after garbage collection."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Runtime.getHeapUsage")["usedSize"])

    def screenshot(self, path: Path, widget: int | None = None) -> Path:
        """A picture of the page or of one widget."""
        target = self.page if widget is None else self.page.locator(".fer-live").nth(widget)
        target.screenshot(path=path)
        return path

    def _check(self) -> None:
        errors = self.js(
            "return panel.content.model.sharedModel.toJSON().cells.flatMap((cell) => cell.outputs ?? [])"
            ".filter((output) => output.output_type == 'error').map((output) => output.traceback.join('\\n'))"
        )
        assert not errors, "\n".join(errors)


NAMES = """
    const live = document.querySelectorAll('.fer-live')[%d], panel = window.jupyterapp?.shell.currentWidget;
    const busy = panel?.content?.widgets?.some((cell) => cell.model.executionState == 'running');
"""
