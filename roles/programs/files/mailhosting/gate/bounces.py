# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the bounces that this host's Postfix sends, and counts the invalid recipients in them; stops none of them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Final

from ..common import keys
from ..common.address import Address
from ..common.errors import DirectoryError, ValkeyError
from ..common.valkey import Valkey, sound
from .blocks import CountedParty, record_invalid_recipients
from .bulk_mail_counts import invalid_recipients
from .decision_log import About, Decision, describe, write
from .directory import Directory
from .fingerprint import Reader
from .model import Owner, Tenant

LOG: Final = logging.getLogger(__name__)

#: The name of the listener by which Postfix has the milter read its own bounces.
BOUNCE_LISTENER: Final = "bounce"
#: The queue id of the mail that Postfix returns, in its delivery status.
_QUEUE_ID: Final = re.compile(r"^x-postfix-queue-id:[ \t]*(\w{1,40})\s*$", re.IGNORECASE | re.MULTILINE)
#: Valkey remembers the sender of a mail for so long; Postfix returns a mail earlier.
_REMEMBERED_SECONDS: Final = 6 * 86400


@dataclass
class Bounce:
    """One bounce, in the place of a `Transaction`."""

    directory: Directory
    valkey: Valkey
    queue_id: str = "-"
    _to: Address | None = None
    _account: str | None = None
    _reader: Reader = field(default_factory=Reader)

    def recipient(self, to: Address | None) -> None:
        """RCPT: the envelope sender of the returned mail."""
        self._to = to

    def header(self, name: str, value: str, _size: int) -> None:
        """A header field."""
        self._reader.header(name, value)

    def body(self, chunk: bytes) -> None:
        """A piece of the body."""
        self._reader.body(chunk)

    def end(self) -> None:
        """At the end of the data: count the recipients that do not exist."""
        status = self._reader.delivery_status()
        recipients = invalid_recipients(status)
        if self._to is None or not recipients:
            return
        try:
            owner = self.directory.owner(self._to)
            account_id = sent_by(self.valkey, status) or (owner.account_id if owner else None)
            tenant = owner.tenant if owner else None
            if tenant is None or account_id is None or owner is None:
                return
            username = owner.username if owner.account_id == account_id else None
            self._account = username or str(account_id)
            sender = CountedParty(tenant, account_id, username)
            record_invalid_recipients(self.directory, self.valkey, sender, recipients, self._note)
        except DirectoryError as error:
            self._note("unchecked", f"invalid recipients not counted: {error}", None)

    def failed(self, error: Exception) -> None:
        """An error that nobody expected; the bounce passes."""
        write("unchecked", describe(error), self._about, level=logging.ERROR)

    @property
    def _about(self) -> About:
        to = "@".join(self._to) if self._to else None
        return About(queue_id=self.queue_id, account=self._account, sender="<>", to=to)

    def _note(self, decision: Decision, reason: str, tenant: Tenant | None) -> None:
        write(decision, reason, self._about, tenant=tenant)


def remember_sender(valkey: Valkey, queue_id: str, owner: Owner, sender: Address | None) -> None:
    """Remember the account that sends from an address that is not its own, because the bounce goes to that address."""
    if owner.account_id is None or sender is None or owner.username == f"{sender.local_part}@{sender.domain}":
        return
    try:
        sound(*valkey.ask(("SET", keys.sent(queue_id), owner.account_id, "EX", _REMEMBERED_SECONDS)))
    except ValkeyError as error:
        LOG.warning("%s: it is not remembered who sent it: %s", queue_id, error)


def sent_by(valkey: Valkey, status: str) -> int | None:
    """The account that sent the returned mail, if Valkey remembers it."""
    found = _QUEUE_ID.search(status)
    try:
        (value,) = valkey.ask(("GET", keys.sent(found[1]))) if found else (None,)
    except ValkeyError:
        return None
    return int(value) if isinstance(value, bytes) and value.isdigit() else None
