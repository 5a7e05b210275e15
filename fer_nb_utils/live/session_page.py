"""A live session's figures, which write nothing, and a page about it that needs no other file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from IPython.core.pylabtools import print_figure
from matplotlib.figure import Figure

from ..classes import CLASS_COLORS, CLASSES, NOT_SURE
from ..figures.style import FAINT, bare, finish, percent, style
from ..files import write_text
from .memory import Snapshot
from .outputs import COLORS
from .realtime import summary

PAGE = Path(__file__).parent / "session_page.html"


def how_sure(table: pd.DataFrame) -> pd.DataFrame:
    """A row a label: how many of the faces, frame by frame, had it, their share, and the median of their largest
    probability, all 0 to 1."""
    found = table.dropna(subset="face")
    largest = found[list(CLASSES)].max(axis=1).groupby(found["label"])
    rows = pd.DataFrame({"faces": largest.size(), "probability": largest.median()})
    rows.insert(1, "share", rows["faces"] / len(found))
    rows = rows.reindex([name for name in (*CLASSES, NOT_SURE) if name in rows.index])
    return rows.rename_axis(index=None, columns="label")


@style()
def probabilities_over_time(
    table: pd.DataFrame, spans: Sequence[tuple[float, float, str]] = (), note: str = ""
) -> Figure:
    """The smoothed probabilities of each frame's largest face, and below them the label shown.

    `table` as `realtime_prediction` returns it; `spans`: seconds from and to, and what was to be seen then.
    """
    first = table.drop_duplicates("frame").dropna(subset="face")
    figure, (axis, ribbon) = plt.subplots(2, 1, figsize=(10.5, 4.3), sharex=True, height_ratios=(7, 1))
    for name in CLASSES:
        axis.plot(first["seconds"], first[name], color=CLASS_COLORS[name], label=name)
        if first[name].max() > 0.3:  # its peak carries its name, for those who see no colours
            peak = first.loc[first[name].idxmax(), ["seconds", name]]
            axis.annotate(name, peak, (0, 3), textcoords="offset points", ha="center", fontsize=9)
    axis.set(ylabel="probability", ylim=(0, 1.02))
    percent(axis)
    step = first["seconds"].diff().median() if len(first) > 1 else 1
    ribbon.bar(first["seconds"], 1, step * 1.02, align="edge", color=first["label"].map(COLORS), linewidth=0)
    ribbon.set(ylim=(0, 1), yticks=[], xlabel="seconds")
    ribbon.set_ylabel("label", rotation=0, ha="right", va="center")
    for start, end, text in spans:
        axis.axvline(start, color=FAINT, linewidth=0.8, linestyle=":")
        axis.annotate(text, ((start + end) / 2, 1.03), xycoords=("data", "axes fraction"), ha="center", fontsize=9)
    for panel in (axis, ribbon):
        panel.grid(axis="x", visible=False)
        panel.margins(x=0)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return finish(figure, "Probabilities over time", note)


@style()
def snapshot_grid(snapshots: Mapping[str, Snapshot], note: str = "") -> Figure:
    """Fig. 5: the most confident look of each expression; one that was never seen stays empty."""
    figure, axes = plt.subplots(1, len(CLASSES), figsize=(1.75 * len(CLASSES), 2.9))
    for axis, name in zip(axes, CLASSES, strict=True):
        bare(axis)
        axis.set_title(name, loc="center", color=CLASS_COLORS[name], fontweight="bold")
        if name in snapshots:
            shown = snapshots[name]
            axis.imshow(shown.image[:, :, ::-1])
            axis.set_xlabel(f"{shown.probability:.0%} at {shown.seconds:.1f} s", fontsize=9, color=FAINT)
        else:
            axis.set(aspect=1, xlim=(0, 1), ylim=(0, 1))
            axis.spines[:].set(visible=True, color="#bbbbbb", linestyle="--")
            axis.text(0.5, 0.5, "never\nseen", ha="center", va="center", color=FAINT)
    return finish(figure, "The most confident look of each expression", note)


def write_page(table: pd.DataFrame, snapshots: Mapping[str, Snapshot], network: str, path: Path) -> None:
    """Write the page: probabilities over time, labels and how sure, faces at once, snapshots, the summary.

    `table`: of a session with frames. The page holds pictures of faces.
    """
    source, pictures = table.attrs["source"], {}
    for figure in (probabilities_over_time(table, note=source), snapshot_grid(snapshots, note=source)):
        pictures[figure.get_suptitle()] = print_figure(figure, bbox_inches=None, dpi=130, base64=True)
    at_once = table.groupby("frame")["face"].count().value_counts().sort_index().items()
    content = {"source": source, "network": network, "summary": summary(table), "figures": pictures}
    content |= {"labels": how_sure(table).round(2).to_html(border=0), "at_once": at_once}
    page = jinja2.Template(PAGE.read_text(encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined)
    write_text(path, page.render(content))
