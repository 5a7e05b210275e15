"""The features that notebook 08 computes by hand, and how it judges and trains with them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from notebook_functions import functions_of
from skimage.feature import hog, local_binary_pattern

from fer_nb_utils.classes import CLASSES


def functions(**needed):
    return functions_of("08_beyond_the_paper", np=np, pd=pd, torch=torch, F=F, CLASSES=CLASSES, **needed)


FOUND = functions(hog=hog, local_binary_pattern=local_binary_pattern)
lbp, gradients, moments = (FOUND[name] for name in ("lbp", "gradients", "moments"))
NOISE = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)


@pytest.mark.parametrize(("feature", "count"), [(lbp, 36 * 59), (gradients, 49 * 4 * 9), (moments, 64 * 4)])
def test_features_are_finite_vectors_of_one_image_each(feature, count):
    images = np.concatenate([NOISE, np.zeros((1, 48, 48), np.uint8)])  # a blank one, too
    found = feature(images)
    assert found.shape == (4, count) and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.allclose(feature(images[1:2]), found[1:2]) and not np.allclose(found[0], found[1])


def test_lbp_counts_patterns_by_cell_whatever_the_light():
    found = lbp(NOISE)
    assert np.allclose((found**2).reshape(3, 36, 59).sum(axis=2), 1)
    dark = (NOISE // 3).astype(np.uint8)  # ties aside, the order of grey levels stays
    assert np.allclose(lbp(np.repeat(dark * 3, 1, axis=0)), lbp(dark))
    edge = np.zeros((1, 48, 48), np.uint8)
    edge[:, :, 20] = 200  # in the third column of cells alone
    flat, edged = (lbp(image).reshape(6, 6, 59) for image in (edge * 0, edge))
    assert [column for column in range(6) if not np.allclose(flat[:, column], edged[:, column])] == [2]


def test_moments_are_those_of_each_cell():
    cells = moments(NOISE).reshape(3, 4, 8, 8)
    part = NOISE[1, 6:12, 12:18] / 255
    z = (part - part.mean()) / part.std()
    assert cells[1, :, 1, 2] == pytest.approx([part.mean(), part.var(), (z**3).mean(), (z**4).mean() - 3], abs=1e-4)
    assert (moments(np.full((1, 48, 48), 90, np.uint8)).reshape(4, 64)[1:] < 1e-9).all()


def test_gradients_ignore_contrast_and_see_direction():
    half = (NOISE // 2).astype(np.uint8)
    assert np.allclose(gradients(half * 2), gradients(half), atol=0.01)
    stripes = np.tile(np.uint8(np.arange(48) // 4 % 2 * 200), (1, 48, 1))
    upright, lying = (gradients(image).reshape(-1, 9).mean(axis=0) for image in (stripes, stripes.swapaxes(1, 2)))
    assert upright.argmax() != lying.argmax()


def test_a_gain_counts_mended_and_spoilt_images_over_seeds():
    files = [f"{number}.png" for number in range(100)]
    alone = pd.DataFrame({"seed 0": [True] * 60 + [False] * 40, "seed 1": [True] * 50 + [False] * 50}, files)
    fused = alone.copy()
    fused.iloc[:5] = False  # five spoilt, ten mended
    fused.iloc[90:] = True
    row = FOUND["gain_row"](alone, fused, ("alone", "fused"), set(files[90:95]))
    assert row["seeds"] == 2 and (row["alone"], row["fused"]) == (0.55, pytest.approx(0.6))
    half = 1.96 * np.std([1] * 10 + [-1] * 5 + [0] * 85) / 10
    assert (row["gain"], row["low"], row["high"]) == pytest.approx((0.05, 0.05 - half, 0.05 + half), abs=0.012)
    assert row["leak-free gain"] == pytest.approx(0)  # five mended, five spoilt are left


@pytest.mark.parametrize("between_seeds", [0, 0.05])
def test_intervals_of_gains_know_both_images_and_seeds(between_seeds):
    of_seeds = 0.1 + between_seeds * np.array([-1, 0, 1])
    gain = np.random.default_rng(0).normal(scale=0.3, size=(900, 1)) + of_seeds
    low, high = FOUND["interval"](gain)
    half = 1.96 * np.sqrt(0.01**2 + between_seeds**2 / 3)
    assert (high - low) / 2 == pytest.approx(half, rel=0.12) and low < gain.mean() < high


def test_balanced_sampling_draws_each_class_alike():
    labels = torch.tensor([0] * 900 + [1] * 100)
    counts = torch.bincount(labels).float()
    plain, balanced = (
        labels[FOUND["drawn"](labels, method, counts, torch.Generator().manual_seed(0))]
        for method in ("plain", "balanced sampling")
    )
    assert plain.sum() == 100 and 450 < balanced.sum() < 550 and len(balanced) == 1000


def test_focal_loss_counts_an_image_less_the_surer_it_is():
    truth = torch.tensor([0])
    even, sure = torch.zeros(1, 2), torch.tensor([[np.log(9), 0]])  # probability of the truth: .5 and .9
    assert FOUND["head_loss"](even, truth, "focal loss", None).item() == pytest.approx(0.25 * np.log(2))
    assert FOUND["head_loss"](sure, truth, "focal loss", None).item() == pytest.approx(0.01 * -np.log(0.9), rel=1e-4)
    assert FOUND["head_loss"](even, truth, "plain", None).item() == pytest.approx(np.log(2))


def test_class_weights_make_a_rare_class_count_as_much_as_a_frequent_one():
    truth = torch.tensor([0] * 90 + [1] * 10)
    logits = torch.tensor([[2.0, 0.0]]).expand(100, 2)
    weighted = FOUND["head_loss"](logits, truth, "class weights", torch.bincount(truth).float())
    assert weighted.item() == pytest.approx(-torch.log_softmax(logits[0], 0).mean().item())


def test_early_fusion_is_chosen_without_a_look_at_private_test():
    test = SimpleNamespace(usage=np.repeat(["PublicTest", "PrivateTest"], 4), labels=np.zeros(8), files=range(8))
    wrong = {0.0003: [0, 0, 0, 1, 0, 0, 0, 0], 0.003: [0, 0, 0, 0, 0, 1, 1, 1], 0.03: [1] * 4 + [0] * 4}

    class Classifier:
        def __init__(self, C, max_iter):
            self.answer = np.array(wrong[C])

        def fit(self, inputs, labels):
            return self

        def predict(self, inputs):
            return self.answer

    needed = {"LogisticRegression": Classifier, "StandardScaler": lambda: None, "make_pipeline": lambda _, fc: fc}
    right = functions(test=test, train=SimpleNamespace(labels=None), **needed)["early"](None, None)
    assert right.to_dict() == {4: True, 5: False, 6: False, 7: False}  # as the second, the best on PublicTest


def test_the_mirror_swaps_left_and_right_and_keeps_the_order_of_images():
    scores, seen = np.random.default_rng(0).dirichlet(np.ones(7), 3), []
    needed = {"test": SimpleNamespace(images=NOISE), "Preprocess": int}
    own = functions(predict=lambda _, images, size: seen.append(images.numpy()) or scores, **needed)
    predictions = pd.DataFrame({"file": ["a", "b", "c"]} | dict.fromkeys(CLASSES, 0.0), index=[5, 3, 4])
    run = SimpleNamespace(load_model=lambda: None, config={"image_size": 64}, predictions=predictions)
    found = own["mirrored"](run)
    assert (seen[0] == NOISE[:, :, ::-1]).all()
    assert found["file"].tolist() == ["a", "b", "c"] and (found[list(CLASSES)].to_numpy() == scores).all()


def test_fewer_happy_faces_are_as_few_as_asked_for_and_all_others_stay():
    labels, features, given = torch.tensor([3] * 40 + [0] * 30 + [1] * 5), torch.arange(75.0), []
    found = pd.DataFrame({"recall": {"happy": 0.4, "disgust": 0.1}})
    train = pd.DataFrame({"labels": labels})
    measures = SimpleNamespace(per_class=lambda table: found)
    own = functions(train=train, labels=labels, cached=[features], measures=measures)
    own["train_head"] = lambda *arguments: given.append(arguments) or pd.DataFrame({"usage": ["PrivateTest"]})
    for count, seed in ((10, 0), (10, 1), (40, 0)):
        assert own["with_fewer_happy"](count, seed) == {"happy": 0.4, "disgust": 0.1}
    for kept, truth, method, _ in given:
        assert method == "plain" and torch.equal(truth, labels[kept.int()])
    counts = [torch.bincount(truth, minlength=7).tolist() for _, truth, *_ in given]
    assert counts == [[30, 5, 0, 10, 0, 0, 0]] * 2 + [[30, 5, 0, 40, 0, 0, 0]]
    assert not torch.equal(given[0][0], given[1][0])  # another seed leaves out others


def test_a_change_is_positive_when_a_remedy_raises_the_measure():
    plain = pd.DataFrame({"recall": np.linspace(0.2, 0.4, 50)})
    assert FOUND["change"](plain + 0.1, plain, lambda draws: draws["recall"]) == "+0.100 to +0.100"
