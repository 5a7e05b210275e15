"""Files are written whole or not at all."""

import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path` (made if need be) that replaces `path` on success.

    On any failure, `KeyboardInterrupt` included, the temporary file is removed and `path` is untouched. The
    temporary name ends like `path`, because many writers choose the format by the suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, newlines as they are."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON; NaN and infinity raise ValueError, for they are not JSON."""
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(path: Path, sentence: str) -> Iterator[None]:
    """Hold the lock file `path`, in a folder made if need be. Raises UserError(sentence) when another process does."""
    try:
        lock = FileLock(path).acquire(timeout=0)
    except Timeout as error:
        raise UserError(sentence) from error
    with lock:
        yield


def check_writable(path: str | Path, others: Iterable[str | Path] = ()) -> None:
    """Raise UserError now, before the work, when `path` could not be written, or is one of `others`; leaves nothing."""
    path = Path(path)
    if path.resolve() in (Path(other).resolve() for other in others):
        raise UserError(f"{path} is read or written too; choose another name.")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file in it.")
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        tempfile.TemporaryFile(dir=folder).close()
        if path.is_file():
            path.open("r+b").close()  # Windows does not replace what another program has open
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from error
