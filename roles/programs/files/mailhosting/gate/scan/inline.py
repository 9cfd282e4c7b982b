# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds and decodes files in a text: uuencode, also by base64 (POSIX), BinHex 4.0 (RFC 1741), and base64 after a field.

Base64 after a field that says so is a part whose delimiter is missing, or a quoted message.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_uu
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from . import binhex
from .content import Content
from .transfer_encoding import decode

#: Octets of text in which a begin is searched at a time, and the longest line that begins a file.
_WINDOW: Final = 1 << 20
_LONGEST: Final = 1 << 12

_BEGIN: Final = re.compile(
    rb"^(?:(?P<uu>begin [0-7]{3,4} [^\r\n]{1,2000})|(?P<base64>begin-base64 [0-7]{3,4} [^\r\n]{1,2000})"
    rb"|(?P<binhex>\(This file must be converted with BinHex[^\r\n]{0,100})"
    rb"|(?P<field>content-transfer-encoding:[ \t]*\"?base64[^\r\n]{0,100}))\r?$",
    re.IGNORECASE | re.MULTILINE,
)
_BASE64_LINE: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}[ \t]*")
#: A line of uuencode is 61 characters, and some encoders add a checksum.
_LONGEST_UU: Final = 90
#: Of the header of a part whose delimiter is missing.
_MOST_FIELDS: Final = 100


@dataclass(frozen=True)
class File:
    """A file in a text: the lines [`start`, `end`), and `name`, the line or field that names it."""

    start: int
    end: int
    encoding: str
    name: bytes
    body_at: int

    def decoded(self, text: Content) -> Iterator[bytes]:
        """The octets of the file; of a BinHex file its data fork and then its resource fork."""
        body = text.part(self.body_at, self.end)
        if self.encoding == "x-uuencode":
            return _from_uu(line for _at, line in body.lines())
        if self.encoding == "x-binhex":
            return binhex.decode(body.chunks())
        return decode(body, "base64") or iter(())


def is_escaped(text: Content) -> bool:
    """Whether it is a text with a PGP signature some of whose lines are escaped (RFC 9580 7.2)."""
    begin = text.read(0, _WINDOW)
    return b"-----BEGIN PGP SIGNED MESSAGE-----" in begin and b"\n- -" in begin


def unescaped(text: Content) -> Iterator[bytes]:
    """The lines as they were before they were signed."""
    for _at, line in text.lines():
        yield line.removeprefix(b"- ") + b"\n"


def files(text: Content) -> Iterator[File]:
    """All files in a text, in order."""
    at, done = 0, 0
    while at < text.size:
        # A begin may stand at the end of a window, so windows overlap; the octet before is a line end or not.
        before = max(at - 1, 0)
        window = text.read(before, _WINDOW + _LONGEST)
        for begin in _BEGIN.finditer(window):
            start = before + begin.start()
            if done <= start and (file := _read(text, start, begin)) is not None:
                yield file
                done = file.end
        at += _WINDOW


def _read(text: Content, start: int, begin: re.Match[bytes]) -> File | None:
    """The file that begins here, or None if none does."""
    line = begin[0].removesuffix(b"\r")
    after = start + len(begin[0]) + 1
    if begin["uu"]:
        end = _end_of_uu(text, after)
        return File(start, end, "x-uuencode", line, after) if end else None
    if begin["binhex"]:
        end = _end_of_binhex(text, after)
        return File(start, end, "x-binhex", b"", after) if end else None
    body_at = after if begin["base64"] else _end_of_fields(text, after)
    end = _end_of_base64(text, body_at)
    name = line if begin["base64"] else b""
    return File(start if begin["base64"] else body_at, end, "base64", name, body_at) if end > body_at else None


def _end_of_uu(text: Content, at: int) -> int:
    """Where the lines of uuencode end, 0 if there are none."""
    end = 0
    for after, line in text.lines(at):
        if line == b"end":
            return after if end else 0
        if len(line) > _LONGEST_UU or (line and _uu(line) is None):
            break
        end = after
    return end


def _uu(line: bytes) -> bytes | None:
    """What a line of uuencode has, None if it is none."""
    count = (line[0] - 32) & 63
    try:
        # What follows the octets that the line announces is a checksum, or nothing.
        return a2b_uu(line[: 1 + (count + 2) // 3 * 4])
    except Error:
        return None


def _from_uu(lines: Iterable[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line and line != b"end":
            yield _uu(line) or b""


def _end_of_binhex(text: Content, at: int) -> int:
    """After the line with the second colon, or where the text ends; 0 without a first one."""
    begun = False
    for after, line in text.lines(at):
        if not begun:
            if line and not line.startswith(b":"):
                return 0
            begun = line.startswith(b":")
            line = line[1:]  # noqa: PLW2901
        if begun and b":" in line:
            return after
    return text.size if begun else 0


def _end_of_fields(text: Content, at: int) -> int:
    """After the empty line that ends a header, or after all fields of one that no empty line ends."""
    for number, (after, line) in enumerate(text.lines(at)):
        if not line:
            return after
        if number > _MOST_FIELDS or (b":" not in line and not line.startswith((b" ", b"\t"))):
            break
        at = after
    return at


def _end_of_base64(text: Content, at: int) -> int:
    """After the last line of base64; empty lines may stand between them."""
    end = at
    for after, line in text.lines(at):
        if line and not _BASE64_LINE.fullmatch(line):
            return after if end > at and line.startswith(b"====") else end
        end = after if line else end
    return end
