"""What notebook 07 computes, on networks and maps whose answers are known."""

import numpy as np
import pytest
import torch
from notebook_functions import functions_of

from fer_nb_utils.networks.prediction import predict
from fer_nb_utils.paths import ROOT
from fer_nb_utils.results.calibration import calibration_error, fit_temperature


class Light(torch.nn.Module):
    """Says the first class by as much as the left half is lighter than the right one."""

    def forward(self, images):
        left, right = (half.float().mean(dim=(1, 2)) / 255 for half in images.split(24, dim=2))
        return torch.stack([8 * (left - right), *6 * [torch.zeros_like(left)]], dim=1)


NEEDED = {
    "np": np,
    "torch": torch,
    "predict": predict,
    "finetuned": Light(),
    "preprocess": torch.nn.Identity(),
    "seed": 0,
}
FOUND = functions_of(
    "07_inside_the_network", **NEEDED, fit_temperature=fit_temperature, calibration_error=calibration_error
)


def test_faces_are_drawn_by_lot_for_real_data_comes_sorted_by_expression():
    label = np.repeat(np.arange(7), 1000)
    counts = np.bincount(label[FOUND["drawn"](label, 700)], minlength=7)
    assert counts.sum() == 700 and counts.min() > 60
    assert sorted(FOUND["drawn"](label[:30], 350)) == list(range(30))  # each once


def test_faces_of_fer_2013_are_not_saved_with_the_notebook():
    source = (ROOT / "notebooks" / "07_inside_the_network.py").read_text(encoding="utf-8")
    cells = [cell for cell in source.split("# %%") if "faces_on_hover(" in cell and "def " not in cell]
    assert len(cells) == 1 and 'if dataset.name != "FER-2013":\n    display(faces_on_hover' in cells[0]


def test_painting_the_pixels_that_matter_first_takes_the_answer_away():
    images = np.zeros((3, 48, 48), np.uint8)
    images[:, :, :24] = 240
    columns = np.tile(np.arange(48 * 48) % 48, (3, 1))
    shares = [0, 0.25, 0.5]
    light_first, dark_first = (np.argsort(order, axis=1, kind="stable") for order in (columns, -columns))
    whole, quarter, half = FOUND["deletion"](images, [0, 0, 0], light_first, shares)
    assert whole > 0.99 and whole > quarter > half
    grey_beside_dark = 8 * 120 / 255  # the left half in the image's mean grey
    assert half == pytest.approx(np.exp(grey_beside_dark) / (np.exp(grey_beside_dark) + 6), abs=1e-4)
    assert FOUND["deletion"](images, [0, 0, 0], dark_first, shares)[2] == pytest.approx(half, abs=1e-4)
    assert images.max() == 240  # painted in a copy


def test_a_patch_is_painted_in_the_mean_grey_where_it_is_put():
    face = np.full((48, 48), 100, np.uint8)
    face[:24] = 200
    painted = FOUND["covered"](face, left=2, top=1, width=5, height=3)
    changed = painted != face
    assert changed[1:4, 2:7].all() and changed.sum() == 15 and (painted[changed] == 150).all()


def test_the_nearest_neighbour_is_another_image():
    features = np.array([[0.0], [1.0], [5.0], [5.5]])
    assert FOUND["same_as_neighbour"](features, np.array([0, 1, 2, 2])) == 0.5


def test_calibration_before_and_after_and_its_interval():
    rng = np.random.default_rng(0)
    honest = rng.dirichlet(np.full(7, 0.5), size=40_000)
    labels = (honest.cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1).clip(0, 6)
    told = FOUND["scaled"](honest, 0.5)  # twice as sure as it may be
    np.testing.assert_allclose(told, honest**2 / (honest**2).sum(axis=1, keepdims=True))
    found = FOUND["calibrated"]((told[:20_000], labels[:20_000]), (told[20_000:], labels[20_000:]), draws=50)
    assert found["T"] == pytest.approx(2, rel=0.06) and found["confidence"] > found["accuracy"] + 0.1
    assert found["low"] < found["ECE"] < found["high"] and found["ECE after"] < 0.03 < 0.1 < found["ECE"]
