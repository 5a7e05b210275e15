"""The package's own pretrained backbones: ResNet18, 34 and 50 without `fc`, 8 bits a weight, so that they fit a clone.

A filter or matrix is stored as int8 with one scale an output channel (symmetric, largest weight 127); batch norm and
biases as float32. Their past stands in each file's metadata and in the card beside it.
"""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError

CHECKPOINTS = Path(__file__).parent / "checkpoints"
SCALE = ".scale"
# SHA-256 of the files: what a run records as its initial weights is what it had
SHA256 = {
    "resnet18": "10dfcdb1f83bb73846171608485c4fbdef5f6354bbcbd413c3c4b5182eac4b41",
    "resnet34": "d9015d909d57a1c58370c03c7ca063205b18c20ca3db365494327d60ef493644",
    "resnet50": "c7a1a259045355736879298af2582b4935267a51e0db2084990bad1af5adb5f6",
}


def backbone_path(name: str) -> Path:
    """Where the backbone of this network lies."""
    return CHECKPOINTS / f"backbone_{name}.safetensors"


def read_backbone(name: str) -> tuple[dict[str, Tensor], dict[str, object], str]:
    """State dict (float32, torchvision's names, no `fc`), facts and SHA-256 of the embedded backbone of `name`.

    Facts: arch, label (for tables), past, and what the card tells. Raises WeightsError when the file is missing or
    is not the one that belongs to this version.
    """
    path = backbone_path(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"
    if digest != SHA256[name]:
        raise WeightsError(f"{path} is not this version's backbone ({digest[:12]}); get the file anew from the clone.")
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
    return dequantized(load_file(path)), facts, digest


def dequantized(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in a backbone's file, every int8 weight times its channel's scale."""
    state = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALE)}
    for name, tensor in state.items():
        if name + SCALE in stored:
            state[name] = tensor.float() * stored[name + SCALE].reshape(-1, *[1] * (tensor.ndim - 1))
    return state
