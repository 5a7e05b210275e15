"""Decoded data sets, kept in the user's cache folder: per source a small JSON that names the fingerprint, per
fingerprint the decoded arrays."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..files import atomic_path, write_json
from .formats import Decoded

CACHE_VERSION = 1  # raise when decoding changes, so that older copies are not used

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$FER_NB_CACHE, or a folder in the user's cache, where torch keeps its downloads too."""
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("FER_NB_CACHE") or Path(user_cache) / "fer_nb_utils")


def cached(key: str, decode: Callable[[], Decoded]) -> tuple[Decoded, str]:
    """The decoded data set of this key and its fingerprint: from the cache, or else by `decode`, and kept there."""
    pointer = cache_folder() / f"source-{key}-{CACHE_VERSION}.json"
    try:
        return _read_cache(pointer)
    except FileNotFoundError:
        pass
    except Exception as error:  # damage shows in many ways
        log.warning("the cached copy %s is damaged (%s) and is made again", pointer, error)
    decoded = decode()
    fingerprint = _fingerprint(decoded)
    try:
        _write_cache(pointer, decoded, fingerprint)
    except OSError as error:  # a full or read-only disk, or on Windows a copy that another process is reading
        log.warning("no decoded copy was kept in %s: %s", pointer.parent, error)
    return decoded, fingerprint


def _arrays_path(pointer: Path, fingerprint: str) -> Path:
    return pointer.with_name(f"{fingerprint.removeprefix('sha256:')}.npz")


def _read_cache(pointer: Path) -> tuple[Decoded, str]:
    entry = json.loads(pointer.read_text(encoding="utf-8"))
    with np.load(_arrays_path(pointer, entry["fingerprint"]), allow_pickle=False) as arrays:  # checks the CRC
        decoded = Decoded(*(arrays[name] for name in Decoded._fields[:4]), entry["converted"])
    return decoded, entry["fingerprint"]


def _write_cache(pointer: Path, decoded: Decoded, fingerprint: str) -> None:
    with atomic_path(_arrays_path(pointer, fingerprint)) as temporary:
        np.savez(temporary, **dict(zip(Decoded._fields[:4], decoded[:4], strict=True)))
    write_json(pointer, {"fingerprint": fingerprint, "converted": decoded.converted})


def _fingerprint(decoded: Decoded) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(decoded.images))
    digest.update(decoded.labels.astype("<i8"))
    digest.update("\n".join([*decoded.usage, *decoded.paths]).encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()[:16]}"
