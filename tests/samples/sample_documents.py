# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that contain a file, or that are encrypted: OLE compound files, RTF, TNEF, PDF; written by hand."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Final

_SECTOR: Final = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound_file(streams: Mapping[str, bytes], storages: tuple[str, ...] = ()) -> bytes:
    """A compound file (MS-CFB) with these streams; each is filled up to 4096 octets, so none is a small one."""
    chains, sectors = [], b""
    table = [_FAT]
    for content in streams.values():
        filled = content.ljust(4096, b"\0")
        filled += bytes(-len(filled) % _SECTOR)
        chains.append((len(table), max(len(content), 4096)))
        table += [*range(len(table) + 1, len(table) + len(filled) // _SECTOR), _END]
        sectors += filled
    entries = _entry("Root Entry", 5, _END, 0, child=1)
    entries += b"".join(
        _entry(name, 2, first, size, right=number + 2 if number + 1 < len(streams) + len(storages) else _FREE)
        for number, (name, (first, size)) in enumerate(zip(streams, chains, strict=True))
    )
    entries += b"".join(_entry(name, 1, 0, 0) for name in storages)
    entries += bytes(-len(entries) % _SECTOR)
    directory = len(table)
    table += [*range(len(table) + 1, len(table) + len(entries) // _SECTOR), _END]
    assert len(table) <= _SECTOR // 4, "one sector of the table"
    fat = struct.pack(f"<{_SECTOR // 4}I", *table, *[_FREE] * (_SECTOR // 4 - len(table)))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
    header += struct.pack("<IIIIIIIII", 1, directory, 0, 4096, _END, 0, _END, 0, 0)
    return header + struct.pack("<108I", *[_FREE] * 108) + fat + sectors + entries


def _entry(name: str, kind: int, first: int, size: int, *, child: int = _FREE, right: int = _FREE) -> bytes:
    written = name.encode("utf-16-le") + b"\0\0"
    fields = struct.pack("<HBBIII", len(written), kind, 1, _FREE, right, child) + bytes(36)
    return written.ljust(64, b"\0") + fields + struct.pack("<III", first, size, 0)


def ole_with(name: str, content: bytes) -> bytes:
    """A compound file with a package, as Word and Excel keep files that are put into a document."""
    return compound_file({"\1Ole10Native": package(name, content)})


def package(name: str, content: bytes) -> bytes:
    """The native data of an OLE package."""
    written = name.encode("cp932") + b"\0"
    data = b"\x02\0" + written + written + b"\0\0\x03\0" + struct.pack("<I", len(written)) + written
    data += struct.pack("<I", len(content)) + content + b"\0\0"
    return struct.pack("<I", len(data)) + data


def rtf_with(name: str, content: bytes) -> bytes:
    """Rich text with a package as an embedded object."""
    native = package(name, content)[4:]
    data = struct.pack("<II", 0x501, 2) + struct.pack("<I", 8) + b"Package\0" + bytes(8)
    data += struct.pack("<I", len(native)) + native
    return rb"{\rtf1\ansi{\object\objemb{\*\objclass Package}{\*\objdata " + data.hex().encode() + rb"}}text}"


def tnef_with(name: str, content: bytes) -> bytes:
    """What Outlook calls winmail.dat."""
    parts = [
        (1, 0x00089006, struct.pack("<I", 0x10000)),
        (2, 0x00069002, struct.pack("<HIHHII", 1, 0, 0, 0, 0, 0)[:14]),
        (2, 0x00018010, name.encode("cp932") + b"\0"),
        (2, 0x0006800F, content),
    ]
    message = struct.pack("<IH", 0x223E9F78, 1)
    for level, attribute, data in parts:
        message += struct.pack("<BII", level, attribute, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)
    return message


def encrypted_word() -> bytes:
    """A .doc whose header says that it is encrypted."""
    return compound_file({"WordDocument": b"\xec\xa5\xc1\0" + bytes(6) + struct.pack("<H", 0x0100)})


def encrypted_excel() -> bytes:
    """A .xls with a FilePass record."""
    begin = struct.pack("<HHHHHHII", 0x809, 16, 0x600, 5, 0, 0, 0, 0)
    return compound_file({"Workbook": begin + struct.pack("<HHH", 0x2F, 2, 1)})


def encrypted_powerpoint() -> bytes:
    """A .ppt whose current user's atom says that it is encrypted."""
    return compound_file({"Current User": struct.pack("<HHIII", 0, 0xFF6, 0x14, 0x14, 0xF3D1C4DF)})


def encrypted_openxml() -> bytes:
    """A .docx, .xlsx or .pptx that is encrypted as a whole."""
    return compound_file({"EncryptionInfo": b"\4\0\4\0\x40\0\0\0", "EncryptedPackage": bytes(64)})


def plain_word(*, macros: bool = False) -> bytes:
    """A .doc that is not encrypted."""
    return compound_file({"WordDocument": b"\xec\xa5\xc1\0" + bytes(8)}, ("Macros", "VBA") if macros else ())


def encrypted_pdf(user_password: bytes = b"") -> bytes:
    """An encrypted PDF (RC4, 128 bits, revision 3); with an empty password anybody may read it."""
    padding = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
    owner, identity, permissions = bytes(range(32)), bytes(range(16)), -3904
    key = _md5((user_password + padding)[:32] + owner + struct.pack("<i", permissions) + identity)
    for _round in range(50):
        key = _md5(key)
    user = _md5(padding + identity)
    for number in range(20):
        user = _rc4(bytes(octet ^ number for octet in key), user)
    dictionary = b"<< /Filter /Standard /V 2 /R 3 /Length 128 /P %d /O <%s> /U <%s> >>" % (
        permissions,
        owner.hex().encode(),
        (user + bytes(16)).hex().encode(),
    )
    return (
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n9 0 obj\n" + dictionary + b"\nendobj\n"
        b"trailer << /Root 1 0 R /Encrypt 9 0 R /ID [<%s> <%s>] >>\n%%%%EOF\n" % ((identity.hex().encode(),) * 2)
    )


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _rc4(key: bytes, data: bytes) -> bytes:
    state, place = list(range(256)), 0
    for index in range(256):
        place = (place + state[index] + key[index % len(key)]) & 0xFF
        state[index], state[place] = state[place], state[index]
    result, place = bytearray(), 0
    for number, octet in enumerate(data, 1):
        index = number & 0xFF
        place = (place + state[index]) & 0xFF
        state[index], state[place] = state[place], state[index]
        result.append(octet ^ state[(state[index] + state[place]) & 0xFF])
    return bytes(result)
