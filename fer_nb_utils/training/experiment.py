"""One experiment from data to a finished run: split, train, test once, write everything down."""

import dataclasses
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet

from ..classes import CLASSES
from ..data.audit import audit
from ..data.dataset import Dataset
from ..errors import DivergedError, UserError, WeightsError
from ..files import atomic_path, locked, write_json
from ..networks.cost import count_parameters, latency_ms, multiply_adds
from ..networks.device import best_precision, choose_device, device_name
from ..networks.load import checkpoint_metadata
from ..networks.prediction import predict
from ..networks.resnets import Weights, assemble, read_weights
from ..networks.transforms import Preprocess
from ..results.calibration import fit_temperature
from ..results.measures import metrics, read_predictions
from ..results.run_folder import DIGITS, SAME_BUT_ROUNDING, Run, is_finished
from .config import TrainConfig
from .features import FeaturePool
from .loop import fit
from .provenance import recipe, source_revision, versions
from .selection import select_images

SETTINGS, SESSIONS = "settings.json", "sessions.json"
SCRATCH = ("state.pt", "features.npy", "validation_features.npy", SESSIONS)  # of an unfinished run


def run(
    config: TrainConfig, dataset: Dataset, folder: str | Path, device: str = "auto", features_folder: Path | None = None
) -> Run:
    """Train and test one network, or read the result where `folder` already holds it.

    `features_folder`: where cached features stay for other runs of the same backbone; by default they go with the run.

    A run that was killed goes on after its last full epoch, in the precision that it began with. A folder with a run
    of other settings, data or training code is renamed to `<folder>.previous-1` and so on; nothing is overwritten.
    Raises UserError when another process is at work there, when it holds no run, or when the training diverges.
    """
    folder = Path(folder)
    busy = f"Another process trains in {folder}: wait for it, or choose another folder."
    with locked(folder.with_name(f".{folder.name}.lock"), busy):
        settings, weights = _plan(config, dataset, folder)
        _make_room(folder, settings)
        if not is_finished(folder):
            try:
                _train_and_test(config, weights, dataset, folder, choose_device(device), features_folder)
            except DivergedError:  # it would do so again from where it stopped
                for name in (*SCRATCH, SETTINGS):
                    (folder / name).unlink(missing_ok=True)
                folder.rmdir()
                raise
        return Run.load(folder)


def is_done(config: TrainConfig, dataset: Dataset, folder: Path) -> bool:
    """Whether `folder` holds this run, finished, so that `run` would only read it."""
    return is_finished(folder) and _settings_of(folder) == _plan(config, dataset, folder)[0]


