import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch
from torchvision import models

from fer_nb_utils.figures.architecture import LOOKS, draw_architecture, residual_blocks
from fer_nb_utils.networks.cost import describe_layers
from fer_nb_utils.networks.resnets import MODELS, build_model


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def fills(figure) -> list[str]:
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    return [to_hex(box.get_facecolor()) for box in boxes]


def test_every_module_with_kernel_and_dimensions():
    said = words(draw_architecture(build_model("resnet18", "none"), "resnet18", 64))
    assert "$\\bf{conv1}$   7×7   (64, 32, 32)" in said
    assert "$\\bf{maxpool}$   3×3   (64, 16, 16)" in said
    assert "$\\bf{layer1}$\n2 × BasicBlock\n3×3, 3×3\n(64, 16, 16)\n147,968 parameters" in said
    assert "$\\bf{downsample}$  1×1  (512, 2, 2)" in said
    assert "$\\bf{fc}$   (7)" in said
    assert any("11,180,103 parameters, 8,397,319 of them trained" in line for line in said)


def test_dimensions_follow_the_input_size():
    model = build_model("resnet50", "none")
    assert "$\\bf{conv3}$  1×1\n(2048, 7, 7)" in words(draw_architecture(model, "resnet50", 224))
    assert "$\\bf{conv3}$  1×1\n(2048, 2, 2)" in words(draw_architecture(model, "resnet50", 48))


@pytest.mark.parametrize(("trainable", "boxes"), [("fc", 1), ("layer4", 1 + 1 + 5), ("all", 3 + 4 + 2 + 3 * 5)])
def test_frozen_and_trained_are_told_apart(trainable, boxes):
    """ResNet18: fc, conv1, bn1 and the stages are a box each; layer1 has 2 convolutions drawn, others 5."""
    model = build_model("resnet18", "none", trainable)
    figure = draw_architecture(model, "resnet18", 64)
    assert fills(figure).count(LOOKS["trained"]["facecolor"]) == boxes
    legend = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert legend == {"trained", "no parameters"} | ({"frozen"} if trainable != "all" else set())


@pytest.mark.parametrize(
    ("name", "stage", "labels"),
    [
        ("resnet18", "layer1", ["layer1.0 to layer1.1: 2 × BasicBlock"]),
        ("resnet34", "layer3", ["layer3.0: 1 × BasicBlock", "layer3.1 to layer3.5: 5 × BasicBlock"]),
        ("resnet50", "layer1", ["layer1.0: 1 × Bottleneck", "layer1.1 to layer1.2: 2 × Bottleneck"]),
        ("resnet50", "maxpool", []),
    ],
)
def test_identical_blocks_are_merged(name, stage, labels):
    model = getattr(models, name)()
    blocks = residual_blocks(model, stage, describe_layers(model, 64))
    assert [block.label for block in blocks] == labels


def test_bottlenecks_and_their_shortcuts():
    model = models.resnet50()
    first, rest = residual_blocks(model, "layer4", describe_layers(model, 224))
    assert [layer.kernel for layer in first.path] == ["1×1", "3×3", "1×1"]
    assert [layer.output for layer in first.path] == [(512, 14, 14), (512, 7, 7), (2048, 7, 7)]
    assert first.shortcut.output == (2048, 7, 7) and rest.shortcut is None


@pytest.mark.parametrize("name", MODELS)
def test_no_text_leaves_its_box(name):
    """With wide numbers too, every text lies within the figure and within the box around it."""
    figure = draw_architecture(build_model(name, "none"), name, 512)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    for text in axes.texts:
        extent = text.get_window_extent()
        assert figure.bbox.contains(extent.x0, extent.y0) and figure.bbox.contains(extent.x1, extent.y1)
        if text.get_text().startswith("$"):
            assert any(box.containsx(extent.x0) and box.containsx(extent.x1) and box.containsy(extent.y0)
                       and box.containsy(extent.y1) for box in boxes), text.get_text()  # fmt: skip
