"""The settings of a training run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, besides the data.

    The paper gives the networks, ImageNet weights, layer4+fc, 20 epochs and the kinds of augmentation; all else is
    our choice.
    """

    model: str = "resnet18"
    weights: str = "imagenet"  # imagenet, none, or a file or folder of state dicts
    weights_label: str = ""  # what tables call the initial weights; empty: "random", torchvision's name or the file's
    trainable: str = "layer4"  # first trained stage
    image_size: int = 64  # pixels
    epochs: int = 20
    batch_size: int = 128
    optimizer: str = "adamw"  # or sgd (Nesterov momentum 0.9)
    learning_rate: float = 5e-4  # peak
    weight_decay: float = 0.02
    schedule: str = "cosine"  # to zero, or constant; both after a linear warm-up
    label_smoothing: float = 0.0
    augment: bool = True
    cached_views: int = 0  # augmented copies whose backbone features are computed once; 0: new ones in every epoch
    validation: str = "stratified"  # 10 % of train, or PublicTest
    patience: int = 0  # epochs without a better validation accuracy before stopping; 0: never
    seed: int = 0
    precision: str = "auto"  # float32, bfloat16, float16
