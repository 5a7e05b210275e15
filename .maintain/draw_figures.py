"""The lesson's ten figures for the projector. They train for a minute or two.

Everything is measured on the synthetic sample, as the lesson does it. 16:9, and no text below 20 points at a height of
7.5 inches, so that it can be read from the last row.
"""

from collections.abc import Iterator, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from lesson import accuracy, fit, frozen_features
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.models import ResNet

from fer_nb_utils.classes import CLASS_COLORS, CLASSES
from fer_nb_utils.data.dataset import load, split_validation
from fer_nb_utils.data.face_drawing import View
from fer_nb_utils.data.synthetic import ACTION_UNITS, draw_face, random_identity
from fer_nb_utils.files import atomic_path
from fer_nb_utils.networks.cost import count_parameters
from fer_nb_utils.networks.load import Network, load_network
from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.resnets import build_model, split_at, train_mode
from fer_nb_utils.networks.transforms import Preprocess, batches
from fer_nb_utils.paths import ROOT
from fer_nb_utils.series.puppet import SCALE, SIZE

FOLDER = ROOT / "figures" / "classroom"
LOOK = {
    "font.size": 20, "axes.titlesize": 22, "lines.linewidth": 4, "lines.markersize": 12, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "figure.constrained_layout.use": True,
}  # fmt: skip
BLUE, PALE, ROSE, OLIVE, GREY = "#332288", "#b7b1d6", "#AA4499", "#999933", "#6b6b6b"
GUESSED = ("happy", "angry", "neutral", "fear", "surprise", "disgust", "sad")  # A to G of the first figure

dataset = load("sample")
train, others = split_validation(dataset, fraction=0.5, seed=0)
labels, answers = torch.from_numpy(train.labels), torch.from_numpy(others.labels)
inputs, questions = (Preprocess(48)(torch.from_numpy(part.images)) for part in (train, others))


def slide(title: str, rows: int = 1, columns: int = 1, **options: object) -> tuple[Figure, np.ndarray]:
    figure, axes = plt.subplots(rows, columns, figsize=(40 / 3, 7.5), squeeze=False, **options)
    figure.suptitle(title, fontsize=32, fontweight="bold")
    return figure, axes


def show(axis: plt.Axes, face: np.ndarray, title: str = "") -> None:
    axis.imshow(face, cmap="gray")
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=22)
    axis.spines[:].set_visible(False)


def faces_and_words() -> Figure:
    """A strong and a weak face of each expression; the words are in the teachers' guide."""
    figure, axes = slide("Which word did they have in mind?", 2, 7)
    for column, (letter, name) in enumerate(zip("ABCDEFG", GUESSED, strict=True)):
        for axis, row in zip(axes[:, column], np.flatnonzero(train.labels == CLASSES.index(name)), strict=False):
            show(axis, train.images[row], letter if axis is axes[0, column] else "")
    return figure


def nearest_faces(known: torch.Tensor, asked: torch.Tensor) -> Figure:
    normal = torch.nn.functional.normalize
    nearest = (normal(asked) @ normal(known).T).argmax(dim=1)
    same = (labels[nearest] == answers).float().mean()
    chance = float((torch.bincount(labels) / len(labels) * torch.bincount(answers) / len(answers)).sum())
    figure, axes = slide(f"Same expression: {same:.0%} (by chance: {chance:.0%})", 2, 5)
    for column, label in enumerate((0, 2, 3, 4, 6)):
        row = int(torch.argmax((answers == label).int()))
        show(axes[0, column], others.images[row], CLASSES[label])
        show(axes[1, column], train.images[nearest[row]], "nearest: " + CLASSES[labels[nearest[row]]])
    return figure


def falling_loss(known: torch.Tensor) -> Figure:
    """The loss of each step, as part 2 of the lesson trains."""
    torch.manual_seed(0)
    head, losses = torch.nn.Linear(512, 7), []
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.003)
    for _ in range(30):
        for few in batches(torch.randperm(len(labels)), 64):
            loss = torch.nn.functional.cross_entropy(head(known[few]), labels[few])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    figure, ((axis,),) = slide("A head learns to read frozen features")
    axis.plot(range(1, len(losses) + 1), losses, color=BLUE)
    axis.axhline(np.log(7), color=GREY, linestyle=":")
    axis.annotate("all sevenths: ln 7 = 1.95", (len(losses), np.log(7)), ha="right", va="bottom", color=GREY)
    axis.set(xlabel="steps of 64 faces", ylabel="loss", ylim=(0, 2.6))
    return figure


