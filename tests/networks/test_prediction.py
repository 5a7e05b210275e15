"""Probabilities of images, against a softmax by hand."""

import numpy as np
import pytest
import torch
from tiny_training import noise_dataset, slim_resnet
from torch import nn

from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.networks.transforms import Preprocess

IMAGES = torch.from_numpy(noise_dataset(11).images)


@pytest.mark.parametrize("batch_size", [256, 11, 4, 1])
def test_probabilities_are_the_softmax_of_each_images_logits(batch_size):
    model = slim_resnet().train()
    statistics = model.bn1.running_mean.clone()
    found = predict(model, IMAGES, Preprocess(32), batch_size)
    assert found.shape == (11, 7) and found.dtype == np.float64 and not model.training and not model.bn1.training
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert torch.equal(model.bn1.running_mean, statistics)
    with torch.no_grad():
        logits = torch.cat([model(Preprocess(32)(image[None])) for image in IMAGES]).double().numpy()
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), rtol=1e-4)


def test_batches_are_of_256_images_unless_told_otherwise():
    sizes = []

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.arange(7.0).bfloat16())

        def forward(self, images):
            sizes.append(len(images))
            assert not torch.is_grad_enabled()
            return self.bias.expand(len(images), 7)

    found = predict(Head(), IMAGES.repeat(30, 1, 1), Preprocess(32))
    assert sizes == [256, 74]
    np.testing.assert_allclose(found[:, 6], np.exp(6) / np.exp(np.arange(7)).sum(), rtol=1e-12)
