"""The training loop: batches of in-memory images or cached features, validation every epoch, resumable at any time."""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet

from ..data.dataset import Dataset
from ..errors import DivergedError
from ..files import atomic_path
from ..networks.device import autocast
from ..networks.resnets import split_at, train_mode
from ..networks.small_maps import small_maps_as_matrices
from ..networks.transforms import Augment, Preprocess, batches, steps_in
from ..progress import progress_bar
from .config import TrainConfig
from .features import AugmentedImages, CachedFeatures, FeaturePool, compute_features, shared_features

WARM_UP = 0.05  # share of all steps in which the learning rate rises linearly


def fit(
    model: ResNet,
    config: TrainConfig,
    train: Dataset,
    validation: Dataset,
    folder: Path,
    device: torch.device,
    precision: str,
    pool: FeaturePool | None = None,
) -> tuple[pd.DataFrame, float]:
    """Train `model` in place and keep the weights of the epoch with the best validation accuracy.

    Cached features are those of `pool`, which holds the images of `train`; without one, of `train` itself. Returns the
    history and the seconds spent on cached features. The history has a row an epoch: epoch (from 1), train_loss,
    train_accuracy, validation_loss, validation_accuracy (0..1, averaged over images), learning_rate (last step's),
    seconds. The state after each epoch is in `folder/state.pt`; a call with the same arguments goes on from there, and
    on a CPU ends with the same weights as an unbroken run.
    Raises ValueError for test images, DivergedError when the loss is no longer finite.
    """
    if {*train.usage, *validation.usage} != {"Training"}:
        raise ValueError("Training and validation take Training images only.")
    model.to(device, memory_format=torch.channels_last)
    head = split_at(model, config.trainable)[1] if config.cached_views else model
    loop = _Loop(head, config, torch.from_numpy(train.labels).to(device), precision, device)
    state_file = folder / "state.pt"
    state = {"history": [], "best": {"accuracy": -1.0, "head": None}, "preparation_seconds": 0.0}
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        loop.restore(state["loop"])
    history, best = state["history"], state["best"]
    if len(history) < config.epochs:
        start = time.perf_counter()
        sources = _sources(model, config, train, validation, folder, device, precision, pool or FeaturePool(train))
        if config.cached_views:
            state["preparation_seconds"] += time.perf_counter() - start
    labels = torch.from_numpy(validation.labels).to(device)
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            start = time.perf_counter()
            with small_maps_as_matrices(head):
                train_loss, train_accuracy = loop.epoch(epoch, sources[0])
                loss, accuracy = loop.evaluate(sources[1], labels)
            loop.check(loss, epoch)  # the last step may have spoiled the weights
            if accuracy > best["accuracy"]:
                best |= {"accuracy": accuracy, "head": {name: each.clone() for name, each in head.state_dict().items()}}
            history.append({
                "epoch": epoch, "train_loss": train_loss, "train_accuracy": train_accuracy, "validation_loss": loss,
                "validation_accuracy": accuracy, "learning_rate": loop.learning_rate,
                "seconds": time.perf_counter() - start,
            })  # fmt: skip
            with atomic_path(state_file) as temporary:
                torch.save(state | {"loop": loop.state()}, temporary)
            print(_line(history[-1], config.epochs), flush=True)
    except KeyboardInterrupt:
        print(f"Stopped after epoch {len(history)} of {config.epochs}; the same call goes on from there.", flush=True)
        raise
    head.load_state_dict(best["head"])
    return pd.DataFrame(history), state["preparation_seconds"]


