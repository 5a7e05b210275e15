"""Fig. 1: the architecture of a ResNet, drawn from the model itself."""

from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from torch import nn

from ..networks.cost import count_parameters, describe_layers, describe_stages, multiply_adds
from .style import FAINT, INK, SMALL, WIDTH

# fill, edge, line: told apart by hue, lightness and line style, so also in grey or without colour vision
LOOKS = {
    "frozen": ("#e3ebf2", "#46627f", (0, (4, 2))),
    "trained": ("#f6b56b", "#8c4a00", "solid"),
    "": ("#f4f4f4", "#808080", "solid"),
}
NOTES = """In brackets: channels, height, width.
Batch normalisation and ReLU follow each convolution of a block,
except the last: there ReLU follows the addition (+) of the shortcut.
A double frame stands for several identical blocks in a row."""

# inches
MARGIN, TITLE, GAP = 0.15, 0.55, 0.17
STAGE_WIDTH, BLOCK_HEIGHT, PLAIN_HEIGHT = 2.1, 1.12, 0.28
ZOOM_LEFT, BLOCK_GAP, LINE_GAP, TEXT_WIDTH = MARGIN + STAGE_WIDTH + 0.4, 0.15, 0.24, 6.7
CONV_WIDTH, CONV_HEIGHT, CONV_GAP = 1.22, 0.42, 0.17
PATH_MIDDLE = 0.1 + CONV_HEIGHT / 2  # above the bottom of a block


@dataclass(frozen=True)
class Block:
    """A residual block, or a run of identical ones."""

    label: str
    count: int
    path: list[pd.Series]  # rows of describe_layers on the main path
    shortcut: pd.Series | None  # the row of the projection, None where the input is added as it is

    @property
    def width(self) -> float:
        return len(self.path) * (CONV_WIDTH + CONV_GAP) + 0.65


def draw_architecture(model: nn.Module, name: str, image_size: int) -> Figure:
    """Fig. 1 for a torchvision ResNet, called `name`, fed with RGB images of image_size x image_size pixels.

    Left, one box a module: its name in bold, kernel sizes, output dimensions in brackets. Right, the residual blocks
    of each stage, in two lines where one would be too wide; a run of identical blocks is drawn once.
    """
    stages = describe_stages(model, image_size)
    layers = describe_layers(model, image_size)
    lines = {stage: _lines(residual_blocks(model, stage, layers)) for stage in stages["module"]}
    heights = {stage: _height(lines[stage]) for stage in lines}
    zoom_width = max(TEXT_WIDTH, *(_width(line) for stage in lines for line in lines[stage]))
    width = ZOOM_LEFT + zoom_width + MARGIN
    height = 2 * MARGIN + TITLE + PLAIN_HEIGHT + sum(heights.values()) + GAP * len(heights)
    figure = plt.figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()

    top = height - MARGIN
    place = {"x": MARGIN / width, "y": (top - TITLE / 3) / height, "ha": "left", "va": "center"}
    figure.suptitle(f"Architecture of {name}", fontsize=13, weight="bold", color=INK, **place)
    axes.text(ZOOM_LEFT + 0.75, top - TITLE / 3, _facts(model, image_size), fontsize=9.5, color=INK, va="center")
    top -= TITLE
    _legend(axes, set(stages["status"]), top)
    image = _brackets((3, image_size, image_size))
    _box(axes, (MARGIN, top, STAGE_WIDTH, PLAIN_HEIGHT), "", "$\\bf{input}$   " + image)
    top -= PLAIN_HEIGHT
    middle = MARGIN + STAGE_WIDTH / 2
    for stage in stages.itertuples():
        _arrow(axes, (middle, top), (middle, top - GAP))
        top -= GAP
        box = (MARGIN, top, STAGE_WIDTH, heights[stage.module])
        _box(axes, box, stage.status, _stage_text(stage, bool(lines[stage.module])))
        _zoom(axes, box, lines[stage.module])
        top -= heights[stage.module]
    return figure


def residual_blocks(model: nn.Module, stage: str, layers: pd.DataFrame) -> list[Block]:
    """The residual blocks of a stage in order, identical neighbours merged; none for a plain module.

    `layers`: describe_layers of the model.
    """
    described = []
    for index, block in getattr(model, stage).named_children():
        rows = layers[layers["name"].str.startswith(f"{stage}.{index}.")]
        projection = rows["name"].str.contains(".downsample.", regex=False)
        looks = (type(block).__name__, *zip(rows["kernel"], rows["output"], projection, strict=True))
        described.append((looks, index, rows[~projection], rows[projection]))

    blocks = []
    for (kind, *_), run in groupby(described, key=lambda item: item[0]):
        run = list(run)
        _, first, path, shortcut = run[0]
        label = f"{stage}.{first}" if len(run) == 1 else f"{stage}.{first} to {stage}.{run[-1][1]}"
        projection = None if shortcut.empty else shortcut.iloc[0]
        rows = [row for _, row in path.iterrows()]
        blocks.append(Block(f"{label}: {len(run)} × {kind}", len(run), rows, projection))
    return blocks


def _facts(model: nn.Module, image_size: int) -> str:
    total, trained = count_parameters(model)
    work = f"{multiply_adds(model, image_size) / 1e9:.2f} G multiply-adds at {image_size} × {image_size} pixels"
    return f"{total:,} parameters, {trained:,} of them trained\n{work}"


def _stage_text(stage: NamedTuple, has_blocks: bool) -> str:
    """`stage`: a row of describe_stages."""
    name, shape = rf"$\bf{{{stage.module}}}$", _brackets(stage.output)
    if has_blocks:
        return "\n".join([name, stage.kind, stage.kernel, shape, f"{stage.parameters:,} parameters"])
    return "   ".join(filter(None, [name, stage.kernel, shape]))


