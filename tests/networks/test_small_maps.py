import copy

import pytest
import torch
from torch import nn

from fer_nb_utils.networks.resnets import MODELS, build_model
from fer_nb_utils.networks.small_maps import SMALL, MatrixConv2d, small_maps_as_matrices


@pytest.mark.parametrize(
    "size, step, margin, side", [(3, 1, 1, 2), (3, 2, 1, 4), (3, 2, 1, 3), (1, 2, 0, 4), (7, 2, 3, 4)]
)
def test_outputs_and_gradients_are_those_of_a_plain_convolution(size, step, margin, side):
    torch.manual_seed(0)
    plain = nn.Conv2d(5, 7, size, step, margin, bias=False).double()
    matrix = copy.deepcopy(plain)
    matrix.__class__ = MatrixConv2d
    found = []
    for convolution in (plain, matrix):
        maps = torch.arange(2 * 5 * side * (side + 1), dtype=torch.double).cos().reshape(2, 5, side, side + 1)
        maps.requires_grad_()
        output = convolution(maps)
        assert output.shape[2] * output.shape[3] <= SMALL + 2  # the last are beyond and take the plain way
        output.square().sum().backward()
        found.append((output, maps.grad, convolution.weight.grad))
    for wanted, got in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_small_maps_alone_are_computed_as_products(monkeypatch):
    convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    convolution.__class__ = MatrixConv2d
    taken = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, maps: taken.append(maps.shape[2:]) or maps)
    for side in (1, 2, 3, 8):
        convolution(torch.zeros(1, 3, side, side))
    assert taken == [(3, 3), (8, 8)]


@pytest.mark.parametrize("name", MODELS)
def test_a_network_gives_the_same_inside_and_is_itself_again_after(name):
    model, images = build_model(name, "none", "all", seed=0).eval(), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        wanted, kinds = model(images), [type(module) for module in model.modules()]
        with pytest.raises(KeyError), small_maps_as_matrices(model):
            got = model(images)
            assert sum(type(module) is MatrixConv2d for module in model.modules()) > 15
            raise KeyError
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    assert [type(module) for module in model.modules()] == kinds and MatrixConv2d not in kinds
