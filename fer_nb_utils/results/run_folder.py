"""A finished training run, as a folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torchvision.models import ResNet

from ..errors import UserError
from ..networks.resnets import build_model, load_checkpoint
from .measures import read_predictions

DIGITS = "%.6g"  # of written numbers, significant: fixed decimals would tie small probabilities and change the AUC
# Revisions of the training code -> the one that they differ from in rounding alone: small maps as matrix products. The
# same training (ResNet34, layer4, 4 epochs, learning rate .0001) validated at .5327 without and at .5331 with them.
SAME_BUT_ROUNDING = dict.fromkeys(("75fbbf2c49a6", "f796c24bb7fe"), "1efccf0d7eae")  # the second names more files


@dataclass(frozen=True)
class Run:
    """What a run left behind: `config` (settings and provenance), `history` (a row an epoch), `predictions` (a row a
    test image) and `metrics` (per test set)."""

    folder: Path
    config: dict
    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Read a finished run. Raises UserError when the folder holds none, or a damaged one."""
        folder = Path(folder)
        if not is_finished(folder):
            raise UserError(f"There is no finished run in {folder}; train it first, or choose another folder.")
        published = folder / "predictions.csv.gz"
        try:
            read = [json.loads((folder / name).read_text(encoding="utf-8")) for name in ("config.json", "metrics.json")]
            predictions = read_predictions(published if published.exists() else folder / "predictions.csv")
            if "recipe" not in read[0]:
                raise ValueError("an older version made it")
            return cls(folder, read[0], pd.read_csv(folder / "history.csv"), predictions, read[1])
        except (OSError, ValueError) as error:  # ValueError: JSON, CSV or UTF-8 that cannot be read
            raise UserError(f"The run in {folder} is damaged ({error}); remove the folder and train again.") from error

    @property
    def twins_in_train(self) -> set[str]:
        """Files of the test images that have an identical image in train."""
        return set(self.config["data"]["twins_in_train"])

    @property
    def protocol(self) -> str:
        """The protocol in a line, for the notes of tables and figures."""
        return ", ".join(self.protocol_parts)

    @property
    def protocol_parts(self) -> list[str]:
        """The protocol piece by piece, so that several runs' can be compared."""
        config, epochs, label = self.config, self.config["epochs_run"], self.config["weights_label"]
        parts = [config["data"]["name"], f"initial weights {label}", f"trained: {config['trainable']}"]
        parts += [f"{100 * config['train_share']:g} % of train"] if config["train_share"] < 1 else []
        parts += ["leak-free train"] if config["leak_free_train"] else []
        parts += [f"{config['image_size']} px", f"{epochs} epoch{'s' * (epochs != 1)}"]
        parts += [f"cached views: {config['cached_views']}"] if config["cached_views"] else []
        parts += [f"label smoothing {config['label_smoothing']:g}"] if config["label_smoothing"] else []
        return [*parts, f"seed {config['seed']}"]

    def load_model(self) -> ResNet:
        """The trained network, on the CPU, in evaluation mode."""
        model = build_model(self.config["model"], "none", self.config["trainable"])
        return load_checkpoint(model, self.folder / "model.safetensors")


def is_finished(folder: Path) -> bool:
    """Whether the folder holds a finished run: config.json is written last."""
    return (folder / "config.json").exists()
