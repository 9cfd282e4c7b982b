# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail that scanners and scripts submit: hardly a header, any lines."""

from __future__ import annotations

import re
import time
import uuid
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, inbox, receive, subjects, submission, until
from .control import Control

#: A user's computer in EHLO, and the Message-ID that it writes.
HELO = "den.home.example"
TEXT = b"y" * 5000 + b"\r\n.\r\nend\r\n"


def delivered(server: Server, user: User, subject: str) -> bytes:
    """The mail with this subject as stored in the inbox."""
    assert arrived(server, user, subject)
    with inbox(server, user) as session:
        (numbers,) = session.search(None, "SUBJECT", subject)[1]
        part = session.fetch(numbers.decode(), "(BODY.PEEK[])")[1][0]
    assert isinstance(part, tuple)
    return bytes(part[1])


def header(content: bytes) -> EmailMessage:
    parsed = message_from_bytes(content, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


@pytest.fixture(scope="module")
def scanned(server: Server, taro: User, hanako: User) -> bytes:
    """A mail with only a subject and long lines, submitted by taro, in hanako's mailbox."""
    subject = uuid.uuid4().hex
    with submission(server, taro) as session:
        session.ehlo(HELO)
        session.sendmail(taro.address, hanako.address, f"Subject: {subject}\r\n\r\n".encode() + TEXT)
    return delivered(server, hanako, subject)


def test_what_a_program_leaves_out_is_added(scanned: bytes, taro: User) -> None:
    found = header(scanned)
    assert found["From"].addresses[0].addr_spec == taro.address
    assert abs(found["Date"].datetime.timestamp() - time.time()) < 300
    assert re.fullmatch(r"<[^<>@ ]+@[^<>@ ]+>", found["Message-ID"])
    assert [len(found.get_all(name, [])) for name in ("From", "Date", "Message-ID")] == [1, 1, 1]
    assert f"From: {taro.address}\r\n".encode() in scanned


def test_lines_arrive_as_long_as_they_were(scanned: bytes) -> None:
    assert scanned.partition(b"\r\n\r\n")[2] == TEXT


def test_where_a_user_sits_stands_in_the_log_alone(scanned: bytes, host: testinfra.host.Host) -> None:
    _by_lmtp, trace = header(scanned).get_all("Received", [])
    # RFC 5321 4.4: from, by, with, id, for; a semicolon and the time.
    form = (
        r"from localhost \(localhost \[127\.0\.0\.1\]\)\s.*\sby \S+ \(Postfix\) with ESMTPSA id (\w+)\s.*;\s+\w{3}, .*"
    )
    found = re.fullmatch(form, trace, flags=re.DOTALL)
    assert found, trace
    client = host.check_output("echo $SSH_CONNECTION").split()[0]
    assert HELO.encode() not in scanned
    assert client.encode() not in scanned
    log = host.check_output(f"journalctl --quiet --output=cat --since=-5min --grep={found[1]} --unit=postfix")
    assert f"[{client}]" in log
    assert f"helo=<{HELO}>" in log


def test_what_a_stranger_s_program_leaves_out_stays_out(server: Server, hanako: User) -> None:
    subject = uuid.uuid4().hex
    with protocols.smtp(server, "smtp") as session:
        session.ehlo("mx.outside.example")
        session.sendmail("x@outside.example", hanako.address, f"Subject: {subject}\r\n\r\nx\r\n".encode())
    found = header(delivered(server, hanako, subject))
    assert [found[name] for name in ("From", "Date", "Message-ID")] == [None, None, None]
    assert "mx.outside.example" in found.get_all("Received", [])[1]


def test_a_script_on_the_host_may_leave_out_as_much(
    server: Server, host: testinfra.host.Host, taro: User, hanako: User
) -> None:
    subject = uuid.uuid4().hex
    host.check_output(f"printf 'Subject: {subject}\\n\\nx\\n' | sendmail -f {taro.address} {hanako.address}")
    found = header(delivered(server, hanako, subject))
    assert [len(found.get_all(name, [])) for name in ("From", "Date", "Message-ID")] == [1, 1, 1]


def test_one_refused_recipient_of_a_script_s_mail_is_nobody_else_s_matter(
    server: Server, host: testinfra.host.Host, tenant: Control, hanako: User, bill: User
) -> None:
    """The gate defers one recipient's copy and rejects another's, as it does by SMTP."""
    full = User("full@e2e.example", "no room in here")
    tenant.module("mail_account", address=full.address, password=full.password, quota="2K")
    assert arrived(server, full, receive(server, "x@outside.example", full.address, size=3000))
    tenant.module(
        "mail_tenant",
        name="brief",
        plan="basic",
        domains=[{"name": "brief.example"}],
        overrides={"max_message_size": "5K"},
    )
    try:
        tenant.module("mail_account", address="ann@brief.example")
        subject = uuid.uuid4().hex
        text = "y" * 69 + "\\n"
        host.check_output(
            f"(printf 'Subject: {subject}\\n\\n'; for line in $(seq 100); do printf '{text}'; done) | "
            f"sendmail -f {hanako.address} {full.address} ann@brief.example {bill.address}"
        )
        assert arrived(server, bill, subject)
        assert until(lambda: "Undelivered Mail Returned to Sender" in subjects(server, hanako))
        with inbox(server, hanako) as session:
            (numbers,) = session.search(None, "SUBJECT", "Undelivered", "TEXT", subject)[1]
            part = session.fetch(numbers.decode(), "(BODY.PEEK[])")[1][0]
        assert isinstance(part, tuple)
        bounce = bytes(part[1])
        assert re.findall(rb"Final-Recipient: rfc822; (\S+)", bounce) == [b"ann@brief.example"]
        assert b"message size exceeds" in bounce
        waiting = [line for line in host.check_output("postqueue -j").splitlines() if full.address in line]
        assert len(waiting) == 1
        assert "mailbox is full" in waiting[0]
        assert '"queue_name": "maildrop"' not in host.check_output("postqueue -j")
    finally:
        host.check_output("postsuper -d ALL deferred")
        tenant.module("mail_tenant", name="brief", state="absent", grace="0s")
