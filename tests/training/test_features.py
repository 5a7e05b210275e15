"""Fresh augmented images and cached features: what the loop reads."""

import os
import re
import threading

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tiny_training import noise_dataset, slim_resnet
from tqdm import tqdm

from fer_nb_utils.errors import UserError
from fer_nb_utils.networks.resnets import split_at
from fer_nb_utils.networks.transforms import Augment, Preprocess
from fer_nb_utils.training import features
from fer_nb_utils.training.features import AugmentedImages, CachedFeatures, compute_features, shared_features

CPU = torch.device("cpu")
SIZE = 2 * 20 * (8 * 8 * 8) * 2  # bytes of two views of 20 images


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(noise_dataset(300).images)  # two batches of features


@pytest.fixture(scope="module")
def backbone():
    model = slim_resnet("layer4")
    return split_at(model, "layer4")[0]


def generator(seed=7):
    return torch.Generator().manual_seed(seed)


def computed(images, backbone, folder, augment=None, views=3, precision="float32"):
    source = AugmentedImages(images, Preprocess(32), augment)
    return compute_features(source, backbone, views, precision, folder / "features.npy")


def test_fresh_images_are_augmented_then_normalised(images):
    indices = torch.tensor([5, 2, 280])
    fresh = AugmentedImages(images, Preprocess(32), Augment(brightness=0.5)).batch(indices, 1, generator())
    expected = Preprocess(32).normalize(Augment(brightness=0.5)(images[indices], 32, generator()))
    assert fresh.shape == (3, 3, 32, 32) and torch.equal(fresh, expected)


def test_plain_images_are_those_of_the_evaluation(images):
    indices = torch.tensor([5, 2, 280])
    plain = AugmentedImages(images, Preprocess(32), None).batch(indices, 1, generator())
    assert torch.equal(plain, Preprocess(32)(images[indices]))


def test_cached_features_are_those_of_the_augmented_images(images, backbone, tmp_path):
    backbone.train()  # as after an epoch: the statistics of the frozen batch norms count, and stay
    statistics = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    found = computed(images, backbone, tmp_path, Augment())
    assert found.shape == (3, 300, 8, 8, 8) and found.dtype == np.float16
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in backbone.state_dict().items())
    draw, source = generator(0), AugmentedImages(images, Preprocess(32), Augment())
    with torch.no_grad():
        backbone.eval()
        expected = [
            torch.cat([backbone(source.batch(part, 0, draw)) for part in torch.arange(300).split(150)])
            for _ in range(3)
        ]
    np.testing.assert_allclose(found, torch.stack(expected), atol=2e-3, rtol=2e-3)  # float16
    assert abs(found[0] - found[1]).max() > 0.1  # the views differ


def test_head_over_cached_features_computes_what_the_network_computes(images, tmp_path):
    for trainable in ("fc", "layer3"):
        model = slim_resnet(trainable).eval()
        backbone, head = split_at(model, trainable)
        rows = np.array([3, 0, 19, 7])  # the images that are trained on
        cached = CachedFeatures(computed(images[:20], backbone, tmp_path, views=1), rows, CPU, seed=0)
        with torch.no_grad():
            logits = head(cached.batch(torch.tensor([2, 0, 1]), 4, generator()))
            expected = model(Preprocess(32)(images[[19, 3, 0]]))
        torch.testing.assert_close(logits, expected, atol=5e-3, rtol=5e-3)


def test_features_are_computed_in_the_precision_of_the_run(images, backbone, tmp_path):
    types = []
    handle = backbone[-1][0].conv1.register_forward_hook(lambda _, inputs, output: types.append(output.dtype))
    for precision in ("float32", "bfloat16"):
        computed(images[:4], backbone, tmp_path, views=1, precision=precision)
    handle.remove()
    assert types == [torch.float32, torch.bfloat16]


ROWS = np.random.default_rng(0).permutation(2000)[:1500]  # the images that are trained on, of 2,000


