# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mail programs and servers that keep working while the host changes, and the replies they get."""

from __future__ import annotations

import imaplib
import poplib
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .clients import LoginRefusedError

#: Seconds from the begin of one act to the next, by default.
PACE = 0.3
#: Words in an error by which a server asks a client to come again (RFC 5530, RFC 3206, RFC 5804), or with which a
#: server hangs up when it stops.
COME_AGAIN = (
    "[UNAVAILABLE]",
    "[INUSE]",
    "[SERVERBUG]",
    "[SYS/TEMP]",
    "[IN-USE]",
    "(TRYLATER)",
    "BYE",
    "EOF",
    "Server shutting down",
)


class UnknownOutcomeError(Exception):
    """The connection broke between a mail's last line and the reply: the host may have accepted it."""


def is_temporary(error: Exception) -> bool:
    """Whether a client tries again after this error, unnoticed by its user."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(400 <= code < 500 for code, _text in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500 or error.smtp_code == -1
    if isinstance(error, LoginRefusedError | imaplib.IMAP4.error | poplib.error_proto) and not isinstance(
        error, imaplib.IMAP4.abort
    ):
        # An empty reply: the server hung up.
        return not str(error) or any(sign in str(error) for sign in COME_AGAIN)
    return True  # no listener, or a broken connection


@dataclass
class Client:
    """A client that repeats one act."""

    name: str
    act: Callable[[], None]
    pace: float = PACE
    done: int = 0
    put_off: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    longest: float = 0.0  # seconds from one success to the next

    def run(self, over: threading.Event) -> None:
        """Repeat the act until `over`, and once more."""
        last = time.monotonic()
        while not over.is_set():
            began = time.monotonic()
            try:
                self.act()
            except (
                OSError,
                smtplib.SMTPException,
                imaplib.IMAP4.error,
                poplib.error_proto,
                LoginRefusedError,
                UnknownOutcomeError,
            ) as error:
                told = self.put_off if is_temporary(error) else self.refused
                told.append(f"{type(error).__name__}: {error}")
            else:
                self.done += 1
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()
            over.wait(max(0.0, began + self.pace - time.monotonic()))
        self.longest = max(self.longest, time.monotonic() - last)

    def __str__(self) -> str:
        counts = f"{self.done} done, {len(self.put_off)} put off, {len(self.refused)} refused"
        told = "; ".join(sorted({text[:80] for text in self.put_off}))
        return (
            f"{self.name}: {counts}, {self.longest:.1f} s from one to the next at most; put off by {told or 'nothing'}"
        )


@contextmanager
def going_on(clients: list[Client]) -> Iterator[None]:
    """All of them act during the block."""
    over = threading.Event()
    threads = [threading.Thread(target=client.run, args=(over,), name=client.name) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
