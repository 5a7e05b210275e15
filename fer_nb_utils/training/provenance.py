"""What a run records about how it was made: the recipe, the revision of the code, the machine."""

import ast
import hashlib
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version

import torch

from .. import __version__
from ..networks.transforms import IMAGENET_MEAN, IMAGENET_STD, Augment
from ..paths import PACKAGE
from .config import TrainConfig
from .loop import WARM_UP

# what decides the numbers of a training; an edit anywhere else leaves them as they are
SOURCES = (
    "data/audit.py", "data/dataset.py", "networks/backbones.py", "networks/device.py", "networks/prediction.py",
    "networks/resnets.py", "networks/small_maps.py", "networks/transforms.py", "results/calibration.py",
    "training/features.py", "training/loop.py", "training/selection.py",
)  # fmt: skip


def recipe(config: TrainConfig) -> dict:
    """What decides a training beside the settings: kind and strengths of everything that is fixed in the code."""
    return {
        "augmentation": asdict(Augment()) if config.augment else None,
        "normalization": {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)},
        "optimizer": "AdamW, no weight decay on biases and batch norm",
        "schedule": "linear warm-up, then cosine to zero",
        "warm_up": WARM_UP,
        "validation": "10 % of train, stratified, identical images on one side",
        "cached_views": "of all Training images, drawn once for all seeds; each epoch takes an image's next",
    }


def source_revision() -> str:
    """Twelve hex digits of SHA-256 over the code that decides a training; comments and docstrings play no part."""
    digest = hashlib.sha256()
    options = {"show_empty": True} if sys.version_info >= (3, 13) else {}  # so that all Pythons dump alike
    for name in SOURCES:
        tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            vars(node).pop("type_params", None)  # new in 3.12, and empty
            if isinstance(node, ast.JoinedStr):  # 3.12.1 ends some with an empty text
                node.values = [value for value in node.values if getattr(value, "value", None) != ""]
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Pass()
        digest.update(ast.dump(tree, **options).encode())
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Of Python, of this package, and of those that compute."""
    packages = {"torch": torch.__version__, **{name: version(name) for name in ("torchvision", "numpy")}}
    return {"python": platform.python_version(), **packages, "fer_nb_utils": __version__}
