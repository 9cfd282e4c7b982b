# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail with letters that are not ASCII's: what is taken arrives, and what cannot arrive is not taken."""

from __future__ import annotations

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, receive, submission, until
from .control import Control

OUTSIDE = "someone@outside.example"
NIHONGO = "xn--wgv71a119e.example"  # 日本語.example


@pytest.fixture
def info(tenant: Control) -> User:
    domains = [{"name": "e2e.example"}, {"name": NIHONGO}]
    tenant.module("mail_tenant", name="e2e", plan="basic", domains=domains)
    made = User(f"info@{NIHONGO}", "written as people see it")
    tenant.module("mail_account", address=made.address, password=made.password)
    return made


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
