# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail programs, with what the tests need of one."""

from __future__ import annotations

import base64
import contextlib
import imaplib
import io
import poplib
import smtplib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any, NamedTuple, TypeVar

from ansible_collections.mailhosting.stack.plugins.module_utils import _conversation as protocols
from ansible_collections.mailhosting.stack.plugins.module_utils._conversation import Server

T = TypeVar("T")


class User(NamedTuple):
    address: str
    password: str


class LoginRefusedError(Exception):
    """The server rejected a login; the text is its reply."""


def reachable(server: Server, port: int) -> bool:
    """Whether it accepts a connection on this port within three seconds."""
    with contextlib.suppress(OSError), socket.create_connection((server.address, port), timeout=3):
        return True
    return False


def log_in(server: Server, protocol: str, user: User) -> None:
    """Log in by any protocol, and leave.

    Raises: LoginRefusedError with the server's reply if it rejects the login.
    """
    try:
        if protocol.startswith("pop3"):
            with contextlib.closing(protocols.pop3(server, protocol)) as maildrop:
                maildrop.user(user.address)
                maildrop.pass_(user.password)
        elif protocol.startswith("imap"):
            with protocols.imap(server, protocol) as mailbox:
                mailbox.authenticate("PLAIN", lambda _challenge: f"\0{user.address}\0{user.password}".encode())
        elif protocol == "sieve":
            with contextlib.closing(ManageSieve(server)) as scripts:
                scripts.login(user)
        else:
            with protocols.smtp(server, protocol) as session:
                session.user, session.password = user
                session.auth("PLAIN", session.auth_plain)
    except (poplib.error_proto, imaplib.IMAP4.error, smtplib.SMTPAuthenticationError) as error:
        raise LoginRefusedError(str(error)) from error


def mechanisms(server: Server, protocol: str, *, tls: bool = True) -> set[str]:
    """SASL mechanisms that SMTP offers on the port of `protocol`; without `tls` before STARTTLS."""
    place = server.address, protocols.PORTS[protocol]
    with protocols.smtp(server, protocol) if tls else smtplib.SMTP(*place, timeout=server.timeout) as session:
        if tls and protocol == "smtp":
            session.starttls(context=server.context)
        session.ehlo()
        return set(session.esmtp_features["auth"].split())


class ManageSieve:
    """A session by ManageSieve (RFC 5804), under TLS."""

    def __init__(self, server: Server) -> None:
        plain = socket.create_connection((server.address, 4190), timeout=server.timeout)
        stream = plain.makefile("rwb")
        self._ask(stream, b"")
        self._ask(stream, b"STARTTLS\r\n")
        self._socket = server.context.wrap_socket(plain)
        self._stream = self._socket.makefile("rwb")
        self._ask(self._stream, b"")

    def login(self, user: User) -> None:
        """Log in.

        Raises: LoginRefusedError with the server's reply if it rejects the login.
        """
        token = base64.b64encode(f"\0{user.address}\0{user.password}".encode())
        answer = self._ask(self._stream, b'AUTHENTICATE "PLAIN" "' + token + b'"\r\n')
        if not answer.startswith("OK"):
            raise LoginRefusedError(answer)

    def noop(self) -> str:
        """The server's reply; empty if it has hung up."""
        return self._ask(self._stream, b"NOOP\r\n")

    def put(self, name: str, script: bytes) -> str:
        """The server's reply to a filter of this name."""
        return self._ask(self._stream, b'PUTSCRIPT "%s" {%d+}\r\n%s\r\n' % (name.encode(), len(script), script))

    def close(self) -> None:
        self._socket.close()

    @staticmethod
    def _ask(stream: io.BufferedRWPair, command: bytes) -> str:
        stream.write(command)
        stream.flush()
        while True:
            line = stream.readline().decode()
            if line.startswith(("OK", "NO", "BYE")) or not line:
                return line


def may_log_in(server: Server, protocol: str, user: User) -> bool:
    try:
        log_in(server, protocol, user)
    except LoginRefusedError:
        return False
    return True


def at_once(call: Callable[..., T], *arguments: tuple[Any, ...]) -> list[T]:
    """The result of each call, in order.  A wrong password takes two seconds, and several at once take no more."""
    with ThreadPoolExecutor(len(arguments)) as pool:
        return list(pool.map(lambda each: call(*each), arguments))


@contextlib.contextmanager
def submission(server: Server, user: User, protocol: str = "submission") -> Iterator[smtplib.SMTP]:
    """A session of `user` on 587 or 465, logged in."""
    with protocols.smtp(server, protocol) as session:
        session.login(user.address, user.password)
        yield session


