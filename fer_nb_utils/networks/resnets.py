"""torchvision's ResNet18, 34 and 50 with a seven-way head: weights from anywhere, frozen up to a chosen stage."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import ResNet, get_model, get_model_weights

from ..classes import CLASSES
from ..errors import WeightsError
from .backbones import read_backbone

MODELS = ("resnet18", "resnet34", "resnet50")
STAGES = ("stem", "layer1", "layer2", "layer3", "layer4", "fc")
IMAGENET = "ImageNet-1k (torchvision IMAGENET1K_V1)"
TRAINABLE = ("fc", "layer4", "layer3", "layer2", "layer1", "all")


@dataclass(frozen=True)
class Weights:
    """Initial weights and where they came from.

    `kind`: "imagenet" (torchvision's own file, known by its hash), "embedded" (one of this package's backbones), "file"
    (a user's), or "random"; `label`: for tables; `sha256`: of the file, None for random weights.
    """

    kind: str
    label: str
    sha256: str | None
    state: dict[str, Tensor] | None


def build_model(name: str, weights: str | Path = "imagenet", trainable: str = "layer4", seed: int = 0) -> ResNet:
    """A ResNet with a new seven-way `fc`, frozen below `trainable`.

    `name`: one of MODELS. `weights`: "imagenet", "embedded", "none", or a path (see `read_weights`).
    `trainable`: the first trained stage, one of TRAINABLE; "layer4" trains layer4 and fc, as the paper does.
    `seed` draws the new layers; torch's own random state is left as it was. Raises WeightsError.
    """
    return assemble(name, read_weights(name, weights), trainable, seed)


def assemble(name: str, weights: Weights, trainable: str, seed: int) -> ResNet:
    """`build_model` with weights that have been read already."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = get_model(name, weights=None, num_classes=len(CLASSES))
    if weights.state is not None:
        state = {key: value for key, value in weights.state.items() if not key.startswith("fc.")}
        _load_state(model, state, weights.label, may_lack=("fc.", "num_batches_tracked"))
    freeze(model, trainable)
    return model


def read_weights(name: str, weights: str | Path) -> Weights:
    """Read initial weights for the network `name`.

    "imagenet": torchvision's IMAGENET1K_V1, from torch's cache or the network. "embedded": this package's own backbone,
    pretrained in part on ImageNet and then on Tiny-ImageNet. "none": random weights. Otherwise a path to a
    `.safetensors` or `.pth` state dict with torchvision's names (float16 accepted), or to a folder that holds such a
    file whose name begins with the network's. Raises WeightsError when there is none or it can't be read.
    """
    if name not in MODELS:
        raise WeightsError(f"There is no network {name!r}; choose one of {', '.join(MODELS)}.")
    if str(weights) == "none":
        return Weights("random", "random", None, None)
    if str(weights) == "imagenet":
        return _read_imagenet(name)
    if str(weights) == "embedded":
        state, facts, digest = read_backbone(name)
        return Weights("embedded", facts["label"], digest, state)
    path = _find_weights(name, Path(weights).expanduser())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if _is_published(name, digest):
        return Weights("imagenet", IMAGENET, digest, read_state(path))
    return Weights("file", path.name, digest, read_state(path))


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a `.safetensors` or `.pth` file, without running any code from it. Raises WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise WeightsError(
            f"{path} is no readable .safetensors file or .pth state dict; download it again or choose another."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no plain state dict; save model.state_dict() with torch.save or safetensors.")
    return state


def load_checkpoint(model: ResNet, path: Path) -> ResNet:
    """Load a finished network, head included, from a `.safetensors` or `.pth` file; returns it in evaluation mode."""
    _load_state(model, read_state(path), str(path), may_lack=("num_batches_tracked",))
    return model.eval()


def frozen_stages(trainable: str) -> tuple[str, ...]:
    """The stages that stay as they are: "layer4" -> ("stem", "layer1", "layer2", "layer3"); "all" -> ()."""
    if trainable not in TRAINABLE:
        raise WeightsError(f"There is no stage {trainable!r} to train from; choose one of {', '.join(TRAINABLE)}.")
    return () if trainable == "all" else STAGES[: STAGES.index(trainable)]


def stage_modules(model: ResNet, stage: str) -> list[nn.Module]:
    """The modules of a stage, in order; the stem is conv1, bn1, relu and maxpool, fc brings the pooling before it."""
    if stage == "stem":
        return [model.conv1, model.bn1, model.relu, model.maxpool]
    if stage == "fc":
        return [model.avgpool, nn.Flatten(), model.fc]
    return [getattr(model, stage)]


def freeze(model: ResNet, trainable: str) -> None:
    """Stop gradients in every stage below `trainable`; `train_mode` keeps their batch-norm statistics fixed too."""
    model.requires_grad_(True)
    for stage in frozen_stages(trainable):
        for module in stage_modules(model, stage):
            module.requires_grad_(False)


def train_mode(model: nn.Module) -> None:
    """Training mode for the trained modules only: a frozen batch norm must not update its running statistics."""
    for module in model.modules():
        module.training = any(parameter.requires_grad for parameter in module.parameters())


def split_at(model: ResNet, trainable: str) -> tuple[nn.Sequential, nn.Sequential]:
    """(frozen backbone, trained head), sharing their parameters with `model`; head(backbone(x)) equals model(x).

    With `trainable="fc"` the pooling belongs to the backbone, so that one image's features are a single vector.
    """
    frozen = frozen_stages(trainable)
    backbone = [module for stage in frozen for module in stage_modules(model, stage)]
    head = [module for stage in STAGES if stage not in frozen for module in stage_modules(model, stage)]
    pooling = len(head) - 1 if trainable == "fc" else 0
    return nn.Sequential(*backbone, *head[:pooling]), nn.Sequential(*head[pooling:])


def _read_imagenet(name: str) -> Weights:
    published = get_model_weights(name).IMAGENET1K_V1
    target = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
    try:
        state = published.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"The ImageNet weights of {name} could not be downloaded; fetch {published.url} elsewhere and "
            f"put the file at {target}, or name a folder that holds it as weights, or use weights=embedded."
        ) from error
    return Weights("imagenet", IMAGENET, hashlib.sha256(target.read_bytes()).hexdigest(), state)


def _is_published(name: str, digest: str) -> bool:
    """Whether torchvision's file of ImageNet weights has this SHA-256; its name ends with the first digits."""
    url = get_model_weights(name).IMAGENET1K_V1.url
    return digest.startswith(Path(url).stem.rpartition("-")[2])


def _find_weights(name: str, path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"There are no weights at {path}; give a file, a folder, imagenet, embedded or none.")
    found = sorted(
        file for file in path.iterdir() if file.name.startswith(name) and file.suffix in (".safetensors", ".pth")
    )
    if not found:
        raise WeightsError(
            f"The folder {path} holds no weights for {name}; put {name}.pth or {name}.safetensors there."
        )
    return found[0]


def _load_state(model: ResNet, state: dict[str, Tensor], origin: str, may_lack: tuple[str, ...]) -> None:
    try:
        keys = model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a tensor of another shape
        raise WeightsError(
            f"The weights in {origin} belong to another network; choose the file of this one."
        ) from error
    missing = [key for key in keys.missing_keys if not any(part in key for part in may_lack)]
    if missing or keys.unexpected_keys:
        raise WeightsError(
            f"The weights in {origin} belong to another network ({len(missing)} tensors missing, "
            f"{len(keys.unexpected_keys)} unknown); they must carry torchvision's names."
        )
