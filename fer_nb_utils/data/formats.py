"""Every form in which FER-2013 travels, decoded in memory: images or a CSV, plain, in a zip or in a tar."""

import csv
import gzip
import hashlib
import io
import lzma
import os
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..classes import CLASSES, USAGES
from ..errors import DataError
from ..progress import progress_bar

SIZE = 48
SPLITS = {"train": "Training", "val": "PublicTest", "validation": "PublicTest", "test": "PrivateTest"}
CSV_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv", "test.csv")
CSV_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # label numbers 0 to 6
CSV_LABELS = {str(i): CLASSES.index(name) for i, name in enumerate(CSV_CLASSES)}
CSV_COLUMNS = ("emotion", "pixels", "usage")
CSV_REMEDY = "use fer2013.csv or icml_face_data.csv, which have emotion, pixels and Usage"
CSV_ENDS, GZIP = (".csv", ".csv.gz"), b"\x1f\x8b"
MAX_BYTES = 2**25  # of an image file; its pixels are limited by Pillow
MAX_LINE, MAX_TEXT = 2**16, 2**31  # characters of a CSV, where 2,304 pixels take 9,216 and FER-2013 takes 3e8
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and bytes that are not UTF-8
JUNK = ("thumbs.db", "desktop.ini")
DAMAGES = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, csv.Error)


class Decoded(NamedTuple):
    """A data set in canonical order, by usage, label, path: uint8 (n,48,48), int64 (n,), str (n,), str (n,).

    Paths are below its root, alike for a zip and its folder; `converted`: how many images were not grey 48x48.
    """

    images: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    paths: np.ndarray
    converted: int


Row = tuple[np.ndarray, int, str, str, bool]  # image, label, usage, path, converted


def read(path: Path) -> Decoded:
    """Decode the data set at `path`; raises DataError, or what `one_sentence` turns into it."""
    with _members(path) as (stored, open_member):
        names = {name: _parts(name) for name in stored if not _is_junk(_parts(name))}
        if faces := _find_faces(names, path):
            rows = _read_faces(faces, open_member, path)
        else:
            member = _find_csv(names, path)
            rows = _read_csv(open_member(member), path if path.name == member else path / member)
        images, labels, usage, paths, converted = map(np.array, zip(*rows, strict=True))
    for split, mask in (("train", usage == "Training"), ("test", usage != "Training")):
        if not mask.any():
            raise DataError(f"{path} has no {split} images: give what holds both train and test")
        present = np.bincount(labels[mask], minlength=len(CLASSES))
        if not present.all():
            name = CLASSES[int(np.argmin(present))]
            raise DataError(f"{path} has no image of '{name}' in {split}: add some, every class needs them")
    order = np.lexsort((paths, labels, [USAGES.index(one) for one in usage]))
    return Decoded(images[order], labels[order], usage[order], paths[order], int(converted.sum()))


@contextmanager
def one_sentence(path: Path) -> Iterator[None]:
    """Turn what an unreadable file, folder or archive raises into a DataError that names it and the remedy."""
    try:
        yield
    except (*DAMAGES, OSError, RuntimeError) as error:
        place, reason, remedy = path, " ".join(str(error).split()), "it may be cut short, download or copy it again"
        if isinstance(error, RuntimeError):  # zipfile's, for a password or an unknown compression
            remedy = "unpack it yourself and give the folder"
        elif isinstance(error, OSError) and error.strerror:  # not gzip's, which has none
            place, reason, remedy = error.filename or path, error.strerror, "make it readable or remove it"
        raise DataError(f"{place} cannot be read ({reason}): {remedy}") from error


def check_name(name: str) -> None:
    """Raise DataError for a name that no table can hold: one with control characters, or not in UTF-8."""
    if UNWRITABLE.search(name):
        raise DataError(f"{ascii(name)} has a name that cannot be written as text: rename it")


def signature(path: Path) -> str:
    """A hash that changes when the file, or a file of the folder, changes its name, size or time."""
    stats = _walk(path) if path.is_dir() else [("", path.stat())]
    lines = [f"{name}\t{stat.st_size}\t{stat.st_mtime_ns}" for name, stat in stats]
    return hashlib.sha256("\n".join([str(path.resolve()), *lines]).encode(errors="surrogateescape")).hexdigest()[:16]


