# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes infected parts out of a message: a text part `DELETED1.TXT`, `DELETED2.TXT`, … is in the place of each (VM-12).

Pure.  All other octets stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final, NamedTuple

from .findings import Report, ScannedPart

Write = Callable[[bytes], None]

#: The index of the message itself among its parts.
MESSAGE: Final = 0
#: Octets that are copied at once.
_CHUNK: Final = 1 << 16
#: A header field of MIME (RFC 2045 9), with its further lines.
_CONTENT_FIELD: Final = re.compile(rb"^content-[^:\r\n]*:.*\r?\n(?:[ \t].*\r?\n)*", re.IGNORECASE | re.MULTILINE)
_MIME_VERSION: Final = re.compile(rb"^mime-version[ \t]*:", re.IGNORECASE | re.MULTILINE)
#: Charsets that show a file name whose header has no charset, the first one that fits.
_CHARSETS: Final = (("utf-8", "utf-8"), ("shift_jis", "cp932"), ("euc-jp", "euc_jp"))


class Stripped(NamedTuple):
    """What a message without its infected parts is like.

    `fields`, names and values, are instead of all fields of MIME that its header has had, if any are there: then
    nothing of its body is left.  `body_at` is where the body begins now.
    """

    fields: tuple[tuple[str, str], ...]
    body_at: int


def strip(source: BinaryIO, report: Report, infected: Mapping[int, str], write: Write) -> Stripped:
    """Write the message without the parts in `infected`, which has their viruses' names by index.

    If the message itself is one of them, nothing is left but the text.
    """
    message = report.parts[MESSAGE]
    if MESSAGE in infected:
        return _replace_message(source, message, infected[MESSAGE], write)
    at = 0
    for number, part in enumerate(_outermost(report, infected), 1):
        _copy(source, at, part.header_at, write)
        ends_line = _read(source, part.body_end - 1, part.body_end) == b"\n" or part.body_end >= message.body_end
        end = b"\r\n" if ends_line else b""
        if part.is_inline:
            write(_text(number, part, infected[part.index]) + end)
        else:
            header = "".join(f"{name}: {value}\r\n" for name, value in _fields(number, part)).encode("ascii")
            write(header + b"\r\n" + _text(number, part, infected[part.index]) + end)
        at = part.body_end
    _copy(source, at, None, write)
    return Stripped((), message.body_at)


def _replace_message(source: BinaryIO, message: ScannedPart, virus: str, write: Write) -> Stripped:
    header = _read(source, message.header_at, message.body_at)
    # The empty line before the body ends the header.
    kept = _CONTENT_FIELD.sub(b"", header)[: -len(b"\r\n")]
    version = () if _MIME_VERSION.search(header) else (("MIME-Version", "1.0"),)
    fields = (*version, *_fields(1, message))
    added = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("ascii")
    head = kept + added + b"\r\n"
    write(head + _text(1, message, virus) + b"\r\n")
    return Stripped(fields, len(head))


def _outermost(report: Report, infected: Mapping[int, str]) -> Iterator[ScannedPart]:
    """The infected parts in their order, without those inside another infected one."""
    end = 0
    for part in sorted((report.parts[index] for index in infected), key=lambda part: (part.header_at, -part.body_end)):
        if part.header_at >= end:
            yield part
            end = part.body_end


def _fields(number: int, part: ScannedPart) -> tuple[tuple[str, str], ...]:
    charset = _charset(part.filename_field)
    plain = part.filename_field.isascii()
    return (
        ("Content-Type", f'text/plain; charset={charset}; name="{_name(number)}"'),
        ("Content-Transfer-Encoding", "7bit" if plain else "8bit"),
        ("Content-Disposition", f'attachment; filename="{_name(number)}"'),
    )


def _name(number: int) -> str:
    return f"DELETED{number}.TXT"


def _text(number: int, part: ScannedPart, virus: str) -> bytes:
    """The text, without its last line end."""
    shown = re.sub(r"[^ -~]", "?", virus)
    written = part.filename_field or b"(no file name)"
    return (
        f"{_name(number)}: a virus was found in what was here, and it was removed.\r\n\r\nVirus: {shown}\r\n"
        "The field of the file name, as it was written:\r\n"
    ).encode("ascii") + written


def _charset(written: bytes) -> str:
    """The charset that shows a file name as it was written; of encoded words us-ascii."""
    if b"\x1b" in written:
        return "iso-2022-jp"
    if written.isascii():
        return "us-ascii"
    for charset, codec in _CHARSETS:
        try:
            written.decode(codec)
        except UnicodeDecodeError:
            continue
        return charset
    return "unknown-8bit"  # RFC 1428


def _read(source: BinaryIO, begin: int, end: int) -> bytes:
    source.seek(max(begin, 0))
    return source.read(max(end - begin, 0))


def _copy(source: BinaryIO, begin: int, end: int | None, write: Write) -> None:
    """Write the octets from `begin` up to `end`; None is the end of the source."""
    source.seek(begin)
    at = begin
    while chunk := source.read(_CHUNK if end is None else min(_CHUNK, end - at)):
        write(chunk)
        at += len(chunk)
