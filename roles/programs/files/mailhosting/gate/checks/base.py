# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check is: it hears of one mail as the mail comes, and gives a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from ..context import Gate
from ..mail import Mail
from ..model import Destinations, Reply, Tenant


@dataclass(frozen=True)
class AddHeader:
    """The mail gets a header field after those that it has."""

    name: str
    value: str


@dataclass(frozen=True)
class InsertHeader:
    """The mail gets a header field before those that it has."""

    name: str
    value: str


@dataclass(frozen=True)
class ChangeHeader:
    """The `number`th header field of this name, counted from 1, gets another value, with the space before it."""

    name: str
    number: int
    value: str


@dataclass(frozen=True)
class ClearSender:
    """The envelope loses its sender."""


@dataclass(frozen=True)
class RemoveHeader:
    """The mail loses the `number`th header field of this name, counted from 1."""

    name: str
    number: int


@dataclass(frozen=True)
class ReplaceBody:
    """The mail gets another body, in chunks."""

    chunks: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class DeleteRecipient:
    """The envelope loses a recipient, named as in its RCPT, and all that the address leads to."""

    address: str


@dataclass(frozen=True)
class AddRecipient:
    """The envelope gets a recipient more."""

    address: str


Action = (
    AddHeader | InsertHeader | ChangeHeader | RemoveHeader | ClearSender | ReplaceBody | DeleteRecipient | AddRecipient
)


@dataclass(frozen=True)
class Pass:
    """The check has nothing against the mail."""


class Reject(NamedTuple):
    """The client gets `reply`; `reason` stands in the log, with the tenant whose limit or rule it is."""

    reply: Reply
    reason: str
    tenant: Tenant | None = None


class Hold(NamedTuple):
    """The mail is taken and waits in Postfix's queue until somebody releases it."""

    reason: str
    tenant: Tenant


class Discard(NamedTuple):
    """The client hears that the mail is taken, and nobody gets it; it ends the mail as a rejection does."""

    reason: str
    tenant: Tenant | None


@dataclass(frozen=True)
class Modify:
    """The mail is changed, if all other checks let it pass."""

    actions: tuple[Action, ...]


Verdict = Pass | Reject | Hold | Modify | Discard
PASS: Final = Pass()


class Check:
    """One check of one mail.  Every method but `rejected` may raise SourceError, which defers the mail.

    `mail` has what is known at the moment of the call.  A check counts nothing before `end`, and takes back in
    `rejected` what it counted there.
    """

    def __init__(self, gate: Gate, mail: Mail) -> None:
        self.gate: Final = gate
        self.mail: Final = mail

    def sender(self) -> Pass | Reject:
        """The client has sent MAIL."""
        return PASS

    def invalid_recipient(self) -> None:
        """Postfix has rejected a recipient that does not exist."""

    def recipient(self, _latest: Destinations) -> Pass | Reject:
        """The client has sent RCPT; `mail.recipients` has the accepted ones, `_latest` is not among them yet."""
        return PASS

    def end(self) -> Verdict:
        """The whole mail has come."""
        return PASS

    def accepted(self) -> None:
        """No check rejects the mail; if one discards it, those after that one are not told."""

    def rejected(self) -> None:
        """A check rejects the mail at its end, this one or another."""


class ContentCheck(Check):
    """A check that reads header and body."""

    def header(self, _name: str, _value: str) -> None:
        """A header field has come."""

    def body(self, _chunk: bytes) -> None:
        """A piece of the body has come."""
