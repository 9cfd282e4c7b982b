# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A tenant whose mail is scanned as by a gateway, beside one whose mail is not: `bolt` and `acme`."""

from __future__ import annotations

import io
import time
import uuid
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, fetched, inbox, until
from .control import Control
from .viruses import (
    ANYWHERE,
    asked,
    empty_quarantine,
    forget_warnings,
    infected,
    is_infected,
    mixed,
    parsed,
    part,
    parts_of,
    text,
)
from .webarena.wire import STRANGER, answer, session_of

WARNING = "*** Virus warning ***"


def handed_in(server: Server, sender: str | User, *recipients: str, content: bytes) -> tuple[int, bytes]:
    envelope = sender if isinstance(sender, str) else sender.address
    with session_of(server, sender) as session:
        return answer(session, envelope, *recipients, content=content)


def mail_of(server: Server, user: User, subject: str) -> bytes:
    """The mail with this subject, once it is there."""
    assert arrived(server, user, subject)
    with inbox(server, user) as session:
        number = session.search(None, f'SUBJECT "{subject}"')[1][0].decode().split()[-1]
        return fetched(session, number, "(BODY.PEEK[])")


def warnings(server: Server, user: User) -> list[str]:
    """The warnings that the user has; they are removed."""
    with inbox(server, user) as session:
        numbers = session.search(None, f'SUBJECT "{WARNING}"')[1][0].decode().split()
        found = [parsed(fetched(session, number, "(BODY.PEEK[])")).get_content() for number in numbers]
        for number in numbers:
            session.store(number, "+FLAGS", r"(\Deleted)")
        session.expunge()
    return [said.replace("\r\n", "\n") for said in found]


@pytest.fixture(autouse=True)
def nothing_yet(server: Server, host: testinfra.host.Host, bill: User) -> Iterator[None]:
    warnings(server, bill)
    forget_warnings(host)
    yield
    empty_quarantine(host)


def is_warned(server: Server, user: User) -> str:
    found: list[str] = []

    def is_there() -> bool:
        found.extend(warnings(server, user))
        return bool(found)

    assert until(is_there)
    (said,) = found
    return said


def body_infected(sender: str, recipient: str, subject: str) -> bytes:
    return f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\n".encode() + ANYWHERE + b"\r\n"


def new() -> str:
    """A subject of its own."""
    return uuid.uuid4().hex


def test_what_comes_is_cleaned_if_an_attachment_is_infected_and_deleted_if_the_text_is(
    server: Server, bill: User
) -> None:
    subject = new()
    assert handed_in(server, STRANGER, bill.address, content=infected(STRANGER, bill.address, subject))[0] == 250
    content = mail_of(server, bill, subject)
    assert not is_infected(content)
    assert [name for name, _octets in parts_of(content)] == [None, "DELETED1.TXT"]
    assert "Action: the infected part was removed\n" in is_warned(server, bill)


def test_an_infected_text_deletes_the_mail_and_the_recipient_is_warned(server: Server, bill: User) -> None:
    subject = new()
    assert handed_in(server, STRANGER, bill.address, content=body_infected(STRANGER, bill.address, subject))[0] == 250
    said = is_warned(server, bill)
    assert "Action: the mail was deleted\n" in said
    assert f"Subject: {subject}\n" in said
    assert not arrived(server, bill, subject, timeout=1)


def test_infected_mail_is_not_sent_and_the_sender_is_warned(
    server: Server, host: testinfra.host.Host, bill: User, taro: User
) -> None:
    subject = new()
    assert handed_in(server, bill, taro.address, content=infected(bill.address, taro.address, subject))[0] == 250
    assert "To: taro@acme.example\n" in is_warned(server, bill)
    assert until(lambda: host.check_output("mailq") == "Mail queue is empty")
    assert not arrived(server, taro, subject, timeout=1)
    assert warnings(server, taro) == []


def test_each_recipient_has_what_the_plans_of_all_leave(server: Server, bill: User, taro: User) -> None:
    # What one has stripped, others have stripped too.
    subject = new()
    content = infected(STRANGER, bill.address, subject)
    assert handed_in(server, STRANGER, taro.address, bill.address, content=content)[0] == 250
    assert [is_infected(mail_of(server, user, subject)) for user in (taro, bill)] == [False, False]
    # Whose mail is deleted is taken out, however the address is written; who is not scanned has it.
    subject = new()
    content = body_infected(STRANGER, bill.address, subject)
    recipients = (taro.address, "BILL@Bolt.Example", '"beth"@bolt.example')
    assert handed_in(server, STRANGER, *recipients, content=content)[0] == 250
    assert is_infected(mail_of(server, taro, subject))
    assert not arrived(server, bill, subject, timeout=1)


def test_mail_of_tenants_that_are_not_scanned_is_as_it_was(server: Server, taro: User, hanako: User) -> None:
    subject = new()
    assert handed_in(server, taro, hanako.address, content=infected(taro.address, hanako.address, subject))[0] == 250
    assert is_infected(mail_of(server, hanako, subject))


