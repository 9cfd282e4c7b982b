# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn comes when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..context import Gate
from ..mail import Mail
from ..model import Destinations
from .base import Action, Check, ContentCheck, Discard, Hold, Modify, Reject
from .bulk_mail import BulkMail
from .header_fields import HeaderFields
from .limits import Limits
from .message_size import MessageSize
from .sender_block import SenderBlock
from .virus import Virus

#: The checks of every mail.  The first that rejects or discards it ends it, and those after it are not asked: what is
#: cheap comes first, content next, and last what counts the mail, so that no such mail is counted.  `Virus` takes
#: recipients out, who are not counted either.
IN_ORDER: Final[tuple[type[Check], ...]] = (
    SenderBlock,
    MessageSize,
    Virus,
    BulkMail,
    HeaderFields,
    Limits,
)


@dataclass(frozen=True)
class Accepted:
    """No check rejects the mail: whether and why it is held or discarded, and what is changed of it."""

    hold: Hold | None = None
    actions: tuple[Action, ...] = ()
    discard: Discard | None = None


class Checks:
    """The checks of one mail, each asked in its turn.  SourceError from every method but `rejected` and readers."""

    def __init__(self, gate: Gate, mail: Mail) -> None:
        self._checks: Final = [check(gate, mail) for check in IN_ORDER]
        self._readers: Final = [check for check in self._checks if isinstance(check, ContentCheck)]

    def sender(self) -> Reject | None:
        """At MAIL: the first rejection."""
        for check in self._checks:
            if isinstance(verdict := check.sender(), Reject):
                return verdict
        return None

    def invalid_recipient(self) -> None:
        """At RCPT: Postfix has rejected a recipient that does not exist."""
        for check in self._checks:
            check.invalid_recipient()

    def recipient(self, latest: Destinations) -> Reject | None:
        """At RCPT: the first rejection."""
        for check in self._checks:
            if isinstance(verdict := check.recipient(latest), Reject):
                return verdict
        return None

    def header(self, name: str, value: str) -> None:
        """A header field."""
        for check in self._readers:
            check.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        for check in self._readers:
            check.body(chunk)

    def end(self) -> Reject | Accepted:
        """At the end of the data: the first rejection, the first that discards, or the first hold and all changes."""
        hold: Hold | None = None
        discard: Discard | None = None
        actions: list[Action] = []
        asked: list[Check] = []
        for check in self._checks:
            asked.append(check)
            match check.end():
                case Reject() as rejection:
                    return rejection
                case Discard() as discard:
                    break
                case Hold() as verdict:
                    hold = hold or verdict
                case Modify(more):
                    actions += more
        for check in asked:
            check.accepted()
        return Accepted(discard=discard) if discard else Accepted(hold, tuple(actions))

    def rejected(self) -> None:
        """The mail is rejected or deferred at its end."""
        for check in self._checks:
            check.rejected()
