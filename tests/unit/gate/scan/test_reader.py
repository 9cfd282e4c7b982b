# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found in mails: a clamd that opens nothing shows what the gate unpacks itself."""

from __future__ import annotations

import binascii
import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from mailhosting.common.errors import ScannerError
from mailhosting.gate.scan import attachment
from mailhosting.gate.scan.archives import Archives
from mailhosting.gate.scan.findings import CONTENT, DEPTH, EXECUTABLE, MACROS, MEMBERS, PARTS, UNPACKED, Limits
from mailhosting.gate.scan.reader import examine
from sample_archives import (
    EICAR,
    INFECTED,
    JAPANESE,
    arj,
    compress,
    cpio,
    encrypted_zip,
    lzip,
    rar4,
    rar5,
    seven_zip,
    tar,
    zipped,
    zstd,
)
from sample_documents import encrypted_openxml, encrypted_pdf, ole_with, plain_word, tnef_with
from sample_lha import lha
from sample_mail import (
    ENCODED_NAME,
    TEXT,
    attached,
    binhex,
    compressed,
    enveloped,
    mail,
    multipart,
    signed,
    uuencoded,
    uuencoded_by_base64,
    with_file,
)
from toy_scan import VIRUS, ToyClamd, found, named, report_on

FOUND = [("virus", VIRUS, 2)]
Pack = Callable[[bytes], bytes]


def tarred(content: bytes) -> bytes:
    return tar({JAPANESE: content})


ARCHIVES: dict[str, Pack] = {
    "itself": bytes,
    "zip, deflated": lambda content: zipped({JAPANESE: content}),
    "zip, stored": lambda content: zipped({JAPANESE: content}, zipfile.ZIP_STORED),
    "zip, bzip2": lambda content: zipped({JAPANESE: content}, zipfile.ZIP_BZIP2),
    "zip, LZMA": lambda content: zipped({JAPANESE: content}, zipfile.ZIP_LZMA),
    "zip behind a program": lambda content: b"MZ" + bytes(5000) + zipped({JAPANESE: content}),
    "zip in zip": lambda content: zipped({"x.zip": zipped({JAPANESE: content})}),
    "zip with a comment and no beginning": lambda content: b"%PDF-1.4\n" + zipped({JAPANESE: content}),
    "rar 4": lambda content: rar4({JAPANESE: content}),
    "rar 5": lambda content: rar5({"clean": b"x" * 100, JAPANESE: content}),
    "rar 5 behind a program": lambda content: (
        b"\x7fELF" + b"Rar!\x1a\x07".rjust(5000) + bytes(500) + rar5({JAPANESE: content})
    ),
    "7z": lambda content: seven_zip(JAPANESE, content),
    "lh0": lambda content: lha(JAPANESE, content, "lh0"),
    "lh5": lambda content: lha(JAPANESE, content, "lh5"),
    "lh5, level 1": lambda content: lha(JAPANESE, content, "lh5", 1),
    "lh5, level 2": lambda content: lha(JAPANESE, content, "lh5", 2),
    "lh6": lambda content: lha(JAPANESE, content, "lh6"),
    "lh7": lambda content: lha(JAPANESE, content, "lh7"),
    "tar": tarred,
    "tar.gz": lambda content: gzip.compress(tarred(content)),
    "tar.bz2": lambda content: bz2.compress(tarred(content)),
    "tar.xz": lambda content: lzma.compress(tarred(content)),
    "gzip, behind zeros": lambda content: gzip.compress(tar({"clean": bytes(5000), JAPANESE: content})),
    "gzip": gzip.compress,
    "Z": lambda content: compress(content[:68]),
    "lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    "lzip": lzip,
    "zstd": zstd,
    "cpio": lambda content: cpio({JAPANESE: content}),
    "rar in zip in tar.gz": lambda content: gzip.compress(tar({"x.zip": zipped({"x.rar": rar5({JAPANESE: content})})})),
    "rar in TNEF": lambda content: tnef_with("x.rar", rar5({JAPANESE: content})),
    "rar in ARJ": lambda content: arj({"x.rar": rar5({JAPANESE: content})}),
    "rar in OLE": lambda content: ole_with("x.rar", rar4({JAPANESE: content})),
    "a tar that is a zip": lambda content: tar({"clean": b"x"}) + zipped({JAPANESE: content}),
    "a zip that is a rar": lambda content: b"PK\x03\x04" + bytes(100) + rar4({JAPANESE: content}),
    "with a path that leads out": lambda content: zipped({"../../../tmp/x": content, "/etc/x": content}),
    "with a long name": lambda content: zipped({"x" * 10_000: content}),
    "a message": lambda content: mail(b"Content-Type: text/plain\r\n", b"") + content,
    "a message in a zip": lambda content: zipped({"x.eml": with_file(rar5({JAPANESE: content}))}),
    "uuencode in base64": lambda content: b"Hello\n\n" + uuencoded(b"a.com", content),
    "S/MIME, signed": lambda content: signed(attached(content)),
    "S/MIME, signed, in pieces": lambda content: signed(attached(content), is_indefinite=True),
    "S/MIME, compressed": lambda content: compressed(attached(content)),
    "S/MIME, signed, with a rar": lambda content: signed(with_file(rar4({JAPANESE: content}))),
    "damaged behind the virus": lambda content: zipped({JAPANESE: content, "x": b"x" * 999}, 0).replace(b"xxx", b"y"),
}


