# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks an account that sends to too many recipients that do not exist, and rejects what a blocked account sends."""

from __future__ import annotations

from dataclasses import replace

from ...common.errors import DirectoryError
from ..blocks import counted_sender, record_invalid_recipients
from ..bounces import remember_sender
from ..model import Destinations
from .base import PASS, Check, Pass, Reject


class SenderBlock(Check):
    """Rejects at MAIL and RCPT.  At the end `BulkMail` decides, which may also hold what a blocked account sends."""

    _invalid_recipients = 0

    def sender(self) -> Pass | Reject:
        """Whether the account is blocked."""
        return self._rejection()

    def invalid_recipient(self) -> None:
        """Count it, as soon as the account is known: a client relays only from a recipient elsewhere on."""
        self._invalid_recipients += 1
        try:
            self._count()
        except DirectoryError as error:
            self.mail.note("unchecked", f"invalid recipients not counted: {error}", None)

    def recipient(self, _latest: Destinations) -> Pass | Reject:
        """Whether the account is blocked, if need be by invalid recipients that came before it was known."""
        self._count()
        return self._rejection()

    def accepted(self) -> None:
        """Remember whose the mail is, because a bounce that names invalid recipients goes to its envelope's sender."""
        sender = counted_sender(self.mail)
        if sender and sender.rule and sender.rule.invalid_recipients and self.mail.owner:
            remember_sender(self.gate.valkey, self.mail.queue_id, self.mail.owner, self.mail.sender)

    def _count(self) -> None:
        sender, owner = counted_sender(self.mail), self.mail.owner
        if sender is None or owner is None or self._invalid_recipients == 0:
            return
        count, self._invalid_recipients = self._invalid_recipients, 0
        kind = record_invalid_recipients(self.gate.directory, self.gate.valkey, sender, count, self.mail.note)
        self.mail.owner = replace(owner, blocked_for=owner.blocked_for or kind)

    def _rejection(self) -> Pass | Reject:
        kind = self.mail.owner.blocked_for if self.mail.owner else None
        sender = counted_sender(self.mail) if kind else None
        if kind is None or sender is None or sender.holds:
            return PASS
        return Reject(self.gate.texts.of_block(kind), f"stopped for {kind}", sender.tenant)
