# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails with a file in them, by every way in which mail has files."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from typing import Final

_BINHEX: Final = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

#: A file name as mail programs in Japan encode it, and a raw one.
ENCODED_NAME: Final = b'filename="=?ISO-2022-JP?B?GyRCOCtAUT1xGyhCLnppcA==?="'
TEXT: Final = b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1b$B8+@Q=q\x1b(B\r\n"


def mail(header: bytes, body: bytes) -> bytes:
    """A mail with these further fields."""
    return b"From: taro@far.example\r\nTo: hana@acme.example\r\nMIME-Version: 1.0\r\n" + header + b"\r\n" + body


def attached(content: bytes, name: bytes = ENCODED_NAME, kind: bytes = b"application/octet-stream") -> bytes:
    """A part with a file, in base64."""
    lines = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return (
        b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; " + name + b"\r\n\r\n" + lines
    )


def multipart(*parts: bytes, boundary: bytes = b"=_b", kind: bytes = b"mixed", end: bytes | None = None) -> bytes:
    """A mail of several parts."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    body += b"--" + boundary + b"--\r\n" if end is None else end
    return mail(b"Content-Type: multipart/" + kind + b'; boundary="' + boundary + b'"\r\n', body)


def with_file(content: bytes) -> bytes:
    """A usual mail with a text and an attachment."""
    return multipart(TEXT, attached(content))


def uuencoded(name: bytes, content: bytes) -> bytes:
    """Lines of uuencode."""
    lines = [binascii.b2a_uu(content[at : at + 45]).replace(b"\n", b"\r\n") for at in range(0, len(content), 45)]
    return b"begin 644 " + name + b"\r\n" + b"".join(lines) + b"`\r\nend\r\n"


def uuencoded_by_base64(name: bytes, content: bytes) -> bytes:
    """Lines of uuencode -m."""
    return b"begin-base64 644 " + name + b"\r\n" + base64.encodebytes(content).replace(b"\n", b"\r\n") + b"====\r\n"


def binhex(name: bytes, content: bytes) -> bytes:
    """Lines of BinHex 4.0."""
    header = bytes([len(name)]) + name + b"\0TEXTttxt\0\0" + struct.pack(">II", len(content), 0)
    data = b"".join(part + struct.pack(">H", binascii.crc_hqx(part, 0)) for part in (header, content, b""))
    # An octet that is there once or twice stays; more become a run.
    packed, at = bytearray(), 0
    while at < len(data):
        count = 1
        while count < 255 and data[at : at + 1] == data[at + count : at + count + 1]:
            count += 1
        octet = b"\x90\0" if data[at] == 0x90 else data[at : at + 1]
        packed += octet + bytes([0x90, count]) if count > 2 else octet * count
        at += count
    text = base64.b64encode(bytes(packed)).rstrip(b"=").translate(bytes.maketrans(_BASE64, _BINHEX))
    lines = b":" + text + b":"
    broken = b"\r\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return b"(This file must be converted with BinHex 4.0)\r\n\r\n" + broken + b"\r\n"


def signed(message: bytes, *, is_indefinite: bool = False) -> bytes:
    """An S/MIME message that is signed, by nobody, and not clear-signed (SignedData)."""
    octets = _indefinite(0x24, *(_value(0x04, message[at : at + 1000]) for at in range(0, len(message), 1000)))
    content = octets if is_indefinite else _value(0x04, message)
    sequence = _indefinite if is_indefinite else _value
    data = bytes.fromhex("06092a864886f70d010701")
    content_info = sequence(0x30, data, sequence(0xA0, content))
    inner = sequence(0x30, _value(0x02, b"\x01"), _value(0x31), content_info, _value(0x31))
    return sequence(0x30, bytes.fromhex("06092a864886f70d010702"), sequence(0xA0, inner))


def compressed(message: bytes) -> bytes:
    """An S/MIME message that is compressed (CompressedData)."""
    algorithm = _value(0x30, bytes.fromhex("060b2a864886f70d0109100308"))
    data = bytes.fromhex("06092a864886f70d010701")
    content = _value(0xA0, _value(0x04, zlib.compress(message)))
    inner = _value(0x30, _value(0x02, b"\0"), algorithm, _value(0x30, data, content))
    return _value(0x30, bytes.fromhex("060b2a864886f70d0109100109"), _value(0xA0, inner))


def enveloped() -> bytes:
    """An S/MIME message that is encrypted (EnvelopedData), as far as it matters."""
    inner = _value(0x30, _value(0x02, b"\0"), _value(0x31), bytes(100))
    return _value(0x30, bytes.fromhex("06092a864886f70d010703"), _value(0xA0, inner))


def _value(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x84]) + struct.pack(">I", len(content)) + content


def _indefinite(tag: int, *contents: bytes) -> bytes:
    return bytes([tag, 0x80]) + b"".join(contents) + b"\0\0"
