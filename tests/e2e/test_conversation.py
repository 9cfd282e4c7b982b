# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sending: who may, as whom, to whom, and the replies to all others."""

from __future__ import annotations

import smtplib
import socket

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, arrived, message, receive, send, submission


@pytest.mark.requirement("AS-7", "AS-10", "WA-4")
@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_mail_submitted_is_delivered_across_tenants(server: Server, taro: User, bill: User, protocol: str) -> None:
    mail = message(taro.address, bill.address)
    with submission(server, taro, protocol) as session:
        session.send_message(mail)
    assert arrived(server, bill, mail["Subject"])


@pytest.mark.requirement("AS-6", "AS-7")
@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_submission_without_auth_is_refused(server: Server, taro: User, bill: User, protocol: str) -> None:
    with protocols.smtp(server, protocol) as session:
        code, _text = session.mail(taro.address)
        if code == 250:
            code, _text = session.rcpt(bill.address)
    assert code in (530, 554)


def test_587_speaks_only_starttls_before_tls(server: Server) -> None:
    with smtplib.SMTP(server.address, 587, timeout=10) as session:
        session.ehlo()
        assert "auth" not in session.esmtp_features
        assert session.mail("taro@acme.example")[0] == 530


def test_port_25_offers_no_auth_when_no_plan_has_it(server: Server) -> None:
    with protocols.smtp(server, "smtp") as session:
        assert session.has_extn("starttls")
        assert not session.has_extn("auth")
        session.starttls(context=server.context)
        session.ehlo()
        assert not session.has_extn("auth")


@pytest.mark.parametrize(
    "sender", ["bill@bolt.example", "hanako@acme.example", "nobody@acme.example", "someone@outside.example"]
)
def test_the_sender_must_belong_to_the_login(server: Server, taro: User, bill: User, sender: str) -> None:
    with submission(server, taro) as session:
        session.mail(sender)
        code, text = session.rcpt(bill.address)
    assert code == 553, text


def test_a_user_may_send_what_has_no_sender(server: Server, taro: User, bill: User) -> None:
    """RFC 8098: a mail program sends a disposition notification when a mail is read."""
    with submission(server, taro) as session:
        session.mail("")
        assert session.rcpt(bill.address)[0] == 250


def test_an_alias_may_be_the_sender_of_those_it_delivers_to(server: Server, taro: User, bill: User) -> None:
    assert arrived(server, bill, send(server, taro, bill.address, sender="sales@acme.example"))


def test_a_sender_with_an_extension_is_the_same_sender(server: Server, taro: User, bill: User) -> None:
    assert arrived(server, bill, send(server, taro, bill.address, sender="taro+shop@acme.example"))


@pytest.mark.parametrize(
    "recipient", ["someone@outside.example", "a%outside.example@acme.example", "@acme.example:a@outside.example"]
)
def test_port_25_is_no_relay(server: Server, recipient: str) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@elsewhere.example")
        code, text = session.docmd("RCPT", f"TO:<{recipient}>")
    assert 500 <= code < 600, text


def test_a_hosted_sender_address_gives_no_relaying(server: Server, taro: User) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.mail(taro.address)
        assert session.rcpt("someone@outside.example")[0] == 554


def test_the_host_itself_relays_nothing_by_its_address_alone(host: testinfra.host.Host) -> None:
    dialogue = (
        "import smtplib; s = smtplib.SMTP('127.0.0.1', 25, local_hostname='mx.outside.example');"
        " s.ehlo(); s.mail('a@outside.example'); print(s.rcpt('b@outside.example')[0])"
    )
    assert host.check_output(f'python3 -c "{dialogue}"') == "554"


def test_an_unknown_recipient_is_refused_before_data(server: Server) -> None:
    with protocols.smtp(server, "smtp") as session:
        session.mail("someone@outside.example")
        code, text = session.rcpt("nobody@acme.example")
        assert (code, text.split()[0]) == (550, b"5.1.1")
        assert session.rcpt("taro@acme.example")[0] == 250