def _brackets(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _width(line: list[Block]) -> float:
    return sum(block.width for block in line) + BLOCK_GAP * (len(line) - 1)


def _lines(blocks: list[Block]) -> list[list[Block]]:
    """The blocks in one line, or one below the other where the figure would be wider than WIDTH."""
    if not blocks:
        return []
    return [blocks] if ZOOM_LEFT + _width(blocks) + MARGIN <= WIDTH else [[block] for block in blocks]


def _height(lines: list[list[Block]]) -> float:
    return len(lines) * (BLOCK_HEIGHT + LINE_GAP) - LINE_GAP if lines else PLAIN_HEIGHT


def _zoom(axes: Axes, box: tuple, lines: list[list[Block]]) -> None:
    """The blocks of a stage, in the order of the data, right of its box (left, top, width, height)."""
    left, top, width, height = box
    right = left + width
    if lines:
        band = {"color": "#ececec", "linewidth": 0, "zorder": 0.4}
        axes.add_patch(Rectangle((right, top - height), ZOOM_LEFT - right, height, **band))
    for number, line in enumerate(lines):
        x, y = ZOOM_LEFT, top - number * (BLOCK_HEIGHT + LINE_GAP)
        if number:
            _arrow(axes, (x + line[0].width / 2, y + LINE_GAP), (x + line[0].width / 2, y))
        for block in line:
            _block(axes, block, x, y)
            if block is not line[0]:
                middle = y - BLOCK_HEIGHT + PATH_MIDDLE
                _arrow(axes, (x - BLOCK_GAP, middle), (x, middle))
            x += block.width + BLOCK_GAP


def _block(axes: Axes, block: Block, left: float, top: float) -> None:
    """Main path along the bottom, shortcut above it, both into the addition."""
    for offset in (0.05, 0) if block.count > 1 else (0,):
        frame = (left + offset, top - offset, block.width, BLOCK_HEIGHT)
        _rounded(axes, frame, facecolor="white", edgecolor="#9a9a9a", linewidth=0.8, zorder=0.5)
    axes.text(left + 0.08, top - 0.11, block.label, fontsize=SMALL, color=FAINT, va="center")
    middle = top - BLOCK_HEIGHT + PATH_MIDDLE
    bypass = middle + CONV_HEIGHT / 2 + 0.2
    fork, plus = left + 0.12, left + block.width - 0.22
    x = fork + CONV_GAP
    _line(axes, [left, fork], [middle, middle])
    start = fork
    for layer in block.path:
        _arrow(axes, (start, middle), (x, middle))
        _layer(axes, layer, (x, middle + CONV_HEIGHT / 2, CONV_WIDTH, CONV_HEIGHT), "\n")
        start = x + CONV_WIDTH
        x = start + CONV_GAP
    _arrow(axes, (start, middle), (plus - 0.09, middle))
    _line(axes, [fork, fork, plus], [middle, bypass, bypass])
    _arrow(axes, (plus, bypass), (plus, middle + 0.09))
    axes.add_patch(Circle((plus, middle), 0.09, facecolor="white", edgecolor=INK, linewidth=0.9))
    axes.text(plus, middle - 0.005, "+", fontsize=SMALL, ha="center", va="center", color=INK)
    _line(axes, [plus + 0.09, left + block.width], [middle, middle])
    if block.shortcut is not None:
        box = ((fork + plus) / 2 - CONV_WIDTH, bypass + 0.1, 2 * CONV_WIDTH, 0.2)
        _layer(axes, block.shortcut, box, "  ")


def _layer(axes: Axes, layer: pd.Series, box: tuple, separator: str) -> None:
    name = layer["name"].split(".")[2]  # of layer1.0.conv1 or layer2.0.downsample.0
    text = rf"$\bf{{{name}}}$  {layer.kernel}{separator}{_brackets(layer.output)}"
    _box(axes, box, "trained" if layer.trained else "frozen", text, fontsize=SMALL)


def _box(axes: Axes, box: tuple, status: str, text: str, fontsize: float = SMALL) -> None:
    """A rounded box (left, top, width, height) with centred text."""
    left, top, width, height = box
    fill, edge, style = LOOKS[status]
    _rounded(axes, box, facecolor=fill, edgecolor=edge, linestyle=style, linewidth=1.1)
    middle = (left + width / 2, top - height / 2)
    axes.text(*middle, text, fontsize=fontsize, color=INK, ha="center", va="center", linespacing=1.3)


def _rounded(axes: Axes, box: tuple, **style) -> None:
    left, top, width, height = box
    shape = "round,pad=0,rounding_size=0.05"
    axes.add_patch(FancyBboxPatch((left, top - height), width, height, shape, **style))


def _line(axes: Axes, x: list[float], y: list[float]) -> None:
    axes.plot(x, y, color=INK, linewidth=0.9, zorder=0.8)  # under the boxes


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    head = "-|>,head_width=0.16,head_length=0.3"
    style = {"arrowstyle": head, "mutation_scale": 10, "color": INK, "linewidth": 0.9}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **style))


def _legend(axes: Axes, statuses: set[str], top: float) -> None:
    handles = [
        Patch(facecolor=fill, edgecolor=edge, linestyle=style, label=status or "no parameters")
        for status, (fill, edge, style) in LOOKS.items()
        if status in statuses
    ]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(ZOOM_LEFT, top), fontsize=SMALL, frameon=False,
                bbox_transform=axes.transData, borderaxespad=0, borderpad=0)  # fmt: skip
    axes.text(ZOOM_LEFT + 1.8, top, NOTES, fontsize=SMALL, color=FAINT, va="top", linespacing=1.45)
