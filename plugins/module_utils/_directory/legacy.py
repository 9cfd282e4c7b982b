# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that can be read back, for APOP (RFC 1939) and CRAM-MD5 (RFC 2195), which no hash can serve.

PRIVATE to the collection: it can have breaking changes at any time.

`<key id>$<iv>$<ciphertext>$`, AES-256-CBC with PKCS #7 padding, in hex: without the key id it is what
Dovecot's `decrypt` filter takes.  Keys stay on the host that made them, in a file of root's with a line
`<id> <64 hex digits>` each, the one to encrypt with first.  ` next` after a key says that it waits to be that one,
until Dovecot has read it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from .problems import DirectoryError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CBC

#: Where mail_schema makes the first key.
KEYS: Final = "/etc/mailhosting/legacy.keys"

_KEY_BYTES: Final = 32
_IV_BYTES: Final = 16
_BLOCK_BITS: Final = 128
_LINE: Final = re.compile(r"([0-9a-z]{1,16}) ([0-9a-f]{64})( next)?")


class Key(NamedTuple):
    """One key and the name that secrets know it by."""

    id: str
    value: bytes
    is_next: bool = False  # nothing is encrypted with it yet

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


def new_key() -> Key:
    """A key with an id that no other has."""
    return Key(secrets.token_hex(4), secrets.token_bytes(_KEY_BYTES))


def read_keys(path: str | int = KEYS) -> list[Key]:
    """The keys in `path`, or in a file that is open already, the current one first.

    DirectoryError names the file and what is wrong with it.
    """
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise DirectoryError(
            f"{path}: {reason}; bring it back from a backup, or have the playbook mailhosting.stack.site make it "
            "and set the passwords of accounts with legacy_auth again (update_password: always sets those in the files)"
        ) from None
    found = [_LINE.fullmatch(line) for line in lines]
    keys = [Key(match[1], bytes.fromhex(match[2]), match[3] is not None) for match in found if match]
    if not keys or keys[0].is_next or len(keys) != len(lines) or len({key.id for key in keys}) != len(keys):
        raise DirectoryError(f"{path}: not a list of keys, a line each of an id and 64 hex digits")
    return keys


def key_ids(path: str = KEYS) -> frozenset[str]:
    """The names of the keys in `path`; none if it is missing or no list of keys."""
    try:
        return frozenset(key.id for key in read_keys(path))
    except DirectoryError:
        return frozenset()


def write_keys(keys: Sequence[Key], path: str = KEYS) -> None:
    """Replace `path` as a whole; nobody but its owner can read it, not even meanwhile."""
    staged = f"{path}.new"
    with open(os.open(staged, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{key.id} {key.value.hex()}{' next' if key.is_next else ''}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


def with_next(keys: Sequence[Key]) -> list[Key]:
    """`keys` and a new one that waits for Dovecot to have read it; one rotation at a time."""
    return [*keys, new_key()._replace(is_next=True)] if len(keys) == 1 else list(keys)


def promoted(keys: Sequence[Key]) -> list[Key]:
    """`keys` with the one that waited first."""
    waiting = [key._replace(is_next=False) for key in keys if key.is_next]
    return waiting + [key for key in keys if not key.is_next]


def in_dovecots_order(keys: Sequence[Key]) -> list[Key]:
    """The key that secrets come under last: one that moves while a login is looked up is found under one or the other.

    A promotion leaves this order as it is.
    """
    return [*reversed([key for key in keys if not key.is_next]), *(key for key in keys if key.is_next)]


def encrypt(plain: str, key: Key) -> str:
    """`plain` as directory.account.legacy_secret keeps it.  ImportError without python3-cryptography."""
    from cryptography.hazmat.primitives.padding import PKCS7

    iv = secrets.token_bytes(_IV_BYTES)
    padder = PKCS7(_BLOCK_BITS).padder()
    encryptor = _cipher(key, iv).encryptor()
    padded = padder.update(plain.encode()) + padder.finalize()
    return f"{key.id}${iv.hex()}${(encryptor.update(padded) + encryptor.finalize()).hex()}$"


def decrypt(secret: str, keys: Sequence[Key]) -> str:
    """What `encrypt` made `secret` of; DirectoryError without its key or with another of the same name."""
    from cryptography.hazmat.primitives.padding import PKCS7

    key_id, iv, text, _end = secret.split("$")
    for key in keys:
        if key.id == key_id:
            break
    else:
        raise DirectoryError(f"key {key_id} is missing")
    decryptor = _cipher(key, bytes.fromhex(iv)).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    try:
        padded = decryptor.update(bytes.fromhex(text)) + decryptor.finalize()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except ValueError:
        raise DirectoryError(f"key {key_id} is not the one that was used") from None


def _cipher(key: Key, iv: bytes) -> Cipher[CBC]:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CBC

    return Cipher(AES(key.value), CBC(iv))
