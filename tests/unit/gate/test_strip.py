# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left of a message without its infected parts, octet for octet."""

from __future__ import annotations

import email
import email.policy
import io
from collections.abc import Mapping

import pytest
from mailhosting.gate.scan.findings import Report, ScannedPart
from mailhosting.gate.scan.strip import strip

HEADER = b"From: x@far.example\r\nMIME-Version: 1.0\r\n"
MIXED = HEADER + b'Content-Type: multipart/mixed;\r\n boundary="b"\r\nSubject: two\r\n\r\n'
TEXT = b"Content-Type: text/plain\r\n\r\nHello,\r\n  see the file.\r\n"
#: As Outlook in Japan encodes a name.
NAMED = b'filename="=?ISO-2022-JP?B?GyRCP0AbKEIuemlw?="'
FILE = b"Content-Type: application/zip\r\nContent-Disposition: attachment; " + NAMED + b"\r\n\r\nUEsDBA==\r\n"
OTHER = b"Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0=\r\n"


def message(*parts: bytes, end: bytes = b"\r\n--b--\r\n") -> bytes:
    return MIXED + b"preamble" + b"".join(b"\r\n--b\r\n" + part for part in parts) + end


def located(whole: bytes, *parts: bytes, names: Mapping[bytes, bytes] = {FILE: NAMED}) -> Report:
    """The report on a message whose parts are these."""
    found = [ScannedPart(0, 0, whole.index(b"\r\n\r\n") + 4, len(whole), 0, "multipart/mixed", False, b"", "")]
    for index, octets in enumerate(parts, 1):
        at = whole.index(octets)
        body_at = at + octets.index(b"\r\n\r\n") + 4
        name = names.get(octets, b"")
        found.append(ScannedPart(index, at, body_at, at + len(octets), 1, "x/y", True, name, ""))
    return Report(tuple(found), ())


def stripped(whole: bytes, report: Report, infected: Mapping[int, str]) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    pieces: list[bytes] = []
    fields, body_at = strip(io.BytesIO(whole), report, infected, pieces.append)
    left = b"".join(pieces)
    assert left.index(b"\r\n\r\n") + 4 == body_at
    return left, fields


@pytest.mark.requirement("VM-12")
def test_a_text_with_a_number_takes_the_place_of_an_infected_part() -> None:
    whole = message(TEXT, FILE, OTHER)
    left, fields = stripped(whole, located(whole, TEXT, FILE, OTHER), {2: "Eicar"})
    assert fields == ()
    # All before it and all after it is as it was.
    at = whole.index(FILE)
    assert left.startswith(whole[:at])
    assert left.endswith(whole[at + len(FILE) :])
    text = left[at : len(left) - len(whole) + at + len(FILE)]
    assert text == (
        b'Content-Type: text/plain; charset=us-ascii; name="DELETED1.TXT"\r\n'
        b"Content-Transfer-Encoding: 7bit\r\n"
        b'Content-Disposition: attachment; filename="DELETED1.TXT"\r\n\r\n'
        b"DELETED1.TXT: a virus was found in what was here, and it was removed.\r\n\r\n"
        b"Virus: Eicar\r\n"
        b"The field of the file name, as it was written:\r\n" + NAMED + b"\r\n"
    )


@pytest.mark.requirement("VM-12")
@pytest.mark.parametrize(
    ("written", "charset"),
    [
        (b'filename="a.zip"', "us-ascii"),
        (b"filename*0*=UTF-8''%E7%A5%9E;\r\n filename*1*=.zip", "us-ascii"),
        ('filename="神.zip"'.encode(), "utf-8"),
        ('filename="神様.zip"'.encode("cp932"), "shift_jis"),
        ('filename="神様.zip"'.encode("iso2022_jp"), "iso-2022-jp"),
        (b'filename="\x81 \xa9.zip"', "unknown-8bit"),
    ],
)
def test_a_name_is_shown_octet_for_octet_in_its_charset(written: bytes, charset: str) -> None:
    whole = message(TEXT, FILE)
    left, _fields = stripped(whole, located(whole, TEXT, FILE, names={FILE: written}), {2: "Eicar"})
    assert b"written:\r\n" + written + b"\r\n" in left
    part = email.message_from_bytes(left, policy=email.policy.compat32).get_payload(1)
    assert isinstance(part, email.message.Message)
    assert part.get_content_charset() == charset


