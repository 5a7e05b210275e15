"""Fig. 1: the architecture of a ResNet, drawn from the model itself."""

from dataclasses import dataclass
from itertools import groupby

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from torch import nn

from ..networks.cost import count_parameters, describe_layers, describe_stages
from .style import FAINT, INK, SMALL

# told apart by hue, lightness and line style, so also in grey or without colour vision
LOOKS = {
    "frozen": {"facecolor": "#e3ebf2", "edgecolor": "#46627f", "linewidth": 1.1, "linestyle": (0, (4, 2))},
    "trained": {"facecolor": "#f6b56b", "edgecolor": "#8c4a00", "linewidth": 1.1},
    "": {"facecolor": "#f4f4f4", "edgecolor": "#808080", "linewidth": 1.1},
}
FRAME = {"facecolor": "white", "edgecolor": "#9a9a9a", "linewidth": 0.8, "zorder": 0.5}  # of a block
NOTES = """In brackets: channels, height, width.
Batch normalisation and ReLU follow each convolution of a block,
except the last: there ReLU follows the addition (+) of the shortcut."""

# inches
MARGIN, TITLE, GAP = 0.15, 0.55, 0.17
STAGE_WIDTH, BLOCK_HEIGHT, PLAIN_HEIGHT = 2.1, 1.12, 0.28
BLOCKS_LEFT, LINE_GAP, FIGURE_WIDTH = MARGIN + STAGE_WIDTH + 0.4, 0.24, 9.5
CONV_WIDTH, CONV_HEIGHT, CONV_GAP = 1.22, 0.42, 0.17


@dataclass(frozen=True)
class Block:
    """A residual block, or a run of identical ones."""

    label: str
    path: list[tuple]  # rows of describe_layers on the main path
    shortcut: tuple | None  # the row of the projection, None where the input is added as it is


def draw_architecture(model: nn.Module, name: str, image_size: int) -> plt.Figure:
    """Fig. 1 for a torchvision ResNet, called `name`, fed with RGB images of image_size x image_size pixels.

    Left, one box a module: its name in bold, kernel sizes, output dimensions in brackets. Right, the residual blocks
    of each stage, one below the other; a run of identical blocks is drawn once.
    """
    stages = describe_stages(model, image_size)
    layers = describe_layers(model, image_size)
    blocks = [residual_blocks(model, stage, layers) for stage in stages["module"]]
    heights = [len(of) * (BLOCK_HEIGHT + LINE_GAP) - LINE_GAP if of else PLAIN_HEIGHT for of in blocks]
    height = 2 * MARGIN + TITLE + PLAIN_HEIGHT + sum(heights) + GAP * len(heights)
    figure = plt.figure(figsize=(FIGURE_WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, FIGURE_WIDTH), ylim=(0, height))
    axes.set_axis_off()

    top = height - MARGIN
    place = {"x": MARGIN / FIGURE_WIDTH, "y": (top - TITLE / 3) / height, "ha": "left", "va": "center"}
    figure.suptitle(f"Architecture of {name}", fontsize=13, weight="bold", color=INK, **place)
    total, trained = count_parameters(model)
    facts = f"{total:,} parameters, {trained:,} of them trained\n{layers['multiply_adds'].sum() / 1e9:.2f} G "
    facts += f"multiply-adds at {image_size} × {image_size} pixels"
    axes.text(BLOCKS_LEFT + 0.75, top - TITLE / 3, facts, fontsize=9.5, color=INK, va="center")
    top -= TITLE
    statuses = [status for status in LOOKS if status in set(stages["status"])]
    handles = [Patch(label=status or "no parameters", **LOOKS[status]) for status in statuses]
    place = {"loc": "upper left", "bbox_to_anchor": (BLOCKS_LEFT, top), "bbox_transform": axes.transData}
    axes.legend(handles=handles, fontsize=SMALL, frameon=False, borderaxespad=0, borderpad=0, **place)
    axes.text(BLOCKS_LEFT + 1.8, top, NOTES, fontsize=SMALL, color=FAINT, va="top", linespacing=1.45)
    image = _brackets((3, image_size, image_size))
    _box(axes, (MARGIN, top, STAGE_WIDTH, PLAIN_HEIGHT), LOOKS[""], "$\\bf{input}$", image)
    top -= PLAIN_HEIGHT
    middle = MARGIN + STAGE_WIDTH / 2
    for stage, of, stage_height in zip(stages.itertuples(), blocks, heights, strict=True):
        _arrow(axes, (middle, top), (middle, top - GAP))
        top -= GAP
        facts = (stage.kind, stage.kernel, _brackets(stage.output), f"{stage.parameters:,} parameters")
        facts, between = (facts, "\n") if of else (facts[1:3], "   ")
        name = rf"$\bf{{{stage.module}}}$"
        _box(axes, (MARGIN, top, STAGE_WIDTH, stage_height), LOOKS[stage.status], name, *facts, between=between)
        for number, block in enumerate(of):
            block_top = top - number * (BLOCK_HEIGHT + LINE_GAP)
            if number:
                _arrow(axes, (BLOCKS_LEFT + 1.7, block_top + LINE_GAP), (BLOCKS_LEFT + 1.7, block_top))
            _block(axes, block, BLOCKS_LEFT, block_top)
        top -= stage_height
    return figure


