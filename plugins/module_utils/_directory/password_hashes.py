# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hashes that operators and customers bring along, in Dovecot's spelling: which may be checked, and at what cost.

PRIVATE to the collection: it can have breaking changes at any time.

A hash says itself how much work a login is.  All tenants share the processes that do it, so one tenant's hash may not
keep one busy for more than about a second, nor fill its memory.
"""

from __future__ import annotations

import re
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
    "PLAIN",
)

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


def password_hash(text: str) -> str:
    """A hash with its scheme in braces, as Dovecot writes it, or ValueError; the message does not show it."""
    match = _HASH.match(text)
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