def test_unknown_recipients_are_refused_to_users_too(server: Server, taro: User) -> None:
    with submission(server, taro) as session:
        session.mail(taro.address)
        assert session.rcpt("nobody@bolt.example")[0] == 550


def test_a_mail_from_outside_arrives(server: Server, bill: User) -> None:
    assert arrived(server, bill, receive(server, "someone@outside.example", bill.address))


def test_a_bounce_arrives(server: Server, bill: User) -> None:
    assert arrived(server, bill, receive(server, "", bill.address))


def test_an_extension_is_delivered_to_the_account(server: Server, bill: User) -> None:
    assert arrived(server, bill, receive(server, "someone@outside.example", "bill+lists@bolt.example"))


def test_case_of_an_address_does_not_matter(server: Server, bill: User) -> None:
    assert arrived(server, bill, receive(server, "someone@outside.example", "BILL@Bolt.Example"))


@pytest.mark.requirement("VM-8")
def test_an_alias_reaches_everybody_once(server: Server, taro: User, hanako: User) -> None:
    subject = receive(server, "someone@outside.example", "sales@acme.example", "taro@acme.example")
    assert arrived(server, hanako, subject)
    assert arrived(server, taro, subject)


@pytest.mark.requirement("VM-8")
def test_a_forward_that_keeps_a_copy(server: Server, taro: User) -> None:
    subject = receive(server, "someone@outside.example", "001@acme.example")
    assert arrived(server, taro, subject)
    assert arrived(server, User("001@acme.example", "000000"), subject)


def test_who_may_not_log_in_still_receives(server: Server, beth: User, host: testinfra.host.Host) -> None:
    subject = receive(server, "someone@outside.example", beth.address)
    search = f"doveadm search -u {beth.address} mailbox INBOX subject {subject}"
    assert host.run(f"for n in $(seq 50); do {search} | grep -q . && exit 0; sleep 0.2; done; exit 1").rc == 0


@pytest.mark.parametrize("command", ["VRFY taro@acme.example", "EXPN sales@acme.example", "ETRN acme.example"])
def test_nothing_is_disclosed(server: Server, command: str) -> None:
    with protocols.smtp(server, "smtp") as session:
        known = session.docmd(command)
        unknown = session.docmd(command.replace("taro", "nobody").replace("sales", "nobody"))
    assert known == unknown
    assert known[0] >= 500


@pytest.mark.parametrize("name", ["", "-", "localhost", "no_dots", "[300.1.1.1]"])
def test_a_senseless_helo_is_refused(server: Server, name: str) -> None:
    with socket.create_connection((server.address, 25), timeout=10) as connection:
        stream = connection.makefile("rwb")
        stream.readline()
        codes = []
        for line in (f"HELO {name}", "MAIL FROM:<a@outside.example>", "RCPT TO:<bill@bolt.example>"):
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            codes.append(int(stream.readline()[:3]))
    assert codes[-1] >= 500, codes


def test_a_bare_newline_ends_no_message(server: Server, bill: User) -> None:
    """SMTP smuggling: a non-standard end of data never makes a second mail."""
    subject, smuggled = (message("a@outside.example", bill.address)["Subject"] for _ in range(2))
    body = (
        f"Subject: {subject}\r\n\r\nx\n.\nMAIL FROM:<forged@acme.example>\r\nRCPT TO:<{bill.address}>\r\nDATA\r\n"
        f"Subject: {smuggled}\r\n\r\ny\r\n.\r\n"
    )
    with socket.create_connection((server.address, 25), timeout=10) as connection:
        stream = connection.makefile("rwb")
        stream.readline()
        for line in ("HELO mx.outside.example", "MAIL FROM:<a@outside.example>", f"RCPT TO:<{bill.address}>", "DATA"):
            stream.write(line.encode() + b"\r\n")
            stream.flush()
            stream.readline()
        stream.write(body.encode())
        stream.flush()
        stream.readline()
    later = receive(server, "a@outside.example", bill.address)
    assert arrived(server, bill, later)
    assert not arrived(server, bill, smuggled, timeout=1)
