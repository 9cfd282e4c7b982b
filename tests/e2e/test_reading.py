# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: by every protocol of the plan, and never without the right password."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import io
import poplib
import socket

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import LoginRefusedError, User, arrived, at_once, inbox, log_in, may_log_in, message, receive, until


def pop3_subjects(server: Server, user: User, protocol: str) -> list[str]:
    session = protocols.pop3(server, protocol)
    try:
        session.user(user.address)
        session.pass_(user.password)
        heads = [b"\n".join(session.top(number, 0)[1]) for number in range(1, session.stat()[0] + 1)]
    finally:
        session.quit()
    return [line[9:].decode() for head in heads for line in head.splitlines() if line.startswith(b"Subject: ")]


def test_an_office_reads_by_one_login_and_there_is_an_end_to_it(server: Server, bill: User) -> None:
    with contextlib.ExitStack() as sessions:
        for _connection in range(30):
            session = sessions.enter_context(protocols.imap(server, "imaps"))
            session.login(bill.address, bill.password)
        assert session.select("INBOX")[0] == "OK"
        one_more = protocols.imap(server, "imaps")
        sessions.callback(one_more.shutdown)
        with pytest.raises(imaplib.IMAP4.error, match="Maximum number of connections"):
            one_more.login(bill.address, bill.password)


@pytest.mark.requirement("OM-1", "AS-9", "AS-10")
def test_the_same_mail_by_every_protocol(server: Server, bill: User) -> None:
    subject = receive(server, "someone@outside.example", bill.address)
    assert arrived(server, bill, subject)
    for protocol in ("pop3", "pop3s"):
        assert subject in pop3_subjects(server, bill, protocol)
    for protocol in ("imap", "imaps"):
        with protocols.imap(server, protocol) as session:
            session.login(bill.address, bill.password)
            session.select("INBOX", readonly=True)
            assert session.search(None, "SUBJECT", subject)[1][0]


@pytest.mark.usefixtures("no_failures_yet")
@pytest.mark.requirement("OM-8")
@pytest.mark.parametrize(
    "password", ["tr0ub4dor&3", "TR0UB4DOR&3", "Tr0ub4dor&", "Tr0ub4dor&3 ", "", "{PLAIN}", "Tr0ub4dor&3\0"]
)
def test_passwords_are_exact(server: Server, bill: User, password: str) -> None:
    tries = [(server, protocol, User(bill.address, password)) for protocol in ("imaps", "submission")]
    assert at_once(may_log_in, *tries) == [False, False]


@pytest.mark.usefixtures("no_failures_yet")
@pytest.mark.parametrize(
    "login",
    [
        "nobody@bolt.example", "bill", "bill@", "@bolt.example", "bill@nowhere.example", "' OR 1=1 --@bolt.example",
        "bill%@bolt.example", "bill@bolt.example'", "\\@bolt.example",
    ],
)  # fmt: skip
def test_an_unknown_login_is_refused_like_a_wrong_password(server: Server, bill: User, login: str) -> None:
    def answer(user: User) -> str:
        with pytest.raises(LoginRefusedError) as refused:
            log_in(server, "pop3s", user)
        return str(refused.value)

    unknown, wrong = at_once(answer, (User(login, bill.password),), (User(bill.address, "wrong"),))
    assert unknown == wrong


def test_case_of_the_login_does_not_matter(server: Server, bill: User) -> None:
    log_in(server, "imaps", User("BILL@Bolt.Example", bill.password))


@pytest.mark.usefixtures("no_failures_yet")
@pytest.mark.requirement("VM-6")
@pytest.mark.parametrize("protocol", ["pop3s", "imaps", "submission"])
def test_no_login_means_no_login(server: Server, beth: User, protocol: str) -> None:
    assert not may_log_in(server, protocol, beth)


def test_pop3_asks_for_no_password_without_tls(server: Server, bill: User) -> None:
    session = poplib.POP3(server.address, 110, timeout=10)
    assert "USER" not in session.capa()
    with pytest.raises(poplib.error_proto):
        session.user(bill.address)
    session.close()


def test_imap_asks_for_no_password_without_tls(server: Server, bill: User) -> None:
    with imaplib.IMAP4(server.address, 143, timeout=10) as mailbox:
        assert "LOGINDISABLED" in mailbox.capabilities
        with pytest.raises(imaplib.IMAP4.error):
            mailbox.login(bill.address, bill.password)


def test_managesieve_takes_and_runs_a_script(server: Server, bill: User) -> None:
    """RFC 5804: STARTTLS, AUTHENTICATE, PUTSCRIPT, SETACTIVE; then the script files the next mail."""

    def answer(stream: io.BufferedRWPair) -> str:
        while True:
            line = stream.readline().decode()
            if line.startswith(("OK", "NO", "BYE")) or not line:
                return line

    with socket.create_connection((server.address, 4190), timeout=10) as plain:
        stream = plain.makefile("rwb")
        answer(stream)
        stream.write(b"STARTTLS\r\n")
        stream.flush()
        assert answer(stream).startswith("OK")
        with server.context.wrap_socket(plain) as secured:
            stream = secured.makefile("rwb")
            answer(stream)
            token = base64.b64encode(f"\0{bill.address}\0{bill.password}".encode()).decode()
            script = (
                'require ["fileinto", "mailbox"];\r\nif header :is "X-Sorted" "yes" { fileinto :create "Sorted"; }\r\n'
            )
            for command in (
                f'AUTHENTICATE "PLAIN" "{token}"',
                f'PUTSCRIPT "sorted" {{{len(script)}+}}\r\n{script}',
                'SETACTIVE "sorted"',
            ):
                stream.write(command.encode() + b"\r\n")
                stream.flush()
                assert answer(stream).startswith("OK"), command
    mail = message("someone@outside.example", bill.address)
    mail["X-Sorted"] = "yes"
    with protocols.smtp(server, "smtp") as session:
        session.send_message(mail)

    def sorted_mail() -> bool:
        with inbox(server, bill, "Sorted") as mailbox:
            return mailbox.state == "SELECTED" and bool(mailbox.search(None, "SUBJECT", mail["Subject"])[1][0])

    assert until(sorted_mail)
