"""The settings of a training run; a bad one cannot exist."""

from dataclasses import dataclass, fields

from ..errors import UserError
from ..networks.device import PRECISIONS
from ..networks.resnets import MODELS, TRAINABLE

CHOICES = {"model": MODELS, "trainable": TRAINABLE, "precision": ("auto", *PRECISIONS)}
AT_LEAST = {"epochs": 1, "batch_size": 2, "weight_decay": 0, "cached_views": 0, "seed": 0}


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, besides the data. Raises UserError for a setting that makes no sense.

    The paper gives the networks, ImageNet weights, layer4+fc, 20 epochs and the kinds of augmentation; all else is
    our choice.
    """

    model: str = "resnet18"
    weights: str = "imagenet"  # imagenet, embedded, none, or a file or folder of state dicts
    trainable: str = "layer4"  # first trained stage
    image_size: int = 64  # pixels
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 5e-4  # peak
    weight_decay: float = 0.02  # of weights; biases and batch norm have none
    label_smoothing: float = 0.0
    augment: bool = True
    train_share: float = 1.0  # of the training images, every class alike
    leak_free_train: bool = False  # leave out Training's twins of test images, and twins with another label
    cached_views: int = 0  # augmented copies whose backbone features are computed once; 0: new ones in every epoch
    seed: int = 0
    precision: str = "auto"  # float32, bfloat16

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), type(field.default)
            if type(value) is not kind and not (kind is float and type(value) is int):
                raise UserError(f"{field.name} is {value!r}; give a value of type {kind.__name__}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}.")
        limits = {name: (getattr(self, name) >= least, f"at least {least}") for name, least in AT_LEAST.items()} | {
            "image_size": (32 <= self.image_size <= 1024, "from 32 to 1024"),
            "learning_rate": (self.learning_rate > 0, "above zero"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "train_share": (0 < self.train_share <= 1, "above 0 and at most 1"),
        }
        for name, (kept, wanted) in limits.items():
            if not kept:
                raise UserError(f"{name} is {getattr(self, name)!r}; it must be {wanted}.")
        if self.cached_views and self.trainable == "all":
            raise UserError("cached_views needs a frozen backbone: give a trainable other than all, or cached_views=0.")
