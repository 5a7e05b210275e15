"""The training loop: batches of in-memory images or cached features, validation every epoch, resumable at any time."""

import math
import time
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet

from ..data.dataset import Dataset
from ..files import atomic_path
from ..networks.device import autocast
from ..networks.resnets import split_at, train_mode
from ..networks.transforms import Augment, Preprocess, batches, steps_in
from ..progress import progress_bar
from .config import TrainConfig
from .features import AugmentedImages, CachedFeatures

WARM_UP = 0.05  # share of all steps in which the learning rate rises linearly


def fit(
    model: ResNet,
    config: TrainConfig,
    train: Dataset,
    validation: Dataset,
    folder: Path,
    device: torch.device,
    precision: str,
) -> pd.DataFrame:
    """Train `model` in place, keep the weights of the epoch with the best validation accuracy, return the history.

    The history has a row an epoch: epoch (from 1), train_loss, train_accuracy, validation_loss, validation_accuracy
    (0..1, averaged over images), learning_rate (last step's), seconds. The state after each epoch is in
    `folder/state.pt`; a call with the same arguments goes on from there, and on a CPU ends with the same weights as an
    unbroken run.
    Raises ValueError for test images, but for PublicTest as validation data where the settings say so.
    """
    _refuse_test_images(config, train, validation)
    model.to(device, memory_format=torch.channels_last)
    head, train_batches, validation_batches = _prepare(model, config, train, validation, folder, device, precision)
    loop = _Loop(head, config, torch.from_numpy(train.labels).to(device), precision, device)
    labels = torch.from_numpy(validation.labels).to(device)
    state_file = folder / "state.pt"
    history, best = [], {"accuracy": -1.0, "epoch": 0, "head": None}
    if state_file.exists():
        state = torch.load(state_file, map_location=device, weights_only=True)
        loop.restore(state["loop"])
        history, best = state["history"], state["best"]
    try:
        for epoch in range(len(history) + 1, config.epochs + 1):
            if config.patience and epoch - 1 - best["epoch"] >= config.patience:
                break
            start = time.perf_counter()
            train_loss, train_accuracy = loop.epoch(epoch, train_batches)
            loss, accuracy = loop.evaluate(validation_batches, labels)
            if accuracy > best["accuracy"]:
                weights = {name: tensor.clone() for name, tensor in head.state_dict().items()}
                best = {"accuracy": accuracy, "epoch": epoch, "head": weights}
            history.append({
                "epoch": epoch, "train_loss": train_loss, "train_accuracy": train_accuracy, "validation_loss": loss,
                "validation_accuracy": accuracy, "learning_rate": loop.learning_rate,
                "seconds": time.perf_counter() - start,
            })  # fmt: skip
            with atomic_path(state_file) as temporary:
                torch.save({"loop": loop.state(), "history": history, "best": best}, temporary)
            print(_line(history[-1], config.epochs), flush=True)
    except KeyboardInterrupt:
        print(f"Stopped after epoch {len(history)} of {config.epochs}; the same call goes on from there.", flush=True)
        raise
    if best["head"] is not None:
        head.load_state_dict(best["head"])
    return pd.DataFrame(history)


