# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate has the notices' service tell people: it puts a row into the directory, and facts for its text."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Final

from ..common.errors import DirectoryError
from .directory import Directory
from .mail import Mail
from .model import LimitSubject, Refused, Tenant

LOG: Final = logging.getLogger(__name__)


def limit_pause(
    directory: Directory, mail: Mail, subject: LimitSubject, tenant: Tenant | None, refused: Refused
) -> None:
    """A limit has begun a pause; a notice that cannot be queued is only logged."""
    limit = refused.limit
    if limit is None:
        return
    account_id = subject.id if subject.scope == "account" else None
    own = mail.owner if mail.owner and mail.owner.account_id == account_id else None
    ends = time.time() + (refused.seconds_left or limit.per)
    facts = {
        "account": own.username if own else None,
        "limit": f"{limit.most} {limit.unit} / {limit.per} s",
        "until": utc(ends),
        "count": limit.most,
        "direction": subject.direction,
    }
    once = f"limit_pause {subject.scope} {subject.id} {subject.direction} {int(ends)}"
    try:
        directory.add_notice("limit_pause", tenant.id if tenant else None, account_id, facts, once)
    except DirectoryError as error:
        LOG.warning("%s: nobody is told of a pause: %s", mail.queue_id, error)


def utc(moment: float) -> str:
    """A Unix time as notices have it: ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
