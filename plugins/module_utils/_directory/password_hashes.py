# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Password hashes that operators and customers bring, in Dovecot's form: which are accepted, and at what cost.

PRIVATE to the collection: it can have breaking changes at any time.

The parameters in a hash set the work of each login.  All tenants share the processes that verify hashes, so one hash
may take about a second of a processor and a bounded amount of memory.
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

#: Schemes that Dovecot 2.4 verifies, less those without a salt.
SCHEMES: Final = (
    "ARGON2ID",
    "ARGON2I",
    "BLF-CRYPT",
    "SHA512-CRYPT",
    "SHA256-CRYPT",
    "PBKDF2",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "SSHA512",
    "SSHA256",
    "SSHA",
    "CRYPT",
)
#: Not hashed, and the cheapest to verify: accepted from the operator alone, by mail_account.
_PLAIN: Final = "PLAIN"

_HASH: Final = re.compile(r"\{([A-Z0-9-]+)\}([!-~]{1,1000})\Z")

_MOST_ROUNDS: Final = 1_000_000
_MOST_BCRYPT: Final = 14  # log2 of the rounds
#: KiB.  Dovecot's processes that verify passwords must be allowed more.
MOST_MEMORY: Final = 262_144
_MOST_PASSES: Final = 1_048_576  # KiB: memory times passes

# crypt(3) computes the hash anew and compares the texts, so each hash must be in crypt's own spelling: its lengths, and
# last letters whose unused bits are zero.
_C64: Final = "[./0-9A-Za-z]"
_DES: Final = rf"{_C64}{{12}}[.26AEIMQUYcgkosw]"
_MD5: Final = rf"\$1\${_C64}{{0,8}}\${_C64}{{21}}[./01]"
_BCRYPT: Final = re.compile(rf"\$2[abxy]\$(0[4-9]|[12][0-9]|3[01])\${_C64}{{21}}[.Oeu]{_C64}{{30}}[.26CGKOSWaeimquy]\Z")
_SHA_CRYPT: Final = re.compile(
    r"\$(?:5|(6))\$(?:rounds=([1-9][0-9]{3,8})\$)?[^$:;*!\\]{0,16}\$"
    rf"(?(1){_C64}{{85}}[./01]|{_C64}{{42}}[./0-9A-D])\Z"
)
# yescrypt up to eight times Debian's default cost; its salt is in groups of four letters.
_YESCRYPT: Final = (
    rf"\$g?y\$j[7-9A-C]T\$(?:{_C64}{{4}})*(?:{_C64}[./01]|{_C64}{{2}}[./0-9A-D])?\${_C64}{{42}}[./0-9A-D]"
)
_CHEAP_CRYPT: Final = re.compile(rf"(?:{_DES}|{_MD5}|{_YESCRYPT})\Z")
_ARGON2: Final = re.compile(
    r"\$argon2id?\$v=19\$m=([1-9][0-9]{0,8}),t=([1-9][0-9]{0,8}),p=([1-9][0-9]{0,2})\$([^$=]+)\$([^$=]+)\Z"
)
_LEAST_ARGON2: Final = (8, 16)  # bytes of the salt, and of the hash
_PBKDF2: Final = re.compile(r"\$1\$[^$]*\$([0-9]{1,9})\$[0-9a-fA-F]{40}\Z")
_SCRAM: Final = re.compile(r"([0-9]{1,9}),([^,]+),([^,]+),([^,]+)\Z")
_LEAST_SCRAM: Final = 4096  # rounds (RFC 7677)
_DIGESTS: Final = {
    "SSHA": "sha1",
    "SSHA256": "sha256",
    "SSHA512": "sha512",
    "SCRAM-SHA-1": "sha1",
    "SCRAM-SHA-256": "sha256",
}
#: Schemes that CRYPT covers too.
_CRYPTS: Final = {"MD5-CRYPT": re.compile(rf"{_MD5}\Z"), "DES-CRYPT": re.compile(rf"{_DES}\Z")}


def password_hash(text: str, may_be_plain: bool = False) -> str:
    """`text` as Dovecot writes it: the scheme in braces, then the hash.

    Raises: ValueError if it is not accepted; the message does not show it.
    """
    match = _HASH.match(text)
    if match and match[1] == _PLAIN:
        if may_be_plain:
            return text
        raise ValueError(
            "{PLAIN} is no hash but the password itself (not shown): keep it among the secrets, or give a hash, as "
            "`doveadm pw` makes them"
        )
    scheme, hashed = match.groups() if match else ("", "")
    if scheme in _CRYPTS and _CRYPTS[scheme].match(hashed):
        return f"{{CRYPT}}{hashed}"
    if scheme not in SCHEMES:
        raise ValueError(f"not a password hash (not shown): {{SCHEME}}hash with one of {', '.join(SCHEMES)}")
    if not _is_known(scheme, hashed):
        raise ValueError(
            f"a password hash (not shown) that is none of {scheme}, or that costs too much to check: at most "
            f"{_MOST_ROUNDS} rounds, 2^{_MOST_BCRYPT} of bcrypt, m={MOST_MEMORY} and m × t = {_MOST_PASSES} of argon2"
        )
    return text