def repeat(config: Path, dataset: Dataset, folder: str | Path, weights: str | None = None, device: str = "auto") -> Run:
    """Run the experiment of a finished run again, in another folder; `config` is its `config.json`.

    `weights`: where its initial weights lie, when they came from a file. Raises UserError when `config` is no such
    file, and when data, initial weights or recipe are not those of the first run; when only the code has changed
    since, it says so on standard error.
    """
    try:
        first = json.loads(config.read_text(encoding="utf-8"))
        again = TrainConfig(**{field.name: first[field.name] for field in dataclasses.fields(TrainConfig)})
        fingerprint, sha256, former = first["data"]["fingerprint"], first["weights_sha256"], dict(first["recipe"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{config} is not the config.json of a finished run ({error}); choose another file.") from error
    again = dataclasses.replace(again, weights=weights or again.weights)
    if dataset.fingerprint != fingerprint:
        found = f"its fingerprint is {dataset.fingerprint}, not {fingerprint}"
        raise UserError(f"{dataset.source} is not the data of that run: {found}; give the same data.")
    if read_weights(again.model, again.weights).sha256 != sha256:
        raise UserError(f"{again.weights} is not the file of initial weights of that run; give {first['weights']}.")
    if other := [key for key, value in recipe(again).items() if former.get(key, value) != value]:
        raise UserError(f"That run was made with another {', '.join(other)} than the code here has; see its config.")
    then, now = (SAME_BUT_ROUNDING.get(each, each) for each in (first.get("source_revision"), source_revision()))
    if then != now:
        print("The training code has changed since that run: expect other numbers.", file=sys.stderr)
    return run(again, dataset, folder, device)


def _plan(config: TrainConfig, dataset: Dataset, folder: Path) -> tuple[dict, Weights | None]:
    """A run's settings as its folder records them, and its initial weights: None where a finished run needs none."""
    settings = dataclasses.asdict(config) | {"fingerprint": dataset.fingerprint}
    settings |= {"weights": Path(config.weights).name}  # its hash says which it is; where it lay is nobody's business
    settings |= {"recipe": recipe(config), "source_revision": source_revision()}
    try:
        weights = read_weights(config.model, config.weights)
        return settings | {"weights_sha256": weights.sha256}, weights
    except WeightsError:
        settings["weights_sha256"] = _settings_of(folder).get("weights_sha256")
        if not is_finished(folder) or _settings_of(folder) != settings:
            raise
        return settings, None


def _train_and_test(
    config: TrainConfig, weights: Weights, dataset: Dataset, folder: Path, device: torch.device, features: Path | None
) -> None:
    sessions = _begin_session(config, folder, device)
    precision = sessions[0]["precision"]
    train, validation = select_images(dataset, config)
    model = assemble(config.model, weights, config.trainable, config.seed)
    pool = FeaturePool(dataset.select("Training"), features)
    history, preparation_seconds = fit(model, config, train, validation, folder, device, precision, pool)

    model.to(device).eval()
    temperature = round(fit_temperature(_answers(model, validation, config), validation.labels), 4)
    test = dataset.select("PublicTest", "PrivateTest")
    identity = {"file": test.files, "usage": test.usage, "label": [CLASSES[label] for label in test.labels]}
    predictions = pd.DataFrame(identity).join(pd.DataFrame(_answers(model, test, config), columns=list(CLASSES)))
    twins = dataset.files[audit(dataset).twin_in_train].tolist()
    with atomic_path(folder / "model.safetensors") as temporary:
        state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, temporary, metadata=checkpoint_metadata(config.model, config.image_size, temperature))
    for name, table in (("history.csv", history), ("predictions.csv", predictions)):
        with atomic_path(folder / name) as temporary:
            table.to_csv(temporary, index=False, float_format=DIGITS)
    predictions = read_predictions(folder / "predictions.csv")  # what a reader of the file will find
    write_json(folder / "metrics.json", metrics(predictions, twins))

    total, trained = count_parameters(model)
    write_json(folder / "config.json", {
        **_settings_of(folder),
        "weights_kind": weights.kind, "weights_label": weights.label,
        "precision": precision, "epochs_run": len(history),
        "best_epoch": int(history["epoch"][history["validation_accuracy"].argmax()]),
        "temperature": temperature,
        "data": {
            "name": dataset.name, "fingerprint": dataset.fingerprint, "source": Path(dataset.source).name,
            "synthetic": dataset.synthetic, "counts": dataset.counts().to_dict(),
            "train_images": len(train), "validation_images": len(validation), "twins_in_train": twins,
        },
        "versions": versions(),
        **{key: sessions[-1][key] for key in ("device", "device_name", "threads")},
        "sessions": sessions,
        "seconds": round(history["seconds"].sum(), 1), "preparation_seconds": round(preparation_seconds, 1),
        "parameters": total, "trained_parameters": trained,
        "multiply_adds": multiply_adds(model, config.image_size),
        "latency_ms": round(latency_ms(model, config.image_size), 2),
        "latency_device": f"{device_name(torch.device('cpu'))}, one thread",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    })  # fmt: skip
    for name in SCRATCH:
        (folder / name).unlink(missing_ok=True)


def _begin_session(config: TrainConfig, folder: Path, device: torch.device) -> list[dict]:
    """The machines and precisions of this run's sessions, this one last; the first decides the precision of all."""
    record = folder / SESSIONS
    sessions = json.loads(record.read_text(encoding="utf-8")) if record.exists() else []
    chosen = best_precision(device) if config.precision == "auto" else config.precision
    session = {
        "device": device.type, "device_name": device_name(device), "threads": torch.get_num_threads(),
        "precision": sessions[0]["precision"] if sessions else chosen,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    if sessions and sessions[-1]["device_name"] != session["device_name"]:
        print(f"{folder.name} began on {sessions[-1]['device_name']} and goes on on {session['device_name']}.")
    write_json(record, [*sessions, session])
    return [*sessions, session]


def _answers(model: ResNet, images: Dataset, config: TrainConfig) -> np.ndarray:
    return predict(model, torch.from_numpy(images.images), Preprocess(config.image_size))


def _settings_of(folder: Path) -> dict:
    """The settings of the run in `folder`; empty where there is none."""
    for name in (SETTINGS, "config.json"):
        with suppress(OSError, ValueError):  # there is none, or something else of this name
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            if isinstance(found, dict) and {"model", "trainable", "fingerprint"} <= found.keys():
                return found
    return {}


def _make_room(folder: Path, settings: dict) -> None:
    """Leave `folder` holding this run, finished or not, or nothing but its settings."""
    if folder.exists() and any(folder.iterdir()):
        found = _settings_of(folder)
        if found == settings:
            return
        if not found:
            raise UserError(f"{folder} holds something else than a training run; choose another folder.")
        asides = (folder.with_name(f"{folder.name}.previous-{number}") for number in count(1))
        aside = folder.rename(next(path for path in asides if not path.exists()))
        changed = [key for key in settings if found.get(key) != settings[key]]
        print(f"{folder} held a run with another {', '.join(changed)}; it is now {aside.name}.")
    write_json(folder / SETTINGS, settings)
