# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contracts of all users, a client that returns replies, and the host's counters."""

from __future__ import annotations

import contextlib
import json
import poplib
import smtplib
import socket
from collections.abc import Iterator
from typing import Any

import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from ..clients import User, octets, submission, until, valkey_cli

ABE = User("abe@kita.example", "Kita-Abe-1")
BABA = User("baba@kita.example", "Kita-Baba-2")
ENDO = User("endo@minami.example", "Minami-Endo-1")
FUJITA = User("fujita@minami.example", "Minami-Fujita-2")
GOTO = User("goto@higashi.example", "Higashi-Goto-1")
HARA = User("hara@higashi.example", "Higashi-Hara-2")
IKEDA = User("ikeda@nishi.example", "Nishi-Ikeda-1")
JINNO = User("jinno@nishi.example", "Nishi-Jinno-2")
KONDO = User("kondo@naka.example", "Naka-Kondo-1")
MORI = User("mori@naka.example", "Naka-Mori-2")
NODA = User("noda@naka.example", "Naka-Noda-3")
ODA = User("oda@naka.example", "Naka-Oda-4")
WADA = User("wada@ue.example", "Ue-Wada-1")
YANO = User("yano@ue.example", "Ue-Yano-2")
STRANGER = "stranger@outside.example"

TOO_LARGE = (552, b"sorry, that message size exceeds my databytes limit (#5.3.4)")
TOO_MANY = (423, b"sorry, that message exceeds my limit")
FULL = (452, b"sorry, mailbox is full (#4.5.2)")
PUT_OFF = 451
MEBIBYTE = 1 << 20
POOL = 3 * MEBIBYTE


@contextlib.contextmanager
def incoming(server: Server) -> Iterator[smtplib.SMTP]:
    """A session on port 25, of a stranger."""
    with protocols.smtp(server, "smtp") as session:
        yield session


@contextlib.contextmanager
def session_of(server: Server, sender: str | User) -> Iterator[smtplib.SMTP]:
    with incoming(server) if isinstance(sender, str) else submission(server, sender) as session:
        yield session


def answer(
    session: smtplib.SMTP, sender: str, *recipients: str, content: bytes = b"", declared: int | None = None
) -> tuple[int, bytes]:
    """The first reply that is no success, or the last reply to a mail that the host accepts."""
    size = "" if declared is None else f" SIZE={declared}"
    said = session.docmd("MAIL", f"FROM:<{sender}>{size}")
    taken = 0
    for recipient in recipients if said[0] == 250 else ():
        reply = session.docmd("RCPT", f"TO:<{recipient}>")
        taken += reply[0] == 250
        said = reply if reply[0] != 250 or said[0] == 250 else said
    if taken:
        session.docmd("DATA")
        session.send((content or octets(200)) + b".\r\n")
        final = session.getreply()
        said = said if said[0] != 250 and final[0] == 250 else final
    session.docmd("RSET")
    return said


def die(session: smtplib.SMTP) -> None:
    """Close the connection like a program that is killed."""
    assert session.sock is not None
    session.sock.shutdown(socket.SHUT_RDWR)


def handed_in(server: Server, recipient: User, content: bytes = b"") -> tuple[int, bytes]:
    """The reply to one mail of a stranger."""
    with incoming(server) as session:
        return answer(session, STRANGER, recipient.address, content=content)


@contextlib.contextmanager
def maildrop(server: Server, user: User) -> Iterator[poplib.POP3]:
    session = poplib.POP3(server.address, 110, timeout=30)
    session.user(user.address)
    session.pass_(user.password)
    yield session
    session.quit()


def in_maildrop(server: Server, user: User) -> int:
    with maildrop(server, user) as session:
        return session.stat()[0]


def empty(server: Server, *users: User) -> None:
    for user in users:
        with maildrop(server, user) as session:
            for number in range(session.stat()[0]):
                session.dele(number + 1)


def valkey(host: testinfra.host.Host, *words: str) -> list[str]:
    """The lines of Valkey's answer to the gate's user."""
    said: str = host.check_output(f"{valkey_cli('gate')} {' '.join(words)}")
    return said.splitlines()


def forget(host: testinfra.host.Host, *kinds: str) -> None:
    """Delete all counters of these kinds."""
    for kind in kinds:
        if keys := valkey(host, "--scan", f"--pattern 'mh:1:{kind}:*'"):
            valkey(host, "del", *keys)


def windows(host: testinfra.host.Host, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Each one's use of its limits, as an operator sees it."""
    said = host.check_output(f"for name in {' '.join(names)}; do mailhosting limits show --json $name || exit; done")
    return {name: json.loads(line)["windows"] for name, line in zip(names, said.splitlines(), strict=True)}


def all_arrived(host: testinfra.host.Host) -> bool:
    """Whether no mail is on its way to a mailbox; held mail does not count."""
    queues = r'"queue_name": "\(incoming\|active\|maildrop\)"'
    return until(lambda: host.run(f"postqueue -j | grep -q '{queues}'").rc == 1, 60)


def connect_anew(host: testinfra.host.Host) -> None:
    """Replace Dovecot's and Postfix's processes, some of which do not notice at once that the directory is back.

    An smtpd(8) deferred all mail of one sender for more than a minute (451 4.3.0 Temporary lookup failure).
    """
    host.check_output("systemctl reset-failed dovecot; systemctl restart dovecot && systemctl reload postfix")


def usage(host: testinfra.host.Host, user: User) -> list[str]:
    """Bytes in a mailbox, as the gate knows them; empty if unknown."""
    keys = valkey(host, "--scan", f"--pattern 'mh:1:usage:*/{user.address}/quota/storage'")
    return valkey(host, "mget", *keys) if keys else []


def empty_disk(server: Server, host: testinfra.host.Host, *users: User) -> None:
    """Empty these mailboxes, and wait until the gate knows."""
    assert all_arrived(host)
    empty(server, *users)
    assert until(lambda: all(usage(host, user) == ["0"] for user in users), 30)
    forget(host, "total", "room")