def message(sender: str, recipient: str, size: int = 0) -> EmailMessage:
    """A mail with a subject of its own; `size` bytes of text in lines of 70."""
    made = EmailMessage()
    made["From"], made["To"] = sender, recipient
    made["Subject"] = uuid.uuid4().hex
    made["Message-ID"] = f"<{made['Subject']}@e2e.test>"
    made.set_content("x\n" if not size else ("y" * 69 + "\n") * (size // 70))
    return made


def octets(size: int) -> bytes:
    """A mail of exactly `size` octets, with header and line ends."""
    header = b"From: a@outside.example\r\nSubject:no space before it\r\nX-Folded: one\r\n  two\r\n\r\n"
    line = b"y" * 76 + b"\r\n"
    lines, rest = divmod(size - len(header) - len(line), len(line))
    return header + line * lines + b"z" * (rest + len(line) - 2) + b"\r\n"


def send(server: Server, user: User, *recipients: str, size: int = 0, sender: str | None = None) -> str:
    """Submit one mail; returns its subject."""
    made = message(sender or user.address, recipients[0], size)
    with submission(server, user) as session:
        session.send_message(made, from_addr=sender or user.address, to_addrs=list(recipients))
    return str(made["Subject"])


def receive(server: Server, sender: str, *recipients: str, size: int = 0) -> str:
    """Send one mail to port 25 as a stranger; returns its subject."""
    made = message(sender or "mailer-daemon@outside.example", recipients[0], size)
    with protocols.smtp(server, "smtp") as session:
        session.send_message(made, from_addr=sender, to_addrs=list(recipients))
    return str(made["Subject"])


def size_limit(server: Server, user: User, most: int) -> None:
    """Assert that a stranger and the user may declare a mail of `most` octets, and of no more (RFC 1870)."""
    for sender, session in (
        ("stranger@outside.example", protocols.smtp(server, "smtp")),
        (user.address, submission(server, user)),
    ):
        with session as smtp:
            for size, code in ((most, 250), (most + 1, 552)):
                said = smtp.docmd("MAIL", f"FROM:<{sender}> SIZE={size}")
                said = smtp.docmd("RCPT", f"TO:<{user.address}>") if said[0] == 250 else said
                assert said[0] == code, said
                smtp.docmd("RSET")


@contextlib.contextmanager
def inbox(server: Server, user: User, mailbox: str = "INBOX") -> Iterator[imaplib.IMAP4]:
    """`user`'s mailbox over IMAPS, selected."""
    with protocols.imap(server, "imaps") as session:
        session.login(user.address, user.password)
        session.select(mailbox)
        yield session


def subjects(server: Server, user: User) -> list[str]:
    """Subjects in the inbox, oldest first."""
    with inbox(server, user) as session:
        return subjects_now(session)


def subjects_now(session: imaplib.IMAP4) -> list[str]:
    """Subjects in the selected mailbox, oldest first."""
    session.noop()
    numbers = session.search(None, "ALL")[1][0]
    if not numbers:
        return []
    _status, data = session.fetch(numbers.decode().replace(" ", ","), "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    return [item[1].decode().partition(":")[2].strip() for item in data if isinstance(item, tuple)]


def fetched(session: imaplib.IMAP4, number: str, what: str) -> bytes:
    """The text of FETCH's answer for `what` of one mail."""
    item = session.fetch(number, what)[1][0]
    assert isinstance(item, tuple)
    return item[1]


def arrived(server: Server, user: User, subject: str, timeout: float = 20) -> bool:
    """Whether a mail with this subject is in the inbox within `timeout` seconds; looks in one session."""
    with inbox(server, user) as session:
        return until(lambda: subject in subjects_now(session), timeout)


def until(true: Callable[[], bool], timeout: float = 20) -> bool:
    """Whether `true()` becomes true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@contextlib.contextmanager
def staying_logged_in(server: Server, user: User) -> Iterator[None]:
    """Sessions by IMAP, POP3 and submission that must still be open at the end."""
    with protocols.imap(server, "imaps") as mailbox, protocols.smtp(server, "submission") as submission:
        mailbox.login(user.address, user.password)
        submission.login(user.address, user.password)
        maildrop = protocols.pop3(server, "pop3s")
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        yield
        assert mailbox.noop()[0] == "OK"
        assert maildrop.noop().startswith(b"+OK")
        assert submission.noop()[0] == 250
        maildrop.quit()


@contextlib.contextmanager
def open_sessions(server: Server, user: User) -> Iterator[Callable[[], dict[str, bool]]]:
    """Sessions of `user`, logged in; the yielded function tells which of them are still open."""
    with contextlib.ExitStack() as ends:
        mailbox = protocols.imap(server, "imaps")
        ends.callback(mailbox.shutdown)
        mailbox.login(*user)
        maildrop = ends.enter_context(contextlib.closing(protocols.pop3(server, "pop3s")))
        maildrop.user(user.address)
        maildrop.pass_(user.password)
        scripts = ends.enter_context(contextlib.closing(ManageSieve(server)))
        scripts.login(user)
        asked = {
            "imap": lambda: mailbox.noop()[0] == "OK",
            "pop3": lambda: maildrop.noop().startswith(b"+OK"),
            "sieve": lambda: scripts.noop().startswith("OK"),
        }

        def still_there() -> dict[str, bool]:
            return {protocol: _answered(noop) for protocol, noop in asked.items()}

        assert all(still_there().values())
        yield still_there


def _answered(noop: Callable[[], bool]) -> bool:
    try:
        return noop()
    except (imaplib.IMAP4.abort, poplib.error_proto, OSError):
        return False


def valkey_cli(user: str | None) -> str:
    """The shell command for root that talks to the host's Valkey, as a user of its access list or as none (None)."""
    command = "valkey-cli -s /run/valkey/valkey.sock"
    if user is None:
        return command
    # A user without a file has no password, so any will do.
    password = f"$(cat /etc/mailhosting/valkey/{user} 2>/dev/null || echo none)"
    return f"REDISCLI_AUTH={password} {command} --user {user} --no-auth-warning"
