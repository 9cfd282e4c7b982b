# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passwords that can be decrypted, for APOP (RFC 1939) and CRAM-MD5 (RFC 2195): a hash cannot serve these.

PRIVATE to the collection: it can have breaking changes at any time.

A secret is `<key id>$<iv>$<ciphertext>$`, AES-256-CBC with PKCS #7 padding, in hex.  Without the key id it is what
Dovecot's `decrypt` filter takes.  Keys stay on the host that made them, in a file that only root can read.  It has a
line `<id> <64 hex digits>` for each key; the first key encrypts.  ` next` after a key: it becomes the first key once
Dovecot has read it.
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

#: mail_schema creates the first key here.
KEYS: Final = "/etc/mailhosting/legacy.keys"

_KEY_BYTES: Final = 32
_IV_BYTES: Final = 16
_BLOCK_BITS: Final = 128
_LINE: Final = re.compile(r"([0-9a-z]{1,16}) ([0-9a-f]{64})( next)?")


class Key(NamedTuple):
    """One key, with the id by which secrets name it."""

    id: str
    value: bytes
    is_next: bool = False  # waits for Dovecot to read it; encrypts nothing yet

    def __repr__(self) -> str:
        return f"Key({self.id!r})"


def new_key() -> Key:
    """A key with an id that no other key has."""
    return Key(secrets.token_hex(4), secrets.token_bytes(_KEY_BYTES))


def read_keys(path: str | int = KEYS) -> list[Key]:
    """The keys in the file `path` (a name, or a descriptor that is open), the current one first.

    Raises: DirectoryError with the file and its fault if it is missing or no list of keys.
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
    """The ids of the keys in `path`; empty if the file is missing or no list of keys."""
    try:
        return frozenset(key.id for key in read_keys(path))
    except DirectoryError:
        return frozenset()


def write_keys(keys: Sequence[Key], path: str = KEYS) -> None:
    """Replace `path` as a whole.  Only its owner can read it, at every moment."""
    staged = f"{path}.new"
    with open(os.open(staged, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.writelines(f"{key.id} {key.value.hex()}{' next' if key.is_next else ''}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


def with_next(keys: Sequence[Key]) -> list[Key]:
    """`keys` and a new one that waits until Dovecot has read it.  Returns `keys` if one waits already."""
    return [*keys, new_key()._replace(is_next=True)] if len(keys) == 1 else list(keys)


def promoted(keys: Sequence[Key]) -> list[Key]:
    """`keys` with the waiting one first."""
    waiting = [key._replace(is_next=False) for key in keys if key.is_next]
    return waiting + [key for key in keys if not key.is_next]


def in_dovecots_order(keys: Sequence[Key]) -> list[Key]:
    """`keys` with the one that secrets move to last.

    A secret that a run re-encrypts during a login is then found under its old key or under that one.  A promotion does
    not change this order.
    """
    return [*reversed([key for key in keys if not key.is_next]), *(key for key in keys if key.is_next)]


def encrypt(plain: str, key: Key) -> str:
    """`plain` as directory.account.legacy_secret stores it.

    Raises: ImportError without python3-cryptography.
    """
    from cryptography.hazmat.primitives.padding import PKCS7

    iv = secrets.token_bytes(_IV_BYTES)
    padder = PKCS7(_BLOCK_BITS).padder()
    encryptor = _cipher(key, iv).encryptor()
    padded = padder.update(plain.encode()) + padder.finalize()
    return f"{key.id}${iv.hex()}${(encryptor.update(padded) + encryptor.finalize()).hex()}$"


def decrypt(secret: str, keys: Sequence[Key]) -> str:
    """The text that `encrypt` made `secret` of.

    Raises: DirectoryError if its key is missing or does not open it.
    """
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
