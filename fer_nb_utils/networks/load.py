"""Finished networks, ready to classify: the embedded one, and those of the series' runs."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torchvision.models import ResNet

from ..errors import UserError, WeightsError
from .backbones import CHECKPOINTS
from .resnets import build_model, load_checkpoint
from .transforms import Preprocess

EMBEDDED = CHECKPOINTS / "resnet18_fer2013.safetensors"


@dataclass(frozen=True)
class Network:
    """A trained network on the CPU in evaluation mode, the transform it was trained with, and what to call it."""

    name: str
    model: ResNet
    transform: Preprocess


def load_network(path: str | Path = EMBEDDED) -> Network:
    """Load an embedded or published checkpoint (`.safetensors`), or the network of a finished run's folder.

    Raises WeightsError for a file that does not say which network it holds and for which image size, UserError where
    there is nothing.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            trained = next(iter(sorted(path.glob("training/*/config.json"))), None)
            advice = f"give one of its networks, such as {trained.parent}" if trained else "train it first"
            raise UserError(f"There is no finished run in {path}; {advice}, or choose another folder.")
        path /= "model.safetensors"
    elif not path.exists():
        raise UserError(f"There is no network at {path}; give a checkpoint or the folder of a finished run.")
    architecture, image_size = _read_metadata(path)
    name = path.resolve().parent.name if path.name == "model.safetensors" else path.stem
    return Network(name, load_checkpoint(build_model(architecture, "none", "all"), path), Preprocess(image_size))


def _read_metadata(path: Path) -> tuple[str, int]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return metadata["model"], int(metadata["image_size"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path} does not say which network it holds and for which image size; give the folder of a finished run, "
            "or a .safetensors file that `publish --checkpoint` wrote."
        ) from error