@pytest.fixture
def cached():
    """Features that say of which view and image they are."""
    views, images = np.meshgrid(np.arange(5), np.arange(2000), indexing="ij")
    return CachedFeatures(np.stack([views, images], axis=2).astype(np.float16), ROWS, CPU, seed=3)


def test_each_epoch_takes_the_next_view_of_every_image(cached):
    indices = torch.tensor([7, 1499, 0, 7])
    epochs = [cached.batch(indices, epoch, generator()) for epoch in range(1, 11)]
    for batch in epochs:
        assert batch.dtype == torch.float32 and batch[:, 1].tolist() == ROWS[[7, 1499, 0, 7]].tolist()
    views = torch.stack([batch[:, 0] for batch in epochs])
    assert (views[1:] - views[:-1]).remainder(5).unique().tolist() == [1]
    assert torch.equal(views[5:], views[:5])


def test_with_as_many_views_as_epochs_each_view_of_an_image_is_used_once(cached):
    epochs = [cached.batch(torch.arange(1500), epoch, generator()) for epoch in range(1, 6)]
    views = torch.stack([batch[:, 0] for batch in epochs])
    assert (views.sort(dim=0).values == torch.arange(5)[:, None]).all()


def test_first_views_are_drawn_uniformly_by_the_seed(cached):
    first = cached.batch(torch.arange(1500), 0, generator())[:, 0].long()
    assert chisquare(torch.bincount(first, minlength=5)).pvalue > 0.01
    same, other = (CachedFeatures(cached.features, ROWS, CPU, seed) for seed in (3, 4))
    assert torch.equal(same.batch(torch.arange(1500), 0, generator())[:, 0], first.float())
    assert not torch.equal(other.batch(torch.arange(1500), 0, generator())[:, 0], first.float())


# --- shared by runs


def shared(images, backbone, folder, augment=None, views=2, precision="float32", size=32):
    source = AugmentedImages(images, Preprocess(size), augment)
    return shared_features(source, backbone, views, precision, folder)


def test_shared_features_are_computed_once_and_read_thereafter(images, backbone, tmp_path, monkeypatch):
    few = images[:20]
    expected = computed(few, backbone, tmp_path, Augment(), views=2)
    assert np.array_equal(shared(few, backbone, tmp_path / "new", Augment()), expected)
    monkeypatch.setattr(features, "compute_features", None)  # would fail if called
    again = shared(few, backbone, tmp_path / "new", Augment())
    assert isinstance(again, np.memmap) and not again.flags.writeable and np.array_equal(again, expected)


def test_shared_features_are_named_by_all_that_decides_them(images, backbone, tmp_path):
    few = images[:4]
    other_image, weights, statistics = few.clone(), slim_resnet("layer4"), slim_resnet("layer4")
    other_image[3, 47, 47] ^= 1
    with torch.no_grad():
        weights.layer3[0].conv1.weight[0, 0, 0, 0] += 1e-3
        statistics.bn1.running_var[5] += 1e-3
    variants = [
        {},
        {"images": other_image},
        {"images": few[:3]},
        {"backbone": split_at(weights, "layer4")[0]},
        {"backbone": split_at(statistics, "layer4")[0]},
        {"backbone": split_at(slim_resnet("layer4"), "layer3")[0]},
        {"views": 3},
        {"precision": "bfloat16"},
        {"size": 40},
        {"augment": Augment()},
        {"augment": Augment(flip=0.4)},
    ]
    for count, changes in enumerate(variants, 1):
        for _ in range(2):  # the second time under the same name
            shared(**({"images": few, "backbone": backbone, "folder": tmp_path} | changes))
            assert len(list(tmp_path.glob("features-*.npy"))) == count, changes
    trained_head = slim_resnet("layer4", seed=0)  # what comes after the backbone plays no part
    trained_head.fc.weight.data += 1
    shared(few, split_at(trained_head, "layer4")[0], tmp_path)
    assert len(list(tmp_path.glob("features-*.npy"))) == len(variants)