@pytest.mark.parametrize("pack", ARCHIVES.values(), ids=ARCHIVES)
def test_a_virus_is_found_in(pack: Pack) -> None:
    assert FOUND[0] in found(with_file(pack(INFECTED)))
    # Nor is one found that is not there.
    assert not [name for kind, name, _part in found(with_file(pack(b"?" * 4096))) if kind == "virus"]


def single(content: bytes) -> bytes:
    """A mail that is a file."""
    header, _line, body = attached(content).partition(b"\r\n\r\n")
    return mail(header + b"\r\n", body)


def signed_text(content: bytes) -> bytes:
    """A text with a PGP signature that has a file, in uuencode of short lines: each begins with a hyphen."""
    pieces = [binascii.b2a_uu(content[at : at + 13]) for at in range(0, len(content), 13)]
    lines = b"begin 644 a\n" + b"".join(pieces) + b"`\nend\n"
    return b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" + lines.replace(b"\n-", b"\n- -")


MAILS = {
    "attached after a clean part": (multipart(TEXT, attached(b"clean"), attached(INFECTED)), 3),
    "in a part whose type lies": (multipart(TEXT, attached(INFECTED, kind=b"image/png")), 2),
    "as the only part": (single(INFECTED), 0),
    "as the body": (mail(b"Content-Type: text/plain\r\n", INFECTED), 0),
    "without a MIME header": (b"Subject: x\r\n\r\n" + INFECTED, 0),
    "without a header": (b"\r\n" + INFECTED, 0),
    "quoted-printable": (
        mail(b"Content-Transfer-Encoding: quoted-printable\r\n", b"".join(b"=%02X" % octet for octet in EICAR)),
        0,
    ),
    "in a message": (multipart(TEXT, b"Content-Type: message/rfc822\r\n\r\n" + with_file(INFECTED)), 5),
    "in an encoded message": (multipart(TEXT, attached(with_file(INFECTED), kind=b"message/rfc822")), 2),
    "without the last delimiter": (multipart(TEXT, attached(INFECTED), end=b""), 2),
    "by the first of two encodings": (
        multipart(TEXT, attached(INFECTED).replace(b"base64\r\n", b"base64\r\nContent-Transfer-Encoding: 7bit\r\n")),
        2,
    ),
    "by the second of two encodings": (
        multipart(TEXT, attached(INFECTED).replace(b"Content-Tr", b"Content-Transfer-Encoding: 7bit\r\nContent-Tr", 1)),
        2,
    ),
    "by the first of two types": (
        with_file(INFECTED).replace(b'"=_b"\r\n', b'"=_b"\r\nContent-Type: text/plain\r\n', 1),
        0,
    ),
    "in uuencode": (mail(b"", b"Hello,\r\n\r\n" + uuencoded(b"a.com", INFECTED) + b"\r\nBye\r\n"), 1),
    "in uuencode by base64": (mail(b"", b"Hello,\r\n\r\n" + uuencoded_by_base64(b"a.com", INFECTED)), 1),
    "in BinHex": (mail(b"", b"Hello,\r\n\r\n" + binhex(b"a.com", INFECTED)), 1),
    "in a rar in BinHex": (mail(b"", binhex(b"a.rar", rar5({JAPANESE: INFECTED}))), 1),
    "in uuencode before the first part": (
        with_file(b"x").replace(b"--=_b", b"x" * 300 + b"\r\n" + uuencoded(b"a.com", INFECTED) + b"\r\n--=_b", 1),
        0,
    ),
    "in base64 whose delimiter is missing": (
        with_file(INFECTED).replace(b"--=_b\r\nContent-Type: application", b"Content-Type: application"),
        2,
    ),
    "in signed text whose lines are escaped": (mail(b"", signed_text(EICAR)), 0),
    "in a multipart without a boundary": (with_file(INFECTED).replace(b'; boundary="=_b"', b""), 0),
    "without an empty line behind the header": (single(INFECTED).replace(b"\r\n\r\n", b"\r\n"), 0),
    "without an empty line behind a part's header": (
        multipart(TEXT, attached(INFECTED).replace(b"\r\n\r\n", b"\r\n")),
        2,
    ),
}