def residual_blocks(model: nn.Module, stage: str, layers: pd.DataFrame) -> list[Block]:
    """The residual blocks of a stage in order, identical neighbours merged; none for a plain module.

    `layers`: describe_layers of the model.
    """
    children = dict(getattr(model, stage).named_children())
    rows = {name: [row for row in layers.itertuples() if row.name.startswith(f"{stage}.{name}.")] for name in children}

    def looks(name: str) -> list:
        return [type(children[name]).__name__, *((_part(row), row.kernel, row.output) for row in rows[name])]

    blocks = []
    for (kind, *_), names in groupby(children, looks):
        first, *others = names
        label = " to ".join(f"{stage}.{name}" for name in (first, *others[-1:]))
        path = [row for row in rows[first] if _part(row) != "downsample"]
        shortcut = next((row for row in rows[first] if _part(row) == "downsample"), None)
        blocks.append(Block(f"{label}: {len(others) + 1} × {kind}", path, shortcut))
    return blocks


def _part(layer: tuple) -> str:
    """conv1 of layer1.0.conv1, downsample of layer2.0.downsample.0"""
    return layer.name.split(".")[2]


def _brackets(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _block(axes: plt.Axes, block: Block, left: float, top: float) -> None:
    """Main path along the bottom, shortcut above it, both into the addition."""
    width = len(block.path) * (CONV_WIDTH + CONV_GAP) + 0.65
    _box(axes, (left, top, width, BLOCK_HEIGHT), FRAME)
    axes.text(left + 0.08, top - 0.11, block.label, fontsize=SMALL, color=FAINT, va="center")
    middle = top - BLOCK_HEIGHT + 0.1 + CONV_HEIGHT / 2
    bypass = middle + CONV_HEIGHT / 2 + 0.2
    fork, plus = left + 0.12, left + width - 0.22
    start, x = left, fork + CONV_GAP
    for layer in block.path:
        _arrow(axes, (start, middle), (x, middle))
        _layer(axes, layer, (x, middle + CONV_HEIGHT / 2, CONV_WIDTH, CONV_HEIGHT), "\n")
        start = x + CONV_WIDTH
        x = start + CONV_GAP
    _arrow(axes, (start, middle), (plus - 0.09, middle))
    _arrow(axes, (fork, middle), (fork, bypass), (plus, bypass), (plus, middle + 0.09))
    _arrow(axes, (plus, middle), (left + width, middle), head="-")
    axes.add_patch(plt.Circle((plus, middle), 0.09, facecolor="white", edgecolor=INK, linewidth=0.9))
    axes.text(plus, middle - 0.005, "+", fontsize=SMALL, ha="center", va="center", color=INK)
    if block.shortcut is not None:
        _layer(axes, block.shortcut, ((fork + plus) / 2 - CONV_WIDTH, bypass + 0.1, 2 * CONV_WIDTH, 0.2), "  ")


def _layer(axes: plt.Axes, layer: tuple, box: tuple, between: str) -> None:
    name = rf"$\bf{{{_part(layer)}}}$  {layer.kernel}"
    _box(axes, box, LOOKS["trained" if layer.trained else "frozen"], name, _brackets(layer.output), between=between)


def _box(axes: plt.Axes, box: tuple, style: dict, *texts: str, between: str = "   ") -> None:
    """A rounded box (left, top, width, height) with centred text."""
    left, top, width, height = box
    axes.add_patch(FancyBboxPatch((left, top - height), width, height, "round,pad=0,rounding_size=0.05", **style))
    looks = {"fontsize": SMALL, "color": INK, "ha": "center", "va": "center", "linespacing": 1.3}
    axes.text(left + width / 2, top - height / 2, between.join(filter(None, texts)), **looks)


def _arrow(axes: plt.Axes, *points: tuple[float, float], head: str = "-|>,head_width=0.16,head_length=0.3") -> None:
    style = {"arrowstyle": head, "mutation_scale": 10, "color": INK, "linewidth": 0.9}
    axes.add_patch(FancyArrowPatch(path=Path(points), **style))
