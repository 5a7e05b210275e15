"""One experiment from data to a finished run: split, train, test once, write everything down."""

import dataclasses
import json
import platform
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet

from .. import __version__
from ..classes import CLASSES
from ..data.audit import audit
from ..data.dataset import Dataset, split_validation
from ..errors import UserError
from ..files import atomic_path, write_json
from ..networks.cost import count_parameters, latency_ms, multiply_adds
from ..networks.device import PRECISIONS, best_precision, choose_device, device_name
from ..networks.prediction import predict
from ..networks.resnets import MODELS, TRAINABLE, Weights, assemble, read_weights
from ..networks.transforms import Preprocess
from ..results.measures import metrics, read_predictions
from ..results.run_folder import DIGITS, Run, is_finished
from .config import TrainConfig
from .loop import fit

CHOICES = {
    "model": MODELS,
    "trainable": TRAINABLE,
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "constant"),
    "validation": ("stratified", "PublicTest"),
    "precision": ("auto", *PRECISIONS),
}
POSITIVE = ("image_size", "epochs", "batch_size", "learning_rate")


def run(config: TrainConfig, dataset: Dataset, folder: str | Path, device: str = "auto") -> Run:
    """Train and test one network, or read the result where `folder` already holds it.

    A run that was killed goes on after its last full epoch. A folder with a run of other settings or other data is
    renamed to `<folder>.previous-1` and so on; nothing is overwritten. Raises UserError for senseless settings.
    """
    _check(config)
    folder = Path(folder)
    weights = read_weights(config.model, config.weights)
    settings = {
        **dataclasses.asdict(config),
        "weights": Path(config.weights).name,  # the hash says which file; where it lay is nobody's business
        "weights_sha256": weights.sha256,
        "fingerprint": dataset.fingerprint,
    }
    _make_room(folder, settings)
    if not is_finished(folder):
        _train_and_test(config, weights, dataset, folder, choose_device(device))
    return Run.load(folder)


def repeat(config: dict, dataset: Dataset, folder: str | Path, weights: str | None = None, device: str = "auto") -> Run:
    """Run the experiment of a finished run's `config.json` again, in another folder.

    `weights`: where its initial weights lie, when they came from a file. Raises UserError when data or initial weights
    are not those of the first run.
    """
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    again = TrainConfig(**{key: value for key, value in config.items() if key in fields})
    if weights is not None:
        again = dataclasses.replace(again, weights=weights)
    if dataset.fingerprint != config["data"]["fingerprint"]:
        raise UserError(
            f"{dataset.source} is not the data of that run: its fingerprint is {dataset.fingerprint}, "
            f"not {config['data']['fingerprint']}; give the same data."
        )
    if read_weights(again.model, again.weights).sha256 != config["weights_sha256"]:
        raise UserError(f"{again.weights} is not the file of initial weights of that run; give {config['weights']}.")
    return run(again, dataset, folder, device)


def _train_and_test(
    config: TrainConfig, weights: Weights, dataset: Dataset, folder: Path, device: torch.device
) -> None:
    precision = best_precision(device) if config.precision == "auto" else config.precision
    train, validation = split_validation(dataset, seed=config.seed)
    model = assemble(config.model, weights, config.trainable, config.seed)
    start = time.perf_counter()
    history = fit(model, config, train, validation, folder, device, precision)
    elapsed = time.perf_counter() - start

    model.to(device).eval()
    predictions = _test(model, dataset.select("PublicTest", "PrivateTest"), config)
    twins = dataset.files[audit(dataset).twin_in_train].tolist()
    with atomic_path(folder / "model.safetensors") as temporary:
        state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, temporary, metadata={"model": config.model, "image_size": str(config.image_size)})
    for name, table in (("history.csv", history), ("predictions.csv", predictions)):
        with atomic_path(folder / name) as temporary:
            table.to_csv(temporary, index=False, float_format=DIGITS)
    predictions = read_predictions(folder / "predictions.csv")  # what a reader of the file will find
    write_json(folder / "metrics.json", metrics(predictions, twins))

    total, trained = count_parameters(model)
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", {
        **settings,
        "weights_label": config.weights_label or weights.label,
        "precision": precision,
        "epochs_run": len(history),
        "best_epoch": int(history["epoch"][history["validation_accuracy"].argmax()]),
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "source": Path(dataset.source).name,
            "synthetic": dataset.synthetic,
            "counts": dataset.counts().to_dict(),
            "twins_in_train": twins,
        },
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__, "torchvision": version("torchvision"),
            "numpy": version("numpy"), "fer_nb_utils": __version__,
        },
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "seconds": round(history["seconds"].sum(), 1),
        "preparation_seconds": round(max(0.0, elapsed - history["seconds"].sum()), 1),
        "parameters": total,
        "trained_parameters": trained,
        "multiply_adds": multiply_adds(model, config.image_size),
        "latency_ms": round(latency_ms(model, config.image_size), 2),
        "peak_memory_mb": _peak_memory_mb(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    })  # fmt: skip
    for leftover in ("state.pt", "features.npy", "validation_features.npy"):
        (folder / leftover).unlink(missing_ok=True)


def _test(model: ResNet, test: Dataset, config: TrainConfig) -> pd.DataFrame:
    probabilities = predict(model, torch.from_numpy(test.images), Preprocess(config.image_size))
    identity = {"file": test.files, "usage": test.usage, "label": [CLASSES[label] for label in test.labels]}
    return pd.DataFrame(identity).join(pd.DataFrame(probabilities, columns=list(CLASSES)))


def _check(config: TrainConfig) -> None:
    for field, choices in CHOICES.items():
        if getattr(config, field) not in choices:
            raise UserError(f"{field} is {getattr(config, field)!r}; choose one of {', '.join(choices)}.")
    for field in POSITIVE:
        if not getattr(config, field) > 0:
            raise UserError(f"{field} is {getattr(config, field)!r}; it must be above zero.")
    if config.cached_views < 0 or (config.cached_views and config.trainable == "all"):
        raise UserError("cached_views needs a frozen backbone: give a trainable other than all, or cached_views=0.")


def _make_room(folder: Path, settings: dict) -> None:
    """Leave `folder` holding this run, finished or not, or nothing but its settings."""
    marker = folder / "settings.json"
    if folder.exists() and any(folder.iterdir()):
        if marker.exists() and json.loads(marker.read_text(encoding="utf-8")) == settings:
            return
        number = 1
        while (aside := folder.with_name(f"{folder.name}.previous-{number}")).exists():
            number += 1
        folder.rename(aside)
        print(f"{folder} held a run with other settings; it is now {aside.name}.")
    write_json(marker, settings)


def _peak_memory_mb() -> int | None:
    """Peak resident memory of this process in MiB; None where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024))
