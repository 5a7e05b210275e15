"""The live camera in a notebook: the browser's camera, or a source of the kernel's machine.

The widget's messages, each with the id of one view's session, from Start to Stop. Up: "frame" with a JPEG (base64) of
the browser's camera; "start" of a source on the kernel's side, and "next" when its frame was shown; "stop". Down, one
for each but "stop": "frame" with its faces and, of a kernel's source, its JPEG, its age, and how early it is (seconds);
"end" or "error". And "stop", without an id, to all views.
"""

import base64
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import anywidget
import cv2
import ipywidgets
import jinja2
import numpy as np
import traitlets

from ..classes import CLASS_COLORS, CLASSES
from ..errors import UserError
from ..networks.load import EMBEDDED, load_network
from .memory import READY, WATCHED, Snapshots, Tries
from .outputs import COLORS
from .realtime import Pipeline
from .smoothing import SURE, Smoother
from .sources import DEMO, open_source

FOLDER = Path(__file__).parent
PAGE = jinja2.Template((FOLDER / "widget.html").read_text(encoding="utf-8")).render(colors=CLASS_COLORS)
BROWSER = "browser"
SOURCES = {"this browser's camera": BROWSER, "the kernel's camera 0": "0", "demo clip": DEMO}
# those for people's faces
CASCADES = "frontalface_default", "frontalface_alt", "frontalface_alt2", "frontalface_alt_tree", "profileface"
INVITATION = "Show an expression on purpose: press its button, and keep it for some seconds."
STYLE = {"description_width": "8em"}
QUALITY = 75  # of the JPEGs sent to the browser, of 100
WIDTH = 640  # pixels, at most
LATE = 0.5  # seconds after which a frame is shown although it is late, so that a slow machine shows something


class CameraView(anywidget.AnyWidget):
    """The picture with boxes, labels and bars. `source`: "browser", or what `open_source` takes, as text; `crop`: a box
    to tick for the largest face's crop beside it; `tried`: how the tries of expressions went."""

    _esm = FOLDER / "widget.js"
    _css = FOLDER / "widget.css"
    source = traitlets.Unicode(BROWSER).tag(sync=True)
    page = traitlets.Unicode(PAGE).tag(sync=True)
    give_up_seconds = traitlets.Float(10.0).tag(sync=True)  # the camera is released after that long a silence

    def __init__(self, pipeline: Pipeline, **options: object):
        super().__init__(**options)
        self.pipeline = pipeline
        self.crop = ipywidgets.Checkbox(description="show the crop that the network sees", indent=False)
        self.tried = ipywidgets.HTML(INVITATION, tooltip="")  # without one, it would be "null"
        self.snapshots, self.tries = Snapshots(), Tries()
        self._began = time.monotonic()
        self._playing: dict[str, tuple[Iterator[dict], threading.Timer]] = {}
        self._lock = threading.RLock()  # of `_playing`: handlers, cells and timers run in different threads
        self.on_msg(self._receive)

    def stop(self) -> None:
        """Release the camera, wherever it is."""
        for view in list(self._playing):
            self._close(view)
        self.send({"kind": "stop"})

    def label(self, image: np.ndarray | None) -> list[dict]:
        """The faces of a frame as a message says them; None is a frame that is no picture."""
        seconds = time.monotonic() - self._began
        faces = () if image is None else self.pipeline(image, seconds).faces
        self.snapshots.add(image, faces, seconds)
        if self.tries.see(faces[0].label if faces else None, time.monotonic()):
            self.tried.value = self.tries.html()
        said = []
        for face in faces:
            crop = _base64(".png", face.crop) if self.crop.value else ""
            about = {"box": face.box, "label": face.label, "caption": face.caption, "color": COLORS[face.label]}
            said.append(about | {"crop": crop, "probabilities": face.probabilities.tolist()})
        return said

    def _receive(self, _widget: object, content: object, _buffers: list) -> None:
        view = None
        try:
            view, kind = content["view"], content["kind"]
            if kind in ("start", "stop"):
                self._close(view)
                self.pipeline.reset()
            if kind == "frame":
                data = np.frombuffer(base64.b64decode(content["data"]), np.uint8)
                self.send({"kind": "frame", "view": view, "faces": self.label(cv2.imdecode(data, cv2.IMREAD_COLOR))})
            elif kind in ("start", "next"):
                self._play(view, self._frames() if kind == "start" else None)
        except (Exception, KeyboardInterrupt) as error:  # nothing else would show it, and the view waits for an answer
            self.send({"kind": "error", "view": view, "text": _text(error)})

    def _play(self, view: str, frames: Iterator[dict] | None) -> None:
        """Send the next message of a source, a new one or the one that plays to this view."""
        with self._lock:
            if not frames:
                if view not in self._playing:
                    raise UserError("The page was silent for too long, or the source was stopped; press Start again.")
                frames, timer = self._playing.pop(view)
                timer.cancel()
            message = next(frames)
            if message["kind"] == "frame":  # a page that was closed asks for no other
                timer = threading.Timer(self.give_up_seconds + message["early"], self._close, [view])
                timer.daemon = True
                timer.start()
                self._playing[view] = frames, timer
        self.send(message | {"view": view})

    def _frames(self) -> Iterator[dict]:
        """Messages of a source of the kernel's machine, opened at the first: its frames but the late ones, its end."""
        with open_source(self.source) as source:
            start = sent = time.monotonic()
            for frame in source:
                now = time.monotonic()
                if source.is_film and frame.seconds - (now - start) < -1 / source.rate and now - sent < LATE:
                    continue
                if not source.is_film:
                    self.pipeline.reset()
                faces = self.label(frame.image)
                height, width = frame.image.shape[:2]
                size = WIDTH, round(height * WIDTH / width)
                small = cv2.resize(frame.image, size) if width > WIDTH else frame.image
                message = {"kind": "frame", "faces": faces, "width": width, "height": height}
                message |= {"data": _base64(".jpg", small), "age": time.monotonic() - now}
                yield message | {"early": max(frame.seconds - (time.monotonic() - start), 0)}
                sent = time.monotonic()
        yield {"kind": "end", "text": " ".join(source.problems) or f"End of {source.name}."}

    def _close(self, view: str) -> None:
        """Give back the source that plays to this view, if there is one."""
        with self._lock:
            if view in self._playing:
                frames, timer = self._playing.pop(view)
                timer.cancel()
                frames.close()