def with_password() -> bytes:
    """A ZIP whose file needs a password."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("secret.txt", b"twelve octets of a key and something encrypted")
    octets = bytearray(packed.getvalue())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        octets[octets.index(header) + flags] |= 1
    return bytes(octets)


def test_files_with_a_password_and_parts_of_divided_mail_pass(server: Server, bill: User) -> None:
    subject = new()
    locked = with_password()
    content = mixed(STRANGER, bill.address, text(), part(locked, "application/zip"), subject=subject)
    assert handed_in(server, STRANGER, bill.address, content=content)[0] == 250
    assert locked in [octets for _name, octets in parts_of(mail_of(server, bill, subject))]
    subject = new()
    partial = (
        f"From: {STRANGER}\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: message/partial; id="a@outside.example"; number=2; total=2\r\n\r\nhalf\r\n'
    )
    assert handed_in(server, STRANGER, bill.address, content=partial.encode())[0] == 250
    assert b"half" in mail_of(server, bill, subject)


USER = User("scanned@e2e.example", "a plan has its mail scanned")


@pytest.fixture
def scanned(tenant: Control) -> Iterator[Any]:
    """`scanned(…)`: sets the key `virus` of a tenant with the account USER."""

    def plan(**virus: Any) -> None:
        domains = [{"name": "e2e.example"}]
        tenant.module("mail_tenant", name="e2e", plan="basic", domains=domains, overrides={"virus": virus})
        tenant.module("mail_account", address=USER.address, password=USER.password)
        # A tenant's settings are used for a second.
        time.sleep(1)

    yield plan
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=[{"name": "e2e.example"}], overrides={})


def zipped(octets: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.bin", bytes(octets))
    return packed.getvalue()


MEBIBYTE = 1 << 20


def test_a_mail_beyond_a_limit_of_its_content_is_an_error(server: Server, scanned: Any) -> None:
    scanned(max_content_size="1M", max_unpacked_size="3M")

    def said(*parts: bytes) -> tuple[int, bytes]:
        return handed_in(server, STRANGER, USER.address, content=mixed(STRANGER, USER.address, *parts))

    # What is encoded is larger than the limit, and what is decoded is not.
    assert said(part(b"\xff" * (MEBIBYTE - 1000)))[0] == 250
    assert said(text(b"x" * 998), part(b"\xff" * MEBIBYTE)) == (
        552,
        b"5.3.4 sorry, text and attachments are too large together",
    )
    assert said(part(zipped(3 * MEBIBYTE), "application/zip"))[0] == 250
    assert said(part(zipped(3 * MEBIBYTE + 1), "application/zip")) == (
        552,
        b"5.3.4 sorry, an attachment is too large when it is unpacked",
    )


def test_what_cannot_be_checked_is_refused_or_marked_by_plan(server: Server, scanned: Any) -> None:
    locked = part(with_password(), "application/zip")
    scanned(encrypted="reject")
    content = mixed(STRANGER, USER.address, text(), locked)
    assert handed_in(server, STRANGER, USER.address, content=content) == (
        550,
        b"5.7.1 sorry, I take no files that need a password, because I cannot check them",
    )
    scanned(encrypted="mark", reject_files=["executable"])
    subject = new()
    content = mixed(STRANGER, USER.address, text(), locked, subject=subject)
    assert handed_in(server, STRANGER, USER.address, content=content)[0] == 250
    assert parsed(mail_of(server, USER, subject))["X-Virus-Check"].lower() == "encrypted (zip)"
    program = mixed(STRANGER, USER.address, text(), part(b"MZ" + bytes(62) + b"PE\0\0" + bytes(500)))
    assert handed_in(server, STRANGER, USER.address, content=program) == (
        550,
        b"5.7.1 sorry, I take no programs and no documents with macros",
    )
    partial = b'Content-Type: message/partial; id="a"; number=1; total=2\r\n\r\nSubject: x\r\n\r\nhalf\r\n'
    assert handed_in(server, STRANGER, USER.address, content=partial) == (
        550,
        b"5.7.1 sorry, I take no parts of a divided mail, because I cannot check them",
    )
    # Of a mail that was refused for something else its sender hears, and nobody else.
    assert warnings(server, USER) == []


def test_infected_mail_is_refused_in_the_session_by_default_where_people_send_it(server: Server, scanned: Any) -> None:
    scanned()
    content = infected(USER.address, "friend@outside.example")
    assert handed_in(server, USER, "friend@outside.example", content=content) == (
        550,
        b"5.7.1 sorry, your mail contains a virus",
    )
    assert "Action: the mail was refused\n" in is_warned(server, USER)


def test_a_suspended_account_is_not_warned(
    server: Server, host: testinfra.host.Host, tenant: Control, scanned: Any
) -> None:
    scanned(inbound={"attachment": "delete"})
    tenant.module("mail_account", address="off@e2e.example", password="may read nothing", state="suspended")
    tenant.module("mail_alias", address="both@e2e.example", targets=[USER.address, "off@e2e.example"])
    try:
        content = infected(STRANGER, "both@e2e.example")
        assert handed_in(server, STRANGER, "both@e2e.example", content=content)[0] == 250
        is_warned(server, USER)
        assert asked(host, "SELECT count(*) FROM directory.notice WHERE kind LIKE 'virus%'") == "1"
    finally:
        tenant.module("mail_alias", address="both@e2e.example", state="absent")
        tenant.module("mail_account", address="off@e2e.example", state="absent", grace="0s")
