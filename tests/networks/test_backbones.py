import hashlib
import json

import maintain
import pytest
import torch

from fer_nb_utils.errors import WeightsError
from fer_nb_utils.networks import backbones
from fer_nb_utils.networks.resnets import MODELS, build_model, read_weights


def test_each_network_has_a_backbone_below_25_mb_and_a_hash():
    assert set(backbones.SHA256) == set(MODELS)
    for name, digest in backbones.SHA256.items():
        path = backbones.backbone_path(name)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
        assert path.stat().st_size < 25e6


@pytest.mark.parametrize("name", MODELS)
def test_the_embedded_backbone_fills_all_but_fc(name):
    weights = read_weights(name, "embedded")
    assert (weights.kind, weights.sha256) == ("embedded", backbones.SHA256[name])
    assert "ImageNet" in weights.label and "Tiny-ImageNet" in weights.label
    model = build_model(name, "embedded", "fc")
    for key, tensor in weights.state.items():
        assert torch.equal(model.state_dict()[key], tensor) and tensor.isfinite().all(), key
    assert set(model.state_dict()) - set(weights.state) == {"fc.weight", "fc.bias"}


def test_a_weight_comes_back_within_half_a_step_of_its_channels_scale():
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-3, 2, 6)[:, None, None, None]  # channels of very different size
    state = {"conv.weight": torch.randn(6, 4, 3, 3, generator=generator) * sizes, "bn.bias": torch.randn(6)}
    state["bn.num_batches_tracked"] = torch.tensor(7)
    again = backbones.dequantized(maintain.quantized(state))
    assert again.keys() == state.keys()
    step = state["conv.weight"].abs().amax(dim=(1, 2, 3), keepdim=True) / 127
    difference = (again["conv.weight"] - state["conv.weight"]).abs()
    assert (difference <= step / 2 * 1.0001).all() and difference.max() > 0
    assert torch.equal(again["bn.bias"], state["bn.bias"]) and again["bn.num_batches_tracked"] == 7
    assert maintain.quantized(state)["conv.weight"].dtype == torch.int8


def test_an_infinite_variance_becomes_the_largest_float16():
    state = {"bn.running_var": torch.tensor([1.0, torch.inf], dtype=torch.float16)}
    assert maintain.quantized(state)["bn.running_var"].tolist() == [1.0, 65504.0]


def test_a_dead_filter_stays_zero():
    state = {"conv.weight": torch.stack([torch.zeros(2, 3, 3), torch.ones(2, 3, 3)])}
    assert torch.equal(backbones.dequantized(maintain.quantized(state))["conv.weight"], state["conv.weight"])


def test_embedding_gives_the_same_file_twice_without_fc(tmp_path):
    torch.save({"conv.weight": torch.randn(2, 3, 3, 3).half(), "fc.weight": torch.ones(7, 2)}, tmp_path / "in.pth")
    facts = {"label": "a label", "arch": "resnet18", "epochs": 2, "past": "long"}
    first, second = (maintain.embed(tmp_path / "in.pth", facts, tmp_path / name) for name in ("a", "b"))
    assert first == second == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    assert b"fc.weight" not in (tmp_path / "a").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_backbone_is_one_sentence(tmp_path, monkeypatch, damage):
    if damage == "changed":
        (tmp_path / "backbone_resnet18.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(backbones, "CHECKPOINTS", tmp_path)
    with pytest.raises(WeightsError, match="is not this version's backbone"):
        read_weights("resnet18", "embedded")


def test_the_card_names_each_file_and_its_accuracy():
    card = (backbones.CHECKPOINTS / "backbones.md").read_text("utf-8")
    for name, digest in backbones.SHA256.items():
        _, facts, _ = backbones.read_backbone(name)
        assert f"`backbone_{name}.safetensors`" in card and digest[:12] in card
        assert f"{facts['val_accuracy']:.3f}" in card and json.dumps(facts["source_sha256"])[1:13] in card