def test_while_one_computes_shared_features_another_waits_and_reads(images, backbone, tmp_path, monkeypatch):
    """By threads: the lock is one between open files, as between processes."""
    began, go_on, order, found = threading.Event(), threading.Event(), [], []

    def slowly(*arguments, **options):
        order.append("begins")
        began.set()
        assert go_on.wait(60)
        result = compute_features(*arguments, **options)
        order.append("ends")
        return result

    def work():
        found.append(shared(images[:4], backbone, tmp_path))
        order.append("has them")

    monkeypatch.setattr(features, "compute_features", slowly)
    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    assert began.wait(60)
    both[0].join(0.2), both[1].join(0.2)
    assert order == ["begins"] and not list(tmp_path.glob("features-*.npy"))  # neither has any yet
    go_on.set()
    for thread in both:
        thread.join(60)
    assert order == ["begins", "ends", "has them", "has them"] and np.array_equal(*found)


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_shared_features_broken_off_leave_no_file(images, backbone, tmp_path, error):
    def break_off(*_):
        assert not list(tmp_path.glob("features-*.npy"))  # what a kill would leave at this moment
        parts.append(1)
        if len(parts) == 3:  # the first of the second view
            raise error

    parts = []
    handle = backbone.register_forward_hook(break_off)
    with pytest.raises(error):
        shared(images, backbone, tmp_path)
    handle.remove()
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob(".*.npy"))
    found = shared(images, backbone, tmp_path)
    assert np.array_equal(found, computed(images, backbone, tmp_path, views=2))


# --- on disk


def test_features_beyond_the_limit_go_to_disk(images, backbone, tmp_path, monkeypatch):
    spill = tmp_path / "features.npy"
    assert features.MEMORY_LIMIT == 2**30
    monkeypatch.setattr(features, "MEMORY_LIMIT", SIZE)
    in_memory = computed(images[:20], backbone, tmp_path, Augment(), views=2)
    assert not spill.exists()
    monkeypatch.setattr(features, "MEMORY_LIMIT", SIZE - 1)
    on_disk = computed(images[:20], backbone, tmp_path, Augment(), views=2)
    assert isinstance(on_disk, np.memmap) and on_disk.dtype == np.float16 and np.array_equal(in_memory, on_disk)
    assert np.array_equal(np.load(spill), in_memory)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no reservation on this system")
@pytest.mark.parametrize("reason", ["too little is free", "[Errno 28] No space left on device"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(images, backbone, tmp_path, monkeypatch, reason):
    """Known before, or found out while reserving."""

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "MEMORY_LIMIT", 0)
    free = SIZE - 1 if reason == "too little is free" else 10 * SIZE
    usage = features.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage._replace(free=free))
    monkeypatch.setattr(features.os, "posix_fallocate", full)
    message = f"Cached features need 0.0 GB in {tmp_path} ({reason}): free some, or lower cached_views."
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        computed(images[:20], backbone, tmp_path, views=2)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"^Cached features need 1\.8 GB in "):
        features._allocate((2, 1000, 450_000), tmp_path / "features.npy", False)


def test_room_on_the_disk_is_reserved_before_anything_is_written(images, backbone, tmp_path, monkeypatch):
    reserved = []
    monkeypatch.setattr(features, "MEMORY_LIMIT", 0)
    monkeypatch.setattr(features.os, "posix_fallocate", lambda file, start, size: reserved.append((start, size)))
    usage = features.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage._replace(free=SIZE))
    computed(images[:20], backbone, tmp_path, views=2)
    assert reserved == [(0, (tmp_path / "features.npy").stat().st_size)]


def test_the_progress_bar_ends_full(images, backbone, tmp_path, monkeypatch):
    bars = []
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(
            features, "progress_bar", lambda **options: bars.append(tqdm(**options, file=nowhere)) or bars[-1]
        )
        computed(images, backbone, tmp_path, views=2)
    assert [(bar.n, bar.total, bar.desc, bar.unit) for bar in bars] == [(600, 600, "features", "image")]
