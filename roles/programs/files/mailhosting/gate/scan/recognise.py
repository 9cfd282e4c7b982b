# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognises files by their content, whatever their names and types say.  Pure; no input raises an exception."""

from __future__ import annotations

import re
import struct
from itertools import islice
from typing import Final, NamedTuple

from . import ole
from .content import Content
from .encrypted import arj_is_garbled, rar4_is_encrypted, rar5_is_encrypted, zip_is_encrypted
from .pdf import needs_password
from .smime import is_message as is_smime

#: Octets at the beginning in which an archive may begin behind something else.
_HEAD: Final = 1 << 20
#: A ZIP's end record with the longest comment.
_ZIP_TAIL: Final = (1 << 16) + 22
_SHORT: Final = 1 << 10

_BY_BEGIN: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x1f\x9d", "compress"),
    (b"\xfd7zXZ\0", "xz"),
    (b"LZIP\x01", "lzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"!<arch>\n", "ar"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"\xc7\x71", "cpio"),
)
_BZIP2: Final = re.compile(rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)")
#: The properties that all encoders of .lzma write, and a size that is unknown or below 2^40.
_LZMA: Final = re.compile(rb"[\x00-\xe0]\0\0[\0-\xff]{2}(?:\xff{8}|[\0-\xff]{5}\0\0\0)", re.DOTALL)
#: Archives that also may lie behind a program that unpacks them, or behind something else.
_ANYWHERE: Final = (
    (re.compile(rb"PK\x03\x04"), "zip", 0),
    (re.compile(rb"Rar!\x1a\x07"), "rar", 0),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "7z", 0),
    (re.compile(rb"MSCF\0\0\0\0"), "cab", 0),
    (re.compile(rb"-(?:lh[\da-f]|lz[s\d]|pm[\ds])-"), "lha", 2),
)
_PROGRAMS: Final = (b"MZ", b"\x7fELF")
_MOST_PLACES: Final = 3
_ARJ: Final = b"\x60\xea"
#: Archives that neither clamd nor libarchive opens: place of their mark, the mark, and a name.
_UNREADABLE: Final = (
    (0, b"\xad\x36\x22", "AMG"),
    (7, b"**ACE**", "ACE"),
    (0, b"\x89LZO\0\r\n", "LZO"),
    (0, b"SIT!", "StuffIt"),
    (0, b"StuffIt (c)", "StuffIt"),
    (20, b"\xdc\xa7\xc4\xfd", "ZOO"),
)
_EXECUTABLES: Final = (
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",  # Mach-O
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",  # Mach-O for several processors, and Java
    b"dex\n03",
    b"L\0\0\0\x01\x14\x02\0",  # a link of Windows
    b"#!",
)
_FIELD_LINE: Final = re.compile(rb"(?:From |[!-9;-~]{1,60}:[ \t])")
_MIME_FIELD: Final = re.compile(rb"^content-(?:type|transfer-encoding):", re.IGNORECASE | re.MULTILINE)
_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")


class Archive(NamedTuple):
    """A format of `child.FORMATS`, and the octet at which such an archive seems to begin.

    `is_sure`: it is nothing else that only looks like one.
    """

    format: str
    at: int
    is_sure: bool = True


def archives(content: Content) -> list[Archive]:
    """What this may be for libarchive; several for a file of several formats, or behind a program that unpacks it."""
    head = content.read(0, _HEAD)
    found = [Archive(name, 0, len(mark) > 2) for mark, name in _BY_BEGIN if head.startswith(mark)]
    if _BZIP2.match(head):
        found.append(Archive("bzip2", 0))
    elif _LZMA.match(head) and _is_lzma(head):
        found.append(Archive("lzma", 0, is_sure=head.startswith(b"]")))
    if head[257:262] == b"ustar" or _is_old_tar(head):
        found.append(Archive("tar", 0))
    if content.read(32769, 5) == b"CD001":
        found.append(Archive("iso", 0))
    for pattern, name, before in _ANYWHERE:
        places = [mark.start() - before for mark in islice(pattern.finditer(head, before), _MOST_PLACES)]
        # A program that unpacks may have the mark of its archive, too.
        places = places if head.startswith(_PROGRAMS) else places[:1]
        found += [Archive(name, at, at == 0) for at in places]
    # A ZIP ends with its directory, and whatever stands before it does not matter.
    if b"PK\x05\x06" in content.read(max(content.size - _ZIP_TAIL, 0), _ZIP_TAIL):
        found = [archive for archive in found if archive.format != "zip"]
        found.append(Archive("zip", 0, is_sure=head.startswith(b"PK")))
    return found


def _is_lzma(head: bytes) -> bool:
    """Whether the dictionary of .lzma has a size that encoders choose: 2^n or 2^n + 2^(n-1)."""
    (size,) = struct.unpack_from("<I", head, 1)
    return size == 0xFFFFFFFF or (size >= 1 << 12 and f"{size:b}".rstrip("0") in ("1", "11"))


def _is_old_tar(head: bytes) -> bool:
    """Whether the checksum of a header without a mark is right (tar(5), V7)."""
    field = head[148:156].strip(b" \0")
    if len(head) < 512 or not head[0] or not re.fullmatch(rb"[0-7]{1,7}", field):
        return False
    return sum(head[:148]) + 8 * 32 + sum(head[156:512]) == int(field, 8)


def unreadable(content: Content) -> str | None:
    """The name of a format that nothing here opens."""
    head = content.read(0, 64)
    return next((name for at, mark, name in _UNREADABLE if head.startswith(mark, at)), None)


def is_executable(content: Content) -> bool:
    """Whether an operating system would run it: a program, a script, a link; DOS programs only with MZ."""
    head = content.read(0, 64)
    if head.startswith(b"MZ"):
        return len(head) >= 28
    return head.startswith(_EXECUTABLES)


def is_message(content: Content) -> bool:
    """Whether it begins as a message with a MIME header, or as an S/MIME message that can be opened."""
    head = content.read(0, 1 << 16)
    if not _FIELD_LINE.match(head):
        return is_smime(head)
    end = _EMPTY_LINE.search(head)
    return _MIME_FIELD.search(head, 0, end.start() if end else len(head)) is not None


def encrypted(content: Content) -> str | None:
    """The name of the format, if the file needs a password."""
    head = content.read(0, _HEAD)
    if head.startswith(ole.MAGIC) and ole.is_encrypted(ole.CompoundFile(content)):
        return "Office"
    if b"%PDF-" in head[:_SHORT] and needs_password(content):
        return "PDF"
    for archive in archives(content):
        file = content.part(archive.at)
        if archive.format == "zip" and zip_is_encrypted(file):
            return "ZIP"
        if archive.format == "rar" and (rar4_is_encrypted(file) or rar5_is_encrypted(file)):
            return "RAR"
    if head.startswith(_ARJ) and arj_is_garbled(content):
        return "ARJ"
    return None


def has_macros(content: Content) -> bool:
    """Whether it is an Office file of the old kind with macros; in the new kind they are a member of the archive."""
    return content.read(0, 8) == ole.MAGIC and ole.has_macros(ole.CompoundFile(content))


def tells_macros(member: bytes) -> bool:
    """Whether a member of an archive with this name has the macros of an Office file."""
    return member.lower().rpartition(b"/")[2] == b"vbaproject.bin"
