# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decodes bodies by their Content-Transfer-Encoding (RFC 2045 6), as leniently as mail programs do."""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterable, Iterator
from typing import Final

from .content import CHUNK, Content

_NOT_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
#: What stands before padding, or before the end.
_QUANTA: Final = re.compile(rb"[A-Za-z0-9+/]{2,}")


def decode(content: Content, encoding: str) -> Iterator[bytes] | None:
    """The octets of a body by its encoding; None where they are the body's own.

    Octets that base64 does not have are skipped, and it may go on after its padding.
    """
    if "base64" in encoding:
        return _from_base64(content.chunks())
    if "quoted-printable" in encoding:
        return _from_quoted_printable(content.chunks())
    return None


def _from_base64(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        data = pending + chunk.translate(None, _NOT_BASE64)
        # The last octets may be of a quantum that goes on.
        *ended, last = data.split(b"=") if b"=" in data else [data]
        whole = len(last) // 4 * 4
        decoded = [_decode_quanta(text) for text in ended]
        decoded.append(a2b_base64(last[:whole]))
        pending = last[whole:]
        yield b"".join(decoded)
    yield _decode_quanta(pending)


def _decode_quanta(text: bytes) -> bytes:
    """What a run of base64 has that ends here."""
    if not _QUANTA.fullmatch(text):
        return b""
    text = text[:-1] if len(text) % 4 == 1 else text
    return a2b_base64(text + b"=" * (-len(text) % 4))


def _from_quoted_printable(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    for chunk in chunks:
        data = pending + chunk
        # A line is decoded as a whole, because white space at its end does not count; a very long one is cut.
        end = data.rfind(b"\n") + 1 or (len(data) - 2 if len(data) > 4 * CHUNK else 0)
        yield a2b_qp(data[:end])
        pending = data[end:]
    yield a2b_qp(pending)
