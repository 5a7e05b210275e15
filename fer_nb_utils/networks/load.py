"""Finished networks, ready to classify: the embedded one, and those of the series' runs."""

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet

from ..errors import UserError, WeightsError
from .backbones import CHECKPOINTS
from .resnets import build_model, load_checkpoint
from .transforms import Preprocess

EMBEDDED = CHECKPOINTS / "resnet18_fer2013.safetensors"
OPENMP = ThreadpoolController().select(user_api="openmp")


@dataclass(frozen=True)
class Network:
    """A trained network on the CPU in evaluation mode, the transform it was trained with, and what to call it.

    The softmax of its logits is calibrated: `fc` has been divided by the `temperature` that the checkpoint names, 1.0
    where it names none (Guo et al. 2017, doi 10.48550/arXiv.1706.04599).
    """

    name: str
    model: "ResNet | OnnxNetwork"
    transform: Preprocess | nn.Identity
    temperature: float = 1.0


def load_network(path: str | Path = EMBEDDED) -> Network:
    """Load an embedded or published checkpoint (`.safetensors`), an exported network (`.onnx`), or a finished run's.

    Raises WeightsError for a file that does not say which network it holds and for which image size, UserError where
    there is nothing, and where ONNX Runtime is missing.
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
    if path.suffix == ".onnx":
        return _load_onnx(path)
    architecture, image_size, temperature = _read_metadata(path)
    name = path.resolve().parent.name if path.name == "model.safetensors" else path.stem
    model = load_checkpoint(build_model(architecture, "none", "all"), path)
    with torch.no_grad():
        for parameter in model.fc.parameters():
            parameter /= temperature
    return Network(name, model, Preprocess(image_size), temperature)


class OnnxNetwork(nn.Module):
    """An exported network: grey faces uint8 (n, 48, 48) -> calibrated logits float32 (n, 7), on one CPU thread."""

    def __init__(self, path: Path):
        from onnxruntime import InferenceSession, SessionOptions  # here, for it is an extra

        super().__init__()
        options = SessionOptions()
        options.intra_op_num_threads = 1  # as the live camera's; more are slower on a busy machine
        self.session = InferenceSession(path, options)

    def forward(self, faces: Tensor) -> Tensor:
        return torch.from_numpy(self.session.run(["probabilities"], {"faces": faces.numpy()})[0]).log()

    def __deepcopy__(self, _: dict) -> "OnnxNetwork":  # a session cannot be copied, and never changes
        return self


def folded(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode; a ResNet's batch norms are folded into the convolutions before them.

    Its probabilities are the same to 1e-6 or so. Not to be trained.
    """
    model = copy.deepcopy(model).eval()
    for parent in list(model.modules()) if isinstance(model, ResNet) else ():
        for (name, layer), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(layer, norm))
                setattr(parent, after, nn.Identity())
    return model


def one_thread() -> AbstractContextManager:
    """Inside, this thread computes alone: more gain nothing with a single small image, and wait on a busy machine."""
    torch.get_num_threads()  # a new thread takes the process's setting at its first use of torch
    return OPENMP.limit(limits=1)  # torch.set_num_threads would also set that of the process's new threads


def checkpoint_metadata(model: str, image_size: int, temperature: float) -> dict[str, str]:
    """What a `.safetensors` file says beside its tensors for `load_network`: one of MODELS, pixels, and `Network`'s."""
    return {"model": model, "image_size": str(image_size), "temperature": str(temperature)}


def _load_onnx(path: Path) -> Network:
    try:
        model = OnnxNetwork(path)
        facts = model.session.get_modelmeta().custom_metadata_map
        return Network(facts["name"], model, nn.Identity(), float(facts["temperature"]))
    except ImportError as error:
        raise UserError(f'{path} needs ONNX Runtime; install it with pip install -e ".[export]".') from error
    except Exception as error:  # ONNX Runtime has kinds of its own
        raise WeightsError(f"{path} is no network that `fer_nb_utils export` wrote; export it again.") from error


def _read_metadata(path: Path) -> tuple[str, int, float]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        temperature = float(metadata.get("temperature", 1))
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature {temperature}")
        return metadata["model"], int(metadata["image_size"]), temperature
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        missing = f"{path} does not say which network it holds and for which image size"
        raise WeightsError(f"{missing}; give the folder of a finished run, or its model.safetensors.") from error
