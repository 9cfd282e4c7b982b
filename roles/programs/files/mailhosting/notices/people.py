# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told."""

from __future__ import annotations

from typing import NamedTuple

from ..common.address import parse
from .directory import Notice
from .texts import PAUSE_KINDS, QUOTA_KINDS


class Recipient(NamedTuple):
    """An address, and whether it is a mailbox here, which gets the notice however full it is."""

    address: str
    direct: bool


def recipients(notice: Notice, operator: str) -> list[Recipient]:
    """Whom a notice is for, nobody twice.

    The user hears of the mailbox and of what was held, the tenant's technical contact of everything, and the operator
    of limits and of whatever a contact cannot read.
    """
    found = []
    if notice.kind not in PAUSE_KINDS and notice.account:
        found.append(Recipient(notice.account, direct=True))
    if notice.contact:
        found.append(Recipient(notice.contact, notice.direct))
    if (notice.kind not in QUOTA_KINDS or notice.unread) and operator:
        found.append(Recipient(operator, direct=False))
    by_mailbox = {parse(recipient.address) or recipient.address: recipient for recipient in reversed(found)}
    return list(by_mailbox.values())[::-1]
