# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate's questions to the directory: functions of schema v1, each over a connection of its own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from ..common.address import Address
from ..common.directory import Connections
from .model import Destinations, ExternalTarget, LocalTarget, Mailbox, Owner, Tenant
from .tenant_settings import read_tenant

#: Seconds for which a tenant's settings are used without asking again.
SETTINGS_LAST_SECONDS: Final = 1.0
#: The most targets of one address: as many as Postfix expands.
MOST_DESTINATIONS: Final = 20_000
#: Connections that stay open while no thread uses them.
SPARE_CONNECTIONS: Final = 16

_OWNER: Final = """
SELECT account_id, tenant_id, username, may_send, held, may_login, protocols, login_since FROM v1.gate_owner(%s, %s)
"""
_DESTINATIONS: Final = "SELECT account_id, tenant_id, username, quota, target FROM v1.gate_destinations(%s, %s, %s)"
_TENANT: Final = "SELECT name, settings FROM v1.gate_tenant(%s)"
_MAILBOXES: Final = "SELECT account_id, username FROM v1.gate_mailboxes(%s)"
_RELAY_LOGINS: Final = "SELECT username FROM v1.relay_logins(%s, %s)"
_QUEUED: Final = "SELECT address FROM v1.gate_queued(%s::bigint[])"
_WARN: Final = "SELECT v1.gate_warn(%s, %s::bigint[], %s::bigint[], %s, %s)"
_NOTICE: Final = "SELECT v1.add_notice(%s, %s, %s, %s, %s)"
_STOP: Final = "SELECT v1.gate_stop(%s, %s, %s)"
_KEEP: Final = "SELECT v1.gate_keep(%s, %s, %s, %s, %s)"
_QUARANTINE: Final = "SELECT ids, removed FROM v1.quarantine_keep(%s, %s, %s, %s, %s)"
_DROP: Final = "SELECT * FROM v1.quarantine_drop(%s)"
_SWEEP: Final = "SELECT file, gone FROM v1.quarantine_sweep()"
_VERDICT: Final = "SELECT v1.virus_verdict(%s)"
_SUSPECT: Final = "SELECT v1.virus_suspect(%s, %s)"


class Directory:
    """Safe for many threads.  Every method raises DirectoryError."""

    def __init__(self, conninfo: str) -> None:
        self._ask: Final = Connections(conninfo, spare=SPARE_CONNECTIONS).ask
        self._tenants: dict[int, tuple[float, Tenant | None]] = {}

    def ping(self) -> None:
        """Ask whether the directory answers."""
        self._ask("SELECT 1")

    def owner(self, address: Address) -> Owner | None:
        """The owner of an address, with the tenant; None for an address elsewhere."""
        rows = self._ask(_OWNER, *address)
        if not rows:
            return None
        owner = Owner(*rows[0])
        return replace(owner, tenant=self.tenant(owner.tenant_id))

    def destinations(self, address: Address) -> Destinations:
        """Where an address leads to, with the tenants.  An address elsewhere leads to itself, and has no tenant."""
        local: list[LocalTarget] = []
        external: list[ExternalTarget] = []
        numbers: set[int] = set()
        for account_id, tenant_id, username, quota, target in self._ask(_DESTINATIONS, *address, MOST_DESTINATIONS):
            if target is None:
                local.append(LocalTarget(Mailbox(account_id, username), tenant_id, quota))
            else:
                external.append(ExternalTarget(account_id, tenant_id))
            if tenant_id is not None:
                numbers.add(tenant_id)
        tenants = (self.tenant(number) for number in sorted(numbers))
        return Destinations(tuple(local), tuple(external), tuple(tenant for tenant in tenants if tenant))

    def tenant(self, tenant_id: int) -> Tenant | None:
        """A tenant's settings, at most a second old; None for a tenant that has gone."""
        now = time.monotonic()
        known = self._tenants.get(tenant_id)
        if known and now - known[0] < SETTINGS_LAST_SECONDS:
            return known[1]
        rows = self._ask(_TENANT, tenant_id)
        tenant = read_tenant(tenant_id, *rows[0]) if rows else None
        self._tenants[tenant_id] = (now, tenant)
        return tenant

    def mailboxes(self, tenant_id: int) -> list[Mailbox]:
        """All mailboxes of a tenant."""
        return [Mailbox(*row) for row in self._ask(_MAILBOXES, tenant_id)]

    def queued_mailboxes(self, accounts: Sequence[int]) -> list[str]:
        """Addresses of these accounts' mailboxes that Postfix expands no further; of those that take mail."""
        return [address for (address,) in self._ask(_QUEUED, list(accounts))]

    def relay_logins(self, sender: Address) -> list[str]:
        """The logins that may relay as a sender after they have logged in by POP or IMAP."""
        return [username for (username,) in self._ask(_RELAY_LOGINS, *sender)]

    def add_notice(
        self, kind: str, tenant_id: int | None, account_id: int | None, facts: Mapping[str, Any], once: str
    ) -> None:
        """Queue a notice; a second one with the same `once` is ignored."""
        self._ask(_NOTICE, kind, tenant_id, account_id, json.dumps(facts), once)

    def warn(
        self,
        kind: str,
        tenants: Sequence[int],
        accounts: Sequence[int | None],
        facts: Mapping[str, Any],
        once: str,
    ) -> None:
        """Queue a warning for each account or (None) the contact of its tenant, or count it in one that waits."""
        self._ask(_WARN, kind, list(tenants), list(accounts), json.dumps(facts), once)

    def stop(self, account_id: int, kind: str, facts: Mapping[str, Any]) -> None:
        """Block what an account sends and queue a notice, unless the account is blocked already."""
        self._ask(_STOP, account_id, kind, json.dumps(facts))

    def keep(self, queue_id: str, account_id: int | None, tenant_id: int | None, kind: str, at: float) -> None:
        """Record whose a mail is that Postfix holds since `at` (Unix time)."""
        self._ask(_KEEP, queue_id, account_id, tenant_id, kind, at)

    def quarantine(
        self, file: str, octets: int, facts: Mapping[str, Any], holders: Iterable[Mapping[str, Any]], most: int
    ) -> tuple[list[int], list[str]]:
        """Record a file of the quarantine, which has `most` octets at most.

        The entries, one for each holder who is still here; and the files that are not needed any more.
        """
        given = (file, octets, json.dumps(facts), json.dumps(list(holders)), most)
        ((ids, removed),) = self._ask(_QUARANTINE, *given)
        return ids, removed

    def drop_quarantined(self, ids: Sequence[int]) -> list[str]:
        """Forget entries of the quarantine; the files that are not needed any more."""
        return [file for (file,) in self._ask(_DROP, list(ids))]

    def sweep_quarantine(self) -> dict[str, bool]:
        """Forget what has expired; all files of the quarantine, and whether each is not needed any more."""
        return dict(self._ask(_SWEEP))

    def virus_verdict(self, name: str) -> str | None:
        """The verdict about mail with a virus of this name; None for the usual."""
        verdict: str | None = self._ask(_VERDICT, name)[0][0]
        return verdict

    def suspect_virus(self, name: str, tenants: int) -> str:
        """Defer mail with a virus of this name and tell the operator, unless there is a verdict; the verdict."""
        verdict: str = self._ask(_SUSPECT, name, tenants)[0][0]
        return verdict
