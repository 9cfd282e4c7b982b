# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VarioMail's virus check: what is infected is removed from mail that comes and that is sent, and nothing else."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator

import pytest
import sample_archives
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server
from sample_archives import INFECTED, JAPANESE
from sample_documents import ole_with, rtf_with, tnef_with
from sample_lha import lha
from sample_mail import binhex, uuencoded

from ..clients import User, until
from ..outside import Outside
from ..viruses import ANYWHERE, EICAR, EICAR_NAME, arriving, infected, is_infected, mails, mixed, part, parts_of, text
from ..webarena.wire import STRANGER, answer, empty, session_of

SABURO = User("saburo@variosecure-net.example", "Vario-Saburo-1")
HANAKO = User("hanako@variosecure-net.example", "Vario-Hanako-2")
KEN = User("ken@variosecure-net.example", "Vario-Ken-4")
INFO = "info@variosecure-net.example"
OUTSIDE = "friend@outside.example"

#: As mail programs in Japan write a file's name: an encoded word in ISO-2022-JP, and RFC 2231.
NAMES = [
    b'filename="=?ISO-2022-JP?B?GyRCQEE1YT1xGyhCLnppcA==?="',
    b"filename*0*=UTF-8''%E8%AB%8B%E6%B1%82;\r\n filename*1*=%E6%9B%B8.zip",
    'filename="請求書.zip"'.encode("cp932"),
]
CLEAN = part(bytes(range(256)) * 41, "image/png", b'filename="clean.png"')


@pytest.fixture(autouse=True)
def maildrops(server: Server) -> Iterator[None]:
    empty(server, SABURO, HANAKO)
    yield
    empty(server, SABURO, HANAKO)


def zipped(content: bytes, name: str = "a.com") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def handed_in(server: Server, sender: str | User, *recipients: str, content: bytes) -> int:
    envelope = sender if isinstance(sender, str) else sender.address
    with session_of(server, sender) as session:
        return answer(session, envelope, *recipients, content=content)[0]


def is_cleaned(content: bytes, name_field: bytes) -> None:
    """Of the three parts only the infected one is another, a text that shows the field of its name."""
    assert CLEAN in content
    assert not is_infected(content)
    (_, hello), (clean, octets), (deleted, shown) = parts_of(content)
    assert (hello.strip(), clean, octets) == (b"Hello.", "clean.png", bytes(range(256)) * 41)
    assert deleted == "DELETED1.TXT"
    assert b"Virus: " + EICAR_NAME.encode() + b"\r\n" in shown
    assert name_field in shown


@pytest.mark.requirement("VM-12")
@pytest.mark.parametrize("name_field", NAMES, ids=["encoded word", "RFC 2231", "Shift_JIS"])
def test_an_infected_attachment_is_replaced_in_mail_that_comes(server: Server, name_field: bytes) -> None:
    infected_part = part(zipped(EICAR, "請求書.com"), "application/zip", name_field)
    mail = mixed(STRANGER, SABURO.address, text(), CLEAN, infected_part)
    assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    (content,) = arriving(server, SABURO)
    is_cleaned(content, name_field)


@pytest.mark.requirement("VM-12")
def test_an_infected_attachment_is_replaced_in_mail_that_is_sent(server: Server, outside: Outside) -> None:
    mail = mixed(HANAKO.address, OUTSIDE, text(), CLEAN, part(EICAR, name_field=NAMES[0]))
    assert handed_in(server, HANAKO, OUTSIDE, content=mail) == 250
    assert until(lambda: len(outside.mails) == 1)
    is_cleaned(outside.mails.pop().content, NAMES[0])


@pytest.mark.requirement("VM-12")
def test_each_infected_attachment_has_a_number_of_its_own(server: Server) -> None:
    mail = mixed(STRANGER, SABURO.address, part(EICAR), text(), part(zipped(EICAR), "application/zip"))
    assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    (content,) = arriving(server, SABURO)
    assert [name for name, _octets in parts_of(content)] == ["DELETED1.TXT", None, "DELETED2.TXT"]


PACKED = {
    "gzip": gzip.compress(INFECTED),
    "Z": sample_archives.compress(EICAR),
    "LHA -lh1-": lha(JAPANESE, INFECTED, "lh1"),
    "LHA -lh4-": lha(JAPANESE, INFECTED, "lh4"),
    "LHA -lh5-": lha(JAPANESE, INFECTED, "lh5"),
    "MIME base64": INFECTED,
    "OLE": ole_with(JAPANESE, INFECTED),
    "TNEF": tnef_with(JAPANESE, INFECTED),
    "RTF": rtf_with(JAPANESE, INFECTED),
    "TAR": sample_archives.tar({JAPANESE: INFECTED}),
    "ZIP": sample_archives.zipped({JAPANESE: INFECTED}),
    "ARJ": sample_archives.arj({JAPANESE: INFECTED}),
    "RAR4": sample_archives.rar4({JAPANESE: INFECTED}),
    "RAR5": sample_archives.rar5({JAPANESE: INFECTED}),
}


