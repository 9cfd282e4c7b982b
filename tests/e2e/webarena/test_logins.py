# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to log in, and ways that must not exist."""

from __future__ import annotations

import contextlib
import poplib
import socket

import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, mechanisms, until
from .wire import ABE, BABA, KONDO, WADA, answer, empty, handed_in, in_maildrop, maildrop, session_of

OUTSIDE = "x@outside.example"


def read_by_apop(server: Server, user: User) -> bytes:
    """The first mail in a maildrop."""
    with contextlib.closing(poplib.POP3(server.address, 110, timeout=server.timeout)) as session:
        session.apop(*user)
        return b"\n".join(session.retr(1)[1])


@pytest.mark.requirement("WA-1")
def test_smtp_pop3_and_apop_and_no_imap(server: Server) -> None:
    empty(server, BABA)
    assert handed_in(server, BABA)[0] == 250
    with session_of(server, ABE) as session:
        assert answer(session, ABE.address, BABA.address)[0] == 250
    assert until(lambda: in_maildrop(server, BABA) == 2)
    assert b"Subject:no space before it" in read_by_apop(server, BABA)
    with pytest.raises(poplib.error_proto):
        read_by_apop(server, BABA._replace(password="wrong"))
    for port in (143, 993):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, port), server.timeout)
    empty(server, BABA)


def test_where_all_customers_have_it_cram_md5_is_offered_under_tls_too(server: Server) -> None:
    for tls in (False, True):
        assert mechanisms(server, "submission", tls=tls) == {"PLAIN", "LOGIN", "CRAM-MD5"}
    with protocols.smtp(server, "submission") as session:
        session.user, session.password = BABA
        assert session.auth("CRAM-MD5", session.auth_cram_md5)[0] == 235


def relay(server: Server, protocol: str, user: User) -> tuple[int, bytes]:
    """The reply to a mail from `user` to an external address, in a session without a login."""
    with protocols.smtp(server, protocol) as session:
        said = session.docmd("MAIL", f"FROM:<{user.address}>")
        return session.docmd("RCPT", f"TO:<{OUTSIDE}>") if said[0] == 250 else said


@pytest.mark.requirement("AS-6")
def test_whose_plan_opens_nothing_by_pop_has_to_log_in_to_send(server: Server) -> None:
    """Other tenants' plans on this host have POP before SMTP."""
    for user in (WADA, ABE):
        with maildrop(server, user):
            pass
    assert relay(server, "smtp", ABE)[0] == 250
    code, said = relay(server, "smtp", WADA)
    assert (code, b"Relay access denied" in said) == (554, True)
    with session_of(server, WADA) as session:
        session.docmd("MAIL", f"FROM:<{WADA.address}>")
        assert session.docmd("RCPT", f"TO:<{OUTSIDE}>")[0] == 250


@pytest.mark.requirement("WA-4")
@pytest.mark.parametrize("protocol", ["submission", "submissions"])
def test_pop_opens_port_25_alone(server: Server, protocol: str) -> None:
    with maildrop(server, KONDO):
        pass
    assert relay(server, "smtp", KONDO)[0] == 250
    assert relay(server, protocol, KONDO)[0] in (530, 554)