def where_weights_are() -> Figure:
    names = ("fc", "layer4", "layer3", "layer2", "layer1", "all")
    shares = []
    for name in names:
        every, trained = count_parameters(build_model("resnet18", "none", name))
        shares.append(trained / every)
    figure, ((axis,),) = slide("How much of ResNet18 is trained?")
    bars = axis.barh([f"from {name}" if name not in ("fc", "all") else name for name in names], shares, color=BLUE)
    axis.bar_label(bars, [f"{share:.2%}" if share < 0.01 else f"{share:.1%}" for share in shares], padding=8)
    axis.set(xlim=(0, 1.18), xticks=[])
    axis.invert_yaxis()
    return figure


def fc_and_layer4(histories: dict[str, list]) -> Figure:
    figure, axes = slide("fc alone, or layer4 and fc?", 1, 2, sharey=True)
    for axis, (first, right) in zip(axes[0], histories.items(), strict=True):
        passes = range(1, len(right) + 1)
        for values, color, name in zip(np.transpose(right), (PALE, BLUE), ("learns from", "others"), strict=True):
            place = (6, values[-1] + (0.05 if color == PALE else -0.1))
            axis.plot(passes, values, color=color)
            axis.annotate(f"{name}: {values[-1]:.0%}", place, ha="right")
        axis.set(title="fc" if first == "fc" else "layer4 and fc", xlabel="passes", ylim=(0, 1.15), yticks=(0, 0.5, 1))
    axes[0, 0].set_ylabel("right")
    return figure


def trap() -> Figure:
    """How far the running means of the frozen batch norms drift in one pass over the faces, by stage."""
    model = build_model("resnet18", "embedded", "fc", seed=0)
    moved = {}
    for name, set_modes in {"model.train()": ResNet.train, "frozen parts in eval mode": train_mode}.items():
        state = {key: value.clone() for key, value in model.state_dict().items()}
        set_modes(model)
        with torch.no_grad():
            for part in inputs.split(64):
                model(part)
        drifts = {
            key.split(".")[0]: (value - state[key]).norm() / state[key].norm()
            for key, value in model.state_dict().items()
            if key.endswith(("bn1.running_mean",)) and (key.startswith("bn1") or ".0." in key)
        }
        moved[name] = {stage: float(drift) for stage, drift in drifts.items()}
        model.load_state_dict(state)
    figure, ((axis,),) = slide("The trap: “frozen” batch norms move")
    places = np.arange(len(drifts))
    for shift, (name, values), color in zip((-0.2, 0.2), moved.items(), (ROSE, BLUE), strict=True):
        bars = axis.bar(places + shift, values.values(), 0.4, color=color, label=name)
        axis.bar_label(bars, [f"{value:.0%}" for value in values.values()])
    axis.set_xticks(places, ["stem", *list(drifts)[1:]])
    axis.set(ylabel="change of the running mean\nin one pass", yticks=[])
    axis.legend()
    return figure


def draw(per_class: int, rng: np.random.Generator) -> np.ndarray:
    classes = (np.flatnonzero(train.labels == label) for label in range(7))
    return np.concatenate([rng.choice(rows, per_class, replace=False) for rows in classes])


def recalls(known: np.ndarray, asked: np.ndarray) -> Iterator[tuple[float, float]]:
    for per_class in (1, 3, 10, None):
        found = []
        for start in range(5 if per_class else 1):
            few = draw(per_class, np.random.default_rng(start)) if per_class else slice(None)
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            classifier.fit(known[few], train.labels[few])
            found.append(balanced_accuracy_score(others.labels, classifier.predict(asked)))
        yield np.mean(found), 2 * np.std(found)


