# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a PDF needs a password to be read (ISO 32000-1 7.6, the standard security handler).

Many PDFs are encrypted only to forbid printing or changes: the empty password opens them, and clamd reads them.
Pure; no input raises an exception.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable
from typing import Final

from .content import Content

_WINDOW: Final = 1 << 16
#: The longest dictionary that is read.
_DICTIONARY: Final = 1 << 12
#: Objects with the number of the dictionary that are tried; a PDF that is changed has some twice.
_MOST_OBJECTS: Final = 20

_ENCRYPT: Final = re.compile(rb"/Encrypt(?:\s*<<|\s+(\d{1,10})\s+(\d{1,5})\s+R\b)")
_NUMBERS: Final = {
    name: re.compile(rb"/" + name.encode() + rb"\s*(-?\d{1,12})\b") for name in ("V", "R", "P", "Length")
}
#: In parentheses, of which a string may have pairs, or in hexadecimal.
_STRING: Final = rb"\s*(?:\(((?:[^()\\]|\\.|\((?:[^()\\]|\\.){0,400}\)){0,400})\)|<([\s0-9A-Fa-f]{0,600})>)"
_STRINGS: Final = {name: re.compile(rb"/" + name.encode() + _STRING, re.DOTALL) for name in ("O", "U")}
_ID: Final = re.compile(rb"/ID\s*\[\s*(?:\(((?:[^()\\]|\\.){0,200})\)|<([\s0-9A-Fa-f]{0,200})>)", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:([0-7]{1,3})|(\r\n|.))", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
_ESCAPED.update({b"\n": b"", b"\r": b"", b"\r\n": b""})
#: What fills a password up (7.6.3.3, step a), so also an empty one.
_PADDING: Final = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def needs_password(content: Content) -> bool:
    """Whether it is encrypted, and the empty password does not open it, as far as clamd could: revisions 2 to 5."""
    found = _first(content, _ENCRYPT)
    if found is None:
        return False
    at, match = found
    dictionaries: Iterable[bytes] = [content.read(at, _DICTIONARY)]
    if match[1]:
        dictionaries = _objects(content, int(match[1]))
    identity = _first(content, _ID)
    first_id = _string(identity[1]) if identity else b""
    return not any(_opens(dictionary, first_id) for dictionary in dictionaries)


def _first(content: Content, pattern: re.Pattern[bytes], at: int = 0) -> tuple[int, re.Match[bytes]] | None:
    while at < content.size:
        if match := pattern.search(content.read(at, _WINDOW + _DICTIONARY)):
            return at + match.start(), match
        at += _WINDOW
    return None


def _objects(content: Content, number: int) -> Iterable[bytes]:
    pattern, at = re.compile(rb"(?<!\d)%d\s+\d{1,5}\s+obj\b" % number), 0
    for _object in range(_MOST_OBJECTS):
        found = _first(content, pattern, at)
        if found is None:
            return
        at = found[0] + len(found[1][0])
        yield content.read(at, _DICTIONARY).partition(b"endobj")[0]


def _string(match: re.Match[bytes] | None) -> bytes:
    """A string that is written in parentheses or in hexadecimal."""
    if match is None:
        return b""
    if match[1] is None:
        digits = re.sub(rb"\s", b"", match[2] or b"").decode("ascii")
        return bytes.fromhex(digits + "0" * (len(digits) % 2))
    return _ESCAPE.sub(lambda escape: _unescape(escape[1], escape[2]), match[1])


def _unescape(octal: bytes | None, character: bytes) -> bytes:
    return bytes([int(octal, 8) & 0xFF]) if octal else _ESCAPED.get(character, character)


def _opens(dictionary: bytes, first_id: bytes) -> bool:
    """Whether the empty user password is right by an encryption dictionary (7.6.3.4, algorithms 4 to 6)."""
    version, revision, permissions, length = (
        int(match[1]) if (match := _NUMBERS[name].search(dictionary)) else 0 for name in ("V", "R", "P", "Length")
    )
    owner, user = (_string(_STRINGS[name].search(dictionary)) for name in ("O", "U"))
    if revision == 5:
        return len(user) >= 40 and hashlib.sha256(user[32:40]).digest() == user[:32]
    if not 2 <= revision <= 4 or b"/Standard" not in dictionary:
        return False
    # The dictionary of version 4 has several lengths, and its key has 16 octets.
    size = 5 if revision == 2 or version == 1 else 16 if version == 4 else min(max((length or 40) // 8, 5), 16)
    key = _md5(_PADDING + owner[:32] + struct.pack("<I", permissions & 0xFFFFFFFF) + first_id)
    if revision == 4 and re.search(rb"/EncryptMetadata\s+false", dictionary):
        key = _md5(_PADDING + owner[:32] + struct.pack("<I", permissions & 0xFFFFFFFF) + first_id + b"\xff" * 4)
    if revision == 2:
        return _rc4(key[:size], _PADDING) == user[:32]
    for _round in range(50):
        key = _md5(key[:size])
    expected = _md5(_PADDING + first_id)
    for number in range(20):
        expected = _rc4(bytes(octet ^ number for octet in key[:size]), expected)
    return expected == user[:16]


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    result, i, j = bytearray(), 0, 0
    for octet in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        result.append(octet ^ state[(state[i] + state[j]) % 256])
    return bytes(result)
