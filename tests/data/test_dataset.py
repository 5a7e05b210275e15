"""The loader: every form gives the same data, and every bad input one clear sentence."""

import errno
import gzip
import logging
import os
import re
import shutil
import struct
import sys
import tarfile
import threading
import zipfile
import zlib
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from fer_nb_utils.__main__ import main
from fer_nb_utils.classes import CLASSES, USAGES
from fer_nb_utils.data import formats
from fer_nb_utils.data.cache import cache_folder
from fer_nb_utils.data.dataset import PUBLISHED, Dataset, identical_groups, load, split_validation
from fer_nb_utils.data.formats import CSV_CLASSES
from fer_nb_utils.errors import DataError, UserError
from fer_nb_utils.results.measures import read_predictions

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="Windows makes no links for everybody")
PREFIXES = {"train": ("Training",), "test": ("PublicTest", "PrivateTest")}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_NB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder in FER-2013's layout with two images per class and usage."""
    rng, root = np.random.default_rng(0), tmp_path / "faces"
    for split, prefixes in PREFIXES.items():
        for name in CLASSES:
            folder = root / split / name
            folder.mkdir(parents=True)
            for prefix in prefixes:
                for _ in range(2):
                    pixels = rng.integers(0, 256, (48, 48), np.uint8)
                    Image.fromarray(pixels).save(folder / f"{prefix}_{rng.integers(10**8)}.png")
    return root


def zipped(folder: Path, prefix: str = "") -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def csv_text(dataset: Dataset, header: str = "emotion,pixels,Usage") -> str:
    """Rows in the order of the header's columns, which may have blanks."""
    rows = [header]
    for image, label, usage in zip(dataset.images, dataset.labels, dataset.usage, strict=True):
        cells = {
            "emotion": str(CSV_CLASSES.index(CLASSES[label])),
            "pixels": " ".join(map(str, image.ravel())),
            "usage": str(usage),
        }
        rows.append(",".join(cells[name.strip().lower()] for name in header.split(",")))
    return "\n".join(rows) + "\n"


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.fingerprint == other.fingerprint
    for name in ("images", "labels", "usage", "files"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)


# Forms


def test_folder_gives_every_image_with_its_label_usage_and_id(faces):
    dataset = load(faces)
    assert (dataset.images.dtype, dataset.images.shape) == (np.uint8, (42, 48, 48))
    assert dataset.labels.dtype == np.int64
    assert set(dataset.usage) == set(USAGES)
    assert dataset.name == "faces in faces"
    assert not dataset.synthetic
    assert dataset.fingerprint.startswith("sha256:")
    for image, label, usage, file in zip(dataset.images, dataset.labels, dataset.usage, dataset.files, strict=True):
        split = "train" if usage == "Training" else "test"
        assert file.startswith(usage)
        stored = Image.open(faces / split / CLASSES[label] / f"{file}.png")
        np.testing.assert_array_equal(image, np.asarray(stored))


def test_zip_unpacked_folder_and_one_level_down_agree(faces, tmp_path):
    folder = load(faces)
    assert_same(load(zipped(faces)), folder)
    assert_same(load(zipped(faces, "archive/")), folder)
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for file in filter(Path.is_file, faces.rglob("*")):
            archive.writestr(str(file.relative_to(faces)).replace("/", "\\"), file.read_bytes())
    assert_same(load(tmp_path / "windows.zip"), folder)
    shutil.move(faces, tmp_path / "outer" / "archive")
    assert_same(load(tmp_path / "outer"), folder)


def test_tar_gz_of_the_folder_agrees(faces, tmp_path):
    with tarfile.open(tmp_path / "faces.tar.gz", "w:gz") as archive:
        archive.add(faces, "faces")
    assert_same(load(tmp_path / "faces.tar.gz"), load(faces))


