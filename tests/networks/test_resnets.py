import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from fer_nb_utils.errors import WeightsError
from fer_nb_utils.networks import resnets
from fer_nb_utils.networks.resnets import MODELS, TRAINABLE, build_model, freeze, frozen_stages, split_at, train_mode


@pytest.fixture(scope="module")
def thousand_class_state():
    torch.manual_seed(1)
    return resnet18().state_dict()


@pytest.fixture(scope="module")
def random_networks():
    """One of each, to be frozen as a test likes."""
    return {name: build_model(name, "none") for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
def test_head_has_seven_outputs(random_networks, name):
    with torch.inference_mode():
        assert random_networks[name].eval()(torch.zeros(2, 3, 48, 48)).shape == (2, 7)


@pytest.mark.parametrize("trainable", TRAINABLE)
def test_only_the_chosen_stages_have_gradients(random_networks, trainable):
    model = random_networks["resnet18"]
    freeze(model, "layer1")
    freeze(model, trainable)
    trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    stages = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}
    frozen = {
        part for stage in frozen_stages(trainable) for part in (("conv1", "bn1") if stage == "stem" else (stage,))
    }
    assert trained == stages - frozen


def test_a_network_is_built_frozen_up_to_layer4_unless_told_otherwise(random_networks):
    trained = {name.split(".")[0] for name, p in build_model("resnet18", "none").named_parameters() if p.requires_grad}
    assert trained == {"layer4", "fc"}


def test_train_mode_leaves_frozen_batch_norm_in_evaluation_mode(random_networks):
    model = random_networks["resnet18"]
    freeze(model, "layer4")
    model.train()
    train_mode(model)
    assert not model.bn1.training and not model.layer3[1].bn2.training
    assert model.layer4[0].bn1.training and model.training


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("trainable", TRAINABLE)
def test_split_model_computes_what_the_model_computes(random_networks, name, trainable):
    model = random_networks[name].eval()
    freeze(model, trainable)
    backbone, head = split_at(model, trainable)
    images = torch.randn(2, 3, 33, 33)
    with torch.inference_mode():
        torch.testing.assert_close(head(backbone(images)), model(images))
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.requires_grad for parameter in head.parameters())


def test_seed_draws_the_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_model("resnet18", "none", seed=seed).fc.weight for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("half", [False, True])
def test_weights_from_file_and_folder(tmp_path, thousand_class_state, suffix, half):
    state = {
        key: value.half() if half and value.is_floating_point() else value
        for key, value in thousand_class_state.items()
    }
    path = tmp_path / f"resnet18-f37072fd{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    for source in (path, tmp_path):
        model = build_model("resnet18", source)
        torch.testing.assert_close(model.layer4[1].conv2.weight, state["layer4.1.conv2.weight"].float(), atol=0, rtol=0)
        assert model.fc.out_features == 7


def test_weights_of_another_network_are_refused(tmp_path, thousand_class_state):
    torch.save(thousand_class_state, tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match="another network"):
        build_model("resnet34", tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [(b"", "no readable"), (b"<html>not found</html>", "no readable"), (b"PK\x03\x04 cut", "no readable")],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_give_one_sentence(tmp_path, content, message, suffix):
    path = tmp_path / f"resnet18{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        build_model("resnet18", path)


def test_pickled_code_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv1.weight": Attack()}, tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError):
        build_model("resnet18", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_missing_weights_name_the_remedy(tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        build_model("resnet18", tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="put resnet18.pth or resnet18.safetensors there"):
        build_model("resnet18", tmp_path)
    with pytest.raises(WeightsError, match="choose one of resnet18, resnet34, resnet50"):
        build_model("vgg19", "none")


def test_imagenet_without_network_says_which_file_to_put_where(tmp_path, monkeypatch):
    from urllib.error import URLError

    from torchvision.models import ResNet18_Weights

    def unreachable(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsError) as error:
        build_model("resnet18", "imagenet")
    assert ResNet18_Weights.IMAGENET1K_V1.url in str(error.value)
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in str(error.value)


def test_imagenet_is_read_from_the_cache_of_torch(tmp_path, thousand_class_state, monkeypatch):
    from torchvision.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    torch.save(thousand_class_state, cached)
    assert ResNet18_Weights.IMAGENET1K_V1.url.endswith(cached.name)
    weights = resnets.read_weights("resnet18", "imagenet")
    assert "IMAGENET1K_V1" in weights.label and len(weights.sha256) == 64
    model = build_model("resnet18", "imagenet")
    assert torch.equal(model.conv1.weight, thousand_class_state["conv1.weight"])
