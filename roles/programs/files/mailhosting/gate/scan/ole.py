# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Office files of the old kind (MS-CFB compound files): whether they are encrypted, and whether they have macros.

Pure; no input raises an exception, and chains of sectors are followed only so far.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from .content import Content

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_MOST_SECTORS: Final = 4096
#: Sectors with places of tables; so many are for a file of 500 MB.
_MOST_HOPS: Final = 64
_ENTRY: Final = 128
_MACROS: Final = frozenset({"VBA", "_VBA_PROJECT", "_VBA_PROJECT_CUR"})
#: Octets of a stream that are read.
_BEGIN: Final = 4096
#: MS-XLS 2.4.117 FilePass, which follows the first record, BOF, or a few others.
_FILE_PASS: Final = 0x2F
_BOF: Final = 0x809


class CompoundFile:
    """A compound file: `streams` are the names in its directory, with the first sector and the size of each."""

    def __init__(self, content: Content) -> None:
        self.content: Final = content
        self.streams: Final[dict[str, tuple[int, int]]] = {}
        header = self.content.read(0, 512).ljust(512, b"\0")
        shift, mini_shift = struct.unpack_from("<HH", header, 30)
        self._size: Final = 1 << max(min(shift, 16), 9)
        self._mini_size: Final = 1 << max(min(mini_shift, 9), 6)
        directory, self._cutoff, self._mini_fat, self._difat = struct.unpack_from("<I4xII4xI", header, 48)
        self._fat: Final = struct.unpack_from("<109I", header, 76)
        self._root = (0, 0)
        for sector in self._chain(directory):
            entries = self._sector(sector)
            for at in range(0, len(entries), _ENTRY):
                self._add(entries[at : at + _ENTRY])

    def _add(self, entry: bytes) -> None:
        if len(entry) < _ENTRY or not entry[66]:
            return
        length = min(struct.unpack_from("<H", entry, 64)[0], 64)
        name = entry[: max(length - 2, 0)].decode("utf-16-le", "replace")
        where: tuple[int, int] = struct.unpack_from("<II", entry, 116)
        if entry[66] == 5:
            self._root = where
        self.streams.setdefault(name, where)

    def begin(self, name: str) -> bytes:
        """The first octets of a stream; empty if there is none."""
        first, size = self.streams.get(name, (0, 0))
        count = min(size, _BEGIN)
        data = b""
        if size >= self._cutoff:
            for sector in self._chain(first):
                data += self._sector(sector)
                if len(data) >= count:
                    break
            return data[:count]
        # A small stream lies in sectors of the root's stream.
        sectors = list(self._chain(self._root[0]))
        for mini in self._mini_chain(first):
            at, offset = divmod(mini * self._mini_size, self._size)
            if at >= len(sectors) or len(data) >= count:
                break
            data += self._sector(sectors[at])[offset : offset + self._mini_size]
        return data[:count]

    def _sector(self, number: int) -> bytes:
        return self.content.read((number + 1) * self._size, self._size)

    def _next(self, sector: int) -> int:
        """The sector after one, as the file allocation table has it."""
        table, at = divmod(sector, self._size // 4)
        if table < len(self._fat):
            place = self._fat[table]
        else:
            # The rest of the tables' places lie in a chain of their own; its last number is the next sector's.
            of_a_sector = self._size // 4 - 1
            hops, index = divmod(table - len(self._fat), max(of_a_sector, 1))
            place = self._difat
            for _hop in range(min(hops, _MOST_HOPS)):
                place = _number(self._sector(place), of_a_sector)
            place = _number(self._sector(place), index)
        return _number(self.content.read((place + 1) * self._size + 4 * at, 4), 0)

    def _chain(self, sector: int) -> Iterator[int]:
        for _hop in range(_MOST_SECTORS):
            if (sector + 1) * self._size >= self.content.size:
                return
            yield sector
            sector = self._next(sector)

    def _mini_chain(self, mini: int) -> Iterator[int]:
        table = list(self._chain(self._mini_fat))
        for _hop in range(_BEGIN // self._mini_size + 1):
            yield mini
            at, index = divmod(mini, self._size // 4)
            if at >= len(table):
                return
            mini = _number(self._sector(table[at]), index)


def _number(table: bytes, index: int) -> int:
    """The number at an index of a sector; beyond its end one that no sector has."""
    return int(struct.unpack_from("<I", table, 4 * index)[0]) if len(table) >= 4 * index + 4 else 0xFFFFFFFF


def is_encrypted(file: CompoundFile) -> bool:
    """Whether it needs a password: Office 2007 and later (MS-OFFCRYPTO 2.3), Word, Excel or PowerPoint before."""
    streams = file.streams
    if "EncryptedPackage" in streams or "EncryptedSummary" in streams:
        return True
    # MS-DOC 2.5.1 FibBase, the flag fEncrypted.
    word = file.begin("WordDocument")
    if word[:2] in (b"\xec\xa5", b"\xdc\xa5") and len(word) > 12 and word[11] & 1:
        return True
    # MS-PPT 2.3.2 CurrentUserAtom, headerToken.
    if file.begin("Current User")[12:16] == b"\xdf\xc4\xd1\xf3":
        return True
    return any(_has_file_pass(file.begin(name)) for name in ("Workbook", "Book"))


def _has_file_pass(records: bytes) -> bool:
    at = 0
    while at + 4 <= len(records):
        kind, length = map(int, struct.unpack_from("<HH", records, at))
        if kind == _FILE_PASS or (at == 0 and kind != _BOF):
            return kind == _FILE_PASS
        at += 4 + length
    return False


def has_macros(file: CompoundFile) -> bool:
    """Whether it has a project of Visual Basic (MS-OVBA 2.2.1)."""
    return not _MACROS.isdisjoint(file.streams)
