"""The look of all figures: one colour for each class and each model, title above, note below."""

import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

INK, FAINT = "#222222", "#6b6b6b"
MODEL_STYLES = {"resnet18": ("#0072B2", "o"), "resnet34": ("#E69F00", "s"), "resnet50": ("#009E73", "^")}
OTHER_STYLES = (("#D55E00", "D"), ("#CC79A7", "v"), ("#56B4E9", "P"), ("#7A7A7A", "X"))


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context or a decorator."""
    settings = {
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
        "figure.dpi": 100,
        "grid.color": "#e6e6e6",
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "text.color": INK,
        "text.parse_math": False,  # names of data and runs may hold "$"
        "xtick.color": FAINT,
        "ytick.color": FAINT,
    }
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.1), plt.rc_context(settings):
        yield


def finish(figure: Figure, title: str, note: str) -> Figure:
    """Title above and note below, both inside the constrained layout."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    if note:
        width = int(figure.get_figwidth() * 18)  # characters of 8-point text that fit a line
        figure.supxlabel(textwrap.fill(note, width), x=0.01, ha="left", fontsize=8, style="italic", color=FAINT)
    return figure


def run_styles(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each run: its model's, unless another run of that model has them already."""
    spare, taken, styles = iter(OTHER_STYLES * 4), set(), {}
    for name in names:
        model = next((model for model in MODEL_STYLES if model in name.lower().replace("-", "")), None)
        styles[name] = next(spare) if model is None or model in taken else MODEL_STYLES[model]
        taken.add(model)
    return styles


def percent(axis: Axes, which: str = "y") -> None:
    """Label the ticks of an axis of shares in per cent."""
    (axis.yaxis if which == "y" else axis.xaxis).set_major_formatter(PercentFormatter(1, decimals=0))


def bare(axis: Axes) -> None:
    """No ticks, frame or grid: a picture."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
