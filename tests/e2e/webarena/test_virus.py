# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WebARENA Suite's virus check: infected mail is deleted, people of the customer's own domains are warned."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Iterator

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, until
from ..control import Control
from ..viruses import (
    ANYWHERE,
    ANYWHERE_NAME,
    EICAR_NAME,
    arriving,
    asked,
    forget_warnings,
    infected,
    mails,
    mixed,
    parsed,
    part,
    text,
)
from .wire import ABE, BABA, ENDO, STRANGER, answer, empty, session_of

USERS = (ABE, BABA, ENDO)
WARNING = "*** ウイルス警告 ***"
ATTACHMENT_LIMIT = 104_857_600
TOO_LARGE_UNPACKED = (552, b"5.3.4 sorry, an attachment is too large when it is unpacked")


@pytest.fixture(autouse=True)
def nothing_yet(server: Server, host: testinfra.host.Host) -> Iterator[None]:
    empty(server, *USERS)
    forget_warnings(host)
    yield
    empty(server, *USERS)


def handed_in(server: Server, sender: str | User, *recipients: str, content: bytes) -> tuple[int, bytes]:
    envelope = sender if isinstance(sender, str) else sender.address
    with session_of(server, sender) as session:
        return answer(session, envelope, *recipients, content=content)


def is_warned(server: Server, user: User, virus: str = EICAR_NAME) -> str:
    """The text of the one mail that the user has, which is a warning."""
    (content,) = arriving(server, user)
    warning = parsed(content)
    assert warning["Subject"] == WARNING
    said: str = warning.get_content().replace("\r\n", "\n")
    assert f"メールアドレス: {user.address}\n" in said
    assert f"ウイルス名: {virus}\n" in said
    assert "処置: メールを削除しました\n" in said
    return said


def hear_nothing(server: Server, host: testinfra.host.Host, *users: User) -> None:
    """Nobody of these has mail, and none is on its way."""
    assert until(lambda: host.check_output("mailq") == "Mail queue is empty")
    pending = "SELECT count(*) FROM directory.notice WHERE kind LIKE 'virus%' AND sent_at IS NULL"
    assert until(lambda: asked(host, pending) == "0")
    assert [user.address for user in users if mails(server, user)] == []


@pytest.mark.requirement("WA-3")
@pytest.mark.parametrize("sender", [STRANGER, BABA.address], ids=["a stranger", "a forged sender"])
def test_of_mail_that_comes_the_recipient_is_warned_alone(
    server: Server, host: testinfra.host.Host, sender: str
) -> None:
    assert (
        handed_in(server, sender, ABE.address, content=infected(sender, ABE.address, "=?utf-8?B?6KuL5rGC5pu4?="))[0]
        == 250
    )
    said = is_warned(server, ABE)
    assert f"差出人: {sender}\n" in said
    assert "件名: 請求書\n" in said
    hear_nothing(server, host, BABA, ENDO)


@pytest.mark.requirement("WA-3")
def test_an_infected_text_deletes_the_mail_too(server: Server) -> None:
    mail = f"From: {STRANGER}\r\nSubject: x\r\n\r\n".encode() + ANYWHERE + b"\r\n"
    assert handed_in(server, STRANGER, ABE.address, content=mail)[0] == 250
    is_warned(server, ABE, ANYWHERE_NAME)


@pytest.mark.requirement("WA-3")
def test_of_mail_that_is_sent_the_sender_is_warned_and_a_recipient_of_the_same_domain(
    server: Server, host: testinfra.host.Host
) -> None:
    recipients = (BABA.address, ENDO.address, "friend@outside.example")
    assert handed_in(server, ABE, *recipients, content=infected(ABE.address, ENDO.address))[0] == 250
    assert "宛先: baba@kita.example, endo@minami.example, friend@outside.example\n" in is_warned(server, ABE)
    is_warned(server, BABA)
    hear_nothing(server, host, ENDO)


@pytest.mark.requirement("WA-3")
def test_mail_of_a_web_form_is_scanned(server: Server, host: testinfra.host.Host) -> None:
    mail = infected(ABE.address, ENDO.address).decode().replace("\r\n", "\n")
    host.check_output(f"sendmail -f {ABE.address} {ENDO.address} <<'END'\n{mail}\nEND")
    is_warned(server, ABE)
    hear_nothing(server, host, ENDO)


@pytest.mark.requirement("WA-3")
def test_no_setting_of_an_address_opts_out(server: Server, control: Control) -> None:
    # Mail to an alias is the account's.
    control.module("mail_alias", address="office@kita.example", targets=[ABE.address])
    try:
        assert handed_in(server, STRANGER, "office@kita.example", content=infected(STRANGER, ABE.address))[0] == 250
        is_warned(server, ABE)
    finally:
        control.module("mail_alias", address="office@kita.example", state="absent")


