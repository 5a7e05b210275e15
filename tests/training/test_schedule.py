"""What is optimised, and how: learning rate, weight decay, label smoothing, AdamW, each against values by hand."""

import math

import pytest
import torch
from tiny_training import Recorder, noise_dataset, slim_resnet
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fer_nb_utils.training.config import TrainConfig
from fer_nb_utils.training.loop import fit

CPU = torch.device("cpu")
PLAIN = {"weights": "none", "trainable": "all", "image_size": 32, "precision": "float32", "augment": False}


def recorded(folder, count=10, trainable="all", **changes):
    """(model, history, what happened at each step) of a training on `count` images."""
    config = TrainConfig(**PLAIN | {"batch_size": 4, "epochs": 2, "trainable": trainable} | changes)
    model, train, validation = slim_resnet(trainable), noise_dataset(count), noise_dataset(9, seed=1)
    with Recorder(model, train, validation) as recorder:
        history, _ = fit(model, config, train, validation, folder, CPU, "float32")
    return model, history, recorder


def rates(folder, **changes):
    _, history, recorder = recorded(folder, trainable="fc", **changes)
    assert not any(step["other_rates"] for step in recorder.steps)  # one rate for all parameters
    return [step["learning_rate"] for step in recorder.steps], history["learning_rate"].tolist()


def test_learning_rate_of_every_step_by_hand(tmp_path):
    """40 steps: 5 % of them, so 2, warm up, and the cosine falls over the other 38."""
    steps, history = rates(tmp_path, count=20, batch_size=4, epochs=8, learning_rate=0.004)
    expected = [0.002, 0.004] + [0.002 * (1 + math.cos(math.pi * step / 38)) for step in range(38)]
    assert steps == pytest.approx(expected, rel=1e-9)
    assert steps[0] == pytest.approx(0.002) and steps[1] == steps[2] == pytest.approx(0.004)  # half, then the peak
    assert steps[2 + 19] == pytest.approx(0.002) and steps[-1] == pytest.approx(6.831e-6, rel=1e-3)
    assert history == steps[4::5]  # the last step's of each epoch


def test_warm_up_is_linear(tmp_path):
    steps, _ = rates(tmp_path, count=20, batch_size=2, epochs=8, learning_rate=0.004)  # 80 steps
    assert steps[:5] == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.004])


@pytest.mark.parametrize(("count", "epochs", "expected"), [(4, 1, [1.0]), (6, 2, [1, 1, 0.75, 0.25])])
def test_a_short_training_starts_at_the_peak(tmp_path, count, epochs, expected):
    steps, _ = rates(tmp_path, count=count, epochs=epochs, learning_rate=1e-3)
    assert steps == pytest.approx([1e-3 * factor for factor in expected])


@pytest.mark.parametrize("trainable", ["all", "layer4"])
def test_weight_decay_pulls_at_weights_not_at_biases_and_batch_norm(tmp_path, trainable):
    """Without any gradient the weights shrink by learning rate times decay in each step; all else stays."""
    before = {name: p.detach().clone() for name, p in slim_resnet(trainable).named_parameters()}

    def forget_gradients(optimizer, *_):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad.zero_()

    handle = register_optimizer_step_pre_hook(forget_gradients)
    try:
        model, _, recorder = recorded(
            tmp_path, trainable=trainable, epochs=1, count=8, learning_rate=0.01, weight_decay=5.0
        )
    finally:
        handle.remove()
    assert [step["learning_rate"] for step in recorder.steps] == pytest.approx([0.01, 0.01])
    decayed = set()
    for name, after in model.named_parameters():
        if after.ndim >= 2 and after.requires_grad:
            torch.testing.assert_close(after.detach(), before[name] * (1 - 0.01 * 5) ** 2, rtol=1e-5, atol=1e-7)
            decayed.add(name)
        else:
            assert torch.equal(after, before[name]), name
    assert {"fc.weight", "layer4.0.conv1.weight"} <= decayed and ("conv1.weight" in decayed) == (trainable == "all")


def test_every_step_is_adamw_by_hand(tmp_path):
    """Loshchilov and Hutter 2019, algorithm 2, with beta 0.9 and 0.999 and epsilon 1e-8."""
    start = {name: p.detach().clone() for name, p in slim_resnet().named_parameters()}
    model, _, recorder = recorded(tmp_path, epochs=1, count=12, learning_rate=0.01, weight_decay=0.5)
    assert len(recorder.steps) == 3
    for name, weight in start.items():
        mean, square = torch.zeros_like(weight), torch.zeros_like(weight)
        for number, step in enumerate(recorder.steps, 1):
            gradient, rate = step["gradients"][name], step["learning_rate"]
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            weight = weight * (1 - rate * 0.5 * (weight.ndim >= 2))
            weight = weight - rate * (mean / (1 - 0.9**number)) / ((square / (1 - 0.999**number)).sqrt() + 1e-8)
        torch.testing.assert_close(model.get_parameter(name).detach(), weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradients_are_those_of_the_mean_smoothed_loss_of_one_batch(tmp_path, smoothing):
    """The bias of a linear layer shows it: its gradient is the mean of (probabilities - smoothed labels)."""
    _, _, recorder = recorded(tmp_path, label_smoothing=smoothing)
    assert [len(step["indices"]) for step in recorder.steps] == [4, 3, 3] * 2
    for step in recorder.steps:
        target = torch.eye(7)[step["indices"] % 7] * (1 - smoothing) + smoothing / 7
        expected = (step["logits"].softmax(dim=1) - target).mean(dim=0)
        torch.testing.assert_close(step["gradients"]["fc.bias"], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_training_loss_is_smoothed_validation_loss_is_not(tmp_path, smoothing):
    """Both are means over images: batches are uneven here, and a mean of their means would differ."""
    _, history, recorder = recorded(tmp_path, count=11, label_smoothing=smoothing)
    for epoch, row in history.iterrows():
        steps = recorder.steps[3 * epoch : 3 * epoch + 3]
        assert [len(step["indices"]) for step in steps] == [4, 4, 3]
        logits = torch.cat([step["logits"] for step in steps]).double().log_softmax(dim=1)
        labels = torch.cat([step["indices"] for step in steps]) % 7
        picked = logits[torch.arange(11), labels]
        loss = -((1 - smoothing) * picked + smoothing * logits.mean(dim=1)).mean()
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert row["train_accuracy"] == pytest.approx((logits.argmax(dim=1) == labels).float().mean().item())

        logits = recorder.evaluations[epoch].double().log_softmax(dim=1)
        labels = torch.arange(9) % 7
        assert row["validation_loss"] == pytest.approx(-logits[torch.arange(9), labels].mean().item(), rel=1e-5)
        assert row["validation_accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