def test_numbers_run_and_each_part_has_its_own_virus() -> None:
    whole = message(FILE, TEXT, OTHER)
    left, _fields = stripped(whole, located(whole, FILE, TEXT, OTHER), {3: "B\xe9ta", 1: "Alpha"})
    names = [part.get_filename() for part in email.message_from_bytes(left).walk()][1:]
    assert names == ["DELETED1.TXT", None, "DELETED2.TXT"]
    assert left.index(b"Virus: Alpha") < left.index(b"Hello") < left.index(b"Virus: B?ta")
    assert b"(no file name)" in left


def test_a_part_without_a_line_end_gets_none() -> None:
    body = FILE.removesuffix(b"\r\n")
    whole = message(body, TEXT)
    left, _fields = stripped(whole, located(whole, body, TEXT, names={body: NAMED}), {1: "Eicar"})
    assert NAMED + b"\r\n--b\r\nContent-Type: text/plain" in left


def test_the_last_part_of_a_message_without_an_end_has_a_line_end() -> None:
    body = FILE.removesuffix(b"\r\n")
    whole = message(TEXT, body, end=b"")
    left, _fields = stripped(whole, located(whole, TEXT, body, names={body: NAMED}), {2: "Eicar"})
    assert left.endswith(NAMED + b"\r\n")


def test_what_is_inside_an_infected_part_goes_with_it() -> None:
    whole = message(TEXT, FILE)
    report = located(whole, TEXT, FILE)
    at = report.parts[2].body_at
    inside = ScannedPart(3, at, at + 1, at + 2, 2, "x/y", True, b"", "")
    left, _fields = stripped(whole, Report((*report.parts, inside), ()), {3: "Beta", 2: "Alpha"})
    assert left.count(b"DELETED") == 3
    assert b"Beta" not in left


def test_a_file_in_a_text_leaves_the_text_around_it() -> None:
    lines = b"begin 644 \x90_.com\r\n#AB\r\nend\r\n"
    text = b"Content-Type: text/plain\r\n\r\nbefore\r\n" + lines + b"after\r\n"
    whole = message(text)
    report = located(whole, text)
    at = whole.index(lines)
    name = lines.partition(b"\r\n")[0]
    file = ScannedPart(2, at, at, at + len(lines), 2, "x/y", True, name, "")
    left, _fields = stripped(whole, Report((*report.parts, file), ()), {2: "Eicar"})
    assert left[:at] == whole[:at]
    assert left[at:].startswith(b"DELETED1.TXT: a virus was found")
    assert left.endswith(b"written:\r\n" + name + b"\r\nafter\r\n\r\n--b--\r\n")


@pytest.mark.requirement("VM-16")
def test_a_message_that_is_infected_as_a_whole_is_a_text_then() -> None:
    header = b"From: x@far.example\r\nContent-Type: application/zip;\r\n name=a\r\nSubject: one\r\ncontent-id: <x>\r\n"
    whole = header + b"\r\nUEsDBA==\r\n"
    report = Report((ScannedPart(0, 0, len(header) + 2, len(whole), 0, "application/zip", True, b"name=a", ""),), ())
    left, fields = stripped(whole, report, {0: "Eicar"})
    assert left.startswith(
        b"From: x@far.example\r\nSubject: one\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset="
    )
    assert left.endswith(
        b"\r\n\r\nDELETED1.TXT: a virus was found in what was here, and it was removed.\r\n\r\n"
        b"Virus: Eicar\r\nThe field of the file name, as it was written:\r\nname=a\r\n"
    )
    assert [name for name, _value in fields] == [
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    ]


def test_a_message_that_is_mime_needs_to_say_so_only_once() -> None:
    whole = message(TEXT)
    left, fields = stripped(whole, located(whole, TEXT), {0: "Eicar", 1: "Eicar"})
    assert left.count(b"MIME-Version") == 1
    assert fields[0][0] == "Content-Type"
    assert b"Hello" not in left
