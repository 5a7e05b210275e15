"""What the cells of the classroom's lesson need: checks, quizzes, a live curve, a short training."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import torch
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import ResNet

from fer_nb_utils.networks.resnets import split_at, train_mode
from fer_nb_utils.networks.transforms import batches

QUIZZES = Path(__file__).with_name("quizzes.toml")


class NotYetError(Exception):
    """An exercise that is not right yet; a notebook shows the sentence alone, and *Run All* stops there."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"Not yet: {self}"]


@contextmanager
def checking(exercise: str) -> Iterator[None]:
    """Say in a sentence whether the assertions inside hold; raise NotYetError with that of the first that doesn't."""
    try:
        yield
    except AssertionError as error:
        raise NotYetError(error) from None
    except NotImplementedError:
        raise NotYetError(f"{exercise} is still empty; write it in the cell above, and run that cell.") from None
    except Exception as error:
        raise NotYetError(f"{exercise} stops with {type(error).__name__}: {error}") from None
    print(f"Right: {exercise}.")


def quiz(name: str) -> ipywidgets.VBox:
    """The answers to one of the lesson's questions: choose one, then see what is to be said about it."""
    answers = tomllib.loads(QUIZZES.read_text(encoding="utf-8"))[name]
    wide = {"layout": ipywidgets.Layout(width="auto")}
    choice = ipywidgets.RadioButtons(options=list(answers), index=None, **wide)
    remark = ipywidgets.HTML()

    def show(_: object) -> None:
        remark.value = f"<p><b>{escape(choice.value)}</b>: {escape(answers[choice.value])}</p>"

    choice.observe(show, "value")
    return ipywidgets.VBox([choice, remark])


class LiveCurve:
    """A curve below a cell that grows while the cell runs."""

    def __init__(self, ylabel: str, xlabel: str, reference: float, name: str):
        self.values: list[float] = []
        self.texts, self.reference, self.name = {"xlabel": xlabel, "ylabel": ylabel}, reference, name
        self.shown = display(self.figure(), display_id=True)

    def figure(self) -> Figure:
        figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
        axis.plot(range(1, len(self.values) + 1), self.values, color="#332288")
        axis.axhline(self.reference, color="#6b6b6b", linestyle=":")
        axis.annotate(self.name, (0.99, self.reference), xycoords=("axes fraction", "data"), ha="right", va="bottom")
        axis.set(**self.texts, ylim=(0, 1.25 * max([self.reference, *self.values])))
        plt.close(figure)  # or the cell would show it once more at its end
        return figure

    def add(self, *values: float) -> None:
        self.values += values
        self.shown.update(self.figure())


def frozen_features(model: ResNet, trainable: str, *parts: Tensor) -> list[Tensor]:
    """What the layers frozen below `trainable` make of network inputs (n, 3, size, size): once, for many passes."""
    backbone = split_at(model, trainable)[0].eval()
    with torch.no_grad():
        return [torch.cat([backbone(few) for few in part.split(128)]) for part in parts]


def fit(head: nn.Module, features: Tensor, labels: Tensor, passes: int, seed: int) -> Iterator[None]:
    """Train `head` in batches of 64 (AdamW, learning rate 0.001), with a halt after each pass."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([weights for weights in head.parameters() if weights.requires_grad], lr=0.001)
    for _ in range(passes):
        train_mode(head)
        for few in batches(torch.randperm(len(labels), generator=generator), 64):
            optimizer.zero_grad()
            cross_entropy(head(features[few]), labels[few]).backward()
            optimizer.step()
        yield


@torch.no_grad()
def accuracy(head: nn.Module, features: Tensor, labels: Tensor) -> float:
    """The share of `labels` that the head, in evaluation mode, gives."""
    return (head.eval()(features).argmax(dim=1) == labels).float().mean().item()
