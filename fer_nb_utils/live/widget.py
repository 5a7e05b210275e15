"""The live camera in a notebook: the browser's camera, or a source of the kernel's machine.

The widget's messages. Up: {kind: "frame", id, width, height} with a JPEG as buffer (or as base64 in "data"), "start"
and "stop" of a source on the kernel's side, "shown" for each of its frames. Down, in answer to a frame: {kind: "faces",
id, faces} or "no_buffer"; from a kernel's source: "frame" with a JPEG and faces, "waiting" until there is one, "end";
and "stop" and "error". Each carries the id of one view's session, from Start to Stop; "stop" without one goes to all.
"""

import base64
import threading
import time
from collections.abc import Mapping
from html import escape
from pathlib import Path

import anywidget
import cv2
import ipywidgets
import numpy as np
import traitlets

from ..classes import CLASSES
from ..errors import UserError
from ..networks.load import EMBEDDED, load_network
from .overlay import COLORS
from .pipeline import Face, FrameError, Pipeline
from .smoothing import SURE
from .snapshots import Snapshots
from .sources import DEMO, Source, open_source
from .tries import READY, WATCHED, Tries

FOLDER = Path(__file__).parent
BROWSER = "browser"
SOURCES = {"this browser's camera": BROWSER, "camera 0 of the kernel's machine": "0", "demo clip": DEMO}
# those for people's faces, by what sets their names apart
CASCADES = {
    name: f"haarcascade_{name}.xml"
    for name in ("frontalface_default", "frontalface_alt", "frontalface_alt2", "frontalface_alt_tree", "profileface")
}
STYLE = {"description_width": "8em"}
QUALITY = 75  # of the JPEGs sent to the browser, of 100
WIDTH = 640  # pixels, at most
THREAD = "live camera"
LATE = 0.5  # seconds after which a frame is shown although it is late, so that a slow machine shows something
SIGN_OF_LIFE = 1.0  # seconds between two messages of a source that waits
RELEASE = 3.0  # seconds to wait until a camera or file has been given back


class CameraView(anywidget.AnyWidget):
    """The picture with boxes, labels and bars. `source`: "browser", or what `open_source` takes, as text; `shows_crop`:
    whether the largest face's crop stands beside it; `tried` changes when a try of `tries` ends."""

    _esm = FOLDER / "widget.js"
    _css = FOLDER / "widget.css"
    source = traitlets.Unicode(BROWSER).tag(sync=True)
    classes = traitlets.List(list(CLASSES)).tag(sync=True)
    colors = traitlets.Dict(COLORS).tag(sync=True)
    give_up_seconds = traitlets.Float(10.0).tag(sync=True)  # the camera is released after that long a silence
    tried = traitlets.Int()
    shows_crop = traitlets.Bool(False)

    def __init__(self, pipeline: Pipeline, snapshots: Snapshots, **options: object):
        super().__init__(**options)
        self.pipeline = pipeline
        self.snapshots = snapshots
        self.tries = Tries()
        self._began = time.monotonic()
        self._players: dict[str, _Player] = {}
        self.on_msg(self._receive)

    def tell(self, kind: str, view: str | None = None, **content: object) -> None:
        """Send a message to one view, or to all of them."""
        self.send({"kind": kind, **({"view": view} if view else {}), **content})

    def stop(self) -> None:
        """Release the camera, wherever it is."""
        for view in list(self._players):
            self._stop_player(view)
        self.tell("stop")

    def begin_try(self, expression: str) -> None:
        """Somebody shows this expression from now on."""
        self.tries.begin(expression, time.monotonic() - self._began)

    def label(self, image: np.ndarray | None) -> dict:
        """The faces of a frame as a message's content; a frame that is no picture has none."""
        seconds = time.monotonic() - self._began
        try:
            result = self.pipeline(image, seconds)
        except FrameError:  # the next frame may be whole
            return {"faces": []}
        self.snapshots.add(image, result.faces, seconds)
        self.tried += self.tries.see(result.faces[0].label if result.faces else None, seconds)
        return {"faces": [self._said(face) for face in result.faces], "milliseconds": result.milliseconds}

    def _said(self, face: Face) -> dict:
        """A face as a message's content."""
        crop = base64.b64encode(cv2.imencode(".png", face.crop)[1]).decode() if self.shows_crop else ""
        return vars(face) | {"probabilities": face.probabilities.tolist(), "caption": face.caption, "crop": crop}

    def _receive(self, _: object, content: object, buffers: list) -> None:
        view = None
        try:
            view = content["view"]
            if content["kind"] == "frame":
                self._answer(view, content, buffers)
            elif content["kind"] == "start":
                self._stop_player(view)  # a second start in a row would otherwise lose the first one's player
                self.pipeline.reset()
                self.tell("waiting", view)  # a camera may take long to open
                self._players[view] = _Player(self, view)
                self._players[view].start()
            elif content["kind"] == "stop":
                self._stop_player(view)
                self.pipeline.reset()
            elif content["kind"] == "shown" and view in self._players:
                self._players[view].shown.set()
        except KeyboardInterrupt:  # meant for a cell; the view waits for its answer
            if view:
                self.tell("faces", view, id=content.get("id"), faces=[])
        except Exception as error:  # nothing else would show it: the handler may run in a thread without a cell
            self.tell("error", view, text=_text(error))

    def _answer(self, view: str, content: dict, buffers: list) -> None:
        data = buffers[0] if buffers else base64.b64decode(content.get("data", ""))
        if not data:
            self.tell("no_buffer", view, id=content["id"])
            return
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        self.tell("faces", view, id=content["id"], **self.label(image))

    def _stop_player(self, view: str) -> None:
        player = self._players.pop(view, None)
        if player:
            player.stop()


