# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds or rejects bulk mail: too much of one content, or whatever a blocked account sends.

An account that sends bulk mail is blocked from then on, and the directory remembers that.  Of what a tenant receives
only the content is blocked that came too often, until its window ends.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ...common.errors import ValkeyError
from .. import bulk_mail_counts
from ..blocks import CountedParty, counted_sender, record_block
from ..bulk_mail_counts import Excess, Rule
from ..context import Gate
from ..fingerprint import Fingerprint, Reader
from ..mail import Mail
from ..model import Destinations, Tenant
from .base import PASS, ContentCheck, Hold, Pass, Reject, Verdict

LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Block:
    """Why this mail is held (`hold`) or rejected; `found` is None if its account was blocked before."""

    kind: str
    whose: CountedParty
    hold: bool
    found: Excess | None = None


class BulkMail(ContentCheck):
    """Counts a mail by its content, for the account that sends it and for each tenant that receives it."""

    def __init__(self, gate: Gate, mail: Mail) -> None:
        super().__init__(gate, mail)
        self._reader: Reader | None = None
        self._counted: list[tuple[CountedParty, Rule, Fingerprint | None]] = []
        self._held_by: _Block | None = None

    def recipient(self, latest: Destinations) -> Pass:
        """The mail is read only if a rule counts it: its sender's, or one of a tenant that receives it."""
        if self._reader is None and any(party.rule for party in self._parties(latest)):
            self._reader = Reader()
        return PASS

    def header(self, name: str, value: str) -> None:
        """Read a header field."""
        if self._reader is not None:
            self._reader.header(name, value)

    def body(self, chunk: bytes) -> None:
        """Read a piece of the body."""
        if self._reader is not None:
            self._reader.body(chunk)

    def end(self) -> Verdict:
        """Count the mail, and hold or reject it if there is too much of it."""
        block = self._find_block()
        if block is None:
            return PASS
        if block.hold:
            self._held_by = block
            return Hold(block.kind, block.whose.tenant)
        self._record(block)
        # The mail counts for nobody but whose rule rejects it.
        self._take_back([party for party, _rule, _content in self._counted if party != block.whose])
        self._counted = []
        return Reject(self.gate.texts.of_block(block.kind), block.kind, block.whose.tenant)

    def accepted(self) -> None:
        """Record the block, and whose the mail is that waits."""
        if (block := self._held_by) is not None:
            self._record(block)
            tenant_id = block.whose.tenant.id if block.whose.account_id is None else None
            self.gate.directory.keep(self.mail.queue_id, block.whose.account_id, tenant_id, block.kind, time.time())

    def rejected(self) -> None:
        """Take back what `end` counted."""
        self._take_back([party for party, _rule, _content in self._counted])

    def _parties(self, latest: Destinations) -> Iterator[CountedParty]:
        if (sender := counted_sender(self.mail)) is not None:
            yield sender
        yield from map(CountedParty, latest.tenants)

    def _record(self, block: _Block) -> None:
        if block.found is not None:
            record_block(self.gate.directory, block.whose, block.found, self.mail.note)

    def _find_block(self) -> _Block | None:
        """Count the mail.  A rule of its receivers blocks it only if it is too much for all whom it reaches."""
        sender, owner = counted_sender(self.mail), self.mail.owner
        if sender is not None and owner and owner.blocked_for:
            return _Block(owner.blocked_for, sender, sender.holds)
        if sender is not None and (found := self._count(sender)):
            return _Block(found.kind, sender, sender.holds, found)
        own = owner.tenant_id if owner else None
        reached = [recipient.tenants for recipient in self.mail.recipients]
        return self._find_block_of_receivers(reached, own)

    def _find_block_of_receivers(self, reached: Sequence[tuple[Tenant, ...]], own: int | None) -> _Block | None:
        tenants = {tenant.id: tenant for of_recipient in reached for tenant in of_recipient}
        counts = Counter(tenant.id for of_recipient in reached for tenant in of_recipient if tenant.id != own)
        parties = [CountedParty(tenants[number], recipients=count) for number, count in counts.items()]
        receivers = [party for party in parties if party.rule]
        others = len(receivers) < len(parties) or not all(
            of_recipient and all(tenant.id != own for tenant in of_recipient) for of_recipient in reached
        )
        over = [(party, found) for party in receivers if (found := self._count(party))]
        if not over or others or len(over) < len(receivers):
            # The excess begins with a mail that is blocked, because people are told then.
            self._take_back([party for party, _found in over])
            return None
        party, found = over[0]
        # A held mail waits for one decision, so a mail of several tenants is rejected.
        return _Block(found.kind, party, party.holds and len(over) == 1, found)

    def _count(self, party: CountedParty) -> Excess | None:
        rule = party.rule
        if rule is None or self._reader is None:
            return None
        content = self._reader.fingerprint()
        try:
            found = bulk_mail_counts.mail(self.gate.valkey, party.key, rule, content, party.recipients)
        except ValkeyError as error:
            self.mail.note("unchecked", f"bulk mail not looked for: {error}", party.tenant)
            return None
        if found is None or found.begins:
            # After an excess has begun, mail is not counted any more.
            self._counted.append((party, rule, content))
        return found

    def _take_back(self, whose: Sequence[CountedParty]) -> None:
        for party, rule, content in self._counted:
            if party not in whose:
                continue
            try:
                bulk_mail_counts.take_back(self.gate.valkey, party.key, rule, content, party.recipients)
            except ValkeyError as error:
                LOG.warning("mail of %s stays counted: %s", party.key, error)
        self._counted = [counted for counted in self._counted if counted[0] not in whose]
