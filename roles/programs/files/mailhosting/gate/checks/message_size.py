# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rejects a mail that is larger than the plan of its sender or of a receiver allows."""

from __future__ import annotations

from ..model import Destinations
from .base import PASS, Check, Pass, Reject


class MessageSize(Check):
    """Compares the declared size at MAIL and RCPT, and the octets that came at the end."""

    def sender(self) -> Pass | Reject:
        """The sender's plan."""
        return self._compare(self.mail.declared_size)

    def recipient(self, latest: Destinations) -> Pass | Reject:
        """The plans that the latest recipient leads to, and the sender's, who may be known only now."""
        return self._compare(self.mail.declared_size, latest)

    def end(self) -> Pass | Reject:
        """All of them."""
        return self._compare(self.mail.size, *self.mail.recipients)

    def _compare(self, size: int, *recipients: Destinations) -> Pass | Reject:
        for tenant in self.mail.tenants(*recipients):
            limit = self.gate.message_size_limit if tenant.max_message_size is None else tenant.max_message_size
            if limit is not None and size > limit:
                return Reject(self.gate.texts.message_size, f"{size} octets, {limit} at most", tenant)
        return PASS
