# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation with a host as a mail program has it, step by step, seen from the client.

PRIVATE to the collection: it can have breaking changes at any time.

Every step talks to the real ports with the standard library's clients and verifies the host's certificate.  A step
raises nothing: its result has the error.
"""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import socket
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import partial
from typing import Any, Final

PORTS: Final = {
    "smtp": 25,
    "pop3": 110,
    "imap": 143,
    "submissions": 465,
    "submission": 587,
    "imaps": 993,
    "pop3s": 995,
}
#: How a protocol's step is described: STARTTLS (RFC 3207, 2595) on the ports that begin in clear.
_MANNER: Final = {"pop3": "STLS", "imap": "STARTTLS", "submission": "STARTTLS"}
_CLIENT_NAME: Final = "verify.mailhosting.example"
_NETWORK_ERRORS: Final = (OSError, smtplib.SMTPException, poplib.error_proto, imaplib.IMAP4.error)


@dataclass(frozen=True)
class Login:
    """An account that takes part."""

    address: str
    password: str


@dataclass(frozen=True)
class Step:
    """One line of the report."""

    name: str
    ok: bool
    answer: str  # the server's reply, or the error
    seconds: float

    def as_row(self) -> str:
        return f"{'ok' if self.ok else 'FAIL':<4}  {self.name:<52}  {self.seconds:5.2f} s  {self.answer}"


class UnexpectedReplyError(Exception):
    """The server's reply is not the one that the step expects."""


