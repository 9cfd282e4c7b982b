# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files are by their content; and nothing that they have raises an exception."""

from __future__ import annotations

import gzip
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailhosting.gate.scan import inline, parts, recognise, smime
from mailhosting.gate.scan.content import Content
from mailhosting.gate.scan.findings import Limits
from mailhosting.gate.scan.transfer_encoding import decode
from sample_archives import arj, encrypted_zip, rar4, rar5, seven_zip, tar, zipped
from sample_documents import (
    encrypted_excel,
    encrypted_openxml,
    encrypted_pdf,
    encrypted_powerpoint,
    encrypted_word,
    plain_word,
)
from sample_lha import lha
from sample_mail import binhex, compressed, enveloped, signed, uuencoded, uuencoded_by_base64, with_file


def content(octets: bytes) -> Content:
    return Content(octets, 0, len(octets))


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (encrypted_openxml(), "Office"),
        (encrypted_word(), "Office"),
        (encrypted_excel(), "Office"),
        (encrypted_powerpoint(), "Office"),
        (plain_word(), None),
        (encrypted_pdf(b"secret"), "PDF"),
        (encrypted_pdf(), None),
        (encrypted_pdf(b"secret").replace(b"/R 3", b"/R 6"), "PDF"),
        (b"%PDF-1.7\n/Encrypting is not /EncryptMetadata\n", None),
        (rar4({"a": b"x"}), None),
        (rar4({"a": b"x", "b": b"y"}, is_encrypted=True), "RAR"),
        # Its headers are encrypted, too.
        (rar4({}).replace(b"s\0\0\x0d", b"s\x80\0\x0d"), "RAR"),
        (rar5({"a": b"x"}), None),
        (rar5({"a": b"x"}, is_encrypted=True), "RAR"),
        (b"Rar!\x1a\x07\x01\0" + bytes(4) + b"\x21\x04\0" + bytes(40), "RAR"),
        (arj({"a": b"x"}), None),
        (arj({"a": b"x"}, is_garbled=True), "ARJ"),
        (encrypted_zip("a", b"x"), "ZIP"),
        (b"MZ" + bytes(100) + encrypted_zip("a", b"x"), "ZIP"),
        (zipped({"a": b"x"}), None),
    ],
)
def test_what_needs_a_password(octets: bytes, name: str | None) -> None:
    assert recognise.encrypted(content(octets)) == name


@pytest.mark.parametrize(
    ("octets", "formats"),
    [
        (zipped({"a": b"x"}), [("zip", 0)]),
        (zipped({"a": b"x"}, zipfile.ZIP_STORED)[:-10], [("zip", 0)]),
        (b"%PDF" + zipped({"a": b"x"}), [("zip", 0)]),
        (bytes(100) + rar4({"a": b"x"}), [("rar", 100)]),
        (rar5({"a": b"x"}), [("rar", 0)]),
        (seven_zip("a", b"x"), [("7z", 0)]),
        (lha("a", b"x"), [("lha", 0)]),
        (tar({"a": b"x"}), [("tar", 0)]),
        (tar({"a": b"x"}).replace(b"ustar", bytes(5)), []),
        (gzip.compress(b"x", mtime=0), [("gzip", 0)]),
        (gzip.compress(b"x", mtime=0) + rar5({"a": b"x"}), [("gzip", 0), ("rar", 21)]),
        (b"Hello", []),
        (b"", []),
    ],
)
def test_archives_and_where_they_begin(octets: bytes, formats: list[tuple[str, int]]) -> None:
    assert [archive[:2] for archive in recognise.archives(content(octets))] == formats


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (with_file(b"x"), True),
        (signed(b"x"), True),
        (compressed(b"x"), True),
        (enveloped(), False),
        (b"Note: this is no message\n\nContent-Type: text/plain\n", False),
        (b"Received: from x\nContent-Type: text/plain\n\nx", True),
        (b"", False),
    ],
)
def test_messages(octets: bytes, expected: bool) -> None:
    assert recognise.is_message(content(octets)) == expected


TEXT = b"Hello,\r\n\r\nbegin the day\r\n"


@pytest.mark.parametrize("make", [uuencoded, uuencoded_by_base64, binhex])
@pytest.mark.parametrize("octets", [b"x", bytes(range(256)) * 99, bytes(1000) + b"\x90" * 1000])
def test_files_in_a_text(make: type, octets: bytes) -> None:
    lines = make(b"a b.com", octets)
    text = content(TEXT + lines + TEXT + lines)
    found = list(inline.files(text))
    assert [(file.start, file.end) for file in found] == [
        (len(TEXT), len(TEXT + lines)),
        (len(TEXT + lines + TEXT), text.size),
    ]
    for file in found:
        decoded = b"".join(file.decoded(text))
        # BinHex has checksums behind its forks.
        assert decoded.removesuffix(decoded[len(octets) :] if make is binhex else b"") == octets


@pytest.mark.parametrize(
    "text",
    [
        b"begin 644 x\nThis is no line of it.\n",
        b"begin 644 x\nend\n",
        b"begin-base64 644 x\n\n====\n",
        b"(This file must be converted with BinHex 4.0)\n\nHello\n",
        b"Content-Transfer-Encoding: base64\n\n(nothing)\n",
        b"begin 644 ",
    ],
)
def test_what_only_begins_like_a_file_is_none(text: bytes) -> None:
    assert list(inline.files(content(text))) == []


@pytest.mark.parametrize(
    ("encoding", "encoded", "octets"),
    [
        ("base64", b"eHh4", b"xxx"),
        ("base64", b"eH\r\nh-4!", b"xxx"),
        ("base64", b"eHg=eHh4", b"xxxxx"),
        ("base64", b"eHh4e", b"xxx"),
        ("base64", b"eHh4eHg", b"xxxxx"),
        ('"base64"', b"eHh4", b"xxx"),
        ("quoted-printable", b"x=\r\ny=3Dz=\n", b"xy=z"),
        ("quoted-printable", b"=E8=A6=8B", "見".encode()),
    ],
)
def test_encodings(encoding: str, encoded: bytes, octets: bytes) -> None:
    assert b"".join(decode(content(encoded), encoding) or ()) == octets


SEEDS = [
    encrypted_word(),
    encrypted_excel(),
    encrypted_pdf(b"x"),
    b"%PDF-/Encrypt<<",
    *(pack({"a": b"x"}) for pack in (rar4, rar5, arj, tar)),
    encrypted_zip("a", b"x"),
    seven_zip("a", b"x"),
    signed(b"x"),
    signed(b"x", is_indefinite=True),
    compressed(b"x"),
    with_file(b"x"),
    TEXT + uuencoded(b"a", b"x"),
    TEXT + binhex(b"a", b"x"),
]


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=8)), max_size=6))
def test_nothing_raises_an_exception(seed: bytes, changes: list[tuple[int, bytes]]) -> None:
    octets = seed
    for at, written in changes:
        octets = octets[:at] + written + octets[at + len(written) :]
    file = content(octets)
    recognise.encrypted(file)
    recognise.archives(file)
    recognise.has_macros(file)
    recognise.is_message(file)
    recognise.unreadable(file)
    b"".join(smime.unwrap(file))
    for found in inline.files(file):
        assert found.start < found.end <= len(octets)
        b"".join(found.decoded(file))
    for leaf in parts.read(file, Limits()).leaves:
        b"".join(decode(leaf.content, leaf.encodings[0]) or ())
