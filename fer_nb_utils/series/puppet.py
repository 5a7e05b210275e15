"""The puppet: a drawn face moved by its action units, and a network's answer; a class's camera without anybody's face.

Names of the action units after P. Ekman and W. V. Friesen, "Facial Action Coding System" (1978).
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from ..classes import CLASS_COLORS, CLASSES
from ..data.face_drawing import View
from ..data.synthetic import ACTION_UNITS, draw_face, draw_units, random_identity
from ..networks.load import Network, load_network, one_thread
from ..networks.prediction import predict
from .widgets import HTML, UNIT_NAMES, bars, data_url, row, slider, width

UNITS = {int(unit): name for unit, name in UNIT_NAMES.items()}
SIZE = 48  # pixels of the face that the network sees, as in FER-2013
SCALE = 1.25  # framed about as closely as FER-2013


class Puppet(ipywidgets.VBox):
    """Sliders for action units, person, light and pose, the face, and the seven probabilities of a chosen network.

    `networks`: what to call each -> a network, or the path of one.
    """

    def __init__(self, networks: Mapping[str, Network | str | Path]):
        self.networks, self.moving = dict(networks), False
        self.network = ipywidgets.Dropdown(options=list(networks), description="network", layout=width(260))
        self.start = ipywidgets.Dropdown(options=CLASSES, value="neutral", description="start from", layout=width(260))
        self.person = ipywidgets.BoundedIntText(value=3, max=9999, description="person", layout=width(180))
        self.units = {unit: _knob(f"AU {unit} {name}", 0, 1) for unit, name in UNITS.items()}
        self.light = _knob("light, from left to right", -0.9, 0.9, -0.25)
        self.yaw, self.tilt = _knob("turned", -0.4, 0.4), _knob("tilted, degrees", -25, 25)
        self.face, self.answer = ipywidgets.HTML(layout=width(230)), ipywidgets.HTML(layout=width(282))
        self.start.observe(self._express, "value")
        for control in (self.network, self.person, self.light, self.yaw, self.tilt, *self.units.values()):
            control.observe(self._show, "value")
        sliders = ipywidgets.VBox([*self.units.values(), self.light, self.yaw, self.tilt])
        shown = ipywidgets.VBox([self.face, self.answer])
        super().__init__([row(self.network, self.start, self.person), row(shown, sliders)])
        self._show()

    def draw(self) -> np.ndarray:
        """The face as the sliders say, uint8, twice as large as the network sees it."""
        identity = random_identity(np.random.default_rng(self.person.value))
        view = View(scale=SCALE, yaw=self.yaw.value, tilt=self.tilt.value, light=(self.light.value, -0.45))
        return draw_units(identity, {unit: knob.value for unit, knob in self.units.items()}, 2 * SIZE, view)

    def _express(self, _: object) -> None:
        """Move the sliders to an expression, and show it once."""
        self.moving = True
        for unit, knob in self.units.items():
            knob.value = float(unit in ACTION_UNITS[self.start.value])
        self.moving = False
        self._show()

    def _show(self, _: object = None) -> None:
        if self.moving:
            return
        name = self.network.value
        if not isinstance(network := self.networks[name], Network):  # read when it is first asked
            network = self.networks[name] = load_network(network)
        face = self.draw()
        seen = cv2.resize(face, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        with one_thread():
            (answer,) = predict(network.model, torch.from_numpy(seen[None]), network.transform)
        self.face.value = HTML.picture(data_url(face), "the drawn face")
        self.answer.value = bars(dict(zip(CLASSES, answer, strict=True)), {CLASSES[answer.argmax()]: ("#8c4a00", " ◂")})


@plt.rc_context({"text.parse_math": False})  # a network may have dollars in its name
def puppet_sheet(network: Network, person: int = 3) -> Figure:
    """The seven expressions of one person at full strength, each above the network's seven probabilities."""
    identity = random_identity(np.random.default_rng(person))
    faces = np.stack([draw_face(identity, name, 1.0, SIZE, View(scale=SCALE)) for name in CLASSES])
    answers = predict(network.model, torch.from_numpy(faces), network.transform)
    figure, axes = plt.subplots(2, 7, figsize=(10, 3.6), layout="constrained", height_ratios=(3, 2))
    for column, face, answer, name in zip(axes.T, faces, answers, CLASSES, strict=True):
        column[0].imshow(face, cmap="gray")
        units = " ".join(map(str, ("AU", *ACTION_UNITS[name]))) if ACTION_UNITS[name] else "at rest"
        column[0].set(title=f"{name}\n{units}", xticks=[], yticks=[])
        column[0].title.set_fontsize(9)
        column[1].barh(CLASSES, answer, color=CLASS_COLORS.values())
        column[1].set(xlim=(0, 1), xticks=(0, 1))
        column[1].tick_params(labelleft=name == CLASSES[0])
        column[1].invert_yaxis()
    figure.suptitle(f"Drawn faces, and the answers of the network {network.name}")
    return figure


def _knob(text: str, low: float, high: float, value: float = 0.0) -> ipywidgets.FloatSlider:
    return slider(text, 268, low, high, value, (high - low) / 50)