@pytest.mark.requirement("VM-13")
@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_each_format_is_opened(server: Server, packed: bytes) -> None:
    mail = mixed(STRANGER, SABURO.address, text(), CLEAN, part(packed, name_field=NAMES[0]))
    assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    (content,) = arriving(server, SABURO)
    assert CLEAN in content
    assert [name for name, _octets in parts_of(content)] == [None, "clean.png", "DELETED1.TXT"]


@pytest.mark.requirement("VM-13")
@pytest.mark.parametrize("encode", [binhex, uuencoded])
def test_a_file_in_the_text_is_an_attachment(server: Server, encode: Callable[[bytes, bytes], bytes]) -> None:
    lines = encode(b"a.com", INFECTED)
    mail = f"From: {STRANGER}\r\nSubject: x\r\n\r\nbefore\r\n".encode() + lines + b"\r\nafter\r\n"
    assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    (content,) = arriving(server, SABURO)
    assert (
        content.index(b"before\r\n") < content.index(b"DELETED1.TXT: a virus was found") < content.index(b"after\r\n")
    )
    assert lines[40:200] not in content


@pytest.mark.requirement("VM-14")
def test_mail_to_an_alias_is_scanned_before_it_is_forwarded(server: Server, outside: Outside) -> None:
    assert handed_in(server, STRANGER, INFO, content=infected(STRANGER, INFO)) == 250
    for user in (SABURO, HANAKO):
        (content,) = arriving(server, user)
        assert not is_infected(content)
        assert [name for name, _octets in parts_of(content)] == [None, "DELETED1.TXT"]
    # KEN forwards elsewhere: what was removed something of stays here, and other mail goes on.
    empty(server, KEN)
    assert handed_in(server, STRANGER, KEN.address, content=infected(STRANGER, KEN.address)) == 250
    (content,) = arriving(server, KEN)
    assert b"DELETED1.TXT" in content
    clean = mixed(STRANGER, KEN.address, text(), CLEAN)
    assert handed_in(server, STRANGER, KEN.address, content=clean) == 250
    assert until(lambda: len(outside.mails) == 1)
    sent_on = outside.mails.pop()
    assert sent_on.recipients == ["ken@keitai.example"]
    assert CLEAN in sent_on.content


PGP = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA+not+really+encrypted\r\n-----END PGP MESSAGE-----\r\n"
SMIME = bytes.fromhex("3080 0609 2a864886f70d010703 a080 3080 020100 3100 3000 0000 0000 0000".replace(" ", ""))


@pytest.mark.requirement("VM-14")
@pytest.mark.parametrize(
    "parts",
    [
        (b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n", part(PGP, name_field=b'filename="x.asc"')),
        (part(SMIME, "application/pkcs7-mime; smime-type=enveloped-data", b'filename="smime.p7m"'),),
    ],
    ids=["PGP", "S/MIME"],
)
def test_encrypted_mail_passes_as_it_is(server: Server, parts: tuple[bytes, ...]) -> None:
    mail = mixed(STRANGER, SABURO.address, *parts)
    assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    (content,) = arriving(server, SABURO)
    assert content.endswith(mail[mail.index(b"--=_viruses") :])
    assert b"X-Virus-Check" not in content


@pytest.mark.requirement("VM-14")
@pytest.mark.parametrize(
    "recipient", [f"postmaster@{SABURO.address.partition('@')[2]}", "saburo+tag@variosecure-net.example"]
)
def test_no_address_is_exempt(server: Server, recipient: str) -> None:
    assert handed_in(server, STRANGER, recipient, content=infected(STRANGER, recipient)) == 250
    (content,) = arriving(server, SABURO)
    assert not is_infected(content)


@pytest.mark.requirement("VM-16")
def test_an_infected_text_is_replaced_and_the_mail_arrives(server: Server, host: testinfra.host.Host) -> None:
    plain = f"From: {STRANGER}\r\nSubject: plain\r\n\r\n".encode() + ANYWHERE + b"\r\n"
    in_multipart = mixed(STRANGER, SABURO.address, text(ANYWHERE), CLEAN, subject="multipart")
    for mail in (plain, in_multipart):
        assert handed_in(server, STRANGER, SABURO.address, content=mail) == 250
    first, second = arriving(server, SABURO, 2)
    for content in (first, second):
        assert not is_infected(content)
        assert b'name="DELETED1.TXT"' in content
    assert CLEAN in second
    # Nothing of it is kept.
    assert host.check_output("ls /var/lib/mailhosting/quarantine /var/spool/mailhosting-gate | grep -v : || true") == ""


@pytest.mark.requirement("VM-16")
def test_mail_without_what_is_infected_is_as_it_came(server: Server) -> None:
    mail = mixed(STRANGER, SABURO.address, text(b"a line\r\n\r\n.. and\tmore \xe9"), CLEAN)
    assert handed_in(server, STRANGER, SABURO.address, content=mail.replace(b"\r\n..", b"\r\n...")) == 250
    (content,) = arriving(server, SABURO)
    assert content.endswith(mail[mail.index(b"MIME-Version") :])


@pytest.mark.requirement("VM-12")
def test_nobody_else_is_told(server: Server) -> None:
    mail = infected(HANAKO.address, SABURO.address)
    assert handed_in(server, HANAKO, SABURO.address, content=mail) == 250
    arriving(server, SABURO)
    assert mails(server, HANAKO) == []
