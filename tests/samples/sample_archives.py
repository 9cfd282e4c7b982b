# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives in formats for which Debian's main has no packer, or no need of one: written by hand, mostly stored."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

#: The test file of EICAR, which every virus scanner finds; in two pieces, so that none finds it here.
EICAR: Final = (b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").ljust(68)
#: The same, long enough to be worth packing.
INFECTED: Final = EICAR.ljust(4096)

Files = Mapping[str, bytes]


def rar4(files: Files, *, charset: str = "cp932", is_encrypted: bool = False) -> bytes:
    """A RAR before version 5, stored.  With `is_encrypted` its files say that they are."""
    archive = b"Rar!\x1a\x07\0" + _rar4_block(0x73, 0, bytes(6))
    for name, content in files.items():
        written = name.encode(charset)
        fields = struct.pack(
            "<IIBIIBBHI", len(content), len(content), 2, zlib.crc32(content), 0x21, 20, 0x30, len(written), 0x20
        )
        archive += _rar4_block(0x74, 0x8000 | 4 * is_encrypted, fields + written) + content
    return archive + _rar4_block(0x7B, 0x4000, b"")


def _rar4_block(kind: int, flags: int, fields: bytes) -> bytes:
    header = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header


def rar5(files: Files, *, is_encrypted: bool = False) -> bytes:
    """A RAR 5, stored.  With `is_encrypted` its files have the record that says so."""
    archive = b"Rar!\x1a\x07\x01\0" + _rar5_header(1, 0, b"\0")
    for name, content in files.items():
        written = name.encode()
        fields = b"\x04" + _vint(len(content)) + b"\x20" + struct.pack("<I", zlib.crc32(content))
        fields += b"\0\x01" + _vint(len(written)) + written
        record = b"\x01\0\0\x0f" + bytes(32)
        extra = _vint(len(record)) + record if is_encrypted else b""
        archive += _rar5_header(2, 2, fields, extra, len(content)) + content
    return archive + _rar5_header(5, 0, b"\0")


def _rar5_header(kind: int, flags: int, fields: bytes, extra: bytes = b"", data: int | None = None) -> bytes:
    header = _vint(kind) + _vint(flags | bool(extra))
    header += _vint(len(extra)) if extra else b""
    header += _vint(data) if data is not None else b""
    header += fields + extra
    header = _vint(len(header)) + header
    return struct.pack("<I", zlib.crc32(header)) + header


def _vint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def seven_zip(name: str, content: bytes, *, is_encrypted: bool = False) -> bytes:
    """A 7z with one file, stored; with `is_encrypted` it names AES as its only coder."""
    coder = b"\x24\x06\xf1\x07\x01\x12\x13\x0f" + bytes(16) if is_encrypted else b"\x01\0"
    streams = b"\x06\0\x01\x09" + _seven_number(len(content)) + b"\0"
    streams += b"\x07\x0b\x01\0\x01" + coder + b"\x0c" + _seven_number(len(content)) + b"\0"
    streams += b"\x08\x0a\x01" + struct.pack("<I", zlib.crc32(content)) + b"\0"
    names = b"\0" + name.encode("utf-16-le") + b"\0\0"
    header = b"\x01\x04" + streams + b"\0\x05\x01\x11" + _seven_number(len(names)) + names + b"\0\0"
    start = struct.pack("<QQI", len(content), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<I", zlib.crc32(start)) + start + content + header


def _seven_number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else b"\xf0" + struct.pack("<I", value)


def arj(files: Files, *, is_garbled: bool = False) -> bytes:
    """An ARJ, stored; with `is_garbled` its files say that they are (-g)."""
    archive = _arj_header(2, 0, 0, b"", b"sample.arj")
    for name, content in files.items():
        archive += _arj_header(0, int(is_garbled), len(content), content, name.encode("cp932")) + content
    return archive + b"\x60\xea\0\0"


def _arj_header(kind: int, flags: int, size: int, content: bytes, name: bytes) -> bytes:
    fields = struct.pack("<BBBBBBBBIIII", 30, 11, 1, 0, flags, 0, kind, 0, 0x21, size, size, zlib.crc32(content))
    fields += struct.pack("<HHH", 0, 0o644, 0) + name + b"\0\0"
    return b"\x60\xea" + struct.pack("<H", len(fields)) + fields + struct.pack("<IH", zlib.crc32(fields), 0)


def compress(content: bytes) -> bytes:
    """A .Z, of up to 250 octets, so that all codes have 9 bits."""
    assert len(content) <= 250
    bits = sum(octet << 9 * at for at, octet in enumerate(content))
    return b"\x1f\x9d\x90" + bits.to_bytes((9 * len(content) + 7) // 8, "little")


def zstd(content: bytes) -> bytes:
    """A .zst with one block, stored."""
    assert len(content) < 1 << 17
    block = struct.pack("<I", len(content) << 3 | 1)[:3] + content
    return b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", len(content)) + block


def lzip(content: bytes) -> bytes:
    """A .lz."""
    options = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    packed = lzma.compress(content, lzma.FORMAT_RAW, filters=options)
    return b"LZIP\x01\x10" + packed + struct.pack("<IQQ", zlib.crc32(content), len(content), len(packed) + 26)


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP, packed by a method of zipfile's."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            # With a date that is the same in every run.
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def encrypted_zip(name: str, content: bytes) -> bytes:
    """A ZIP whose only file says that it is encrypted."""
    archive = bytearray(zipped({name: content}, zipfile.ZIP_STORED))
    archive[6] |= 1
    archive[archive.index(b"PK\x01\x02") + 8] |= 1
    return bytes(archive)


def tar(files: Files) -> bytes:
    """A tar archive."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def cpio(files: Files) -> bytes:
    """A cpio archive (newc)."""
    archive = b""
    for name, content in {**files, "TRAILER!!!": b""}.items():
        written = name.encode() + b"\0"
        fields = [0, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(written), 0]
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + written
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return archive


#: Archives with one infected file, by the name of the file that they are.
JAPANESE: Final = "見積書（神楽坂）.com"