def _walk(folder: Path, prefix: str = "", tops: tuple[Path, ...] = ()) -> Iterator[tuple[str, os.stat_result]]:
    """Name and stat of the files below `folder`; links are followed, but neither into one of `tops` (the data set's own
    folder, and those that links led to), where the files are found anyway, nor to a folder above one."""
    tops = tops or (folder.resolve(),)
    with os.scandir(folder) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if entry.is_dir() and not _is_junk((entry.name,)):
            target = Path(entry.path).resolve()
            if not entry.is_symlink():
                yield from _walk(Path(entry.path), f"{name}/", tops)
            elif not any(target.is_relative_to(top) or top.is_relative_to(target) for top in tops):
                yield from _walk(Path(entry.path), f"{name}/", (*tops, target))
        elif entry.is_file() or entry.is_symlink():  # a link to nowhere fails when it is read, if it is
            yield name, entry.stat(follow_symlinks=entry.is_file())


@contextmanager
def _members(path: Path) -> Iterator[tuple[list[str], Callable[[str], IO[bytes]]]]:
    """The names of the files of a folder, zip, tar or lone CSV, in stored order, and how to open one."""
    if path.is_dir():
        yield [name for name, _ in _walk(path)], lambda name: (path / name).open("rb")
        return
    if not path.is_file():  # a pipe that nobody fills would never end
        raise DataError(f"{path} is neither a file nor a folder: give the path of FER-2013")
    with path.open("rb") as stream:
        magic = stream.read(2)
    if magic == b"PK":
        with zipfile.ZipFile(path) as archive:
            yield [item.filename for item in archive.infolist() if not item.is_dir()], archive.open
    elif path.name.lower().endswith(CSV_ENDS):
        yield [path.name], lambda _: path.open("rb")
    elif magic == GZIP or ".tar" in path.name.lower():
        with tarfile.open(path) as archive:
            files = {item.name: item for item in archive if item.isfile() or item.islnk()}
            yield list(files), lambda name: archive.extractfile(files[name])
    else:
        raise DataError(f"{path} is neither a zip, a tar.gz nor a CSV (a web page?): download it again")


def _parts(name: str) -> tuple[str, ...]:
    """Path components; some Windows tools write zip names with backslashes."""
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _is_junk(parts: Iterable[str]) -> bool:
    return any(part.startswith((".", "__MACOSX")) or part.lower() in JUNK for part in parts)


# Folders of images


def _find_faces(names: dict[str, tuple[str, ...]], path: Path) -> dict[str, tuple[str, str, int]]:
    """Files at <root>/<split>/<class>/..., where <root> is the shallowest folder that has splits.

    Path below the root -> name in the folder or archive, usage, label.
    """
    found: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
    for name, parts in names.items():
        depth = next((i for i, part in enumerate(parts[:-2]) if part.lower() in SPLITS), None)
        if depth is not None:
            found.setdefault(parts[:depth], []).append((name, parts[depth:]))
    root, *others = sorted(found, key=lambda parts: (len(parts), parts)) or [()]
    if others and len(others[0]) == len(root):
        one, two = "/".join(root), "/".join(others[0])
        raise DataError(f"{path} holds several data sets ({one}, {two}): give the path of one of them")
    faces: dict[str, tuple[str, str, int]] = {}
    for name, (split, folder, *rest) in found.get(root, ()):
        check_name(f"{path}/{name}")
        if folder.lower() not in CLASSES:
            known = ", ".join(CLASSES)
            raise DataError(f"{path / name} lies in '{folder}', no class: rename or remove it, the classes are {known}")
        usage = SPLITS[split.lower()]
        if split.lower() == "test" and rest[-1].lower().startswith("publictest"):
            usage = "PublicTest"
        place = "/".join((split.lower(), folder.lower(), *rest))
        if place in faces:
            other = faces[place][0]
            raise DataError(f"{path} holds {other} and {name}, which are one name here: rename or remove one")
        faces[place] = name, usage, CLASSES.index(folder.lower())
    return faces


