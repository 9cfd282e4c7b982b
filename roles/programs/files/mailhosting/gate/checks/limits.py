# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rejects a mail that is beyond a limit, or for which a pool or mailbox has no room; counts what passes.

It comes last.  At each recipient it compares everything and counts nothing; at the end of the mail it compares all of
it again and counts it at once.  So a mail that is given up leaves nothing to take back.
"""

from __future__ import annotations

from ...common.errors import ValkeyError
from .. import charges, notices
from ..model import Allowed, Destinations, SpaceCheck
from .base import PASS, Check, Pass, Reject


class Limits(Check):
    """Compares a mail with the limits, pools and mailboxes of all whom it concerns."""

    def recipient(self, latest: Destinations) -> Pass | Reject:
        """Compare, with one recipient more."""
        return self._compare(latest)

    def end(self) -> Pass | Reject:
        """Compare, and count."""
        return self._compare(None)

    def _compare(self, latest: Destinations | None) -> Pass | Reject:
        mail, counters = self.mail, self.gate.counters
        costs = charges.assess(mail, self.gate.host_limits, latest)
        spaces = costs.spaces
        full: set[int] = set()
        while True:
            try:
                found = (
                    counters.check(costs.charges, spaces)
                    if latest
                    else counters.commit(costs.charges, spaces, costs.daily_counts)
                )
            except ValkeyError as error:
                mail.note("unchecked", f"limits not applied: {error}", None)
                return PASS
            if isinstance(found, Allowed):
                if found.unknown:
                    mail.note("unchecked", found.reason, costs.tenant_of(found.unknown[0]))
                return PASS
            subject, tenant = found.subject, costs.tenant_of(found.subject)
            if not isinstance(subject, SpaceCheck):
                if found.began:
                    notices.limit_pause(self.gate.directory, mail, subject, tenant, found)
                return Reject(self.gate.texts.limit, found.reason, tenant)
            # A full pool rejects.  A full mailbox rejects only if nothing else takes the mail: Dovecot defers for it.
            full.add(subject.id)
            if subject.scope == "tenant" or costs.fits_nowhere(full):
                return Reject(self.gate.texts.full, found.reason, tenant)
            spaces = [space for space in spaces if (space.scope, space.id) != (subject.scope, subject.id)]