@pytest.mark.requirement("WA-3")
def test_a_second_warning_waits_for_an_hour_and_counts(server: Server, host: testinfra.host.Host) -> None:
    for _mail in range(4):
        assert handed_in(server, STRANGER, ABE.address, content=infected(STRANGER, ABE.address))[0] == 250
    assert "件数: 1\n" in is_warned(server, ABE)
    waiting = "FROM directory.notice WHERE kind = 'virus_received' AND sent_at IS NULL"
    assert asked(host, f"SELECT facts ->> 'count', due_at > now() + interval '59 minutes' {waiting}") == "3|t"
    empty(server, ABE)
    asked(host, "UPDATE directory.notice SET due_at = now() WHERE sent_at IS NULL")
    asked(host, "NOTIFY mailhosting_notices")
    assert "件数: 3\n" in is_warned(server, ABE)


def packed(octets: int, *more: tuple[str, bytes]) -> bytes:
    """A ZIP of a file of so many zeros, and of others behind it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
        with made.open("zeros.bin", "w") as file:
            for at in range(0, octets, 1 << 20):
                file.write(bytes(min(1 << 20, octets - at)))
        for name, content in more:
            made.writestr(name, content)
    return archive.getvalue()


@pytest.mark.requirement("WA-6")
def test_an_attachment_that_unpacks_to_100_megabytes_is_refused(server: Server) -> None:
    mail = mixed(STRANGER, ABE.address, text(), part(packed(ATTACHMENT_LIMIT), "application/zip"))
    assert handed_in(server, STRANGER, ABE.address, content=mail) == TOO_LARGE_UNPACKED
    mail = mixed(ABE.address, ENDO.address, text(), part(packed(ATTACHMENT_LIMIT), "application/zip"))
    assert handed_in(server, ABE, ENDO.address, content=mail) == TOO_LARGE_UNPACKED


@pytest.mark.requirement("WA-6")
def test_an_octet_less_passes_and_several_files_count_together(server: Server) -> None:
    mail = mixed(STRANGER, ABE.address, text(), part(packed(ATTACHMENT_LIMIT - 1), "application/zip"))
    assert handed_in(server, STRANGER, ABE.address, content=mail)[0] == 250
    arriving(server, ABE)
    two = packed(ATTACHMENT_LIMIT - 1, ("one", b"x"))
    mail = mixed(STRANGER, ABE.address, text(), part(two, "application/zip"))
    assert handed_in(server, STRANGER, ABE.address, content=mail) == TOO_LARGE_UNPACKED


@pytest.mark.requirement("WA-8")
@pytest.mark.parametrize("sender", [STRANGER, BABA], ids=["received", "sent"])
def test_parts_of_a_divided_mail_pass(server: Server, sender: str | User) -> None:
    name = sender if isinstance(sender, str) else sender.address
    header = f"From: {name}\r\nTo: {ABE.address}\r\nMIME-Version: 1.0\r\n"
    for number in (1, 2):
        kind = f'Content-Type: message/partial; id="whole@outside.example"; number={number}; total=2\r\n\r\n'
        body = b"From: x@outside.example\r\n\r\nthe first half\r\n" if number == 1 else b"the second half\r\n"
        assert handed_in(server, sender, ABE.address, content=(header + kind).encode() + body)[0] == 250
    assert [b"half" in content for content in arriving(server, ABE, 2)] == [True, True]


@contextlib.contextmanager
def without_scanner(host: testinfra.host.Host) -> Iterator[None]:
    host.check_output("systemctl stop clamav-daemon.service")
    try:
        yield
    finally:
        host.check_output("systemctl start clamav-daemon.service")
        assert until(lambda: host.run("test -S /run/clamav/clamd.ctl").succeeded, 60)


def test_while_the_scanner_is_away_mail_waits_and_none_is_lost(server: Server, host: testinfra.host.Host) -> None:
    mail = mixed(STRANGER, ABE.address, text())
    with without_scanner(host):
        assert handed_in(server, STRANGER, ABE.address, content=mail)[0] == 451
        host.check_output(f"printf 'Subject: waits\\n\\nx\\n' | sendmail -f {BABA.address} {ABE.address}")
        assert handed_in(server, STRANGER, ABE.address, content=infected(STRANGER, ABE.address))[0] == 451
        assert mails(server, ABE) == []
    host.check_output("postqueue -f")
    (content,) = arriving(server, ABE)
    assert parsed(content)["Subject"] == "waits"
    assert handed_in(server, STRANGER, ABE.address, content=mail)[0] == 250
