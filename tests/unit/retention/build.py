# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mails, and the mailboxes that they lie in."""

from __future__ import annotations

from typing import Any

from mailhosting.retention.plan import Mail, Mailboxes

DAY = 86400
NOW = 1000 * DAY
MAILBOXES = Mailboxes(("Sent", "Sent Items", "Drafts", "送信済み"), ("Trash", "Deleted Items"), ("Junk",))


def mail(uid: int = 1, **other: Any) -> Mail:
    made = Mail("taro@acme.example", "INBOX", "f00d", uid, f"guid-{uid}", True, NOW, NOW, 100)
    return made._replace(**other)
