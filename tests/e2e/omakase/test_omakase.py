# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Omakase server service, as its customers' mail programs see it."""

from __future__ import annotations

import poplib
import re
import smtplib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server, TLSContext

from ..clients import LoginRefusedError, User, log_in, message, size_limit, until
from ..control import Control

#: One account of each plan, with its quota in MiB.
USERS = {
    "basic": (User("sato@kaede.example", "Kaede-Sato-1"), 20),
    "basic with the option": (User("suzuki@momiji.example", "Momiji-Suzuki-3"), 50),
    "secure": (User("tanaka@sakura.example", "Sakura-Tanaka-4"), 50),
    "premium": (User("ito@ume.example", "Ume-Ito-5"), 50),
    "pro": (User("kato@matsu.example", "Matsu-Kato-6"), 50),
    "dedicated": (User("ono@take.example", "Take-Ono-7"), 50),
}
SATO = USERS["basic"][0]
ITO = USERS["premium"][0]


def domain(user: User) -> str:
    return user.address.partition("@")[2]


def called(server: Server, name: str, ca_file: str) -> Server:
    """The same host by another of its names, which the certificate must have."""
    return Server(server.address, TLSContext(name, Path(ca_file).read_text()), server.timeout)


def plain_pop3(server: Server, user: User) -> poplib.POP3:
    """A POP3 session without TLS, logged in."""
    session = poplib.POP3(server.address, 110, timeout=30)
    try:
        session.user(user.address)
        session.pass_(user.password)
    except poplib.error_proto:
        session.close()
        raise
    return session


def read(server: Server, user: User, subject: str) -> bool:
    """Whether a mail with this subject is in the maildrop."""
    session = plain_pop3(server, user)
    headers = [b"\n".join(session.top(number + 1, 0)[1]) for number in range(len(session.list()[1]))]
    session.quit()
    return any(subject.encode() in header for header in headers)


@pytest.mark.requirement("OM-1")
@pytest.mark.parametrize("plan", USERS)
def test_pop3_for_everybody_and_pop3s_for_secure_and_premium(server: Server, plan: str) -> None:
    user, _quota = USERS[plan]
    plain_pop3(server, user).quit()
    if plan in ("secure", "premium"):
        log_in(server, "pop3s", user)
    else:
        with pytest.raises(LoginRefusedError, match="plan"):
            log_in(server, "pop3s", user)


@pytest.mark.requirement("OM-2")
@pytest.mark.parametrize("plan", USERS)
def test_every_customer_has_names_of_its_own_and_all_share_one(
    server: Server, variables: dict[str, Any], ca_file: str, plan: str
) -> None:
    user, _quota = USERS[plan]
    log_in(called(server, f"pop3.{domain(user)}", ca_file), "pop3", user)
    log_in(called(server, f"smtp.{domain(user)}", ca_file), "submission", user)
    log_in(called(server, variables["mail_hostname"], ca_file), "pop3", user)


@pytest.mark.requirement("OM-3")
@pytest.mark.parametrize("plan", USERS)
def test_the_mailbox_has_the_plans_size_or_the_options(host: testinfra.host.Host, plan: str) -> None:
    user, quota = USERS[plan]
    kibibytes = host.check_output(f"doveadm -f tab quota get -u {user.address} | awk '$2 == \"STORAGE\" {{print $4}}'")
    assert int(kibibytes) == quota * 1024


@pytest.mark.requirement("OM-3")
@pytest.mark.parametrize("plan", USERS)
def test_a_message_may_have_20_megabytes(server: Server, plan: str) -> None:
    size_limit(server, USERS[plan][0], 20 << 20)


#: Most seconds that a second session waits for the first: Dovecot's ten, and two between tries.
IN_USE = 13


@pytest.mark.timing
@pytest.mark.requirement("OM-4")
def test_a_second_pop_session_gets_an_error_and_the_next_one_none(server: Server) -> None:
    first = plain_pop3(server, SATO)
    started = time.monotonic()
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        plain_pop3(server, SATO)
    assert time.monotonic() - started < IN_USE
    plain_pop3(server, ITO).quit()
    first.quit()
    started = time.monotonic()
    plain_pop3(server, SATO).quit()
    assert time.monotonic() - started < 2