def _is_known(scheme: str, hashed: str) -> bool:
    """Whether a password can have this hash, and Dovecot verifies it at a bounded cost."""
    if scheme in ("ARGON2ID", "ARGON2I"):
        return _is_argon2(hashed)
    if scheme == "PBKDF2":
        found = _PBKDF2.match(hashed)
        # With no rounds every password has the same hash.
        return found is not None and 0 < int(found[1]) <= _MOST_ROUNDS
    if scheme.startswith("SCRAM"):
        return _is_scram(scheme, hashed)
    if scheme.startswith("SSHA"):
        return _bytes_in(hashed) > hashlib.new(_DIGESTS[scheme]).digest_size
    return _is_crypt(scheme, hashed)


def _is_argon2(hashed: str) -> bool:
    found = _ARGON2.match(hashed)
    if found is None:
        return False
    memory, passes, lanes = map(int, found.groups()[:3])
    # The text has no padding; b64decode wants it.
    sizes = [_bytes_in(text + "=" * (-len(text) % 4)) for text in found.groups()[3:]]
    return (
        8 * lanes <= memory <= MOST_MEMORY
        and memory * passes <= _MOST_PASSES
        and all(size >= least for size, least in zip(sizes, _LEAST_ARGON2, strict=True))
    )


def _is_scram(scheme: str, hashed: str) -> bool:
    found = _SCRAM.match(hashed)
    if found is None or not _LEAST_SCRAM <= int(found[1]) <= _MOST_ROUNDS:
        return False
    size = hashlib.new(_DIGESTS[scheme]).digest_size
    return _bytes_in(found[2]) > 0 and _bytes_in(found[3]) == _bytes_in(found[4]) == size


def _is_crypt(scheme: str, hashed: str) -> bool:
    """Dovecot gives all these to crypt(3), which reads the method from the hash, and BLF-CRYPT only if it is bcrypt."""
    if found := _BCRYPT.match(hashed):
        return int(found[1]) <= _MOST_BCRYPT
    if scheme == "BLF-CRYPT":
        return False
    if found := _SHA_CRYPT.match(hashed):
        return int(found[2] or 0) <= _MOST_ROUNDS
    return scheme == "CRYPT" and bool(_CHEAP_CRYPT.match(hashed))


def _bytes_in(text: str) -> int:
    """How many bytes this base64 encodes; 0 if no encoder would write it so."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except ValueError:
        return 0
    return len(decoded) if base64.b64encode(decoded).decode() == text else 0


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
    # crypt answers with a star if it cannot hash.
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


def _scram(algorithm: str, plain: str, text: str) -> bool:
    """RFC 5802: StoredKey = H(HMAC(SaltedPassword, "Client Key"))."""
    rounds, salt, stored, _server_key = text.split(",")
    salted = hashlib.pbkdf2_hmac(algorithm, plain.encode(), base64.b64decode(salt, validate=True), int(rounds))
    made = hashlib.new(algorithm, hmac.digest(salted, b"Client Key", algorithm)).digest()
    return hmac.compare_digest(made, base64.b64decode(stored, validate=True))


_CHECKS: Final[dict[str, Callable[[str, str], bool]]] = {
    "ARGON2ID": _argon2,
    "ARGON2I": _argon2,
    "BLF-CRYPT": _crypt,
    "SHA512-CRYPT": _crypt,
    "SHA256-CRYPT": _crypt,
    "CRYPT": _crypt,
    "PBKDF2": _pbkdf2,
    **{scheme: partial(_scram if scheme.startswith("SCRAM") else _salted, name) for scheme, name in _DIGESTS.items()},
    _PLAIN: lambda plain, text: hmac.compare_digest(plain.encode(), text.encode()),
}


def matches(plain: str, hashed: str | None) -> bool:
    """Whether `hashed`, in a scheme that `password_hash` accepts, is a hash of `plain`.

    Raises: ImportError without argon2.
    """
    match = _HASH.match(hashed or "")
    # No mail program can send a zero byte, and crypt(3) would ignore all after it.
    if match is None or match[1] not in _CHECKS or "\0" in plain:
        return False
    try:
        return _CHECKS[match[1]](plain, match[2])
    except (ValueError, OverflowError):  # malformed for its scheme
        return False
