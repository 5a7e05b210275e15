import dataclasses

import pytest

from fer_nb_utils.errors import UserError
from fer_nb_utils.training.config import TrainConfig


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"model": "vgg"}, "model is 'vgg'; choose one of resnet18, resnet34, resnet50"),
        ({"trainable": "layer9"}, "trainable is 'layer9'; choose one of fc, layer4"),
        ({"precision": "float16"}, "choose one of auto, float32, bfloat16"),
        ({"image_size": 31}, "image_size is 31; it must be from 32 to 1024"),
        ({"image_size": 1025}, "image_size is 1025"),
        ({"epochs": 0}, "epochs is 0; it must be at least 1"),
        ({"batch_size": 1}, "batch_size is 1; it must be at least 2"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"cached_views": -1}, "cached_views is -1"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above zero"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0; it must be at least 0 and below 1"),
        ({"train_share": 0.0}, "train_share is 0.0; it must be above 0 and at most 1"),
        ({"train_share": 1.01}, "train_share is 1.01"),
        ({"train_share": float("nan")}, "train_share is nan"),
        ({"trainable": "all", "cached_views": 2}, "cached_views needs a frozen backbone"),
    ],
)
def test_a_bad_setting_cannot_exist(setting, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**setting)
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TrainConfig(), **setting)


def test_the_smallest_settings_are_allowed():
    TrainConfig(image_size=32, epochs=1, batch_size=2, seed=0, weight_decay=0, label_smoothing=0, cached_views=0)
    TrainConfig(train_share=1e-6)