def few_or_many(measured: dict[str, list]) -> tuple[Figure, Figure]:
    """The bars with ten faces of each expression; all points."""
    colors = dict(zip(measured, (ROSE, BLUE, OLIVE), strict=True))
    few, ((axis,),) = slide("Ten faces of each expression")
    heights, spreads = np.transpose([points[2] for points in measured.values()])
    bars = axis.bar(list(measured), heights, color=colors.values(), width=0.6)
    axis.errorbar(range(3), heights, spreads, fmt="none", color="#222222", capsize=10)
    axis.bar_label(bars, [f"{height:.2f}" for height in heights], label_type="center", color="white")
    axis.axhline(1 / 7, color=GREY, linestyle=":")
    axis.annotate("chance", (2.45, 1 / 7), ha="right", va="bottom", color=GREY)
    axis.set(ylabel="mean recall", yticks=[])
    many, ((axis,),) = slide("Few or many?")
    counts = (7, 21, 70, len(labels))
    for name, points in measured.items():
        means, spreads = np.transpose(points)
        axis.errorbar(counts, means, spreads, color=colors[name], marker="o", capsize=8, label=name)
    axis.axhline(1 / 7, color=GREY, linestyle=":")
    axis.set(xscale="log", xlabel="faces to learn from", ylabel="mean recall", ylim=(0, 0.6))
    axis.set_xticks(counts, counts)
    axis.minorticks_off()
    axis.legend()
    return few, many


def action_units() -> Figure:
    identity = random_identity(np.random.default_rng(3))
    figure, axes = slide("Action units: what moves in which expression", 2, 4)
    for axis, name in zip(axes.flat, CLASSES, strict=False):
        show(axis, draw_face(identity, name, 1.0, 160, View(scale=SCALE)), name)
        axis.set_xlabel(" ".join(map(str, ("AU", *ACTION_UNITS[name]))) if ACTION_UNITS[name] else "at rest")
    axes.flat[-1].axis("off")
    return figure


def two_opinions(networks: Sequence[Network]) -> Figure:
    identity = random_identity(np.random.default_rng(3))
    chosen = ("angry", "fear", "happy", "sad")
    faces = np.stack([draw_face(identity, name, 1.0, SIZE, View(scale=SCALE)) for name in chosen])
    figure, axes = slide("One face, two networks", 3, 4, height_ratios=(3, 2, 2))
    for axis, face, name in zip(axes[0], faces, chosen, strict=True):
        show(axis, face, "drawn: " + name)
    for line, network in zip(axes[1:], networks, strict=True):
        for axis, answer in zip(line, predict(network.model, torch.from_numpy(faces), network.transform), strict=True):
            axis.bar(range(7), answer, color=CLASS_COLORS.values())
            axis.set(ylim=(0, 1), xticks=[], yticks=[])
            axis.set_xlabel(f"{CLASSES[answer.argmax()]} {answer.max():.0%}")
        line[0].set_ylabel(network.name)
    return figure


@plt.rc_context(LOOK)
def main() -> None:
    """Measure what they show, and write them."""
    known, asked = frozen_features(build_model("resnet18", "embedded", "fc"), "fc", inputs, questions)
    histories, trained = {}, None
    for first in ("fc", "layer4"):
        model = build_model("resnet18", "embedded", first, seed=0)
        cached = (known, asked) if first == "fc" else frozen_features(model, first, inputs, questions)
        _, head = split_at(model, first)
        passes = fit(head, cached[0], labels, passes=6, seed=0)
        histories[first] = [(accuracy(head, cached[0], labels), accuracy(head, cached[1], answers)) for _ in passes]
        trained = Network("drawings", model.eval(), Preprocess(48))
    random = frozen_features(build_model("resnet18", "none", "fc"), "fc", inputs, questions)
    pixels = [part[:, 0].flatten(1) for part in (inputs, questions)]
    kinds = {"plain pixels": pixels, "pretrained": (known, asked), "random network": random}
    measured = {name: list(recalls(*(part.numpy() for part in parts))) for name, parts in kinds.items()}
    photographs = load_network()
    figures = {
        "01_faces_and_words": faces_and_words(),
        "02_nearest_faces": nearest_faces(known, asked),
        "03_falling_loss": falling_loss(known),
        "04_where_weights_are": where_weights_are(),
        "05_fc_and_layer4": fc_and_layer4(histories),
        "06_trap": trap(),
        **dict(zip(("07_ten_faces", "08_few_or_many"), few_or_many(measured), strict=True)),
        "09_action_units": action_units(),
        "10_two_opinions": two_opinions((trained, Network("photographs", photographs.model, photographs.transform))),
    }
    note = f"{dataset.name}, {len(labels)} faces to learn from, {len(answers)} others; ResNet18, 48 px, one seed"
    for name, figure in figures.items():
        figure.supxlabel(note, fontsize=20, color=GREY)
        with atomic_path(FOLDER / f"{name}.png") as temporary:
            figure.savefig(temporary, dpi=96)
