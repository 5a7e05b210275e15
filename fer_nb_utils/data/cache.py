"""Decoded data sets, kept in the user's cache folder: per source a small JSON that names the fingerprint, per
fingerprint the decoded arrays."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from ..files import atomic_path, write_json
from .formats import Decoded

CACHE_VERSION = 2  # raise when decoding changes, so that older copies are not used

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$FER_NB_CACHE, or this package's folder where the system keeps caches."""
    return Path(os.environ.get("FER_NB_CACHE") or platformdirs.user_cache_path("fer_nb_utils", appauthor=False))


def cached(key: str, decode: Callable[[], Decoded]) -> tuple[Decoded, str]:
    """The decoded data set of this key and its fingerprint: from the cache, or else by `decode`, and kept there."""
    pointer = cache_folder() / f"source-{key}-{CACHE_VERSION}.json"
    try:
        entry = json.loads(pointer.read_text(encoding="utf-8"))
        with np.load(pointer.with_name(entry["arrays"]), allow_pickle=False) as arrays:  # checks the CRC
            return Decoded(**arrays, converted=entry["converted"]), entry["fingerprint"]
    except FileNotFoundError:
        pass
    except Exception as error:  # damage shows in many ways
        log.warning("the cached copy %s is damaged (%s) and is made again", pointer, error)
    decoded = decode()
    arrays, fingerprint = decoded._asdict(), _fingerprint(decoded)
    entry = {"fingerprint": fingerprint, "arrays": f"{fingerprint.removeprefix('sha256:')}.npz"}
    entry["converted"] = arrays.pop("converted")
    try:
        with atomic_path(pointer.with_name(entry["arrays"])) as temporary:
            np.savez(temporary, **arrays)
        write_json(pointer, entry)
    except OSError as error:  # a full or read-only disk, or on Windows a copy that another process is reading
        log.warning("no decoded copy was kept in %s: %s", pointer.parent, error)
    return decoded, fingerprint


def _fingerprint(decoded: Decoded) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(decoded.images))
    digest.update(decoded.labels.astype("<i8"))
    digest.update("\n".join([*decoded.usage, *decoded.paths]).encode())
    return f"sha256:{digest.hexdigest()[:16]}"
