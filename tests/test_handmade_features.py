"""The features that notebook 08 computes by hand, and how it judges and trains with them."""

import numpy as np
import pandas as pd
import pytest
import torch
from notebook_functions import functions_of
from skimage.feature import hog, local_binary_pattern

FOUND = functions_of("08_beyond_the_paper", np=np, torch=torch, hog=hog, local_binary_pattern=local_binary_pattern)
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
    half = 1.96 * np.std([1] * 10 + [-1] * 5 + [0] * 85, ddof=1) / 10
    assert (row["gain"], row["low"], row["high"]) == pytest.approx((0.05, 0.05 - half, 0.05 + half))
    assert row["leak-free gain"] == pytest.approx(0)  # five mended, five spoilt are left


def test_balanced_sampling_draws_each_class_alike():
    labels = torch.tensor([0] * 900 + [1] * 100)
    counts = torch.bincount(labels).float()
    plain, balanced = (
        labels[FOUND["drawn"](labels, method, counts, torch.Generator().manual_seed(0))]
        for method in ("plain", "balanced sampling")
    )
    assert plain.sum() == 100 and 450 < balanced.sum() < 550 and len(balanced) == 1000
