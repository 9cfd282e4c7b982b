# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail with letters beyond ASCII: what the host accepts arrives, and it rejects what cannot arrive."""

from __future__ import annotations

import base64
import unicodedata

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, log_in, receive, submission, until
from .control import Control

OUTSIDE = "someone@outside.example"
NIHONGO = "xn--wgv71a119e.example"  # 日本語.example
#: A domain whose letters have two Unicode forms: as U-labels, and as A-labels in the directory.
GAKKOU, STORED = "がっこう.example", "xn--p8jlv7d.example"
DOMAINS = [{"name": "e2e.example"}, {"name": NIHONGO}, {"name": GAKKOU}]


@pytest.fixture
def info(tenant: Control) -> User:
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=DOMAINS)
    made = User(f"info@{NIHONGO}", "written as people see it")
    tenant.module("mail_account", address=made.address, password=made.password)
    return made


@pytest.fixture
def sensei(tenant: Control) -> User:
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=DOMAINS)
    made = User(f"sensei@{GAKKOU}", "as it is written")
    tenant.module("mail_account", address=made.address, password=made.password)
    return made


def as_typed(user: User) -> list[User]:
    """Forms in which programs may send the login: composed, decomposed, from an input method, and as A-labels."""
    forms = [unicodedata.normalize("NFC", user.address), unicodedata.normalize("NFD", user.address)]
    wide = f"ｓｅｎｓｅｉ＠{GAKKOU.replace('.', '。')}"
    return [User(name, user.password) for name in (*forms, wide, f"sensei@{STORED}")]


@pytest.mark.parametrize("protocol", ["pop3s", "imaps", "sieve"])
def test_a_login_is_known_by_either_spelling_of_its_domain(server: Server, sensei: User, protocol: str) -> None:
    for user in as_typed(sensei):
        log_in(server, protocol, user)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_who_logs_in_by_either_spelling_owns_the_sender(
    server: Server, host: testinfra.host.Host, sensei: User, bill: User, mechanism: str
) -> None:
    for user in as_typed(sensei):
        name, password = (base64.b64encode(text.encode()).decode() for text in user)
        both = base64.b64encode(f"\0{user.address}\0{user.password}".encode()).decode()
        with protocols.smtp(server, "submission") as session:
            session.ehlo()
            if mechanism == "LOGIN":
                assert [session.docmd(said)[0] for said in ("AUTH LOGIN", name, password)] == [334, 334, 235]
            else:
                assert session.docmd("AUTH", f"PLAIN {both}")[0] == 235
            assert session.mail(bill.address)[0] == 250
            assert session.rcpt(bill.address)[0] == 553
            session.rset()
            # U-labels in a sender would need SMTPUTF8.
            session.send(f"MAIL FROM:<{sensei.address}>\r\n".encode())
            assert session.getreply()[0] == 501
            assert session.sendmail(f"sensei@{STORED}", [bill.address], "Subject: spelled\r\n\r\nx") == {}
    logged = host.check_output("journalctl --since=-1min --unit=postfix --grep=sasl_username=sensei --output=cat")
    assert {line.rpartition("=")[2] for line in logged.splitlines()} == {f"sensei@{STORED}"}


def test_commands_know_an_account_by_either_spelling(sensei: User, host: testinfra.host.Host) -> None:
    names = sensei.address, f"sensei@{STORED}"
    assert len({host.check_output(f"doveadm user -f home {name}") for name in names}) == 1
    for name in names:
        host.check_output(f"mailhosting limits show {name}")
        host.check_output(f"mailhosting autoreply forget {name}")
        host.check_output(f"echo another that is as long | mailhosting password {name}")


def test_mail_for_an_international_domain_arrives(server: Server, info: User) -> None:
    assert arrived(server, info, receive(server, OUTSIDE, info.address))
    assert arrived(server, info, receive(server, OUTSIDE, info.address.upper()))
    with submission(server, info) as session:
        assert session.sendmail(info.address, [info.address], "Subject: =?utf-8?b?5pel5pys?=\r\n\r\nx") == {}


@pytest.mark.parametrize("protocol", ["smtp", "submission", "submissions"])
def test_what_lmtp_does_not_take_is_not_offered(server: Server, info: User, protocol: str) -> None:
    with protocols.smtp(server, protocol) as session:
        if protocol != "smtp":
            session.login(*info)
        session.ehlo()
        assert not session.has_extn("smtputf8")
        assert session.docmd("MAIL", f"FROM:<{info.address}> SMTPUTF8")[0] == 555


def test_octets_that_are_no_text_put_nobodys_mail_off(server: Server, info: User) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.ehlo()
        session.send("MAIL FROM:<someone@日本語.example>\r\n".encode())
        assert session.getreply()[0] == 501
        session.send(b"MAIL FROM:<\xff\xfe@outside.example>\r\n")
        assert session.getreply()[0] == 501
        session.docmd("MAIL", f"FROM:<{OUTSIDE}>")
        for octets in (b"info+\xff", b"\xff\xfe", b"\x93\xfa\x96\x7b", "日本".encode(), b"\xc3'", b"a\\'"):
            session.send(b"RCPT TO:<" + octets + b"@e2e.example>\r\n")
            assert session.getreply()[0] in {501, 550, 553}, octets
        assert session.docmd("RCPT", f"TO:<{info.address}>")[0] == 250


def test_a_program_on_the_host_may_write_raw_octets(server: Server, info: User, host: testinfra.host.Host) -> None:
    mail = r"Subject: \346\227\245\346\234\254 raw\n\n\346\227\245\n"
    host.check_output(f"printf '{mail}' | sendmail -f root {info.address}")

    def is_there() -> bool:
        with protocols.imap(server, "imaps") as session:
            session.login(*info)
            session.select("INBOX")
            return bool(session.search(None, "SUBJECT", "raw")[1][0])

    assert until(is_there)