class _Loop:
    """One optimiser over one head: an epoch of training, an evaluation, and the state of both."""

    def __init__(self, head: nn.Module, config: TrainConfig, labels: Tensor, precision: str, device: torch.device):
        self.head, self.config, self.labels, self.device, self.precision = head, config, labels, device, precision
        # fused: one pass over the weights, on a CPU four times as fast, which counts with small batches
        self.optimizer = torch.optim.AdamW(_decayed_and_not(head, config), lr=config.learning_rate, fused=True)
        self.steps = steps_in(len(labels), config.batch_size)

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def epoch(self, epoch: int, source: AugmentedImages | CachedFeatures) -> tuple[float, float]:
        """Train on every image once; mean loss and accuracy over the images, as seen while training."""
        # a generator of its own for each epoch makes a continued run draw what an unbroken one draws
        generator = torch.Generator().manual_seed(1_000_003 * self.config.seed + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        loss_sum, correct = 0.0, 0
        train_mode(self.head)
        with progress_bar(total=len(order), unit="image", desc=f"epoch {epoch}/{self.config.epochs}") as bar:
            for step, indices in enumerate(batches(order, self.config.batch_size), (epoch - 1) * self.steps):
                self._set_learning_rate(step)
                labels = self.labels[indices.to(self.device)]
                inputs = source.batch(indices, epoch, generator)
                with autocast(self.device, self.precision):
                    logits = self.head(inputs).float()
                    loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
                self.check(loss.item(), epoch)
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                loss_sum += loss.item() * len(indices)
                correct += (logits.detach().argmax(dim=1) == labels).sum().item()
                bar.update(len(indices))
        return loss_sum / len(order), correct / len(order)

    def check(self, loss: float, epoch: int) -> None:
        """Raise DivergedError for a loss that is not finite."""
        if not math.isfinite(loss):
            rate = self.config.learning_rate
            raise DivergedError(f"The loss became {loss} in epoch {epoch}, with learning_rate {rate}: lower it.")

    @torch.inference_mode()
    def evaluate(self, source: AugmentedImages | CachedFeatures, labels: Tensor) -> tuple[float, float]:
        """Mean loss and accuracy over the images of `source`, without label smoothing."""
        self.head.eval()
        generator = torch.Generator()  # validation images are not augmented: nothing is drawn
        logits = []
        for indices in batches(torch.arange(len(labels)), 256):
            with autocast(self.device, self.precision):
                logits.append(self.head(source.batch(indices, 0, generator)).float())
        logits = torch.cat(logits)
        return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()

    def state(self) -> dict:
        return {"head": self.head.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict) -> None:
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _set_learning_rate(self, step: int) -> None:
        total = self.config.epochs * self.steps
        warm_up = max(1, round(WARM_UP * total))
        # 1) linear warm-up to the peak, 2) cosine from there, 3) to zero at the end
        if step < warm_up:
            factor = (step + 1) / warm_up
        else:
            factor = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor


def _decayed_and_not(head: nn.Module, config: TrainConfig) -> list[dict]:
    """The trained parameters as two groups: weight decay pulls at matrices and filters, not at batch norm and biases,
    whose scale carries no complexity (Loshchilov and Hutter 2019, doi 10.48550/arXiv.1711.05101, leave this open;
    torchvision's and timm's recipes do it so)."""
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]


def _sources(
    model: ResNet,
    config: TrainConfig,
    train: Dataset,
    validation: Dataset,
    folder: Path,
    device: torch.device,
    precision: str,
    pool: FeaturePool,
) -> tuple[AugmentedImages | CachedFeatures, AugmentedImages | CachedFeatures]:
    """(training input, validation input): images for the whole model, or features for the head."""
    preprocess, augment = Preprocess(config.image_size), Augment() if config.augment else None
    plain = AugmentedImages(torch.from_numpy(validation.images).to(device), preprocess, None)
    if not config.cached_views:
        return AugmentedImages(torch.from_numpy(train.images).to(device), preprocess, augment), plain
    backbone, _ = split_at(model, config.trainable)
    fresh = AugmentedImages(torch.from_numpy(pool.training.images).to(device), preprocess, augment)
    if pool.folder:
        features = shared_features(fresh, backbone, config.cached_views, precision, pool.folder)
    else:
        features = compute_features(fresh, backbone, config.cached_views, precision, folder / "features.npy")
    of_validation = compute_features(plain, backbone, 1, precision, folder / "validation_features.npy")
    rows = pd.Index(pool.training.files).get_indexer(train.files)
    return (
        CachedFeatures(features, rows, device, config.seed),
        CachedFeatures(of_validation, np.arange(len(validation)), device, config.seed),
    )


def _line(row: dict, epochs: int) -> str:
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  train loss {row['train_loss']:.3f} accuracy"
        f" {row['train_accuracy']:.3f}  validation loss {row['validation_loss']:.3f} accuracy"
        f" {row['validation_accuracy']:.3f}  {row['seconds']:.1f} s"
    )