class _Player(threading.Thread):
    """Plays a source of the kernel's machine to one view, until it ends, is stopped, or the view falls silent.

    In a thread, because tasks do not outlive the cell that starts them.
    """

    def __init__(self, widget: CameraView, view: str):
        super().__init__(name=THREAD, daemon=True)
        self.widget, self.view = widget, view
        self.shown, self.stopped = threading.Event(), threading.Event()

    def stop(self) -> None:
        """End the thread, and wait for it: a camera still in use could not be opened by the next player."""
        self.stopped.set()
        self.shown.set()
        self.join(RELEASE)

    def run(self) -> None:
        kind = "end"
        try:
            with open_source(self.widget.source) as source:
                self._play(source)
                text = " ".join(source.problems) or f"End of {source.name}."
        except Exception as error:  # a thread shows nothing by itself
            kind, text = "error", _text(error)
        if not self.stopped.is_set():
            self.widget._players.pop(self.view, None)
            self.widget.tell(kind, self.view, text=text)

    def _play(self, source: Source) -> None:
        """Send each frame when it is due and the one before was shown; drop those that are late."""
        start = sent = time.monotonic()
        for frame in source:
            while (early := frame.seconds - (time.monotonic() - start)) > 0:
                if self.stopped.wait(min(early, SIGN_OF_LIFE)):
                    return
                if early > SIGN_OF_LIFE:
                    self.widget.tell("waiting", self.view)
            if source.is_film and early < -1 / source.rate and time.monotonic() - sent < LATE:
                continue
            if not source.is_film:
                self.widget.pipeline.reset()
            self.shown.clear()
            if self.stopped.is_set():  # asked after clear, which may have undone stop's set
                return
            self._send(frame.image)
            sent = time.monotonic()
            if not self.shown.wait(self.widget.give_up_seconds):
                raise UserError(
                    f"The page has not answered for {self.widget.give_up_seconds:g} s: it was closed, or a cell kept "
                    "the kernel busy; press Start again."
                )

    def _send(self, image: np.ndarray) -> None:
        taken = time.monotonic()
        content = self.widget.label(image)
        height, width = image.shape[:2]
        small = cv2.resize(image, (WIDTH, round(height * WIDTH / width))) if width > WIDTH else image
        data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1]
        age = 1000 * (time.monotonic() - taken)
        content |= {"width": width, "height": height, "age": age, "data": base64.b64encode(data).decode()}
        self.widget.tell("frame", self.view, **content)


