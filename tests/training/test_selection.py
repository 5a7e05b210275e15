"""Which images a run is trained and validated on."""

import dataclasses

import numpy as np
import pytest
from tiny_training import noise_dataset

from fer_nb_utils.data.dataset import split_validation
from fer_nb_utils.errors import DataError
from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.selection import select_images

LEAKING = {0, 2, 3, 8, 9, 10}


@pytest.fixture(scope="module")
def dataset():
    """700 images of Training, 100 of each class, then 140 test images; image i is of class i % 7."""
    made = noise_dataset(840)
    images, usage = made.images.copy(), np.repeat(["Training", "PublicTest", "PrivateTest"], [700, 70, 70])
    images[[0, 3]] = images[703]  # in PublicTest, with another label and the same
    images[2] = images[780]  # in PrivateTest
    images[[8, 9]] = images[10]  # in train, with other labels
    images[720] = images[721]  # in test, with another label: nothing to be left out of train
    for first in range(210, 490, 28):  # four identical ones of the same label, seventy times: these may stay
        images[first + 7 : first + 28] = np.tile(images[first : first + 7], (3, 1, 1))
    return dataclasses.replace(made, images=images, usage=usage)


def pixels(dataset):
    return [image.tobytes() for image in dataset.images]


def numbers(dataset):
    return {int(name.rpartition("_")[2]) for name in dataset.files}


def test_by_default_all_of_training_is_used(dataset):
    for seed in (0, 1):
        expected = split_validation(dataset, seed=seed)
        for part, other in zip(select_images(dataset, TrainConfig(seed=seed, train_share=1.0)), expected, strict=True):
            assert part.files.tolist() == other.files.tolist() and np.array_equal(part.images, other.images)


def test_leak_free_leaves_out_what_is_in_test_or_has_another_label(dataset):
    train, validation = select_images(dataset, TrainConfig(leak_free_train=True))
    assert numbers(train) | numbers(validation) == set(range(700)) - LEAKING  # and nothing else
    assert not set(pixels(train) + pixels(validation)) & set(pixels(dataset.select("PublicTest", "PrivateTest")))
    label = dict(zip(pixels(train), train.labels, strict=True))
    assert all(label[image] == own for image, own in zip(pixels(train), train.labels, strict=True))
    assert not set(pixels(train)) & set(pixels(validation))
    assert set(train.usage) == set(validation.usage) == {"Training"}
    assert 69 <= len(validation) <= 69 + 7 * 3  # of each class the last one drawn may be a group of four
    with_leaks, _ = select_images(dataset, TrainConfig())
    assert set(pixels(with_leaks)) & set(pixels(dataset.select("PublicTest", "PrivateTest")))  # there was something


@pytest.mark.parametrize("leak_free", [False, True])
def test_a_share_of_train_is_stratified_and_leaves_validation_as_it_is(dataset, leak_free):
    config = TrainConfig(leak_free_train=leak_free)
    whole, validation = select_images(dataset, config)
    drawn = set()
    for share in (0.3, 0.75):
        part, same = select_images(dataset, dataclasses.replace(config, train_share=share))
        assert same.files.tolist() == validation.files.tolist()
        assert numbers(part) < numbers(whole) and len(part.files) == len(set(part.files))
        counts, wanted = np.bincount(part.labels), share * np.bincount(whole.labels)
        assert (counts >= wanted - 1).all() and (counts <= wanted + 4).all()  # the last one drawn may be a group
        assert not set(pixels(part)) & (set(pixels(whole.subset(~np.isin(whole.files, part.files)))))  # twins together
        drawn.add(frozenset(numbers(part)))
    assert len(drawn) == 2


def test_the_seed_draws_the_share(dataset):
    config = TrainConfig(train_share=0.5)
    first, again = (select_images(dataset, config)[0] for _ in range(2))
    assert first.files.tolist() == again.files.tolist()
    other, validation = select_images(dataset, dataclasses.replace(config, seed=1))
    whole = select_images(dataset, TrainConfig(seed=1))
    assert numbers(other) != numbers(first) & numbers(whole[0]) and numbers(validation) == numbers(whole[1])


def test_the_smallest_share_keeps_every_class(dataset):
    train, _ = select_images(dataset, TrainConfig(train_share=1e-6))
    assert (np.bincount(train.labels) >= 1).all() and len(train) <= 28


def test_nothing_left_to_train_on_is_one_sentence(dataset):
    images = dataset.images.copy()
    images[:140] = images[700:]
    leaking = dataclasses.replace(dataset, images=images).subset(np.r_[:140, 700:840])
    with pytest.raises(DataError, match="has too few images to split off validation data"):
        select_images(leaking, TrainConfig(leak_free_train=True))
