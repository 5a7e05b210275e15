"""The package's own pretrained backbones: ResNet18, 34 and 50 without `fc`, 8 bits a weight, so that they fit a clone.

A filter or matrix is stored as int8 with one scale an output channel (symmetric, largest weight 127); batch norm and
biases as float32. Their past stands in each file's metadata and in the card beside it.
"""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import WeightsError
from ..files import atomic_path

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


def quantized(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of two and more dimensions as int8 and a float32 scale an output channel, the rest as float32."""
    stored = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            # a variance above float16's range was saved as infinite, which would silence its channel for good
            stored[name] = tensor.nan_to_num().float() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(dim=1) / 127
        scale[scale == 0] = 1  # a dead filter: all its weights are zero
        stored[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
        stored[name + SCALE] = scale
    return stored


def dequantized(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict that `quantized` was given, to half a step of each channel's scale."""
    state = {name: tensor for name, tensor in stored.items() if not name.endswith(SCALE)}
    for name, tensor in state.items():
        if name + SCALE in stored:
            state[name] = tensor.float() * stored[name + SCALE].reshape(-1, *[1] * (tensor.ndim - 1))
    return state


def embed(source: Path, facts: dict[str, object], path: Path) -> str:
    """For maintainers: write the state dict in `source` (.pth, torchvision's names) as a backbone; returns its SHA-256.

    `facts`: what is known of it (arch, label, past, ...), kept in the file's metadata.
    """
    facts = facts | {"source_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
    state = torch.load(source, map_location="cpu", weights_only=True)
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    metadata = {"facts": json.dumps(facts, sort_keys=True)}  # one entry: of several, the order in the file is random
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in quantized(kept).items()}, temporary, metadata=metadata)
    return hashlib.sha256(path.read_bytes()).hexdigest()