def _read_faces(faces: dict[str, tuple[str, str, int]], open_member: Callable, path: Path) -> Iterator[Row]:
    with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
        for place, (name, usage, label) in progress_bar(desc=path.name, iterable=faces.items(), unit="image"):
            with open_member(name) as stream:
                data = stream.read(MAX_BYTES + 1)
            try:
                image, changed = _decode(data)
            except (OverflowError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
                limits = f"{MAX_BYTES >> 20} MiB or {Image.MAX_IMAGE_PIXELS / 1e6:.0f} megapixels"
                raise DataError(f"{path / name} is larger than {limits}: reduce or remove it") from error
            except Exception as error:  # Pillow raises many kinds: OSError, SyntaxError, struct.error, ...
                raise DataError(f"{path / name} is no readable image: replace or remove it") from error
            yield image, label, usage, place, changed


def _decode(data: bytes) -> tuple[np.ndarray, bool]:
    """A grey 48x48 image as it is; any other upright, grey, its central square resized; was it the latter."""
    if len(data) > MAX_BYTES:
        raise OverflowError
    with Image.open(io.BytesIO(data)) as image:
        if image.mode == "L" and image.size == (SIZE, SIZE):
            return np.asarray(image), False
        if image.mode.startswith("I;16"):  # Pillow would clip 16 bits at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        upright = ImageOps.exif_transpose(image).convert("L")
        return np.asarray(ImageOps.fit(upright, (SIZE, SIZE), Image.Resampling.LANCZOS)), True


# CSV


def _find_csv(names: dict[str, tuple[str, ...]], path: Path) -> str:
    rank = {name: i for i, name in enumerate(CSV_NAMES)}
    found = [
        (rank.get(parts[-1].lower().removesuffix(".gz"), len(rank)), len(parts), name)
        for name, parts in names.items()
        if name.lower().endswith(CSV_ENDS)
    ]
    if found:
        return min(found)[-1]
    archives = [name for name in names if name.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))]
    remedy = f"give the path of {archives[0]}" if archives else "give the folder or archive that has them"
    raise DataError(f"{path} holds no images in train/<class> and test/<class>, and no fer2013.csv: {remedy}")


def _read_csv(stream: IO[bytes], where: Path) -> Iterator[Row]:
    with stream:
        if stream.peek(2)[:2] == GZIP:
            stream = gzip.GzipFile(fileobj=stream)
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="replace", newline="")
        rows, number = csv.DictReader(_limited(text, where), restval=""), 0
        rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
        missing = [name for name in CSV_COLUMNS if name not in rows.fieldnames]
        if missing:
            raise DataError(f"{where} has no column '{missing[0]}': {CSV_REMEDY}")
        for number, row in enumerate(progress_bar(desc=where.name, iterable=rows, unit="image"), 1):
            try:
                image, label, usage = _parsed(*(row[name].strip() for name in CSV_COLUMNS))
            except ValueError as error:
                line = f"{where}, line {rows.line_num}"
                raise DataError(f"{line}, has {error}: correct it or download the file again") from None
            yield image, label, usage, f"{usage}_{number - 1:05d}", False
        if not number:
            raise DataError(f"{where} has no rows: download it again")


def _limited(text: io.TextIOBase, where: Path) -> Iterator[str]:
    """The lines of `text`, none of them longer and all together no longer than FER-2013 in any form can be."""
    total = 0
    for line in iter(lambda: text.readline(MAX_LINE), ""):
        total += len(line)  # characters are bytes here: digits, blanks, and plain words
        if len(line) == MAX_LINE or total > MAX_TEXT:
            raise DataError(f"{where} is larger than a table of faces can be: {CSV_REMEDY}")
        yield line


def _parsed(label: str, pixels: str, usage: str) -> tuple[np.ndarray, int, str]:
    """Image, label and usage of a row; raises ValueError that says what it has."""
    for what, text, allowed in (("label", label, CSV_LABELS), ("usage", usage, USAGES)):
        if text not in allowed:
            raise ValueError(f"the {what} '{text}' instead of one of {', '.join(allowed)}")
    try:
        image = np.frombuffer(bytes(map(int, pixels.split())), np.uint8).reshape(SIZE, SIZE)
    except ValueError:
        raise ValueError(f"pixels that are not {SIZE * SIZE} whole numbers from 0 to 255") from None
    return image, CSV_LABELS[label], usage
