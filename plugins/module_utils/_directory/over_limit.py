# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts and tenants that use more than a limit that a run lowers.  Pure.

PRIVATE to the collection: it can have breaking changes at any time.

This is a warning and never an error: new mail waits or is rejected until the user deletes some.  Limits on numbers of
things (max_accounts, max_forward_targets) are errors, in `rules_of_items`.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from .changes import Changes, Settings
from .model import effective
from .rows import Current


class Over(NamedTuple):
    """An account, or (address None) a tenant, that uses more bytes than its new limit."""

    tenant: str
    address: str | None
    limit: str  # mailbox_quota or tenant_quota
    allowed: int
    used: int

    def __str__(self) -> str:
        who = self.address or f"tenant {self.tenant}"
        return (
            f"{who} uses {self.used} bytes, {self.used - self.allowed} more than its new {self.limit} of {self.allowed}"
        )


def may_be_over(changes: Changes) -> bool:
    """Whether the run changes a limit in bytes."""
    quotas = any("quota" in change.fields for change in changes.accounts)
    return quotas or bool(changes.resettled() or changes.moved_domains)


def over(current: Current, changes: Changes, used: dict[int, int]) -> list[Over]:
    """Tenants first, then accounts by address.  `used`: known bytes in use by account id."""
    before, after = Settings(current.plans, current.tenants, current.domains), changes.settings
    was = {name: _limits(before, name) for name in current.tenants}
    will = {name: _limits(after, name) for name in after.tenants}
    owners = {move.name: move.after for move in changes.moved_domains}
    sums: Counter[str] = Counter()
    found = []
    # By the mailbox: its address may change in this run.
    changed = {change.row.id: change for change in changes.accounts if change.row}
    for row in sorted(current.accounts.values(), key=lambda row: row.address):
        change = changed.get(row.id)
        owner = owners.get(row.domain, row.tenant)
        if owner not in will or (change and change.action == "close"):
            continue
        size = used.get(row.id, 0)
        sums[owner] += size
        quota = change.fields.get("quota", row.quota) if change else row.quota
        allowed = _allowed(quota, will[owner])
        if allowed and size > allowed and allowed != _allowed(row.quota, was[row.tenant]):
            found.append(Over(owner, change.address if change else row.address, "mailbox_quota", allowed, size))
    tenants = []
    for name, limits in sorted(will.items()):
        pool = limits.get("tenant_quota")
        # The usage of a tenant that was not loaded is unknown, and the run does not change its limits.
        lowered = name in owners.values() or pool != was.get(name, {}).get("tenant_quota")
        if pool and sums[name] > pool and lowered:
            tenants.append(Over(name, None, "tenant_quota", pool, sums[name]))
    return [*tenants, *found]


def _limits(settings: Settings, tenant: str) -> dict[str, int | None]:
    row = settings.tenants[tenant]
    return effective(settings.plans.get(row.plan, {}), row.overrides)


def _allowed(quota: int | None, limits: dict[str, int | None]) -> int:
    """Most bytes that a mailbox may have; 0: no limit."""
    return (limits["mailbox_quota"] if quota is None else quota) or 0
