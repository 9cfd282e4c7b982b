# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a message (RFC 2046) as it comes: where each begins and ends, how deep it lies, what its header says.

Pure; no input raises an exception, and time and memory are bounded: neither a part nor the message is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

#: Octets of a part's header; what has a longer one is not a part.
MOST_HEADER_BYTES: Final = 1 << 14
#: Parts of a message beside the first, and how many multiparts open at once, where a walk has no bounds of its own.
MOST_PARTS: Final = 64
MOST_MULTIPARTS: Final = 8


@dataclass(frozen=True)
class Bounds:
    """What a walk takes of a message; what is beyond is no part, and `Walk.exceeded` says so.

    `parts` beside the first, counted with the delimiters that close multiparts; `multiparts` open at once; `header`
    octets of a part's header.
    """

    parts: int = MOST_PARTS
    multiparts: int = MOST_MULTIPARTS
    header: int = MOST_HEADER_BYTES


DEFAULT: Final = Bounds()
#: Header fields, in lower case, that say what a part is.
FIELDS: Final = ("content-type", "content-transfer-encoding", "content-disposition")

_TYPE: Final = re.compile(r"\s*([\w.+-]{1,80}/[\w.+-]{1,80})")
_BOUNDARY: Final = re.compile(r'\bboundary\s{0,9}=\s{0,9}(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_FIELD: Final = re.compile(
    rb"^(content-(?:type|transfer-encoding|disposition)):(.*(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE
)
_END_OF_HEADER: Final = re.compile(rb"\r?\n\r?\n")
#: The same, or before a line that is no field.
LENIENT_END_OF_HEADER: Final = re.compile(rb"\r?\n\r?\n|\n(?=[^ \t\r\n:][^:\r\n]*\r?\n)")


@dataclass
class Part:
    """A part of a message.  Offsets are octets of the message.

    `body_end` is where the line end of the delimiter after it begins, a CR before that is the part's; None while no
    such delimiter has come.  The message itself is the part of depth 0, and what a multipart or a message/rfc822 has is
    one deeper.  `type` is in lower case, text/plain where the header does not say any.
    """

    header_at: int
    body_at: int
    depth: int
    type: str
    content_type: str
    encoding: str
    disposition: str
    body_end: int | None = None


@dataclass(frozen=True)
class _Delimiter:
    """What separates the parts of a multipart of this depth: a line end, two hyphens and the boundary."""

    line: bytes
    depth: int


