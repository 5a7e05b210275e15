"""Decoded data sets, kept in the user's cache folder: a file for each source."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs

from ..files import atomic_path
from .formats import Decoded

CACHE_VERSION = 3  # raise when decoding changes, so that older copies are not used

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$FER_NB_CACHE, or this package's folder where the system keeps caches."""
    return Path(os.environ.get("FER_NB_CACHE") or platformdirs.user_cache_path("fer_nb_utils", appauthor=False))


def cached(key: str, decode: Callable[[], Decoded]) -> tuple[Decoded, str]:
    """The decoded data set of this key and its fingerprint: from the cache, or else by `decode`, and kept there."""
    path = cache_folder() / f"{key}-{CACHE_VERSION}.npz"
    try:
        with np.load(path, allow_pickle=False) as kept:  # checks the CRC
            *arrays, converted, fingerprint = (kept[name] for name in (*Decoded._fields, "fingerprint"))
            return Decoded(*arrays, int(converted)), str(fingerprint)
    except FileNotFoundError:
        pass
    except Exception as error:  # damage shows in many ways
        log.warning("the cached copy %s is damaged (%s) and is made again", path, error)
    decoded = decode()
    digest = hashlib.sha256(np.ascontiguousarray(decoded.images))
    digest.update(decoded.labels.astype("<i8"))
    digest.update("\n".join([*decoded.usage, *decoded.paths]).encode())
    fingerprint = f"sha256:{digest.hexdigest()[:16]}"
    try:
        with atomic_path(path) as temporary:
            np.savez(temporary, **decoded._asdict(), fingerprint=fingerprint)
    except OSError as error:  # a full or read-only disk, or on Windows a copy that another process is reading
        log.warning("no decoded copy was kept in %s: %s", path.parent, error)
    return decoded, fingerprint
