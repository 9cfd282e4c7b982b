# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Infected mail octet for octet, and what people read afterwards."""

from __future__ import annotations

import base64
import json
import poplib
import uuid
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import testinfra
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

from .clients import User, until

#: What the signatures of the test hosts find: at the beginning of a file, and anywhere; and the names that clamd gives.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
ANYWHERE = b"mailhosting.stack: a virus that harms nobody"
EICAR_NAME, ANYWHERE_NAME = "Test.Eicar.UNOFFICIAL", "Test.Anywhere.UNOFFICIAL"
BOUNDARY = b"=_viruses"


def part(content: bytes, kind: str = "application/octet-stream", name_field: bytes = b'filename="a.dat"') -> bytes:
    """An attachment in base64."""
    header = b"Content-Type: %s\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; %s\r\n\r\n"
    return header % (kind.encode(), name_field) + base64.encodebytes(content).replace(b"\n", b"\r\n")


def text(content: bytes = b"Hello.") -> bytes:
    return b"Content-Type: text/plain; charset=us-ascii\r\n\r\n" + content + b"\r\n"


def mixed(sender: str, recipient: str, *parts: bytes, subject: str = "") -> bytes:
    """A multipart/mixed message."""
    header = (
        f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject or uuid.uuid4().hex}\r\nMIME-Version: 1.0\r\n"
        f'Content-Type: multipart/mixed; boundary="{BOUNDARY.decode()}"\r\n\r\n'
    ).encode()
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + each + b"\r\n" for each in parts)
    return header + body + b"--" + BOUNDARY + b"--\r\n"


def infected(sender: str, recipient: str, subject: str = "") -> bytes:
    """A message with a text and an infected attachment."""
    return mixed(sender, recipient, text(), part(EICAR), subject=subject)


def mails(server: Server, user: User) -> list[bytes]:
    """All mails of a maildrop, oldest first; without TLS, which the plans allow."""
    session = poplib.POP3(server.address, 110, timeout=30)
    try:
        session.user(user.address)
        session.pass_(user.password)
        numbers = range(1, session.stat()[0] + 1)
        return [b"\r\n".join(session.retr(number)[1]) + b"\r\n" for number in numbers]
    finally:
        session.quit()


def parsed(content: bytes) -> EmailMessage:
    found = message_from_bytes(content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def arriving(server: Server, user: User, count: int = 1) -> list[bytes]:
    """All mails of a maildrop, once there are so many."""
    found: list[bytes] = []

    def are_there() -> bool:
        found[:] = mails(server, user)
        return len(found) >= count

    assert until(are_there), f"{user.address} has {len(found)} mails"
    assert len(found) == count, [parsed(content).get("Subject") for content in found]
    return found


def parts_of(content: bytes) -> Iterator[tuple[str | None, bytes]]:
    """File name and content of each part that is no multipart."""
    for each in parsed(content).walk():
        if not each.is_multipart():
            found: Any = each.get_payload(decode=True)
            yield each.get_filename(), found


def is_infected(content: bytes) -> bool:
    """Whether it has the virus, in any part."""
    return any(virus in octets for _name, octets in parts_of(content) for virus in (EICAR, ANYWHERE))


def asked(host: testinfra.host.Host, query: str) -> str:
    """What the directory answers to its superuser."""
    psql = "psql --quiet --no-align --tuples-only --dbname=mailhosting"
    return str(host.check_output(f'runuser -u postgres -- {psql} --command="{query}"'))


def empty_quarantine(host: testinfra.host.Host) -> None:
    """Drop all originals."""
    entries = json.loads(host.check_output("mailhosting quarantine list --json"))["entries"]
    if entries:
        host.check_output(f"mailhosting quarantine drop {' '.join(str(entry['id']) for entry in entries)}")


def forget_warnings(host: testinfra.host.Host) -> None:
    """Have the next warning of each person sent at once."""
    asked(host, "DELETE FROM directory.notice WHERE kind LIKE 'virus%'")