class _Loop:
    """One optimiser over one head: an epoch of training, an evaluation, and the state of both."""

    def __init__(self, head: nn.Module, config: TrainConfig, labels: Tensor, precision: str, device: torch.device):
        self.head, self.config, self.labels, self.device, self.precision = head, config, labels, device, precision
        parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
        # fused: one pass over the weights, on a CPU four times as fast, which counts with small batches
        options = {"lr": config.learning_rate, "weight_decay": config.weight_decay, "fused": True}
        if config.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(parameters, **options)
        else:
            self.optimizer = torch.optim.SGD(parameters, momentum=0.9, nesterov=True, **options)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")
        self.steps = steps_in(len(labels), config.batch_size)

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    def epoch(self, epoch: int, source: AugmentedImages | CachedFeatures) -> tuple[float, float]:
        """Train on every image once; mean loss and accuracy over the images, as seen while training."""
        # a generator of its own for each epoch makes a continued run draw what an unbroken one draws
        generator = torch.Generator().manual_seed(1_000_003 * self.config.seed + epoch)
        order = torch.randperm(len(self.labels), generator=generator)
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        train_mode(self.head)
        with progress_bar(total=len(order), unit="image", desc=f"epoch {epoch}/{self.config.epochs}") as bar:
            for step, indices in enumerate(batches(order, self.config.batch_size), (epoch - 1) * self.steps):
                self._set_learning_rate(step)
                labels = self.labels[indices.to(self.device)]
                inputs = source.batch(indices, generator)
                with autocast(self.device, self.precision):
                    logits = self.head(inputs).float()
                    loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
                self.optimizer.zero_grad(set_to_none=True)
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                loss_sum += loss.detach() * len(indices)
                correct += (logits.detach().argmax(dim=1) == labels).sum()
                bar.update(len(indices))
        return loss_sum.item() / len(order), correct.item() / len(order)

    @torch.inference_mode()
    def evaluate(self, source: AugmentedImages | CachedFeatures, labels: Tensor) -> tuple[float, float]:
        """Mean loss and accuracy over the images of `source`, without label smoothing."""
        self.head.eval()
        generator = torch.Generator()  # validation images are not augmented: nothing is drawn
        logits = []
        for indices in batches(torch.arange(len(labels)), 256):
            with autocast(self.device, self.precision):
                logits.append(self.head(source.batch(indices, generator)).float())
        logits = torch.cat(logits)
        return F.cross_entropy(logits, labels).item(), (logits.argmax(dim=1) == labels).float().mean().item()

    def state(self) -> dict:
        return {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: dict) -> None:
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])

    def _set_learning_rate(self, step: int) -> None:
        total = self.config.epochs * self.steps
        warm_up = max(1, round(WARM_UP * total))
        factor = min(1.0, (step + 1) / warm_up)
        if self.config.schedule == "cosine" and step >= warm_up:
            factor = 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, total - warm_up)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor


def _prepare(
    model: ResNet,
    config: TrainConfig,
    train: Dataset,
    validation: Dataset,
    folder: Path,
    device: torch.device,
    precision: str,
) -> tuple[nn.Module, AugmentedImages | CachedFeatures, AugmentedImages | CachedFeatures]:
    """(what is trained, training batches, validation batches): the whole model, or the head over cached features."""
    preprocess = Preprocess(config.image_size)
    augment = Augment() if config.augment else None
    fresh = AugmentedImages(torch.from_numpy(train.images).to(device), preprocess, augment)
    plain = AugmentedImages(torch.from_numpy(validation.images).to(device), preprocess, None)
    if not config.cached_views or config.trainable == "all":
        return model, fresh, plain
    backbone, head = split_at(model, config.trainable)
    cached = CachedFeatures(fresh, backbone, config.cached_views, config.seed, precision, folder / "features.npy")
    return head, cached, CachedFeatures(plain, backbone, 1, config.seed, precision, folder / "validation_features.npy")


def _refuse_test_images(config: TrainConfig, train: Dataset, validation: Dataset) -> None:
    allowed = "PublicTest" if config.validation == "PublicTest" else "Training"
    if set(train.usage) != {"Training"} or set(validation.usage) != {allowed}:
        raise ValueError(
            "Training takes Training images, and validation images of the split that the settings name, only."
        )


def _line(row: dict, epochs: int) -> str:
    return (
        f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}  train loss {row['train_loss']:.3f} accuracy"
        f" {row['train_accuracy']:.3f}  validation loss {row['validation_loss']:.3f} accuracy"
        f" {row['validation_accuracy']:.3f}  {row['seconds']:.1f} s"
    )
