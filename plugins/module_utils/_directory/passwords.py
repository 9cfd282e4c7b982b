# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain passwords to Dovecot's hashes, and fingerprints that recognize an unchanged password without hashing.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from . import legacy
from .changes import AccountChange
from .problems import DirectoryError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

#: OWASP's small ARGON2ID parameters: memory in KiB, passes, lanes.
MEMORY_COST: Final = 19456
TIME_COST: Final = 2
PARALLELISM: Final = 1

_SCHEME: Final = "{ARGON2ID}"


_NAMED_IN_ERRORS: Final = 10


def settle(changes: Iterable[AccountChange], key: bytes, legacy_keys: str = legacy.KEYS) -> None:
    """Hash every plain password among `changes` into its columns, and encrypt those that APOP needs.

    Raises: DirectoryError if `legacy_keys` has no key for these; ImportError without python3-argon2 or
    python3-cryptography.
    """
    changes = list(changes)
    _settle_secrets(changes, legacy_keys)
    waiting = [(change, change.plain) for change in changes if change.plain is not None]
    for (change, plain), hashed in zip(waiting, hash_all([plain for _change, plain in waiting]), strict=True):
        change.fields["password"] = hashed
        if change.enforced:
            change.fields["password_applied"] = hashed
            change.fields["password_fingerprint"] = fingerprint(plain, key)


def _settle_secrets(changes: list[AccountChange], path: str) -> None:
    """Set or clear the secret with each password, so that no secret outlives its password."""
    recoverable = [change for change in changes if change.plain is not None and change.recoverable]
    for change in changes:
        if change.plain is not None or "password" in change.fields:
            change.fields["legacy_secret"] = None
    if not recoverable:
        return
    try:
        key = legacy.read_keys(path)[0]
    except DirectoryError as error:
        named = ", ".join(change.address for change in recoverable[:_NAMED_IN_ERRORS])
        more = f" and {len(recoverable) - _NAMED_IN_ERRORS} more" if len(recoverable) > _NAMED_IN_ERRORS else ""
        raise DirectoryError(f"{error}. The passwords of {named}{more} need it. Nothing was changed") from None
    for change in recoverable:
        change.fields["legacy_secret"] = legacy.encrypt(change.plain or "", key)


def hash_all(plains: Iterable[str]) -> list[str]:
    """Dovecot's `{ARGON2ID}…` of each password, computed on all processors."""
    plains = list(plains)
    if not plains:
        return []
    hasher = _hasher()
    # The library releases Python's lock while it hashes, so threads suffice.
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        return [_SCHEME + hashed for hashed in pool.map(hasher.hash, plains)]


def verify(plain: str, hashed: str) -> bool:
    """Whether `hashed` is an ARGON2ID hash of `plain`; False for any other scheme."""
    from argon2.exceptions import InvalidHash, VerificationError

    if not hashed.startswith(_SCHEME):
        return False
    try:
        return _hasher().verify(hashed.removeprefix(_SCHEME), plain)
    except (InvalidHash, VerificationError):
        return False


def fingerprint(plain: str, key: bytes) -> str:
    """`<salt>$<HMAC-SHA256>` in hex; without the host's key it tells nothing."""
    salt = secrets.token_hex(8)
    return f"{salt}${_digest(plain, salt, key)}"


def is_fingerprint_of(plain: str, stored: str | None, key: bytes) -> bool:
    """Whether `fingerprint` made `stored` of `plain` with the same key."""
    if not stored or not key:
        return False
    salt, _dollar, digest = stored.partition("$")
    return hmac.compare_digest(digest, _digest(plain, salt, key))


def _digest(plain: str, salt: str, key: bytes) -> str:
    return hmac.new(key, f"{salt}{plain}".encode(), hashlib.sha256).hexdigest()


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher, Type

    return PasswordHasher(TIME_COST, MEMORY_COST, PARALLELISM, type=Type.ID)