class TLSContext(ssl.SSLContext):
    """A verifying client context (TLS 1.2 at least) that expects `tls_name`, whichever address it connects to.

    `authorities` are certificates in PEM; None trusts the system's.
    """

    tls_name: str

    def __new__(cls, tls_name: str, authorities: str | None = None) -> TLSContext:
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made.tls_name = tls_name
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if authorities:
            made.load_verify_locations(cadata=authorities)
        else:
            made.load_default_certs()
        return made

    def wrap_socket(self, sock: socket.socket, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return super().wrap_socket(sock, *args, **{**kwargs, "server_hostname": self.tls_name})


@dataclass(frozen=True)
class Server:
    """Where to connect, and which name its certificate must have."""

    address: str
    context: TLSContext
    timeout: float = 10.0  # seconds for each network operation


def smtp(server: Server, protocol: str) -> smtplib.SMTP:
    """An SMTP session on `protocol`'s port after EHLO, under TLS except for `smtp` (port 25)."""
    place = (server.address, PORTS[protocol], _CLIENT_NAME)
    if protocol == "submissions":
        session: smtplib.SMTP = smtplib.SMTP_SSL(*place, timeout=server.timeout, context=server.context)
    else:
        session = smtplib.SMTP(*place, timeout=server.timeout)
    try:
        if protocol == "submission":
            session.starttls(context=server.context)
        session.ehlo_or_helo_if_needed()
    except BaseException:
        session.close()
        raise
    return session


def pop3(server: Server, protocol: str) -> poplib.POP3:
    """A POP3 session under TLS, before login."""
    if protocol == "pop3s":
        return poplib.POP3_SSL(server.address, PORTS[protocol], timeout=server.timeout, context=server.context)
    session = poplib.POP3(server.address, PORTS[protocol], timeout=server.timeout)
    session.stls(context=server.context)
    return session


def imap(server: Server, protocol: str) -> imaplib.IMAP4:
    """An IMAP session under TLS, before login."""
    if protocol == "imaps":
        return imaplib.IMAP4_SSL(server.address, PORTS[protocol], ssl_context=server.context, timeout=server.timeout)
    session = imaplib.IMAP4(server.address, PORTS[protocol], timeout=server.timeout)
    session.starttls(ssl_context=server.context)
    return session


@dataclass
class Conversation:
    """The conversation between `sender`, `recipient` and the host; `steps()` runs it once.

    `protocols` are those that both plans have; steps for others are left out.  `cleartext_auth`: a plan of the host
    allows a password without TLS, so the host checks each password before it refuses it.
    """

    server: Server
    protocols: tuple[str, ...]
    sender: Login | None = None
    recipient: Login | None = None
    cleartext_auth: bool = False
    delivery_timeout: float = 30.0  # seconds until an accepted mail must be readable
    _sent: list[str] = field(default_factory=list)  # Message-IDs accepted so far

    def steps(self) -> Iterator[Step]:
        """Yield each `Step` when it is done: send mail, read it back, remove it, then try what the host must refuse."""
        if self.sender and self.recipient:
            sender, recipient = self.sender, self.recipient
            senders: list[str] = [protocol for protocol in ("submission", "submissions") if protocol in self.protocols]
            for protocol in senders:
                yield self._run(f"send by {_named(protocol)}", partial(self._send, protocol, sender, recipient))
            readers = {"pop3": self._by_pop3, "pop3s": self._by_pop3, "imap": self._by_imap, "imaps": self._by_imap}
            for protocol, seen in readers.items():
                if protocol in self.protocols:
                    yield self._run(
                        f"read by {_named(protocol)}", partial(self._read, partial(seen, protocol, recipient))
                    )
            yield self._run("remove what was sent", lambda: self._remove(recipient))
            for protocol in senders[:1]:
                port = PORTS[protocol]
                yield self._run(
                    f"forged envelope sender refused ({port})", partial(self._forge, protocol, sender, recipient)
                )
                yield self._run(f"wrong password refused ({port})", partial(self._wrong_password, protocol, sender))
            yield self._run(
                "unknown recipient refused (25)", lambda: self._unknown_recipient(recipient.address.partition("@")[2])
            )
        yield self._run("relay refused without AUTH (25)", self._relay)
        yield self._run("password before TLS refused (587)", self._auth_in_clear)

    def _run(self, name: str, action: Callable[[], str]) -> Step:
        start = time.monotonic()
        try:
            answer, ok = action(), True
        except UnexpectedReplyError as error:
            answer, ok = str(error), False
        except _NETWORK_ERRORS as error:
            answer, ok = f"{type(error).__name__}: {error}", False
        return Step(name, ok, answer, time.monotonic() - start)

    def _send(self, protocol: str, sender: Login, recipient: Login) -> str:
        message = EmailMessage()
        message["From"], message["To"] = sender.address, recipient.address
        message["Subject"] = f"mailhosting.stack verification by {protocol}"
        message["Message-ID"] = f"<{uuid.uuid4()}@verify.mailhosting.example>"
        message.set_content("Sent by playbooks/verify.yml, which removes it again.\n")
        with smtp(self.server, protocol) as session:
            session.login(sender.address, sender.password)
            session.send_message(message)
        self._sent.append(message["Message-ID"])
        return f"accepted: {sender.address} -> {recipient.address}"

    def _read(self, seen: Callable[[], set[str]]) -> str:
        """Look again until every mail that was sent is there: the queue takes a moment."""
        if not self._sent:
            raise UnexpectedReplyError("nothing was sent, so there is nothing to read")
        deadline = time.monotonic() + self.delivery_timeout
        while missing := set(self._sent) - seen():
            if time.monotonic() > deadline:
                raise UnexpectedReplyError(
                    f"{len(missing)} of {len(self._sent)} mails not there after {self.delivery_timeout:g} s"
                )
            time.sleep(0.2)
        return f"{len(self._sent)} mails there"

    def _by_pop3(self, protocol: str, recipient: Login) -> set[str]:
        """Message-IDs in the mailbox."""
        session = pop3(self.server, protocol)
        try:
            session.user(recipient.address)
            session.pass_(recipient.password)
            return {_message_id(session.top(number, 0)[1]) for number in range(session.stat()[0], 0, -1)}
        finally:
            session.quit()

    def _by_imap(self, protocol: str, recipient: Login) -> set[str]:
        """Message-IDs of sent mail that are in the mailbox."""
        with imap(self.server, protocol) as session:
            session.login(recipient.address, recipient.password)
            session.select("INBOX", readonly=True)
            return {sent for sent in self._sent if _search(session, sent)}

    def _remove(self, recipient: Login) -> str:
        protocol = next((name for name in ("imaps", "imap", "pop3s", "pop3") if name in self.protocols), None)
        if protocol is None:
            raise UnexpectedReplyError("no protocol to remove them by")
        if protocol.startswith("imap"):
            with imap(self.server, protocol) as mailbox:
                mailbox.login(recipient.address, recipient.password)
                mailbox.select("INBOX")
                for found in [number for sent in self._sent for number in _search(mailbox, sent)]:
                    mailbox.store(found, "+FLAGS", r"(\Deleted)")
                mailbox.expunge()
        else:
            maildrop = pop3(self.server, protocol)
            maildrop.user(recipient.address)
            maildrop.pass_(recipient.password)
            for number in range(1, maildrop.stat()[0] + 1):
                if _message_id(maildrop.top(number, 0)[1]) in self._sent:
                    maildrop.dele(number)
            maildrop.quit()
        return f"{len(self._sent)} mails removed by {_named(protocol)}"

    def _forge(self, protocol: str, sender: Login, recipient: Login) -> str:
        with smtp(self.server, protocol) as session:
            session.login(sender.address, sender.password)
            # With one account as both there is no other customer whose address it could forge.
            session.mail(recipient.address if recipient != sender else "somebody@relay-test.example")
            return _refused(session.rcpt(recipient.address), (553,))

    def _wrong_password(self, protocol: str, sender: Login) -> str:
        with smtp(self.server, protocol) as session:
            try:
                session.user, session.password = sender.address, sender.password + "x"
                session.auth("PLAIN", session.auth_plain)
            except smtplib.SMTPAuthenticationError as error:
                return _refused((error.smtp_code, error.smtp_error), (535,))
        raise UnexpectedReplyError("a wrong password was accepted")

    def _unknown_recipient(self, domain: str) -> str:
        with smtp(self.server, "smtp") as session:
            session.mail("")
            return _refused(session.rcpt(f"nobody-{uuid.uuid4().hex[:12]}@{domain}"), (550,))

    def _relay(self) -> str:
        with smtp(self.server, "smtp") as session:
            session.mail("")
            return _refused(session.rcpt("somebody@relay-test.example"), (554, 550, 454))

    def _auth_in_clear(self) -> str:
        with smtplib.SMTP(self.server.address, PORTS["submission"], timeout=self.server.timeout) as session:
            session.ehlo()
            codes = (530, 538, 503, 535) if self.cleartext_auth else (530, 538, 503)
            return _refused(session.docmd("AUTH", "PLAIN AHgAeA=="), codes)


def _named(protocol: str) -> str:
    manner = _MANNER.get(protocol, "TLS")
    return f"{protocol} ({PORTS[protocol]}, {manner})"


def _search(session: imaplib.IMAP4, message_id: str) -> list[str]:
    """Numbers of the mails with this Message-ID in the selected mailbox."""
    _status, data = session.search(None, "HEADER", "Message-ID", f'"{message_id}"')
    return (data[0] or b"").decode().split()


def _message_id(header: list[bytes]) -> str:
    """The Message-ID in these lines of a header; empty if there is none."""
    for line in header:
        name, _colon, value = line.partition(b":")
        if name.lower() == b"message-id":
            return value.strip().decode("ascii", "replace")
    return ""


def _refused(reply: tuple[int, bytes | str], codes: tuple[int, ...]) -> str:
    """The reply as text.

    Raises: UnexpectedReplyError if its code is none of `codes`.
    """
    code, said = reply
    text = f"{code} {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}".splitlines()[0]
    if code not in codes:
        raise UnexpectedReplyError(f"expected {' or '.join(map(str, codes))}, got: {text}")
    return text
