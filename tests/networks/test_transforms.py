import pytest
import torch

from fer_nb_utils.networks.transforms import IMAGENET_MEAN, IMAGENET_STD, Augment, Preprocess, batches

STILL = {field: 0.0 for field in ("flip", "rotation", "shift", "scale", "shear", "brightness", "contrast")}


@pytest.fixture
def images():
    return torch.randint(0, 256, (6, 48, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def augmented(images, seed=0, size=48, **strengths):
    return Augment(**{**STILL, **strengths})(images, size, torch.Generator().manual_seed(seed))


def test_preprocess_normalises_each_channel_with_imagenet_statistics(images):
    output = Preprocess(48)(images)
    assert output.shape == (6, 3, 48, 48) and output.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        torch.testing.assert_close(output[:, channel] * std + mean, images / 255)


@pytest.mark.parametrize("size", [32, 48, 64, 224])
def test_preprocess_resizes(images, size):
    assert Preprocess(size)(images).shape == (6, 3, size, size)


@pytest.mark.parametrize("size", [48, 64])
def test_augmentation_without_strength_is_the_evaluation_transform(images, size):
    torch.testing.assert_close(augmented(images, size=size), Preprocess(size).resize(images), atol=1e-4, rtol=0)


def test_flip_mirrors_the_image(images):
    torch.testing.assert_close(augmented(images, flip=1.0)[:, 0], (images / 255).flip(2), atol=1e-4, rtol=0)


def test_every_image_draws_its_own_change():
    same = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8).expand(8, 48, 48)
    output = Augment()(same, 48, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in output}) == 8


@pytest.mark.parametrize("knob", [{"rotation": 20.0}, {"shift": 0.2}, {"scale": 0.3}, {"shear": 20.0}])
def test_geometry_moves_pixels_but_not_a_constant_image(images, knob):
    assert not torch.allclose(augmented(images, **knob), augmented(images), atol=0.05)
    constant = torch.full_like(images, 77)
    torch.testing.assert_close(augmented(constant, **knob), augmented(constant), atol=1e-4, rtol=0)


def test_rotation_stays_within_its_limit():
    line = torch.zeros(64, 49, 49, dtype=torch.uint8)
    line[:, 24, :] = 255
    rows = augmented(line, size=49, rotation=10.0)[:, 0, :, 40].argmax(dim=1)  # 16 px right of the centre
    assert rows.min() >= 24 - 3 and rows.max() <= 24 + 3  # 16 * tan(10 degrees) = 2.8
    assert rows.max() > rows.min()


def test_brightness_shifts_the_mean_and_contrast_keeps_it():
    grey = torch.randint(100, 150, (6, 48, 48), dtype=torch.uint8)
    still = augmented(grey).mean(dim=(1, 2, 3))
    brighter = augmented(grey, brightness=0.2).mean(dim=(1, 2, 3)) - still
    assert brighter.abs().max() <= 0.2 and brighter.abs().min() > 0
    torch.testing.assert_close(augmented(grey, contrast=0.5).mean(dim=(1, 2, 3)), still, atol=1e-4, rtol=0)


def test_same_seed_same_images(images):
    torch.testing.assert_close(
        Augment()(images, 64, torch.Generator().manual_seed(3)),
        Augment()(images, 64, torch.Generator().manual_seed(3)),
        atol=0, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize("count, size", [(1, 128), (129, 128), (256, 128), (257, 64)])
def test_batches_hold_every_index_once_and_differ_by_one_at_most(count, size):
    parts = batches(torch.arange(count), size)
    assert torch.cat(parts).tolist() == list(range(count))
    lengths = [len(part) for part in parts]
    assert max(lengths) <= size and max(lengths) - min(lengths) <= 1