@pytest.mark.parametrize(("message", "part"), MAILS.values(), ids=MAILS)
def test_a_virus_is_found_where_mail_programs_would(message: bytes, part: int) -> None:
    assert ("virus", VIRUS, part) in found(message)


def test_what_is_not_infected_has_no_findings() -> None:
    message = multipart(TEXT, attached(zipped({"a": b"a", "b/": b""})), attached(b"%PDF-1.4\n"), attached(plain_word()))
    report = report_on(message)
    assert report.findings == ()
    assert [part.type for part in report.parts] == ["multipart/mixed", "text/plain", *["application/octet-stream"] * 3]


def test_a_finding_names_the_member_for_the_log() -> None:
    finding = report_on(with_file(zipped({"x.zip": zipped({"a\n\x1b.com": INFECTED})}))).findings[0]
    assert (finding.part, finding.member) == (2, "x.zip > a\\n\\x1b.com")
    finding = report_on(with_file(zipped({"../" + "x" * 10_000: INFECTED}))).findings[0]
    assert finding.member == ("../" + "x" * 10_000)[:200]


def test_each_infected_part_is_found() -> None:
    message = multipart(TEXT, attached(INFECTED), attached(b"x"), attached(rar5({"a": INFECTED})))
    assert found(message) == [("virus", VIRUS, 2), ("virus", VIRUS, 4)]


def test_clamd_gets_the_whole_mail_each_part_decoded_and_each_member() -> None:
    clamd = ToyClamd()
    archive = zipped({"a": b"one", "b": b"two", "c": b""})
    message = multipart(TEXT, attached(archive))
    report_on(message, clamd=clamd)
    assert clamd.scanned[0] == message
    assert {b"one", b"two", archive} <= set(clamd.scanned)


