"""Trainings for tests: a run of seconds, and for those of milliseconds a ResNet of few channels and made-up images."""

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torchvision.models.resnet import BasicBlock, ResNet

from fer_nb_utils.data.dataset import Dataset
from fer_nb_utils.networks.resnets import freeze
from fer_nb_utils.networks.transforms import Preprocess
from fer_nb_utils.training.config import TrainConfig

TINY_RUN = TrainConfig(weights="none", trainable="fc", image_size=32, epochs=1, cached_views=1)


def slim_resnet(trainable: str = "all", seed: int = 0) -> ResNet:
    """The stages of a ResNet18 with one block of 8 channels each."""
    torch.manual_seed(seed)
    with torch.device("meta"):  # what is replaced below costs nothing
        model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=7)
    model.conv1, model.bn1 = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(8)
    for stage in (1, 2, 3, 4):
        setattr(model, f"layer{stage}", nn.Sequential(BasicBlock(8, 8)))
    model.fc = nn.Linear(8, 7)
    freeze(model, trainable)
    return model


def noise_dataset(count: int, usage: str = "Training", seed: int = 0) -> Dataset:
    """`count` different images of noise with the classes in turn."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    files = np.array([f"{usage}_{number}" for number in range(count)])
    return Dataset(images, np.arange(count) % 7, np.full(count, usage), files, "noise", f"sha256:{seed}", "noise")


class Recorder:
    """What `fit` does with a model, seen from outside by hooks: a context manager.

    `steps`: one dict a training step, with indices of the images (n,), logits (n, 7) as computed, learning_rate,
    and gradients by the parameter's name. `evaluations`: the logits of each evaluation batch. `states`: the model's
    state at the end of each epoch. `accuracies`: when given, the validation accuracy that each epoch is made to have.
    `fail`: when given, called before each training step with its number, from 0.
    """

    def __init__(self, model: ResNet, train: Dataset, validation: Dataset, accuracies=(), fail=None):
        self.model, self.accuracies, self.fail = model, accuracies, fail
        self.train, self.validation = train, validation
        self.steps, self.evaluations, self.states, self.seen = [], [], [], 0

    def __enter__(self) -> "Recorder":
        self.handles = [
            self.model.register_forward_pre_hook(self._before),
            self.model.fc.register_forward_hook(self._after),
            register_optimizer_step_pre_hook(self._step),
        ]
        return self

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def _before(self, model, inputs):
        images = torch.from_numpy((self.train if model.training else self.validation).images)
        plain = Preprocess(inputs[0].shape[-1])(images)
        self.indices = torch.cdist(inputs[0].flatten(1), plain.flatten(1)).argmin(dim=1)

    def _after(self, fc, _, logits):
        if fc.training:
            if self.fail is not None:
                self.fail(len(self.steps))
            self.steps.append({"logits": logits.detach(), "indices": getattr(self, "indices", None)})
            return None
        if self.seen % len(self.validation) == 0:
            self.states.append({name: tensor.clone() for name, tensor in self.model.state_dict().items()})
        labels = torch.from_numpy(self.validation.labels[self.seen % len(self.validation) :][: len(logits)])
        self.seen += len(logits)
        if len(self.accuracies) >= len(self.states):
            right = round(self.accuracies[len(self.states) - 1] * len(labels))
            guesses = (labels + (torch.arange(len(labels)) >= right)) % 7
            logits = torch.eye(7)[guesses] * len(self.states)
        self.evaluations.append(logits)
        return logits

    def _step(self, optimizer, *_):
        gradients = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        rates = {group["lr"] for group in optimizer.param_groups}
        self.steps[-1] |= {"gradients": gradients, "learning_rate": rates.pop(), "other_rates": rates}
