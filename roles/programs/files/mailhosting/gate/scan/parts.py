# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a spooled message, and the files in its texts.  Pure; no input raises an exception."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final

from ..mime import FIELDS, LENIENT_END_OF_HEADER, Bounds, Part, Walk
from . import inline
from .content import Content
from .findings import DEPTH, PARTS, Limits, ScannedPart

#: Octets of a header.  Postfix's own bound for a message's is header_size_limit, 100 kB, for each field.
MOST_HEADER_BYTES: Final = 1 << 18
#: Octets between parts that are only delimiters.
_DELIMITERS: Final = 256

_NO_HEADER: Final = re.compile(rb"\r?\n")
_FIELD: Final = re.compile(
    rb"^(" + b"|".join(name.encode() for name in FIELDS) + rb"):((?:.*)(?:\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE
)
#: A value as it was encoded: quoted, with raw ISO-2022-JP, which may have a quotation mark in a character; or not.
_VALUE: Final = rb'\s*=\s*(?:"(?:\x1b\$[@AB][^\x1b]*\x1b\([BJ]|\\.|[^"\\])*"|[^;"\s][^;\r\n]*)'
_NAMES: Final = {
    "content-disposition": re.compile(rb"\bfilename(?:\*\d{0,3}){0,2}\*?" + _VALUE, re.IGNORECASE | re.DOTALL),
    "content-type": re.compile(rb"\bname(?:\*\d{0,3}){0,2}\*?" + _VALUE, re.IGNORECASE | re.DOTALL),
}
_BODIES: Final = ("text/plain", "text/html")
_CONTAINER: Final = "multipart/"
_IDENTITIES: Final = ("", "7bit", "8bit", "binary")
_UU: Final = ("x-uuencode", "x-uue", "uuencode", "x-binhex40", "binhex40", "mac-binhex40")


@dataclass(frozen=True)
class Leaf:
    """What is examined of a message.

    `part` is None for octets that are no part's: around the parts of a multipart.  `encodings` are all that the header
    names.  `file` is a file in a text, and `files` are all of a text that are parts of the report.
    """

    content: Content
    part: ScannedPart | None
    encodings: tuple[str, ...] = ("",)
    file: inline.File | None = None
    files: tuple[inline.File, ...] = ()

    def text(self) -> Iterator[bytes]:
        """The octets beside the files of a text."""
        at = 0
        for file in self.files:
            yield from self.content.part(at, file.start).chunks()
            at = file.end
        yield from self.content.part(at).chunks()

    @property
    def has_listed_files(self) -> bool:
        """Whether its octets are a text's own, so that the files in it are parts of the report."""
        return self.part is not None and self.file is None and self.encodings[0] in (*_IDENTITIES, *_UU)


@dataclass(frozen=True)
class Message:
    """`parts` as a report has them.  `exceeded` are names of limits (PARTS, DEPTH)."""

    parts: tuple[ScannedPart, ...]
    leaves: tuple[Leaf, ...]
    exceeded: tuple[str, ...]


def read(content: Content, limits: Limits) -> Message:
    """A message with its header.

    Where a header has two fields of a name, mail programs disagree which counts.  So the message is read both ways,
    `parts` are by the last fields, and `leaves` are of both.
    """
    last, exceeded = _walk(content, limits, first=False)
    first, exceeded_first = _walk(content, limits, first=True)
    parts: list[ScannedPart] = []
    leaves: list[Leaf] = []
    for part in last:
        scanned = _scanned(content, part, len(parts))
        parts.append(scanned)
        if scanned.is_container and part.encoding in _IDENTITIES:
            continue
        leaf = Leaf(content.part(scanned.body_at, scanned.body_end), scanned, _encodings(content, part))
        room = max(limits.parts + 1 - len(parts), 0)
        files = tuple(islice(inline.files(leaf.content), room)) if leaf.has_listed_files else ()
        leaves.append(replace(leaf, files=files))
        for file in files:
            parts.append(_file_part(scanned, file, len(parts)))
            leaves.append(Leaf(leaf.content, parts[-1], file=file))
    seen = {(part.body_at, part.body_end) for part in last}
    leaves += [
        Leaf(content.part(part.body_at, part.body_end), None, _encodings(content, part))
        for part in first
        if (part.body_at, part.body_end) not in seen and not part.type.startswith(_CONTAINER)
    ]
    leaves += [Leaf(gap, None) for gap in _gaps(content, parts)]
    exceeded = exceeded | exceeded_first
    if len(parts) > limits.parts:
        exceeded.add(PARTS)
    if any(part.depth > limits.depth for part in parts):
        exceeded.add(DEPTH)
    return Message(tuple(parts), tuple(leaves), tuple(sorted(exceeded)))


