import time

import pytest
import torch
from torch import nn
from torchvision import models

from fer_nb_utils.networks import cost


@pytest.fixture(scope="module")
def resnet18():
    model = models.resnet18(num_classes=7)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(("layer4", "fc"))
    return model


@pytest.mark.parametrize(
    ("name", "giga", "parameters"),
    # torchvision's documentation: GFLOPS (multiply-adds) and parameters of the ImageNet models at 224 px
    [("resnet18", 1.81, 11_689_512), ("resnet34", 3.66, 21_797_672), ("resnet50", 4.09, 25_557_032)],
)
def test_published_figures(name, giga, parameters):
    model = getattr(models, name)()
    assert round(cost.multiply_adds(model, 224) / 1e9, 2) == giga
    assert cost.count_parameters(model) == (parameters, parameters)


def test_multiply_adds_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(4, 8, 3, groups=2, padding=1),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))  # fmt: skip
    assert cost.multiply_adds(model, 8) == 4 * 4 * 4 * 27 + 8 * 4 * 4 * 18 + 8 * 7


def test_trained_parameters(resnet18):
    layer4_and_fc = sum(p.numel() for part in (resnet18.layer4, resnet18.fc) for p in part.parameters())
    assert cost.count_parameters(resnet18) == (11_180_103, layer4_and_fc)


def test_frozen_parameters_count_but_are_not_trained():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    assert cost.count_parameters(model) == (3 * 5 + 5 + 5 * 2 + 2, 5 * 2 + 2)


class Timed(nn.Module):
    """A network that takes two milliseconds, at first and once more much longer, and notes how it is run."""

    def __init__(self, runs):
        super().__init__()
        self.runs = runs

    def __deepcopy__(self, memo):
        copied = Timed(self.runs)
        copied.training = self.training
        return copied

    def forward(self, image):
        grad = torch.is_grad_enabled()
        self.runs.append((self.training, torch.get_num_threads(), grad, tuple(image.shape), image.dtype))
        time.sleep(0.1 if len(self.runs) <= 5 or len(self.runs) == 20 else 0.002)
        return image


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_latency_is_that_of_one_image_on_one_thread(two_threads):
    model = Timed([])
    assert 2 <= cost.latency_ms(model, 40) < 50
    assert model.runs == [(False, 1, False, (1, 3, 40, 40), torch.float32)] * 35
    assert torch.get_num_threads() == 2 and model.training


def test_threads_are_given_back_after_a_failure(two_threads):
    with pytest.raises(RuntimeError):
        cost.latency_ms(nn.Conv2d(1, 2, 3), 40)  # takes one channel, gets three
    assert torch.get_num_threads() == 2


def test_measuring_leaves_the_model_alone(resnet18):
    resnet18.train()
    resnet18.bn1.eval()  # a frozen batch norm in a model that trains
    before = {name: tensor.clone() for name, tensor in resnet18.state_dict().items()}
    flags = [module.training for module in resnet18.modules()]
    cost.multiply_adds(resnet18, 48)
    cost.describe_stages(resnet18, 32)  # layer4 gives 1 x 1 pixels, which batch norm may reject
    assert cost.latency_ms(resnet18, 48) > 0
    assert [module.training for module in resnet18.modules()] == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in resnet18.state_dict().items())
    assert not any(module._forward_hooks for module in resnet18.modules())


def test_hooks_go_when_the_forward_pass_fails():
    model = nn.Sequential(nn.Conv2d(1, 2, 3))  # takes one channel, gets three
    with pytest.raises(RuntimeError):
        cost.multiply_adds(model, 8)
    assert model.training and not model[0]._forward_hooks


def test_rows_of_layers_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 1), stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 7))
    model[0].requires_grad_(False)
    table = cost.describe_layers(model, 8)
    assert list(table) == ["name", "kind", "kernel", "output", "trained", "multiply_adds"]
    assert [tuple(row) for row in table.astype(object).itertuples(index=False)] == [
        ("0", "Conv2d", "3×1", (4, 3, 4), False, 4 * 3 * 4 * 9),
        ("2", "MaxPool2d", "2×2", (4, 1, 2), None, 0),
        ("4", "Linear", "", (7,), True, 8 * 7),
    ]


def test_a_half_precision_network_is_described_too():
    model = nn.Sequential(nn.Conv2d(3, 4, 3)).half()
    assert cost.multiply_adds(model, 8) == 4 * 6 * 6 * 27
    assert model[0].weight.device.type == "cpu"


def test_stages_of_resnet18(resnet18):
    table = cost.describe_stages(resnet18, 64)
    assert list(table) == ["module", "kind", "kernel", "output", "status", "parameters"]
    table = table.set_index("module")
    layers = ["layer1", "layer2", "layer3", "layer4"]
    assert list(table.index) == ["conv1", "bn1", "relu", "maxpool", *layers, "avgpool", "fc"]
    assert list(table.loc["conv1", ["kernel", "output", "status"]]) == ["7×7", (64, 32, 32), "frozen"]
    assert list(table.loc["layer1", ["kind", "kernel"]]) == ["2 × BasicBlock", "3×3, 3×3"]
    assert list(table.loc["maxpool", ["kind", "kernel", "output", "parameters"]]) == [
        "MaxPool2d", "3×3", (64, 16, 16), 0,
    ]  # fmt: skip
    assert list(table.loc[["relu", "fc"], "kernel"]) == ["", ""]
    assert table.loc["layer4", "output"] == (512, 2, 2)
    assert list(table.loc[["maxpool", "layer3", "layer4"], "status"]) == ["", "frozen", "trained"]
    assert table["parameters"].sum() == cost.count_parameters(resnet18)[0]


def test_stages_of_resnet50():
    table = cost.describe_stages(models.resnet50(num_classes=7), 224).set_index("module")
    assert list(table.loc["layer3", ["kind", "kernel"]]) == ["6 × Bottleneck", "1×1, 3×3, 1×1"]
    assert table.loc["layer3", "output"] == (1024, 14, 14)
    assert table.loc["fc", "output"] == (7,)


def test_layers_follow_the_size(resnet18):
    small, large = (cost.describe_layers(resnet18, size).set_index("name") for size in (64, 224))
    assert small.loc["layer2.0.downsample.0", ["kernel", "output"]].tolist() == ["1×1", (128, 8, 8)]
    assert large.loc["layer2.0.conv1", "output"] == (128, 28, 28)
    assert (small["trained"].dropna() == small.dropna().index.str.startswith(("layer4", "fc"))).all()
