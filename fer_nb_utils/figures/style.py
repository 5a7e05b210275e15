"""The look of all figures: colours, line styles and markers, title above, note below, no text under 9 points.

One colour, one meaning: a class, a network or another training run. In grey, classes differ by line style or stand
beside their name, networks and runs by marker and lightness; solid is training, dashed and hollow validation. Colours
of networks and runs, after Tol's "muted" (https://sronpersonalpages.nl/~pault/), stay apart with any common
colour-blindness. `note`, below a figure, says about which data and runs it speaks.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.ticker import PercentFormatter

from ..classes import CLASSES

LOOK = Path(__file__).with_name("look.mplstyle")
INK, FAINT = "#222222", "#6b6b6b"
SMALL = 9  # points, the smallest text
WIDTH = 10  # inches, the widest figure: as much as JupyterLab shows unshrunk beside its file browser
# on, off in line widths
DASHES = ((), (6, 1.5), (1, 1), (6, 1.5, 1, 1.5), (3, 1.5), (6, 1.5, 1, 1.5, 1, 1.5), (1, 2.5))
CLASS_LINES = {name: (0, dashes) if dashes else "solid" for name, dashes in zip(CLASSES, DASHES, strict=True)}
MODEL_STYLES = {"resnet18": ("#332288", "o"), "resnet34": ("#AA4499", "s"), "resnet50": ("#999933", "^")}
RUN_STYLES = (("#2F8F80", "D"), ("#DD8899", "v"), ("#882255", "P"), ("#661100", "X"))
CURVE_STYLES = (*RUN_STYLES, ("#332288", "o"), ("#999933", "^"), (INK, "s"), (FAINT, "*"))
PAPER_MARK = {"color": INK, "marker": "_", "linestyle": ""}  # of the paper's numbers beside ours


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context or a decorator."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.1), plt.style.context(LOOK):
        yield


def finish(figure: plt.Figure, title: str, note: str) -> plt.Figure:
    """Title above and note below, both inside the constrained layout."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    if note:
        width = int(figure.get_figwidth() * 15.5)  # characters of SMALL text that fit a line
        figure.supxlabel(textwrap.fill(note, width), x=0.01, ha="left", fontsize=SMALL, style="italic", color=FAINT)
    return figure


def legend_below_title(figure: plt.Figure, keys: Mapping[str, dict], columns: int | None = None) -> None:
    """One legend for all panels, between the title of `finish` and the panels: the looks of a line by its label."""
    handles = [plt.Line2D([], [], label=label, **looks) for label, looks in keys.items()]
    columns = min(columns or len(handles), len(handles))
    height = figure.get_figheight()
    room = (0.12 + 0.2 * -(-len(handles) // columns)) / height
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room))
    place = {"loc": "upper left", "bbox_to_anchor": (0, 1 - 0.3 / height), "borderaxespad": 0}
    figure.legend(handles=handles, ncols=columns, columnspacing=1.5, **place)


def run_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each run: a network's own for a run named after it alone, one of the others for the rest."""
    spare = cycle(RUN_STYLES)
    return {name: MODEL_STYLES.get(name.lower().replace("-", "")) or next(spare) for name in names}


def percent(axis: plt.Axes, which: str = "y") -> None:
    """Label the ticks of an axis of shares in per cent, with decimals where its range is as small as to need them."""
    (axis.yaxis if which == "y" else axis.xaxis).set_major_formatter(PercentFormatter(1))


def bare(axis: plt.Axes) -> None:
    """No ticks, frame or grid: a picture."""
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
