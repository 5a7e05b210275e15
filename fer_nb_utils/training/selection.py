"""Which Training images a run learns from, and on which it is validated."""

import numpy as np

from ..data.audit import audit
from ..data.dataset import Dataset, draw_stratified, identical_groups, split_validation
from .config import TrainConfig


def select_images(dataset: Dataset, config: TrainConfig) -> tuple[Dataset, Dataset]:
    """(train, validation) of a run, both from Training.

    `leak_free_train` takes away, before the split, every image that is identical to a test image or to one with
    another label. `train_share` then keeps so much of train and all of validation, so that scores stay comparable.
    Raises DataError when a side would be empty.
    """
    if config.leak_free_train:
        found = audit(dataset)
        leaking = np.isin(found.groups, np.union1d(found.spanning, found.conflicting))
        dataset = dataset.subset(~leaking | found.test)
    train, validation = split_validation(dataset, seed=config.seed)
    if config.train_share < 1:
        groups = identical_groups(train.images)
        train = train.subset(draw_stratified(train.labels, groups, config.train_share, config.seed))
    return train, validation