def _walk(content: Content, limits: Limits, *, first: bool) -> tuple[list[Part], set[str]]:
    """All parts, each with its end, and the limits that the message exceeds."""
    head = content.read(0, MOST_HEADER_BYTES)
    end = _NO_HEADER.match(head) or LENIENT_END_OF_HEADER.search(head)
    body_at = end.end() if end else content.size
    # Each part has a delimiter, and each multipart one more.
    bounds = Bounds(parts=2 * limits.parts + 2, multiparts=limits.depth + 1, header=MOST_HEADER_BYTES)
    fields = {
        name.decode("ascii").lower(): value.decode("latin-1")
        for name, value in _FIELD.findall(head, 0, body_at)[:: -1 if first else 1]
    }
    walk = Walk(fields, body_at, bounds, first=first, lenient=True)
    pieces = chain([b""], content.chunks(body_at))
    parts = [part for piece in pieces for part, octets in walk.feed(piece) if part and not octets]
    for part in parts:
        part.body_end = content.size if part.body_end is None else part.body_end
    names = {DEPTH if name == "multiparts" else PARTS for name in walk.exceeded}
    return parts, names | ({PARTS} if end is None and content.size > MOST_HEADER_BYTES else set())


def _scanned(content: Content, part: Part, index: int) -> ScannedPart:
    fields = _fields(content, part)
    name = _file_name(fields)
    body_end = part.body_end or part.body_at
    if content.read(body_end - 1, 1) == b"\r" and content.read(body_end, 1) == b"\n":
        body_end -= 1
    scanned = ScannedPart(
        index=index,
        header_at=part.header_at,
        body_at=part.body_at,
        body_end=max(body_end, part.body_at),
        depth=part.depth,
        type=part.type,
        is_attachment=bool(name) or part.type not in _BODIES or part.disposition.startswith("attachment"),
        filename_field=name,
        encoding=part.encoding,
    )
    return replace(scanned, is_attachment=False) if scanned.is_container else scanned


def _file_part(text: ScannedPart, file: inline.File, index: int) -> ScannedPart:
    at = text.body_at + file.start
    return ScannedPart(
        index=index,
        header_at=at,
        body_at=at,
        body_end=text.body_at + file.end,
        depth=text.depth + 1,
        type="application/octet-stream",
        is_attachment=True,
        filename_field=file.name,
        encoding=file.encoding,
    )


def _fields(content: Content, part: Part) -> list[tuple[bytes, bytes]]:
    """The fields of a part's header that say what it is, in order."""
    return _FIELD.findall(content.read(part.header_at, part.body_at - part.header_at))


def _file_name(fields: list[tuple[bytes, bytes]]) -> bytes:
    """The text that names the file, from the first parameter with a piece of it to the end of the last."""
    for wanted, pattern in _NAMES.items():
        for name, value in fields:
            if name.lower() == wanted.encode() and (found := list(pattern.finditer(value))):
                return value[found[0].start() : found[-1].end()].rstrip()
    return b""


def _encodings(content: Content, part: Part) -> tuple[str, ...]:
    """All that a header's fields name, the one that counts first."""
    named = [
        value.decode("latin-1").strip().lower()
        for name, value in _fields(content, part)
        if name.lower() == b"content-transfer-encoding"
    ]
    return tuple(dict.fromkeys([part.encoding, *named]))


def _gaps(content: Content, parts: list[ScannedPart]) -> Iterator[Content]:
    """What stands before and after the parts of multiparts, where it is more than delimiters."""
    at = parts[0].body_at
    for part in [part for part in parts[1:] if not part.is_inline]:
        if part.header_at - at > _DELIMITERS:
            yield content.part(at, part.header_at)
        at = max(at, part.body_at if part.is_container else part.body_end)
    if parts[0].is_container and content.size - at > _DELIMITERS:
        yield content.part(at)