def test_who_waits_for_a_mailbox_gets_in_when_the_first_one_quits(server: Server) -> None:
    first = plain_pop3(server, SATO)
    with ThreadPoolExecutor(1) as second:
        started = time.monotonic()
        waiting = second.submit(plain_pop3, server, SATO)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=2)
        first.quit()
        waiting.result().quit()
    assert time.monotonic() - started < IN_USE


def test_a_killed_session_leaves_its_mailbox_open(server: Server, host: testinfra.host.Host) -> None:
    killed = plain_pop3(server, SATO)
    _heading, session = host.check_output(f"doveadm -f tab who -1 {SATO.address}").splitlines()
    (process,) = re.findall(r"\t(\d+)\t", session)
    host.check_output(f"kill -9 {process}")
    started = time.monotonic()
    plain_pop3(server, SATO).quit()
    assert time.monotonic() - started < IN_USE
    killed.close()


@pytest.mark.requirement("OM-5")
@pytest.mark.parametrize("port", [25, 587])
@pytest.mark.parametrize("tls", [True, False])
def test_sending_after_auth_plain(server: Server, port: int, tls: bool) -> None:
    mail = message(SATO.address, ITO.address)
    with smtplib.SMTP(server.address, port, "client.example", timeout=30) as session:
        if tls:
            session.starttls(context=server.context)
        session.ehlo()
        assert "PLAIN" in session.esmtp_features["auth"].split()
        session.user, session.password = SATO
        session.auth("PLAIN", session.auth_plain)
        assert session.mail(ITO.address)[0] == 250
        assert session.rcpt("somebody@outside.example")[0] == 553
        session.rset()
        session.send_message(mail)
    assert until(lambda: read(server, ITO, mail["Subject"]))


def test_no_relaying_without_either(server: Server) -> None:
    with smtplib.SMTP(server.address, 587, "client.example", timeout=30) as session:
        session.ehlo()
        session.mail(SATO.address)
        code, text = session.rcpt("somebody@outside.example")
        assert code == 530, text


@pytest.mark.requirement("OM-8")
@pytest.mark.parametrize("password", ["kaede-sato-1", "KAEDE-SATO-1", "Kaede-sato-1"])
def test_passwords_are_case_sensitive(server: Server, no_failures_yet: None, password: str) -> None:  # noqa: ARG001
    for protocol in ("pop3", "submission"):
        with pytest.raises(LoginRefusedError):
            log_in(server, protocol, User(SATO.address, password))
    log_in(server, "pop3", SATO)


def test_mail_for_postmaster_reaches_the_customer(server: Server) -> None:
    mail = message("somebody@outside.example", f"postmaster@{domain(SATO)}")
    with protocols.smtp(server, "smtp") as session:
        session.send_message(mail)
    assert until(lambda: read(server, SATO, mail["Subject"]))


@pytest.mark.requirement("OM-6")
def test_the_sender_is_told_when_the_mailbox_is_full(server: Server, host: testinfra.host.Host) -> None:
    hanako = User("sato.hanako@kaede.example", "Kaede-Hanako-2")
    host.check_output(f"doveadm expunge -u {hanako.address} mailbox INBOX all")
    mails = [message(ITO.address, hanako.address, size) for size in (15_000_000, 15_000_000, 1000)]
    with smtplib.SMTP(server.address, 587, "client.example", timeout=60) as session:
        session.starttls(context=server.context)
        session.login(*ITO)
        for mail in mails[:2]:  # a mailbox that is not yet full takes one more
            session.send_message(mail)
            assert until(lambda: "Mail queue is empty" in host.check_output("mailq"), 60)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            session.send_message(mails[2])
    assert refused.value.recipients == {hanako.address: (452, b"sorry, mailbox is full (#4.5.2)")}
    assert not read(server, hanako, mails[2]["Subject"])


def test_verify_knows_the_plans_of_this_service(control: Control) -> None:
    """Few protocols, and passwords without TLS."""
    assert "All is well." in control.playbook("verify", verify_since="now")
