# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decodes BinHex 4.0 (RFC 1741): six bits a character, runs of octets, and a header before two forks."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterable, Iterator
from typing import Final

_CHARACTERS: Final = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64: Final = bytes.maketrans(_CHARACTERS, _BASE64)
_OTHERS: Final = bytes(set(range(256)) - set(_CHARACTERS))
_MARK: Final = 0x90
_ITEM: Final = re.compile(rb"(?P<run>[^\x90]+)|\x90(?P<count>.)", re.DOTALL)
#: Octets of a header without the name: length and version, type, creator, flags, lengths of the forks, checksum.
_HEADER: Final = 22


def decode(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """What both forks have, data first, each with its checksum, which is not checked; the header is left out.

    `chunks` are the text after the line that announces BinHex.
    """
    header, begun = b"", False
    for piece in _expand(_six_bits(chunks)):
        if begun:
            yield piece
            continue
        header += piece
        end = (header[0] if header else 0) + _HEADER
        begun = len(header) >= end
        if begun:
            yield header[end:]


def _six_bits(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The octets between the first colon and the second."""
    pending, begun = b"", False
    for chunk in chunks:
        text = chunk
        if not begun:
            _before, colon, text = chunk.partition(b":")
            begun = bool(colon)
        text, colon, _after = text.partition(b":") if begun else (b"", b"", b"")
        data = pending + text.translate(_TO_BASE64, _OTHERS)
        whole = len(data) // 4 * 4
        yield a2b_base64(data[:whole])
        pending = data[whole:]
        if colon:
            break
    if len(pending) > 1:
        yield a2b_base64(pending + b"=" * (4 - len(pending)))


def _expand(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Undo the runs: an octet, the mark and a number are that octet so many times; the mark and 0 are the mark."""
    pending, last = b"", b""
    for chunk in chunks:
        data, expanded, end = pending + chunk, bytearray(), 0
        for item in _ITEM.finditer(data):
            end = item.end()
            if item["run"]:
                expanded += item["run"]
                last = item["run"][-1:]
            elif item["count"] == b"\0":
                expanded.append(_MARK)
                last = bytes([_MARK])
            else:
                expanded += last * (item["count"][0] - 1)
        pending = data[end:]
        yield bytes(expanded)
