# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opens S/MIME messages that are signed or compressed, not encrypted (RFC 5652 SignedData, RFC 3274 CompressedData).

Pure; no input raises an exception.  Reads BER, of definite and indefinite lengths.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from .content import Content

_SIGNED: Final = bytes.fromhex("06092a864886f70d010702")
_COMPRESSED: Final = bytes.fromhex("060b2a864886f70d0109100109")

_OCTETS, _SEQUENCE, _EXPLICIT = 0x04, 0x30, 0xA0
_CONSTRUCTED: Final = 0x20
#: How deep an octet string's pieces nest, and how many values are read.
_MOST_DEPTH: Final = 8
_MOST_VALUES: Final = 1_000_000
#: Octets that are decompressed at a time.
_PIECE: Final = 1 << 16


class _Value(NamedTuple):
    """A value of BER: its tag, where its content begins, and where it ends; None for an indefinite length."""

    tag: int
    at: int
    end: int | None


def is_message(head: bytes) -> bool:
    """Whether this begins a message that `unwrap` opens."""
    return head.startswith(bytes([_SEQUENCE])) and (_SIGNED in head[:32] or _COMPRESSED in head[:32])


def unwrap(content: Content) -> Iterator[bytes]:
    """The message inside; what is no message has none, and a damaged one ends where the damage begins.

    An encrypted message inside comes as it is: it is not opened.
    """
    is_compressed = _COMPRESSED in content.read(0, 32)
    octets = _octets(content)
    return _inflated(octets) if is_compressed else octets


def _octets(content: Content) -> Iterator[bytes]:
    """The content of eContent, in pieces."""
    # ContentInfo: SEQUENCE, OID, [0], SEQUENCE; then the version and one more value come before encapContentInfo.
    at = _skip(content, _enter(content, 0, _SEQUENCE))
    at = _enter(content, _enter(content, at, _EXPLICIT), _SEQUENCE)
    at = _skip(content, _skip(content, at))
    at = _enter(content, _skip(content, _enter(content, at, _SEQUENCE)), _EXPLICIT)
    if at is not None:
        yield from _pieces(content, at)


def _pieces(content: Content, at: int) -> Iterator[bytes]:
    """What an octet string has, in one piece or in many."""
    ends: list[int | None] = []
    for _value in range(_MOST_VALUES):
        value = _read(content, at)
        if value is None:
            return
        if value.tag == _OCTETS and value.end is not None:
            yield from content.part(value.at, value.end).chunks()
            at = value.end
        elif value.tag == _OCTETS | _CONSTRUCTED and len(ends) < _MOST_DEPTH:
            ends.append(value.end)
            at = value.at
        elif value.tag == 0 and ends and ends[-1] is None:
            # The end of an indefinite length.
            ends.pop()
            at = value.at
        else:
            return
        while ends and ends[-1] is not None and at >= ends[-1]:
            ends.pop()
        if not ends:
            return


def _inflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    try:
        for piece in pieces:
            data = piece
            while data and not inflate.eof:
                yield inflate.decompress(data, _PIECE)
                data = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error:
        return


def _enter(content: Content, at: int | None, tag: int) -> int | None:
    """Where the content of the value at `at` begins, if it has this tag."""
    value = _read(content, at)
    return value.at if value and value.tag == tag else None


def _skip(content: Content, at: int | None) -> int | None:
    """Where the value after the one at `at` begins; values of indefinite length are not skipped."""
    value = _read(content, at)
    return value.end if value else None


def _read(content: Content, at: int | None) -> _Value | None:
    """The value at `at`; None where none can be read."""
    header = content.read(at, 10) if at is not None else b""
    if at is None or len(header) < 2 or header[0] & 0x1F == 0x1F:
        return None
    length = header[1]
    if length < 0x80:
        return _Value(header[0], at + 2, at + 2 + length)
    if length == 0x80:
        return _Value(header[0], at + 2, None)
    count = length & 0x7F
    if count > 6 or len(header) < 2 + count:
        return None
    return _Value(header[0], at + 2 + count, at + 2 + count + int.from_bytes(header[2 : 2 + count], "big"))
