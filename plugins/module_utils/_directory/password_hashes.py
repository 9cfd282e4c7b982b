# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes that operators and customers bring along, in Dovecot's spelling: which may be checked, and at what cost.

PRIVATE to the collection: it can have breaking changes at any time.

A hash says itself how much work a login is.  All tenants share the processes that do it, so one tenant's hash may not
keep one busy for more than about a second, nor fill its memory.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import hmac
import re
from collections.abc import Callable
from functools import partial
from typing import Final

#: Schemes that a stock Dovecot 2.4 verifies (it refuses the weak ones), less those without a salt.
SCHEMES: Final = (
    "ARGON2ID",
    "ARGON2I",
    "BLF-CRYPT",
    "SHA512-CRYPT",
    "SHA256-CRYPT",
    "PBKDF2",
    "SCRAM-SHA-256",
    "SSHA512",
    "SSHA256",
    "SSHA",
    "CRYPT",
)
#: No hash, and the cheapest to check: only who runs the host may write it, by mail_account.
_PLAIN: Final = "PLAIN"

_HASH: Final = re.compile(r"\{([A-Z0-9-]+)\}([!-~]{1,1000})\Z")

_MOST_ROUNDS: Final = 1_000_000
_MOST_BCRYPT: Final = 14  # as a power of two
_MOST_MEMORY: Final = 262_144  # KiB
_MOST_PASSES: Final = 1_048_576  # KiB, of all passes together

_BCRYPT: Final = re.compile(r"\$2[abxy]\$([0-9]{2})\$")
_SHA_CRYPT: Final = re.compile(r"\$[56]\$(?:rounds=([0-9]{1,9})\$)?")
_ARGON2: Final = re.compile(r"\$argon2id?\$v=19\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=[0-9]{1,3}\$")
_PBKDF2: Final = re.compile(r"\$1\$[^$]+\$([0-9]{1,9})\$")
_SCRAM: Final = re.compile(r"([0-9]{1,9}),")
#: Of crypt(5)'s other kinds: DES, MD5, and yescrypt up to eight times Debian's default.
_CHEAP_CRYPT: Final = re.compile(r"[./0-9A-Za-z]{13}\Z|\$1\$|\$g?y\$j[7-9A-C]T\$")


def password_hash(text: str, may_be_plain: bool = False) -> str:
    """A hash with its scheme in braces, as Dovecot writes it, or ValueError; the message does not show it."""
    match = _HASH.match(text)
    if match and match[1] == _PLAIN:
        if may_be_plain:
            return text
        raise ValueError(
            "{PLAIN} is no hash but the password itself (not shown): keep it among the secrets, or give a hash, as "
            "`doveadm pw` makes them"
        )
    if not match or match[1] not in SCHEMES:
        raise ValueError(f"not a password hash (not shown): {{SCHEME}}hash with one of {', '.join(SCHEMES)}")
    scheme, hashed = match.groups()
    if not _is_bounded(scheme, hashed):
        raise ValueError(
            f"a password hash (not shown) that is none of {scheme}, or that costs too much to check: at most "
            f"{_MOST_ROUNDS} rounds, 2^{_MOST_BCRYPT} of bcrypt, m={_MOST_MEMORY} and m × t = {_MOST_PASSES} of argon2"
        )
    return text


def _is_bounded(scheme: str, hashed: str) -> bool:
    if scheme in ("ARGON2ID", "ARGON2I"):
        found = _ARGON2.match(hashed)
        memory, passes = map(int, found.groups()) if found else (_MOST_MEMORY + 1, 1)
        return memory <= _MOST_MEMORY and memory * passes <= _MOST_PASSES
    if scheme in ("PBKDF2", "SCRAM-SHA-256"):
        found = (_PBKDF2 if scheme == "PBKDF2" else _SCRAM).match(hashed)
        return found is not None and int(found[1]) <= _MOST_ROUNDS
    # Dovecot hands all three to crypt(3), which looks at the hash alone.
    if scheme.endswith("CRYPT"):
        if found := _BCRYPT.match(hashed):
            return int(found[1]) <= _MOST_BCRYPT
        if found := _SHA_CRYPT.match(hashed):
            return int(found[1] or 0) <= _MOST_ROUNDS
        return scheme == "CRYPT" and bool(_CHEAP_CRYPT.match(hashed))
    return True


def _argon2(plain: str, text: str) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHash, VerificationError

    try:
        return PasswordHasher().verify(text, plain)
    except (InvalidHash, VerificationError):
        return False


def _crypt(plain: str, text: str) -> bool:
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype, crypt.argtypes = ctypes.c_char_p, (ctypes.c_char_p, ctypes.c_char_p)
    made = crypt(plain.encode(), text.encode())
    # What it cannot hash it answers with a star.
    return made is not None and not made.startswith(b"*") and hmac.compare_digest(made, text.encode())


def _salted(algorithm: str, plain: str, text: str) -> bool:
    size = hashlib.new(algorithm).digest_size
    decoded = base64.b64decode(text, validate=True)
    made = hashlib.new(algorithm, plain.encode() + decoded[size:]).digest()
    return hmac.compare_digest(made, decoded[:size])


def _pbkdf2(plain: str, text: str) -> bool:
    _empty, _version, salt, rounds, digest = text.split("$")
    made = hashlib.pbkdf2_hmac("sha1", plain.encode(), salt.encode(), int(rounds))
    return hmac.compare_digest(made, bytes.fromhex(digest))


def _scram(plain: str, text: str) -> bool:
    """RFC 5802: StoredKey = H(HMAC(SaltedPassword, "Client Key"))."""
    rounds, salt, stored, _server_key = text.split(",")
    salted = hashlib.pbkdf2_hmac("sha256", plain.encode(), base64.b64decode(salt, validate=True), int(rounds))
    made = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return hmac.compare_digest(made, base64.b64decode(stored, validate=True))


_CHECKS: Final[dict[str, Callable[[str, str], bool]]] = {
    "ARGON2ID": _argon2,
    "ARGON2I": _argon2,
    "BLF-CRYPT": _crypt,
    "SHA512-CRYPT": _crypt,
    "SHA256-CRYPT": _crypt,
    "CRYPT": _crypt,
    "PBKDF2": _pbkdf2,
    "SCRAM-SHA-256": _scram,
    "SSHA512": partial(_salted, "sha512"),
    "SSHA256": partial(_salted, "sha256"),
    "SSHA": partial(_salted, "sha1"),
    _PLAIN: lambda plain, text: hmac.compare_digest(plain.encode(), text.encode()),
}


def matches(plain: str, hashed: str | None) -> bool:
    """Whether `hashed`, in any scheme that `password_hash` lets through, is of `plain`.  ImportError without argon2."""
    match = _HASH.match(hashed or "")
    # A zero byte no mail program can send, and crypt(3) would not look at what comes after it.
    if match is None or match[1] not in _CHECKS or "\0" in plain:
        return False
    try:
        return _CHECKS[match[1]](plain, match[2])
    except (ValueError, OverflowError):  # it is none of its scheme
        return False