class LiveCamera(ipywidgets.VBox):
    """The camera with its controls: source, network, cascade, smoothing, how long a label stays, and what is sure.

    `networks`: name -> checkpoint or run folder, as `load_network` takes them; by default the embedded one. `source`: a
    video, an image or a folder to offer besides the browser's camera, the kernel's camera 0 and the demo clip.
    `snapshots` holds the most confident look of each expression so far, `tries.counts` how expressions shown on purpose
    were labelled, both in memory only. Raises UserError for a network
    that is not there; what is wrong with a source is said when it is started.
    """

    def __init__(
        self,
        networks: Mapping[str, str | Path] | None = None,
        source: str | Path = BROWSER,
        give_up_seconds: float = 10,
    ):
        networks = dict(networks or {EMBEDDED.stem: EMBEDDED})
        sources = SOURCES if str(source) in SOURCES.values() else SOURCES | {Path(source).name: str(source)}
        self.snapshots = Snapshots()
        self.network = _dropdown("network", "What labels the faces", networks)
        self.cascade = _dropdown("cascade", "What finds the faces; the first is the paper's", CASCADES)
        self.smoothing = _slider("smoothing (s)", "Seconds over which probabilities are averaged; 0: none", 0.3, 2)
        self.duration = _slider("label stays (s)", "Seconds that a label stays at least", 0.5, 5)
        self.threshold = _slider("sure from", "The least probability of a label; below: not sure", SURE, 1)
        self.crop = ipywidgets.Checkbox(description="show the crop that the network sees", indent=False)
        hint = "Show an expression on purpose: press its button, and keep it for some seconds."
        self.tried = ipywidgets.HTML(hint, tooltip="")
        self.view = CameraView(self._pipeline(), self.snapshots, source=str(source), give_up_seconds=give_up_seconds)
        self.tries = self.view.tries
        self.source = _dropdown("source", "Where the pictures come from", sources, value=str(source))
        self.problem = ipywidgets.HTML(tooltip="")  # without one, it would be "null"
        traitlets.dlink((self.source, "value"), (self.view, "source"))
        traitlets.link((self.crop, "value"), (self.view, "shows_crop"))
        self.view.observe(self._tell_tries, "tried")
        buttons = [ipywidgets.Button(description=name, layout=ipywidgets.Layout(width="7em")) for name in CLASSES]
        for button in buttons:
            button.on_click(self._try)
        for control in (self.network, self.cascade):
            control.observe(self._rebuild, "value")
        for control in (self.smoothing, self.duration, self.threshold):
            control.observe(self._tune, "value")
        choices = ipywidgets.VBox([self.source, self.network, self.cascade])
        knobs = ipywidgets.VBox([self.smoothing, self.duration, self.threshold, self.crop, self.problem])
        wrapped = {"layout": ipywidgets.Layout(flex_flow="row wrap")}
        controls, expressions = ipywidgets.HBox([choices, knobs], **wrapped), ipywidgets.HBox(buttons, **wrapped)
        super().__init__([controls, self.view, expressions, self.tried])

    def stop(self) -> None:
        """Release the camera, wherever it is."""
        self.view.stop()

    def _pipeline(self) -> Pipeline:
        network = load_network(self.network.value)
        calm = {"smoothing": self.smoothing.value, "display_duration": self.duration.value}
        settings = calm | {"cascade": self.cascade.value, "threshold": self.threshold.value}
        return Pipeline(network.model, network.transform, **settings)

    def _rebuild(self, _: object) -> None:
        """A running camera goes on with the new pipeline from its next frame on."""
        try:
            self.view.pipeline = self._pipeline()
            self.problem.value = ""
        except Exception as error:  # shown nowhere else
            self.problem.value = escape(_text(error))

    def _tune(self, _: object) -> None:
        smoother = self.view.pipeline.smoother
        smoother.time_constant, smoother.display_duration = self.smoothing.value, self.duration.value
        smoother.threshold = self.threshold.value

    def _try(self, button: ipywidgets.Button) -> None:
        self.tried.value = f"Show <b>{button.description}</b> now, and keep it for {READY + WATCHED:g} seconds."
        self.view.begin_try(button.description)

    def _tell_tries(self, _: object) -> None:
        self.tried.value = self.tries.html()


def trained_networks(runs: str | Path) -> dict[str, Path]:
    """The networks of all finished runs, `runs`/<folder>/training/<name>, as `LiveCamera` takes them."""
    folders = sorted(path.parent for path in Path(runs).glob("*/training/*/config.json"))
    return {f"{path.parts[-3]}: {path.name}": path for path in folders if ".previous-" not in path.name}


def _dropdown(name: str, tooltip: str, options: Mapping, **value: str) -> ipywidgets.Dropdown:
    look = {"layout": ipywidgets.Layout(width="30em", max_width="100%"), "style": STYLE, "description_allow_html": True}
    titled = f'<span title="{tooltip}">{name}</span>'  # a dropdown with a description shows no tooltip of its own
    return ipywidgets.Dropdown(options=options, description=titled, **look, **value)


def _slider(name: str, tooltip: str, value: float, most: float) -> ipywidgets.FloatSlider:
    options = {"step": 0.1, "readout_format": ".1f", "style": STYLE}
    return ipywidgets.FloatSlider(value, max=most, description=name, tooltip=tooltip, **options)


def _text(error: Exception) -> str:
    """The message of an error that was foreseen; otherwise its kind too."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
