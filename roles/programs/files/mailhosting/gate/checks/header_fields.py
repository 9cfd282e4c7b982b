# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the header fields that a program left out and those that Postfix and Dovecot cannot write themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from .. import attribution, fields
from ..context import Gate
from ..mail import OWN_LISTENER, Mail
from .base import PASS, Action, AddHeader, ChangeHeader, ClearSender, ContentCheck, InsertHeader, Modify, Pass


class HeaderFields(ContentCheck):
    """Lets every mail pass, and changes some."""

    def __init__(self, gate: Gate, mail: Mail) -> None:
        super().__init__(gate, mail)
        self._seen: set[str] = set()
        self._marked = fields.Marked(mail.written_sender) if mail.listener == OWN_LISTENER else None

    def header(self, name: str, value: str) -> None:
        """Remember which of the demanded fields there are, and what Dovecot says of whose a filter's mail is."""
        if (known := name.lower()) in fields.DEMANDED:
            self._seen.add(known)
        if self._marked is not None:
            self._marked.header(name, value)

    def end(self) -> Pass | Modify:
        """What is to be changed."""
        actions = tuple(self._actions())
        return Modify(actions) if actions else PASS

    def _actions(self) -> Iterator[Action]:
        if self._marked is not None:
            if attribution.is_answer(self.mail.filter_field):
                yield ClearSender()
            yield from (ChangeHeader(*changed) for changed in self._marked.plain)
        if self.mail.own_received is not None:
            yield ChangeHeader(*self.mail.own_received)
        yield from (AddHeader(*added) for added in self._left_out())
        yield from (InsertHeader(*inserted) for inserted in self._came_for())

    def _left_out(self) -> tuple[tuple[str, str], ...]:
        """What is missing from a mail that one of our people sends; what others wrote stays as it is."""
        mail = self.mail
        if mail.owner is None or mail.listener == OWN_LISTENER:
            return ()
        sender = mail.written_sender or mail.owner.username or ""
        return fields.missing(self._seen, sender, f"{mail.queue_id}@{mail.host}", datetime.now(self.gate.zone))

    def _came_for(self) -> tuple[tuple[str, str], ...]:
        """The recipient's address, if it is not the mailbox's own and no other recipient gets to know it by that."""
        mail = self.mail
        if len(mail.written_recipients) != 1 or len(mail.recipients) != 1 or mail.first_recipient is None:
            return ()
        (recipient,), (written,) = mail.recipients, mail.written_recipients
        own = [target.mailbox.username for target in recipient.local] == ["@".join(mail.first_recipient)]
        if not recipient.local or (own and not recipient.external):
            return ()
        return fields.came_for(written)
