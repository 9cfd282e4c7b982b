# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which archives need a password, by their headers alone.  Pure; no input raises an exception.

libarchive itself says so of members of ZIP and 7z, but not of all RAR files, and it does not know ARJ.
"""

from __future__ import annotations

import struct
from typing import Final

from .content import Content

#: Headers of an archive that are read.
_MOST_HEADERS: Final = 10_000
_TAIL: Final = (1 << 16) + 22
_ZIP_METHOD_AES: Final = 99


def zip_is_encrypted(content: Content) -> bool:
    """Whether a member of a ZIP is encrypted (APPNOTE 4.4.4, bit 0), by the directory or by the first header."""
    tail_at = max(content.size - _TAIL, 0)
    tail = content.read(tail_at, _TAIL)
    end = tail.rfind(b"PK\x05\x06")
    first = content.read(0, 10)
    if first.startswith(b"PK\x03\x04") and len(first) == 10 and first[6] & 1:
        return True
    if end < 0 or len(tail) < end + 22:
        return False
    size, start = struct.unpack_from("<II", tail, end + 12)
    # A file before the archive moves it.
    at = tail_at + end - size if 0 < size <= tail_at + end else start
    for _entry in range(_MOST_HEADERS):
        header = content.read(at, 46)
        if len(header) < 46 or not header.startswith(b"PK\x01\x02"):
            return False
        flags, method = struct.unpack_from("<HH", header, 8)
        if flags & 1 or method == _ZIP_METHOD_AES:
            return True
        at += 46 + sum(struct.unpack_from("<HHH", header, 28))
    return False


def rar4_is_encrypted(content: Content) -> bool:
    """Whether the headers or a file of a RAR before 5 are encrypted (the flags MHD_PASSWORD and LHD_PASSWORD)."""
    if content.read(0, 7) != b"Rar!\x1a\x07\0":
        return False
    at = 7
    for _block in range(_MOST_HEADERS):
        header = content.read(at, 11)
        if len(header) < 7:
            return False
        kind, flags, size = struct.unpack_from("<BHH", header, 2)
        if (kind == 0x73 and flags & 0x80) or (kind == 0x74 and flags & 0x04):
            return True
        packed = 0
        if kind == 0x74 or flags & 0x8000:
            packed = int(struct.unpack_from("<I", header, 7)[0]) if len(header) == 11 else 0
        if kind == 0x7B or size < 7:
            return False
        at += size + packed
    return False


def rar5_is_encrypted(content: Content) -> bool:
    """Whether the headers or a file of a RAR 5 are encrypted (header type 4, or a file's extra record of type 1)."""
    if content.read(0, 8) != b"Rar!\x1a\x07\x01\0":
        return False
    at = 8
    for _block in range(_MOST_HEADERS):
        header = content.read(at + 4, 1 << 12)
        size, place = _number(header, 0)
        body = place
        kind, place = _number(header, place)
        flags, place = _number(header, place)
        extra, place = _number(header, place) if flags & 1 else (0, place)
        data, place = _number(header, place) if flags & 2 else (0, place)
        if kind == 4:
            return True
        if kind in (2, 3) and _has_record(header[max(body + size - extra, 0) : body + size], 1):
            return True
        if not size or kind == 5:
            return False
        at += 4 + body + size + data
    return False


def _has_record(extra: bytes, wanted: int) -> bool:
    """Whether an extra area of RAR 5 has a record of a type."""
    at = 0
    while at < len(extra):
        size, place = _number(extra, at)
        kind, _place = _number(extra, place)
        if kind == wanted:
            return True
        if not size:
            return False
        at = place + size
    return False


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of RAR 5, seven bits an octet, lowest first, and the place after it; 0 beyond the end."""
    value = 0
    for shift, octet in enumerate(data[at : at + 10]):
        value |= (octet & 0x7F) << 7 * shift
        if octet < 0x80:
            return value, at + shift + 1
    return 0, len(data)


def arj_is_garbled(content: Content) -> bool:
    """Whether a file of an ARJ is garbled (the flag GARBLED_FLAG of a header, -g)."""
    at = 0
    for _header in range(_MOST_HEADERS):
        header = content.read(at, 4 + 20)
        if len(header) < 24 or not header.startswith(b"\x60\xea"):
            return False
        (size,) = struct.unpack_from("<H", header, 2)
        if not size:
            return False
        if header[8] & 1:
            return True
        # The header, its checksum, extended headers, and after those of a file what is packed.
        is_archive = header[10] == 2
        packed = 0 if is_archive else int(struct.unpack_from("<I", header, 16)[0])
        at += 4 + size + 4
        for _extended in range(100):
            (length,) = struct.unpack("<H", content.read(at, 2).ljust(2, b"\0"))
            at += 2
            if not length:
                break
            at += length + 4
        at += packed
    return False