class SeesTheWhole(ToyClamd):
    """A clamd that finds something in the whole mail alone."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def scan(self, *arguments: object) -> str | None:
        del arguments
        self.scanned.append(b"")
        return self.name if len(self.scanned) == 1 else None


def test_what_clamd_finds_in_the_whole_alone_is_of_the_message_itself() -> None:
    message = with_file(b"clean")
    report = report_on(message, clamd=SeesTheWhole("Other"))
    assert [(finding.kind, finding.name, finding.part) for finding in report.findings] == [("virus", "Other", 0)]
    # What the gate finds in a part itself is the same thing.
    report = report_on(with_file(encrypted_zip("a", b"x")), clamd=SeesTheWhole("Heuristics.Encrypted.Zip"))
    assert [(finding.kind, finding.part) for finding in report.findings] == [("encrypted", 2)]


def test_an_answer_that_is_none_defers_the_mail() -> None:
    class Broken(ToyClamd):
        def scan(self, *arguments: object) -> str | None:
            del arguments
            raise ScannerError("clamd: gone")

    with pytest.raises(ScannerError):
        report_on(with_file(b"x"), clamd=Broken())


def test_a_mail_that_takes_too_long_is_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailhosting.gate.scan.reader.MOST_SECONDS", 0)
    with pytest.raises(ScannerError, match="too long"):
        report_on(with_file(b"x"))


ZEROS = bytes(3 << 20)


@pytest.mark.parametrize(
    ("content", "most"),
    [
        (zipped({"a": ZEROS}), len(ZEROS)),
        (gzip.compress(ZEROS, mtime=0), len(ZEROS)),
        (zipped({"a": ZEROS, "b": b"x"}), len(ZEROS) + 1),
        # An archive in an archive does not count beside what is in it.
        (zipped({"x.zip": zipped({"a": ZEROS}, zipfile.ZIP_STORED)}, zipfile.ZIP_STORED), len(ZEROS)),
    ],
)
def test_an_attachment_may_unpack_to_so_many_octets(content: bytes, most: int) -> None:
    assert found(with_file(content), Limits(unpacked=most)) == []
    assert found(with_file(content), Limits(unpacked=most - 1)) == [("limit", UNPACKED, 2)]


def test_limits_are_of_each_attachment() -> None:
    message = multipart(TEXT, *[attached(zipped({"a": ZEROS}))] * 2)
    assert found(message, Limits(unpacked=len(ZEROS))) == []


def test_a_virus_before_the_limit_is_found_beside_it() -> None:
    bomb = with_file(zipped({"a": INFECTED, "b": ZEROS}))
    assert found(bomb, Limits(unpacked=1 << 20)) == [("virus", VIRUS, 2), ("limit", UNPACKED, 2)]


def test_a_run_in_binhex_is_a_bomb_too() -> None:
    message = mail(b"", binhex(b"a", ZEROS))
    # Two checksums.
    most = len(ZEROS) + 4
    assert found(message, Limits(unpacked=most)) == []
    assert found(message, Limits(unpacked=most - 1)) == [("limit", UNPACKED, 1)]


def test_body_and_attachments_count_as_decoded() -> None:
    message = multipart(b"\r\n" + b"x" * 1000, attached(b"y" * 5000))
    assert found(message, Limits(content=6000)) == []
    assert found(message, Limits(content=5999)) == [("limit", CONTENT, 0)]


def test_depth_counts_parts_and_archives_together() -> None:
    content = zipped({"1.zip": zipped({"2.zip": zipped({"a": INFECTED})})})
    message = multipart(TEXT, multipart(attached(content), boundary=b"inner"))
    assert [kind for kind, _name, _part in found(message, Limits(depth=5))] == ["virus"]
    assert found(message, Limits(depth=4)) == [("limit", DEPTH, 3)]


def test_900_levels_are_a_limit() -> None:
    inner = attached(INFECTED)
    for level in range(900):
        inner = multipart(inner, boundary=b"b%d" % level)
    assert ("limit", DEPTH, 0) in found(inner)
    inner = attached(INFECTED)
    for _level in range(900):
        inner = b"Content-Type: message/rfc822\r\n\r\n" + inner
    assert ("limit", DEPTH, 0) in found(inner)


def test_too_many_parts_are_a_limit() -> None:
    message = multipart(*[TEXT] * 30)
    assert found(message, Limits(parts=31)) == []
    assert found(message, Limits(parts=30)) == [("limit", PARTS, 0)]
    assert ("limit", PARTS, 0) in found(mail(b"", uuencoded(b"a", b"x") * 40), Limits(parts=30))


def test_too_long_a_header_is_a_limit() -> None:
    long = b"X-Long: " + b"x" * (1 << 18) + b"\r\n"
    assert ("limit", PARTS, 0) in found(multipart(long + attached(INFECTED)))
    assert ("limit", PARTS, 0) in found(mail(long, INFECTED))


def test_too_many_members_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachment, "MOST_MEMBERS", 20)
    files = {str(number): b"x" for number in range(20)}
    assert found(with_file(tar(files))) == []
    assert found(with_file(tar({**files, "20": INFECTED}))) == [("limit", MEMBERS, 2)]


ENCRYPTED = {
    "ZIP": encrypted_zip("a", b"secret"),
    "7Z": seven_zip("a", bytes(32), is_encrypted=True),
    "RAR": rar4({"a": b"secret"}, is_encrypted=True),
    "ARJ": arj({"a": b"secret"}, is_garbled=True),
    "PDF": encrypted_pdf(b"secret"),
    "Office": encrypted_openxml(),
}


@pytest.mark.parametrize(("name", "content"), ENCRYPTED.items(), ids=ENCRYPTED)
def test_a_file_that_needs_a_password_is_told(name: str, content: bytes) -> None:
    assert found(with_file(content)) == [("encrypted", name, 2)]
    # Inside an archive, too.
    assert found(with_file(zipped({"x": content}))) == [("encrypted", name, 2)]


def test_what_clamd_calls_encrypted_has_the_name_that_the_gate_gives() -> None:
    class Sees(ToyClamd):
        def scan(self, chunks: Iterable[bytes], _deadline: float = 0) -> str | None:
            return "Heuristics.Encrypted.Zip" if b"".join(chunks).startswith(b"PK") else None

    report = report_on(with_file(encrypted_zip("a", b"x")), clamd=Sees())
    assert [named(finding) for finding in report.findings] == [("encrypted", "ZIP", 2)]


def test_an_encrypted_opendocument_is_told() -> None:
    manifest = b'<manifest:file-entry><manifest:encryption-data manifest:checksum="x"/></manifest:file-entry>'
    assert found(with_file(zipped({"META-INF/manifest.xml": manifest}))) == [("encrypted", "OpenDocument", 2)]
    assert found(with_file(zipped({"META-INF/manifest.xml": b"<manifest/>"}))) == []


def test_mail_that_is_encrypted_as_a_whole_passes() -> None:
    assert found(single(enveloped()).replace(b"octet-stream", b"pkcs7-mime")) == []
    armour = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA0\r\n-----END PGP MESSAGE-----\r\n"
    parts = [b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n", TEXT.partition(b"\x1b")[0] + armour]
    assert found(multipart(*parts, kind=b"encrypted; protocol=application/pgp-encrypted")) == []


def test_a_piece_of_a_message_is_told() -> None:
    message = mail(b"Content-Type: message/partial; id=x; number=1; total=2\r\n", b"Subject: y\r\n\r\n" + b"z" * 99)
    assert found(message) == [("partial", "message/partial", 0)]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"MZ" + bytes(100), EXECUTABLE),
        (b"\x7fELF" + bytes(100), EXECUTABLE),
        (b"#!/bin/sh\n", EXECUTABLE),
        (zipped({"a.txt": b"MZ" + bytes(100)}), EXECUTABLE),
        (plain_word(macros=True), MACROS),
        (zipped({"word/vbaProject.bin": b"x"}), MACROS),
    ],
)
def test_programs_and_macros_are_told_by_content(content: bytes, name: str) -> None:
    assert found(with_file(content)) == [("file_type", name, 2)]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\xad\x36\x22\0" + bytes(100), "AMG"),
        (bytes(7) + b"**ACE**" + bytes(100), "ACE"),
        (zipped({"a": b"x" * 999}, zipfile.ZIP_STORED).replace(b"xxx", b"yyy", 1), "ZIP"),
        (b"Rar!\x1a\x07\0" + bytes(100), "RAR"),
        (gzip.compress(bytes(1000), mtime=0)[:-20], "GZIP"),
    ],
)
def test_what_cannot_be_opened_is_told(content: bytes, name: str) -> None:
    assert ("unreadable", name, 2) in found(with_file(content))


def test_a_file_in_a_text_has_its_lines_as_its_place() -> None:
    lines = uuencoded("見積書.com".encode("cp932"), INFECTED)
    message = mail(b"", b"Hello,\r\n\r\n" + lines + b"\r\nBye\r\n")
    file = report_on(message).parts[1]
    assert file.is_inline
    assert message[file.body_at : file.body_end] == lines
    assert file.filename_field == lines.partition(b"\r\n")[0]
    assert file.is_attachment


def test_a_part_has_its_place_and_its_name_as_it_was_encoded() -> None:
    message = multipart(TEXT, attached(b"x"))
    _whole, text, file = report_on(message).parts
    assert message[text.header_at : text.body_end] == TEXT.removesuffix(b"\r\n") + b"\r\n"
    assert message[file.header_at : file.body_end] == attached(b"x")
    assert (file.filename_field, file.encoding) == (ENCODED_NAME, "base64")
    assert (text.is_attachment, file.is_attachment) == (False, True)


@pytest.mark.parametrize(
    "name",
    [
        b'filename="a;b.zip"',
        b"filename=a.zip",
        b"filename*=utf-8''%E7%A5%9E.zip",
        b"filename*0*=utf-8''%E7%A5%9E;\r\n filename*1*=.zip",
        'filename="神楽坂.zip"'.encode("cp932"),
        'filename="見積\x1b書"'.encode("iso2022_jp", "ignore"),
        b'filename="\x1b$B$"\x1b(B.zip"',
        b'filename="=?ISO-2022-JP?B?GyRCPio=?=\r\n =?ISO-2022-JP?B?GyRCPio=?="',
    ],
)
def test_a_name_is_reported_octet_for_octet(name: bytes) -> None:
    assert report_on(multipart(TEXT, attached(b"x", name))).parts[2].filename_field == name
    by_type = attached(b"x", b"size=1").replace(b"octet-stream", b"octet-stream; " + name.replace(b"filename", b"name"))
    assert report_on(multipart(TEXT, by_type)).parts[2].filename_field == name.replace(b"filename", b"name")


def test_a_text_is_examined_without_the_files_in_it() -> None:
    clamd = ToyClamd()
    first, second = uuencoded(b"a", INFECTED), binhex(b"b", INFECTED)
    report = report_on(mail(b"", b"one\r\n" + first + b"two\r\n" + second + b"three\r\n"), clamd=clamd)
    assert [named(finding) for finding in report.findings] == [("virus", VIRUS, 1), ("virus", VIRUS, 2)]
    assert b"one\r\ntwo\r\nthree\r\n" in clamd.scanned


@pytest.mark.parametrize("method", ["lh1", "lh4"])
def test_what_clamd_opens_is_not_unreadable(method: str) -> None:
    assert found(with_file(lha(JAPANESE, b"?" * 4096, method))) == []


def test_archives_in_turn_share_one_child_and_leave_none() -> None:
    archives = Archives(at_once=1)
    message = multipart(TEXT, *[attached(rar5({"a": INFECTED}))] * 3)
    for _time in range(2):
        report = examine(io.BytesIO(message), replace(Limits(), parts=9), ToyClamd(), archives)
        assert [finding.part for finding in report.findings] == [2, 3, 4]
