"""Where to compute: what is asked for is there, or there is a sentence."""

import platform

import pytest
import torch

from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.device import choose_device, device_name


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:x", ""])
def test_a_device_that_cannot_compute_is_one_sentence(device):
    with pytest.raises(UserError, match=f"The device '{device}' is not available here; use auto or cpu."):
        choose_device(device)


def test_auto_takes_the_first_that_is_there(monkeypatch):
    for there, expected in ((False, "cpu"), (True, "mps")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch, "empty", lambda *_, **__: torch.zeros(1))
        assert choose_device().type == expected


def test_a_macs_gpu_is_not_its_cpu(monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert device_name(torch.device("mps")) == "arm GPU" != device_name(torch.device("cpu"))