class Walk:
    """Walks through one message.

    `header` has the values of `FIELDS`, by name in lower case; what is missing is empty.  `body_at` is where the body
    begins.  Of several fields of one name in a part's header the last counts, or with `first` the first.  With
    `lenient` a part's header also ends before a line that is no field, as many mail programs have it.
    """

    def __init__(
        self,
        header: Mapping[str, str],
        body_at: int = 0,
        bounds: Bounds = DEFAULT,
        *,
        first: bool = False,
        lenient: bool = False,
    ) -> None:
        #: The names of the bounds that the message exceeds, as far as it has come.
        self.exceeded: Final[set[str]] = set()
        self._header: Final = header
        self._body_at: Final = body_at
        self._bounds: Final = bounds
        self._order: Final = -1 if first else 1
        self._end_of_header: Final = LENIENT_END_OF_HEADER if lenient else _END_OF_HEADER
        self._delimiters: list[_Delimiter] = []
        self._open: list[Part] = []
        self._part: Part | None = None
        self._depth = 0  # of the part whose header is to come
        self._in_header = False
        self._pending: bytes | None = None  # what may begin a delimiter or is not a whole header; None before the body
        self._at = 0  # the offset of what is pending
        self._left = bounds.parts
        self._ended = False

    @property
    def is_full(self) -> bool:
        """Whether the most parts have come, so that no other part will."""
        return self._left <= 0

    def feed(self, chunk: bytes) -> Iterator[tuple[Part | None, bytes]]:
        """Go on with the next octets of the body, and yield the pieces that are known now, each with its part.

        Each part comes first with an empty piece, when its header has been read.  Then its body comes, with the line
        end before it, which may begin a delimiter.  None stands for what is no part, such as what follows the last
        delimiter.  Octets that may begin a delimiter come with a later chunk, and after the most parts nothing comes.
        """
        if self._pending is None:
            # The end of the empty line before the body.
            self._pending, self._at = b"\n", self._body_at - 1
            yield self._enter(0, self._body_at, self._header), b""
        data, at = self._pending + chunk, 0
        while at < len(data) and not self._ended:
            if self._in_header:
                header = self._end_of_header.search(data, at, at + self._bounds.header)
                is_last = data.startswith(b"--", at)
                if header is None and len(data) - at < self._bounds.header:
                    break
                self._in_header = False
                if header is None or is_last:
                    # Too long for a header, or the last delimiter of a multipart.
                    if not is_last:
                        self.exceeded.add("header")
                    self._part = None
                    continue
                # The rest of the delimiter's line comes first.
                begin = data.index(b"\n", at) + 1
                fields = {
                    name.decode("ascii").lower(): value.decode("latin-1")
                    for name, value in _FIELD.findall(data, begin, header.end())[:: self._order]
                }
                yield self._enter(self._at + begin, self._at + header.end(), fields), b""
                at = header.end() - 1
                continue
            place, delimiter = self._find_delimiter(data, at)
            if at < place:
                yield self._part, data[at:place]
            at = place
            if delimiter is None:
                break
            self._close(delimiter.depth, self._at + place)
            self._part, self._in_header, self._depth = None, True, delimiter.depth
            at += len(delimiter.line)
            self._left -= 1
            self._ended = self.is_full
            if self._ended:
                self.exceeded.add("parts")
        self._pending, self._at = b"" if self._ended else data[at:], self._at + at

    def _find_delimiter(self, data: bytes, at: int) -> tuple[int, _Delimiter | None]:
        """The first delimiter, and where it begins; None with where one may begin that has not come as a whole."""
        found = [
            (place, -len(delimiter.line), delimiter)
            for delimiter in self._delimiters
            if (place := data.find(delimiter.line, at)) >= 0
        ]
        longest = max((len(delimiter.line) for delimiter in self._delimiters), default=1)
        if not found:
            return max(at, len(data) - longest + 1), None
        place, length, delimiter = min(found, key=lambda each: each[:2])
        rest = data[place : place + longest]
        if any(other.line.startswith(rest) and len(other.line) > -length for other in self._delimiters):
            return place, None
        return place, delimiter

    def _enter(self, header_at: int, body_at: int, header: Mapping[str, str]) -> Part:
        content_type = header.get("content-type", "")
        named = _TYPE.match(content_type)
        part = Part(
            header_at=header_at,
            body_at=body_at,
            depth=self._depth,
            type=named[1].lower() if named else "text/plain",
            content_type=content_type,
            encoding=header.get("content-transfer-encoding", "").strip().lower(),
            disposition=header.get("content-disposition", "").strip().lower(),
        )
        self._open.append(part)
        self._part = part
        if part.type.startswith("multipart/"):
            boundary = _BOUNDARY.search(content_type)
            if boundary and len(self._delimiters) >= self._bounds.multiparts:
                self.exceeded.add("multiparts")
            elif boundary:
                line = b"\n--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
                self._delimiters.append(_Delimiter(line, part.depth + 1))
        elif part.type == "message/rfc822" and part.encoding not in ("base64", "quoted-printable"):
            self._left -= 1
            if self.is_full:
                self.exceeded.add("parts")
            self._in_header, self._depth = not self.is_full, part.depth + 1
        return part

    def _close(self, depth: int, at: int) -> None:
        """A delimiter ends all parts of this depth and deeper ones, and with them their delimiters."""
        while self._open and self._open[-1].depth >= depth:
            self._open.pop().body_end = at
        self._delimiters = [delimiter for delimiter in self._delimiters if delimiter.depth <= depth]