class LiveCamera(ipywidgets.VBox):
    """The camera with its controls: source, network, cascade, smoothing, how long a label stays, and what is sure.

    `networks`: name -> checkpoint or run folder, as `load_network` takes them; by default the embedded one. `source`: a
    video, an image or a folder to offer too. `snapshots` holds the most confident look of each expression so far,
    `tries.counts` how expressions shown on purpose were labelled, both in memory only; `stop` releases the camera,
    wherever it is. Raises UserError for a network that is not there; a source's faults are said when it is started.
    """

    def __init__(self, networks: Mapping[str, str | Path] | None = None, source: str | Path = BROWSER):
        sources = SOURCES if str(source) in SOURCES.values() else SOURCES | {Path(source).name: str(source)}
        self.network = _dropdown("network", "What labels the faces", networks or {EMBEDDED.stem: EMBEDDED})
        self.cascade = _dropdown("cascade", "What finds the faces; the first is the paper's", CASCADES)
        self.smoother = Smoother()
        self.smoothing = _slider("smoothing (s)", "Seconds over which probabilities are averaged; 0: none", 0.3, 2)
        self.duration = _slider("label stays (s)", "Seconds that a label stays at least", 0.5, 5)
        self.threshold = _slider("sure from", "The least probability of a label; below: not sure", SURE, 1)
        self.view = CameraView(self._pipeline(), source=str(source))
        self.snapshots, self.tries, self.stop = self.view.snapshots, self.view.tries, self.view.stop
        self.source = _dropdown("source", "Where the pictures come from", sources, value=str(source))
        self.problem, self.tried, self.crop = ipywidgets.HTML(tooltip=""), self.view.tried, self.view.crop
        traitlets.dlink((self.source, "value"), (self.view, "source"))
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

    def _pipeline(self) -> Pipeline:
        network = load_network(self.network.value)
        return Pipeline(network.model, network.transform, self.smoother, cascade=self.cascade.value)

    def _rebuild(self, _: object) -> None:
        """A running camera goes on with the new pipeline from its next frame on."""
        try:
            self.view.pipeline = self._pipeline()
            self.problem.value = ""
        except Exception as error:  # shown nowhere else
            self.problem.value = escape(_text(error))

    def _tune(self, _: object) -> None:
        self.smoother.time_constant, self.smoother.display_duration = self.smoothing.value, self.duration.value
        self.smoother.threshold = self.threshold.value

    def _try(self, button: ipywidgets.Button) -> None:
        self.tried.value = f"Show <b>{button.description}</b> now, and keep it for {READY + WATCHED:g} seconds."
        self.tries.begin(button.description, time.monotonic())


def _dropdown(name: str, tooltip: str, options: Mapping | Sequence, **value: str) -> ipywidgets.Dropdown:
    look = {"layout": ipywidgets.Layout(width="30em", max_width="100%", margin="2px 0"), "style": STYLE}
    titled = f'<span title="{tooltip}">{name}</span>'  # a dropdown with a description shows no tooltip of its own
    return ipywidgets.Dropdown(options=options, description=titled, description_allow_html=True, **look, **value)


def _slider(name: str, tooltip: str, value: float, most: float) -> ipywidgets.FloatSlider:
    options = {"step": 0.1, "readout_format": ".1f", "style": STYLE}
    return ipywidgets.FloatSlider(value, max=most, description=name, tooltip=tooltip, **options)


def _base64(ending: str, image: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(ending, image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1]).decode()


def _text(error: Exception) -> str:
    """The message of an error that was foreseen; otherwise its kind too."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
