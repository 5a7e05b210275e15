"""Preprocessing and augmentation, against torchvision's `affine` and against the distributions that are promised."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from fer_nb_utils.networks.transforms import IMAGENET_MEAN, IMAGENET_STD, Augment, Preprocess, batches, steps_in

STILL = {field: 0.0 for field in ("flip", "rotation", "shift", "scale", "shear", "brightness", "contrast")}
GREY_LEVEL = 1 / 255
DRAWS = 2000


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (6, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def smooth():
    """Two different images without fine detail, which two resamplings in turn leave as one would."""
    row, column = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    waves = [torch.sin(row / 7) * torch.cos(column / 9 + 1), torch.cos(row / 8 - column / 11)]
    return (torch.stack(waves) * 100 + 128).round().to(torch.uint8)


def augmented(images, seed=0, size=48, **strengths):
    return Augment(**{**STILL, **strengths})(images, size, torch.Generator().manual_seed(seed))


@pytest.fixture
def draw_all(monkeypatch):
    """Make every draw the same: 1 is the full strength in one direction, -1 in the other, 0 is none."""

    def fix(draw):
        monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.full(shape, (draw + 1) / 2))

    return fix


def torchvision_affine(images, angle=0.0, translate=(0.0, 0.0), scale=1.0, shear=0.0):
    """Float images (n, 1, 48, 48), changed about their centre, and where no part of the outside is mixed in."""
    arguments = {"angle": angle, "translate": list(translate), "scale": scale, "shear": [shear, 0.0]}
    changed, inside = (
        vision.affine(pixels, **arguments, interpolation=InterpolationMode.BILINEAR)
        for pixels in (images, torch.ones_like(images))
    )
    return changed, inside > 0.9999


def assert_equal_inside(output, expected, inside, tolerance):
    assert inside.float().mean() > 0.4
    assert (output - expected)[inside].abs().max() < tolerance


# --- preprocessing


def test_preprocess_normalises_each_channel_with_imagenet_statistics(images):
    output = Preprocess(48)(images)
    assert output.shape == (6, 3, 48, 48) and output.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        torch.testing.assert_close(output[:, channel] * std + mean, images / 255)
    assert (IMAGENET_MEAN, IMAGENET_STD) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("size", [32, 48, 64, 224])
def test_preprocess_resizes_as_torchvision_does(images, size):
    output = Preprocess(size).resize(images)
    expected = vision.resize(images[:, None].float() / 255, [size, size], antialias=True)
    assert output.shape == (6, 1, size, size) and Preprocess(size)(images).shape == (6, 3, size, size)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)


def test_preprocess_resizes_images_that_are_not_square():
    assert Preprocess(48).resize(torch.zeros(2, 48, 60, dtype=torch.uint8)).shape == (2, 1, 48, 48)
    assert Preprocess().image_size == 64


# --- augmentation: one image at a time, against torchvision


@pytest.mark.parametrize("size", [48, 64])
def test_augmentation_without_strength_is_the_evaluation_transform(images, size):
    torch.testing.assert_close(augmented(images, size=size), Preprocess(size).resize(images), atol=1e-4, rtol=0)


def test_flip_mirrors_the_image(images):
    expected = vision.horizontal_flip(images[:, None] / 255)
    torch.testing.assert_close(augmented(images, flip=1.0), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("draw", [-1.0, -0.5, 0.25, 1.0])
@pytest.mark.parametrize(
    ("strengths", "as_torchvision_says"),
    [
        ({"rotation": 20.0}, lambda draw: {"angle": -20.0 * draw}),
        ({"shift": 0.125}, lambda draw: {"translate": (-6 * draw, -6 * draw)}),  # 48 px * 0.125
        ({"scale": 0.3}, lambda draw: {"scale": 1 + 0.3 * draw}),
        ({"shear": 15.0}, lambda draw: {"shear": 15.0 * draw}),
        (
            {"rotation": 12.0, "scale": 0.2},
            lambda draw: {"angle": -12.0 * draw, "scale": 1 + 0.2 * draw},
        ),
    ],
    ids=["rotation", "shift", "scale", "shear", "rotation and scale"],
)
def test_geometry_is_torchvisions(images, draw_all, strengths, as_torchvision_says, draw):
    draw_all(draw)
    output = augmented(images, **strengths)
    expected, inside = torchvision_affine(images[:, None] / 255, **as_torchvision_says(draw))
    assert_equal_inside(output, expected, inside, 0.05 * GREY_LEVEL)
    assert (output - images[:, None] / 255).abs().max() > 20 * GREY_LEVEL  # something happened


@pytest.mark.parametrize("draw", [-1.0, 0.5, 1.0])
@pytest.mark.parametrize("flip", [0.0, 2.0], ids=["never", "always"])
def test_all_geometry_at_once_is_torchvisions_one_after_the_other(smooth, draw_all, draw, flip):
    """The order: shift, turn and scale, shear, flip."""
    draw_all(draw)
    output = Augment(flip=flip, brightness=0.0, contrast=0.0)(smooth, 48, torch.Generator())
    expected, inside = smooth[:, None] / 255, torch.ones(2, 1, 48, 48)
    for change in (
        {"translate": (-48 * 0.08 * draw, -48 * 0.08 * draw)},
        {"angle": -10.0 * draw, "scale": 1 + 0.1 * draw},
        {"shear": 5.0 * draw},
    ):
        inside = (torchvision_affine(inside, **change)[0] > 0.9999).float()
        expected = torchvision_affine(expected, **change)[0]
    if flip:
        expected, inside = vision.horizontal_flip(expected), vision.horizontal_flip(inside)
    assert_equal_inside(output, expected, inside.bool(), 3 * GREY_LEVEL)


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("strengths", [{"shift": 0.125}, {"rotation": 20.0}, {"scale": 0.3}, {"shear": 15.0}])
def test_resizing_does_not_change_the_geometry(smooth, draw_all, size, strengths):
    """A share of the width is a share of any width, and an angle an angle."""
    draw_all(0.7)
    resized = vision.resize(augmented(smooth, **strengths), [size, size], antialias=True)
    inner = slice(size // 6, -size // 6)
    difference = (augmented(smooth, size=size, **strengths) - resized)[..., inner, inner]
    assert difference.abs().max() < 3 * GREY_LEVEL


def test_what_comes_in_from_outside_repeats_the_border(images):
    for knob in ({"rotation": 20.0}, {"shift": 0.2}, {"scale": 0.3}, {"shear": 20.0}):
        constant = torch.full_like(images, 77)
        torch.testing.assert_close(augmented(constant, **knob), constant[:, None] / 255, atol=1e-5, rtol=0)


@pytest.mark.parametrize("draw", [-1.0, -0.5, 0.5, 1.0])
def test_contrast_is_torchvisions_about_each_images_own_mean(images, draw_all, draw):
    draw_all(draw)
    pale = 90 + images // 4 + 20 * torch.arange(6, dtype=torch.uint8)[:, None, None] // 5  # 90 to 177, six means
    expected = torch.stack([vision.adjust_contrast(image, 1 + 0.5 * draw) for image in pale[:, None] / 255])
    torch.testing.assert_close(augmented(pale, contrast=0.5), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("draw", [-1.0, -0.5, 0.5, 1.0])
def test_brightness_is_added_after_contrast_and_clipped_once(images, draw_all, draw):
    draw_all(draw)
    pixels = images[:, None] / 255
    torch.testing.assert_close(augmented(images, brightness=0.6), (pixels + 0.6 * draw).clamp(0, 1), atol=1e-4, rtol=0)
    mean = pixels.mean(dim=(2, 3), keepdim=True)
    expected = ((pixels - mean) * (1 + 0.3 * draw) + mean + 0.2 * draw).clamp(0, 1)
    torch.testing.assert_close(augmented(images, brightness=0.2, contrast=0.3), expected, atol=1e-4, rtol=0)


# --- augmentation: what is drawn


def maps_of(n, seed=0, **strengths):
    """The affine map of each of `n` draws, (n, 2, 3) in pixels about the centre, from output to input positions.

    Bilinear interpolation of a ramp is exact, so three pixels of two augmented ramps give the six numbers.
    """
    ramp = (5 * torch.arange(48, dtype=torch.uint8)).expand(n, 48, 48)
    found = []
    for image in (ramp, ramp.mT):
        output = augmented(image, seed, **strengths)[:, 0].double() * 255 / 5 - 23.5
        here, right, below = output[:, 24, 24], output[:, 24, 26], output[:, 26, 24]
        by_x, by_y = (right - here) / 2, (below - here) / 2
        found.append(torch.stack([by_x, by_y, here - 0.5 * by_x - 0.5 * by_y], dim=1))
    return torch.stack(found, dim=1).numpy()


def amounts_of(maps):
    """What an affine map of `maps_of` consists of: amounts (n,) by the name of the knob."""
    mirrored = np.linalg.det(maps[:, :, :2]) < 0
    first = maps[:, :, 0] * np.where(mirrored, -1, 1)[:, None]
    inverse_scale = np.linalg.norm(first, axis=1)
    angle = np.arctan2(first[:, 1], first[:, 0])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    shear = (maps[:, :, 1] * along).sum(axis=1) / inverse_scale
    return {
        "flip": mirrored,
        "rotation": np.degrees(angle),
        "scale": 1 / inverse_scale - 1,
        "shear": np.degrees(np.arctan(shear)),
        "shift right": maps[:, 0, 2] / 48,
        "shift down": maps[:, 1, 2] / 48,
    }


@pytest.fixture(scope="module")
def amounts():
    """What the default strengths draw, geometry and lighting at once."""
    geometry = amounts_of(maps_of(DRAWS, flip=0.5, rotation=10.0, shift=0.08, scale=0.1, shear=5.0))
    grey = torch.full((DRAWS, 48, 48), 128, dtype=torch.uint8)
    grey[:, :, 24:] = 118  # mean 123
    output = augmented(grey, brightness=0.2, contrast=0.2)[:, 0]
    left, right = output[:, 0, 0].numpy() * 255, output[:, 0, 47].numpy() * 255
    lighting = {"brightness": ((left + right) / 2 - 123) / 255, "contrast": (left - right) / 10 - 1}
    return geometry | lighting


@pytest.mark.parametrize(
    ("knob", "strength"),
    [
        ("rotation", 10.0), ("shift right", 0.08), ("shift down", 0.08), ("scale", 0.1), ("shear", 5.0),
        ("brightness", 0.2), ("contrast", 0.2),
    ],
)  # fmt: skip
def test_each_strength_is_drawn_uniformly_in_both_directions(amounts, knob, strength):
    drawn = amounts[knob]
    assert abs(drawn).max() <= strength * 1.001
    assert drawn.min() < -0.99 * strength and drawn.max() > 0.99 * strength
    assert kstest(drawn, "uniform", args=(-strength, 2 * strength)).pvalue > 0.01


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_flips_are_as_frequent_as_asked_for(probability):
    flipped = amounts_of(maps_of(1000, flip=probability))["flip"].mean()
    assert abs(flipped - probability) < 3 * math.sqrt(probability * (1 - probability) / 1000)


def test_the_knobs_are_drawn_independently(amounts):
    correlation = np.corrcoef(np.stack([drawn.astype(float) for drawn in amounts.values()]))
    assert len(correlation) == 8
    assert abs(correlation - np.eye(8)).max() < 4 / math.sqrt(DRAWS)


def test_default_strengths_are_those_tested_above():
    assert Augment() == Augment(flip=0.5, rotation=10.0, shift=0.08, scale=0.1, shear=5.0, brightness=0.2, contrast=0.2)


def test_every_image_draws_its_own_change():
    same = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8).expand(8, 48, 48)
    output = Augment()(same, 48, torch.Generator().manual_seed(0))
    assert output.shape == (8, 1, 48, 48) and output.dtype == torch.float32
    assert len({tuple(image.flatten().tolist()) for image in output}) == 8


def test_same_seed_same_images_and_the_generator_goes_on(images):
    generator = torch.Generator().manual_seed(3)
    first, second = (Augment()(images, 64, generator) for _ in range(2))
    assert torch.equal(first, Augment()(images, 64, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, second)


# --- batches


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [
        (1, 128, [1]), (128, 128, [128]), (129, 128, [65, 64]), (256, 128, [128, 128]),
        (257, 64, [52, 52, 51, 51, 51]), (10, 4, [4, 3, 3]),
    ],
)  # fmt: skip
def test_batches_hold_every_index_once_and_differ_by_one_at_most(count, size, lengths):
    parts = batches(torch.arange(count), size)
    assert torch.cat(parts).tolist() == list(range(count))
    assert [len(part) for part in parts] == lengths and steps_in(count, size) == len(lengths)