def test_upper_case_folders_and_system_files_do_no_harm(faces, tmp_path):
    before = load(faces)
    for split in ("train", "test"):
        for folder in list((faces / split).iterdir()):
            folder.rename(folder.with_name(folder.name.upper() + "_")).rename(folder.with_name(folder.name.upper()))
        (faces / split).rename(faces / "x").rename(faces / split.upper())
    for junk in ("TRAIN/.DS_Store", "TRAIN/ANGRY/.DS_Store", "TEST/SAD/Thumbs.db", "TEST/SAD/desktop.ini"):
        (faces / junk).write_bytes(b"junk")
    (faces / "__MACOSX/train/angry").mkdir(parents=True)
    (faces / "__MACOSX/train/angry/._Training_1.jpg").write_bytes(b"junk")
    (faces / "README.md").write_text("not a face")
    assert_same(load(faces), before)
    assert_same(load(zipped(faces)), before)


@pytest.mark.parametrize("name", ["val", "validation", "Validation"])
def test_validation_folder_becomes_public_test(faces, name):
    for file in faces.glob("test/*/PublicTest_*"):
        (faces / name / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.move(file, faces / name / file.parent.name / file.name.replace("PublicTest", "Training"))
    assert load(faces).counts().loc["all"].to_dict() == {
        "Training": 14, "PublicTest": 14, "PrivateTest": 14, "all": 42,
    }  # fmt: skip


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
@pytest.mark.parametrize("packed", ["plain", "zip", "tar.gz", "folder", "gz", "gz in a folder"])
def test_csv_in_every_packing(faces, tmp_path, header, packed):
    expected = load(faces)
    name = "fer2013.csv" if header.startswith("emotion,pixels") else "icml_face_data.csv"
    file = tmp_path / "csv" / name
    file.parent.mkdir()
    file.write_text(csv_text(expected, header))
    (file.parent / "test.csv").write_text("pixels\n1 2 3\n")
    source = {"plain": file, "folder": file.parent, "gz in a folder": file.parent}.get(packed)
    if packed.startswith("gz"):
        Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
        source = source or Path(f"{file}.gz")
    if packed == "zip":
        source = zipped(file.parent)
    elif packed == "tar.gz":
        source = tmp_path / "c.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(file.parent, "fer2013")
    dataset = load(source)
    # rows were written in canonical order; ids, which a CSV lacks, are made up
    np.testing.assert_array_equal(dataset.images, expected.images)
    np.testing.assert_array_equal(dataset.labels, expected.labels)
    np.testing.assert_array_equal(dataset.usage, expected.usage)
    assert len(set(dataset.files)) == len(dataset)


def test_own_faces_of_any_kind_are_converted_and_said_so(faces, caplog):
    photo = Image.new("RGB", (200, 300), (255, 0, 0))
    photo.paste((0, 0, 255), (0, 50, 200, 250))  # the central square
    photo.save(faces / "train/happy/me.png")
    Image.fromarray(np.full((60, 60), 40000, np.uint16)).save(faces / "train/happy/deep.png")
    with caplog.at_level(logging.WARNING):
        dataset = load(faces)
    assert "2 of 44 images" in caplog.text
    image = dict(zip(dataset.files, dataset.images, strict=True))
    assert abs(image["me"].astype(int) - 29).max() <= 3  # the luma of pure blue
    assert set(image["deep"].ravel()) == {40000 >> 8}
    caplog.clear()
    assert_same(load(faces), dataset)
    assert "2 of 44 images" in caplog.text  # also from the cache


def test_photos_are_turned_upright(faces):
    pixels = np.zeros((96, 96), np.uint8)
    pixels[:48] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(faces / "train/sad/turned.png", exif=exif)
    dataset = load(faces)
    image = dataset.images[dataset.files == "turned"][0]
    assert image[:20].max() < 50
    assert image[28:].min() > 200


def test_a_stem_used_twice_is_told_apart_by_its_path(faces):
    for folder in ("train/angry", "train/happy"):
        Image.new("L", (48, 48)).save(faces / folder / "1.png")
    files = load(faces).files
    assert {"train/angry/1.png", "train/happy/1.png"} < set(files)
    assert sum("/" in file for file in files) == 2


def test_sample_is_the_default_and_the_variable_names_another(faces, sample, own_cache, monkeypatch):
    monkeypatch.setenv("FER_NB_CACHE", str(own_cache))
    assert sample.synthetic
    assert sample.name == "synthetic sample"
    assert sample.source == "sample"
    assert sample.counts().loc["all", "all"] == len(sample) > 1000
    assert_same(load(), sample)
    monkeypatch.setenv("FER2013_PATH", str(faces))
    assert load().name == "faces in faces"


NAMES = [
    "NA",
    "null",
    "nan",
    "None",
    "#N_A",
    "007",
    "1e5",
    "-inf",
    "True",
    " a b ",
    'a,"b"',
    "naïve 表 🙂",
    "a.b",
    "$x$",
]


def test_every_name_survives_the_predictions_file(faces, tmp_path):
    for name in NAMES:
        shutil.copy(first(faces, "test/sad/*"), faces / "test/sad" / f"{name}.png")
    test = load(faces).select("PublicTest", "PrivateTest")
    assert set(NAMES) < set(test.files)
    identity = {"file": test.files, "usage": test.usage, "label": np.array(CLASSES)[test.labels]}
    pd.DataFrame(identity | dict.fromkeys(CLASSES, 1 / 7)).to_csv(tmp_path / "predictions.csv", index=False)
    assert read_predictions(tmp_path / "predictions.csv")["file"].tolist() == test.files.tolist()


def test_paths_with_blanks_and_any_script_are_read(faces, tmp_path):
    folder = faces.rename(tmp_path / "my faces – 表 100 %")
    assert load(folder).name == "faces in my faces – 表 100 %"
    assert len(load(zipped(folder))) == 42


@needs_links
def test_links_are_followed_but_never_back_up(faces, tmp_path):
    before = load(faces)
    (faces / "train/happy").rename(tmp_path / "elsewhere")
    (faces / "train/happy").symlink_to(tmp_path / "elsewhere")
    file = first(faces, "test/sad/*")
    shutil.move(file, tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    for place in ("up", "train/up", "train/fear/up"):
        (faces / place).symlink_to(faces)
    (tmp_path / "elsewhere/around").symlink_to(tmp_path / "elsewhere")
    assert_same(load(faces), before)


@needs_links
def test_links_from_class_to_class_add_no_image(faces):
    before = load(faces)
    folders = [path for split in ("train", "test") for path in (faces / split).iterdir()]
    for folder in folders:
        for other in folders:
            (folder / f"{other.parent.name}_{other.name}").symlink_to(other)
    assert_same(load(faces), before)


@needs_links
def test_a_link_to_nowhere_outside_the_classes_does_no_harm(faces):
    (faces / "latest").symlink_to(faces / "nowhere")
    assert len(load(faces)) == 42


@needs_links
def test_hard_links_in_a_tar_are_images_too(faces, tmp_path):
    file = first(faces)
    os.link(file, file.with_name("twin.png"))
    with tarfile.open(tmp_path / "faces.tar", "w") as archive:
        archive.add(faces, ".")  # names begin with ./
    assert_same(load(tmp_path / "faces.tar"), load(faces))


# Bad input


def first(folder: Path, pattern: str = "train/fear/*") -> Path:
    return min(folder.glob(pattern))


def break_missing(faces):
    return faces / "nowhere", "does not exist"


def break_truncated_zip(faces):
    path = zipped(faces)
    path.write_bytes(path.read_bytes()[:-3000])
    return path, "download"


def break_truncated_tar(faces):
    path = faces.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(faces, "faces")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path, "download"


def break_zip_content(faces):
    path = zipped(faces)
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    return path, "download"


def break_web_page(faces):
    path = faces.with_suffix(".zip")
    path.write_text("<html>Please sign in</html>")
    return path, "neither a zip"


def break_empty_file(faces):
    path = faces.with_suffix(".zip")
    path.touch()
    return path, "neither a zip"


def break_text_file(faces):
    path = faces.with_suffix(".txt")
    path.write_text("notes")
    return path, "neither a zip"


def break_text_called_tar(faces):
    path = faces.with_suffix(".tar")
    path.write_text("notes")
    return path, "download"


def break_text_called_gzip(faces):
    path = faces.with_suffix(".csv.gz")
    path.write_text("notes")
    return path, "has no column 'emotion'"


def break_truncated_gzip(faces):
    path = faces.with_suffix(".csv.gz")
    path.write_bytes(gzip.compress(csv_text(load(faces)).encode())[:-2000])
    shutil.rmtree(cache_folder())
    return path, "download"


def break_pipe(faces):
    path = faces.with_suffix(".csv")
    os.mkfifo(path)
    return path, "neither a file nor a folder"


def break_empty_zip(faces):
    path = faces.with_suffix(".zip")
    zipfile.ZipFile(path, "w").close()
    return path, "holds no images"


def break_zip_of_a_zip(faces):
    zipped(faces)
    path = faces.parent / "outer.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(faces.with_suffix(".zip"), "faces.zip")
    return path, "faces.zip"


def zip_with(faces, offset, value):
    """A zip with two bytes at `offset` in all entries of its directory replaced."""
    path = zipped(faces)
    content = bytearray(path.read_bytes())
    for entry in re.finditer(b"PK\1\2", content):
        content[entry.start() + offset : entry.start() + offset + 2] = value
    path.write_bytes(content)
    return path


def break_password(faces):
    return zip_with(faces, 8, b"\1\0"), "password required for extraction): unpack it"


def break_unknown_compression(faces):
    return zip_with(faces, 10, b"\x63\0"), "compression method is not supported): unpack it"


def break_no_images(faces):
    shutil.rmtree(faces)
    faces.mkdir()
    return faces, "holds no images"


def break_inner_zip(faces):
    folder = faces.parent / "outer"
    folder.mkdir()
    zipped(faces).rename(folder / "archive.zip")
    return folder, "archive.zip"


def break_inside_split(faces):
    return faces / "train", "holds no images in train/<class>"


def break_two_data_sets(faces):
    shutil.copytree(faces, faces / "a")
    shutil.move(faces / "train", faces / "b" / "train")
    shutil.move(faces / "test", faces / "b" / "test")
    return faces, "several data sets (a, b)"


def break_class_folder(faces):
    (faces / "train/fear").rename(faces / "train/contempt")
    return faces, "'contempt', no class: rename or remove it"


def break_image(faces):
    first(faces).write_bytes(b"no image")
    return faces, first(faces).name


def break_image_end(faces):
    file = first(faces)
    file.write_bytes(file.read_bytes()[:500])
    return faces, file.name


def break_photograph_cut_short(faces):
    file = faces / "train/fear/photo.jpg"
    Image.effect_noise((300, 300), 50).save(file)
    file.write_bytes(file.read_bytes()[:4000])
    return faces, "photo.jpg is no readable image"


def break_image_of_no_bytes(faces):
    first(faces).write_bytes(b"")
    return faces, f"{first(faces).name} is no readable image"


def break_image_of_many_pixels(faces, side=10_000):
    """A small file that claims a huge image."""
    header = struct.pack(">4s2I5B", b"IHDR", side, side, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (faces / "train/fear/bomb.png").write_bytes(png + struct.pack(">I4s", 0, b"IDAT"))
    return faces, "bomb.png is larger than 32 MiB or 89 megapixels"


def break_image_of_very_many_pixels(faces):
    return break_image_of_many_pixels(faces, 100_000)


def break_zip_bomb(faces):
    path = zipped(faces)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/fear/bomb.png", bytes(2**25 + 1))
    return path, "bomb.png is larger than 32 MiB or 89 megapixels"


def break_link_to_nowhere(faces):
    (faces / "train/fear/link.png").symlink_to(faces / "nowhere.png")
    return faces, "link.png cannot be read (No such file or directory)"


def break_two_spellings(faces):
    path = zipped(faces)
    with zipfile.ZipFile(path, "a") as archive:
        for split in ("train", "Train"):
            archive.write(first(faces), f"{split}/fear/1.png")
    return path, "holds train/fear/1.png and Train/fear/1.png, which are one name"


def tar_with(faces, name):
    path = faces.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(faces, "")
        archive.add(first(faces), f"train/fear/{name}")
    return path


def break_name_that_is_no_text(faces):
    return tar_with(faces, "\udcff.png"), "train/fear/\\udcff.png' has a name that cannot be written as text: rename it"


def break_name_of_two_lines(faces):
    return tar_with(faces, "a\nb.png"), "train/fear/a\\nb.png' has a name that cannot be written as text"


def break_other_file(faces):
    (faces / "train/fear/notes.txt").write_text("notes")
    return faces, "notes.txt"


def break_empty_class(faces):
    shutil.rmtree(faces / "train/fear")
    (faces / "train/fear").mkdir()
    return faces, "'fear' in train"


def break_empty_test_class(faces):
    shutil.rmtree(faces / "test/fear")
    return faces, "'fear' in test"


def break_no_test(faces):
    shutil.rmtree(faces / "test")
    return faces, "no test images"


def break_no_train(faces):
    shutil.rmtree(faces / "train")
    return faces, "no train images"


def break_csv(edit, message):
    def edited(faces):
        path = faces.parent / "fer2013.csv"
        path.write_text(edit(csv_text(load(faces))))
        shutil.rmtree(cache_folder())
        return path, message

    return edited


def third_row(edit):
    def edited(text):
        lines = text.splitlines()
        lines[3] = edit(*lines[3].split(","))
        return "\n".join(lines)

    return edited


BAD_CSV = {
    "pixel count": (
        third_row(lambda e, p, u: f"{e},{p} 7,{u}"),
        "line 4, has pixels that are not 2304 whole numbers from 0 to 255",
    ),
    "pixel range": (third_row(lambda e, p, u: f"{e},256{p[p.index(' ') :]},{u}"), "line 4, has pixels that are not"),
    "pixel text": (third_row(lambda e, p, u: f"{e},x{p},{u}"), "line 4, has pixels that are not"),
    "pixel fraction": (third_row(lambda e, p, u: f"{e},1.5 {p},{u}"), "line 4, has pixels that are not"),
    "pixels empty": (third_row(lambda e, p, u: f"{e},,{u}"), "line 4, has pixels that are not"),
    "label": (third_row(lambda e, p, u: f"7,{p},{u}"), "line 4, has the label '7'"),
    "label text": (third_row(lambda e, p, u: f"angry,{p},{u}"), "line 4, has the label 'angry'"),
    "usage": (third_row(lambda e, p, u: f"{e},{p},Test"), "line 4, has the usage 'Test'"),
    "cut short": (lambda text: text[:-3000], "has the usage '' instead of"),
    "no labels": (lambda text: "pixels\n1 2 3\n", "no column 'emotion'"),
    "no usage": (lambda text: "emotion,pixels\n0,1 2\n", "no column 'usage'"),
    "no pixels": (lambda text: "emotion,Usage\n0,Training\n", "no column 'pixels'"),
    "other table": (lambda text: "a,b\n1,2\n", "has no column 'emotion'"),
    "header only": (lambda text: text.splitlines()[0], "has no rows"),
    "endless line": (lambda text: text + "0," + "1 " * 2**15, "larger than a table of faces"),
    "empty": (lambda text: "", "has no column 'emotion'"),
    "train only": (lambda text: "\n".join(text.splitlines()[:15]), "no test images"),
    "binary": (lambda text: "\x00\x01" * 1000, "no column 'emotion'"),
}
BAD = {name[6:]: function for name, function in globals().items() if name.startswith("break_")}
BAD.pop("csv")
if sys.platform == "win32":  # no pipes, and links not for everybody
    del BAD["pipe"], BAD["link_to_nowhere"]
BAD |= {f"csv {name}": break_csv(*case) for name, case in BAD_CSV.items()}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_sentence_and_leaves_nothing(faces, case):
    path, message = BAD[case](faces)
    with pytest.raises(DataError) as caught:
        load(path)
    text = str(caught.value)
    assert message in text
    assert path.name in text
    assert ": " in text  # the remedy
    assert "\n" not in text
    assert isinstance(caught.value, UserError)
    assert not cache_folder().exists()


@pytest.mark.parametrize("case", ["missing", "password", "name_that_is_no_text", "csv usage"])
def test_data_check_prints_the_sentence(faces, case):
    path, message = BAD[case](faces)
    done = CliRunner().invoke(main, ["data", "check", str(path)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert done.output.startswith("Error: ") and message in done.output


@pytest.mark.parametrize("source", ["a\udcff", "a\nb"])
def test_a_path_that_is_no_text_is_refused(source):
    with pytest.raises(DataError, match=r"^'a\\.+' has a name that cannot be written as text: rename it$"):
        load(source)


def test_a_tilde_of_nobody_is_a_name_like_any_other():
    with pytest.raises(DataError, match="^~nobody-of-this-name/faces does not exist"):
        load("~nobody-of-this-name/faces")


def test_a_folder_that_may_not_be_read_is_named(faces, monkeypatch):
    def scandir(folder):
        if str(folder).endswith("fear"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    listed = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"fear cannot be read \(Permission denied\): make it readable or remove it$"):
        load(faces)


def test_a_table_without_end_is_refused(faces, monkeypatch):
    path, _ = break_csv(lambda text: text, "")(faces)
    monkeypatch.setattr(formats, "MAX_TEXT", path.stat().st_size - 1)
    with pytest.raises(DataError, match=r"fer2013\.csv is larger than a table of faces can be"):
        load(path)
    monkeypatch.setattr(formats, "MAX_TEXT", path.stat().st_size)
    assert len(load(path)) == 42


# Cache


def test_cached_copy_is_used_until_the_source_changes(faces, monkeypatch):
    before = load(faces)
    with monkeypatch.context() as patch:
        patch.setattr("fer_nb_utils.data.formats.read", None)
        assert_same(load(faces), before)
    Image.new("L", (48, 48)).save(faces / "train/happy/new.png")
    after = load(faces)
    assert len(after) == len(before) + 1
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_damaged_cache_is_made_again(faces, damage, caplog):
    before = load(faces)
    (file,) = cache_folder().iterdir()
    content = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    else:
        content[len(content) // 2] ^= 0x40
        file.write_bytes({"cut": content[: len(content) // 2], "flip": content, "empty": b""}[damage])
    assert_same(load(faces), before)
    assert ("is damaged" in caplog.text) == (damage != "gone")
    caplog.clear()
    assert_same(load(faces), before)
    assert not caplog.text


@pytest.mark.parametrize("target", ["train/fear/{}", "train/sad/x.png", "test/sad/{}"])
def test_label_name_and_split_are_in_the_fingerprint(faces, target):
    before = load(faces)
    file = max((faces / "train/sad").iterdir())
    file.rename(faces / target.format(file.name))
    assert load(faces).fingerprint != before.fingerprint


def test_cache_that_cannot_be_written_is_only_a_warning(faces, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FER_NB_CACHE", str(tmp_path / "file" / "cache"))
    assert len(load(faces)) == 42
    assert "no decoded copy was kept" in caplog.text


def test_loading_twice_at_once_does_no_harm(faces, monkeypatch):
    both_read = threading.Barrier(2, timeout=30)
    read = formats.read

    def slowly(path):
        decoded = read(path)
        both_read.wait()
        return decoded

    monkeypatch.setattr(formats, "read", slowly)
    with ThreadPool(2) as pool:
        one, other = pool.map(load, [faces, faces])
    assert_same(one, other)
    assert [file.suffix for file in cache_folder().iterdir()] == [".npz"]
    assert_same(load(faces), one)


def test_the_variable_names_the_cache_folder_or_else_the_system_does(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, appauthor: tmp_path / name / str(appauthor))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("FER_NB_CACHE")
    assert cache_folder() == tmp_path / "fer_nb_utils" / "False"  # no folder of an author above it


# Dataset and validation


def test_subset_select_and_counts(faces):
    dataset = load(faces)
    test = dataset.select("PublicTest", "PrivateTest")
    assert len(test) == 28
    assert test.fingerprint == dataset.fingerprint
    assert dataset.subset(np.array([3, 1])).files.tolist() == dataset.files[[3, 1]].tolist()
    counts = dataset.counts()
    assert counts.index.tolist() == [*CLASSES, "all"]
    assert counts.columns.tolist() == [*USAGES, "all"]
    assert (counts.loc[list(CLASSES), list(USAGES)] == 2).all(axis=None)
    assert test.counts().loc["all"].tolist() == [0, 14, 14, 28]


def made(labels: np.ndarray, contents: np.ndarray, usage: str = "Training") -> Dataset:
    """A data set in which images with the same content number are identical."""
    images = np.zeros((len(labels), 48, 48), np.uint8)
    images.reshape(len(labels), -1)[:, :4] = contents.astype("<u4").view(np.uint8).reshape(-1, 4)
    files = np.array([f"{usage}_{i}" for i in range(len(labels))])
    return Dataset(images, labels, np.full(len(labels), usage), files, "made", "sha256:0", "made")


def test_identical_groups_are_numbered_by_appearance():
    contents = np.array([5, 3, 9, 3, 5, 1, 3])
    groups = identical_groups(made(np.zeros(7, np.int64), contents).images)
    assert groups.tolist() == [0, 1, -1, 1, 0, -1, 1]
    assert groups.dtype == np.int64


@pytest.mark.parametrize("seed", [0, 1])
def test_stratified_validation_keeps_shares_and_identical_images_together(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, 3000, p=[0.14, 0.02, 0.14, 0.25, 0.17, 0.17, 0.11])
    dataset = made(labels, rng.integers(0, 4000, 3000))
    train, validation = split_validation(dataset, seed=seed)
    assert sorted([*train.files, *validation.files]) == sorted(dataset.files)
    shares = validation.counts()["all"] / dataset.counts()["all"]
    assert shares.between(0.06, 0.15).all()
    assert shares["all"] == pytest.approx(0.1, abs=0.01)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in validation.images}
    assert split_validation(dataset, seed=seed)[1].files.tolist() == validation.files.tolist()
    assert split_validation(dataset, seed=seed + 1)[1].files.tolist() != validation.files.tolist()


def test_validation_holds_training_images_only(faces):
    train, validation = split_validation(load(faces))
    assert validation.files.tolist() == split_validation(load(faces), fraction=0.1, seed=0)[1].files.tolist()
    assert set(train.usage) | set(validation.usage) == {"Training"}
    assert validation.counts()["all"].tolist() == [1] * 7 + [7]  # at least one of each class


@pytest.mark.parametrize("usage", ["Training", "PublicTest"])
def test_too_few_images_to_split_are_refused(usage):
    with pytest.raises(DataError, match="^made has too few images"):
        split_validation(made(np.array([3]), np.array([0]), usage))


# FER-2013 itself


def test_fer2013_loads_completely_and_again_from_the_cache(fer2013, fer2013_zip, own_cache, monkeypatch):
    monkeypatch.setenv("FER_NB_CACHE", str(own_cache))
    monkeypatch.setattr(formats, "read", None)
    assert_same(load(fer2013_zip), fer2013)
    assert fer2013.name == "FER-2013"
    assert len(fer2013) == 35_887
    assert (fer2013.counts().loc[list(CLASSES), list(USAGES)] == PUBLISHED).all(axis=None)
    assert fer2013.counts().loc["all"].tolist() == [28_709, 3_589, 3_589, 35_887]
    assert len(set(fer2013.files)) == len(fer2013)
    assert fer2013.select("Training").images.mean() / 255 == pytest.approx(0.5077, abs=5e-5)


def test_truncated_fer2013_is_refused(fer2013_zip, tmp_path):
    path = tmp_path / "fer2013.zip"
    with fer2013_zip.open("rb") as source:
        path.write_bytes(source.read(1_000_000))
    with pytest.raises(DataError, match="download or copy it again"):
        load(path)
