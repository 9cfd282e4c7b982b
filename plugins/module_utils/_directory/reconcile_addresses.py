# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile, second part: accounts and aliases.

PRIVATE to the collection: it can have breaking changes at any time.

An account that is declared in another domain than before is a new account: only `renamed_from` moves a mailbox, and
only inside one domain.
"""

from __future__ import annotations

from collections.abc import Mapping

from .changes import AccountChange, Action, AliasChange, Changes, Options
from .model import Account, Alias, Desired, Tenant
from .problems import Problem
from .reconcile_account import Differences, compare
from .rows import INVENTORY, PANEL, AccountRow, AliasRow, Current, new_account_row
from .rules_of_items import path


def _ring(account: Account, takers: Mapping[str, Account]) -> list[Account]:
    """The accounts that exchange names, `account` among them; empty if the last one takes a name that is free."""
    ring = [account]
    while (taker := takers.get(ring[-1].address)) not in (None, account):
        ring.append(taker)
    return [] if taker is None else ring


class Addresses:
    """The addresses of one run; `reconcile` fills `changes` and `problems`.

    `stay` and `stay_aliases` are the rows that no declaration matched and that remain.
    """

    def __init__(self, current: Current, desired: Desired, options: Options, changes: Changes) -> None:
        self.problems: list[Problem] = []
        self.stay: dict[str, AccountRow] = {}
        self.stay_aliases: dict[str, AliasRow] = {}
        self._current = current
        self._options = options
        self._scope = options.scope
        self._changes = changes
        self._tenants = {
            tenant.name: tenant
            for tenant in desired.tenants.values()
            # The addresses of a tenant that a panel manages are not changed by files.
            if tenant.addresses_managed_by == INVENTORY or options.origin != INVENTORY
        }
        self._swapped: set[str] = set()  # addresses of accounts that exchange names
        self._new: list[tuple[Tenant, Account]] = []
        self._new_aliases: list[tuple[Tenant, Alias]] = []

    def reconcile(self) -> None:
        live = self._live()
        matched: set[int] = set()
        matched_aliases: set[str] = set()
        for tenant in self._tenants.values():
            if not self._is_closed(tenant.name):
                matched.update(self._accounts(tenant, live))
            matched_aliases.update(self._aliases(tenant))
        for address, row in live.items():
            if row.id not in matched:
                self._unmatched(address, row)
        for address, alias_row in self._current.aliases.items():
            if address not in matched_aliases:
                self._unmatched_alias(address, alias_row)
        for tenant, account in self._new:
            self._create(tenant, account)
        for tenant, alias in self._new_aliases:
            self._create_alias(tenant, alias)

    def _live(self) -> dict[str, AccountRow]:
        """The accounts by the address that they will have after renaming."""
        renamed: dict[str, AccountRow] = {}
        for tenant in self._tenants.values():
            takers = {
                f"{account.renamed_from}@{account.domain}": account
                for account in tenant.accounts.values()
                if account.renamed_from
            }
            for old, account in takers.items():
                if self._becomes(tenant, account, takers):
                    renamed[account.address] = self._current.accounts[old]
        if not renamed:
            return self._current.accounts
        live = dict(self._current.accounts)
        for row in renamed.values():
            del live[row.address]
        return live | renamed

    def _becomes(self, tenant: Tenant, account: Account, takers: Mapping[str, Account]) -> bool:
        """Whether a run must rename an account to `account`; an earlier run may have done it.

        `takers` are the tenant's renamed accounts, by their old addresses.
        """
        row = self._current.accounts.get(f"{account.renamed_from}@{account.domain}")
        if ring := _ring(account, takers):
            self._swapped.add(account.address)
            return self._swap(tenant, account, ring)
        if row is None or row.tenant != tenant.name or not self._scope.has_account(account.address):
            return False
        if account.address not in self._current.accounts:
            # A closed mailbox of the new name needs the operator's decision first.
            return (tenant.name, account.address) not in self._current.closed or account.restore is False
        # The holder of the new name must be renamed first.
        taker = takers.get(account.address)
        return taker is not None and self._becomes(tenant, taker, takers)

    def _swap(self, tenant: Tenant, account: Account, ring: list[Account]) -> bool:
        """Whether accounts that exchange names still have their old ones; False if all are new."""
        rows = [self._current.accounts.get(other.address) for other in ring]
        done = [
            row is not None and row.swapped_from == other.renamed_from for row, other in zip(rows, ring, strict=True)
        ]
        there = [row is not None and row.tenant == tenant.name for row in rows]
        if all(done) or not any(there):
            return False
        if any(done) or not all(there):
            message = (
                f"{', '.join(sorted(other.address for other in ring))} get each other's names, but some are not there "
                "or have been swapped before: take renamed_from out of each, and rename them one by one in runs of "
                "their own"
            )
            self._problem(tenant, account, message)
            return False
        return True

    def _is_closed(self, tenant: str) -> bool:
        row = self._changes.settings.tenants.get(tenant)
        return row is None or row.state == "closed"

    def _is_ours(self, origin: str) -> bool:
        # Addresses that a panel made come along when the tenant is handed back to the files.
        return origin == self._options.origin or (origin == PANEL and self._options.origin == INVENTORY)

    def _accounts(self, tenant: Tenant, live: dict[str, AccountRow]) -> list[int]:
        """Compare a tenant's declared accounts; returns the ids of those that exist."""
        matched = []
        legacy_auth = self._changes.settings.legacy_auth(tenant.name)
        for address, account in tenant.accounts.items():
            if not self._scope.has_account(address):
                continue
            row = live.get(address)
            if row is None or row.tenant != tenant.name:
                self._new.append((tenant, account))
                continue
            matched.append(row.id)
            found = self._compare(row, account, legacy_auth)
            if not found and row.local_part == account.local_part and self._is_ours(row.origin):
                self._changes.unchanged += 1
            else:
                self._change(tenant, account, row, found)
        return matched

    def _compare(self, row: AccountRow, account: Account, legacy_auth: bool = False) -> Differences:
        found = compare(row, account, self._options, legacy_auth)
        # Files declare both accounts of a swap; a module declares only one.
        swapped_from = account.renamed_from if account.address in self._swapped else None
        if self._options.origin == INVENTORY and row.swapped_from != swapped_from:
            found.fields["swapped_from"] = swapped_from
        return found

    def _change(self, tenant: Tenant, account: Account, row: AccountRow, found: Differences) -> None:
        renamed = row.local_part != account.local_part
        if not self._is_ours(row.origin):
            if self._options.explicit and not found and not renamed:
                self._changes.unchanged += 1
                return
            if not (self._options.explicit and found.users_own(row) and not renamed):
                message = f'"{account.address}" is {self._current.holder(row.address)}; change it there'
                self._problem(tenant, account, message)
                return
        self._add("change", tenant.name, account, row, found)

    def _aliases(self, tenant: Tenant) -> list[str]:
        """Compare a tenant's declared aliases; returns the addresses of those that exist."""
        matched = []
        for address, alias in tenant.aliases.items():
            if not self._scope.has_alias(address):
                continue
            row = self._current.aliases.get(address)
            if row is None or self._current.alias_tenant(row) != tenant.name:
                self._new_aliases.append((tenant, alias))
                continue
            matched.append(address)
            same = tuple(row.targets) == alias.targets
            if not self._is_ours(row.origin) and not (same and self._options.explicit):
                self._problem(tenant, alias, f'"{address}" is {self._current.holder(address)}; change it there')
            elif same:
                self._changes.unchanged += 1
            else:
                self._add_alias(tenant.name, row, alias)
        return matched

    def _unmatched(self, address: str, row: AccountRow) -> None:
        """Close an account that is not declared, if its tenant closes or `purge` is set; else report it."""
        if self._scope.has_tenant(row.tenant) and self._scope.settings and self._is_closed(row.tenant):
            self._close(row)
            return
        tenant = self._tenants.get(row.tenant)
        named = self._options.explicit and tenant is not None and self._scope.has_account(address)
        if named and not self._is_ours(row.origin):
            self.problems.append(Problem("", 0, address, f"it is {self._current.holder(address)}; close it there"))
        elif tenant and self._scope.has_account(address) and self._is_ours(row.origin):
            if self._options.purge and (named or tenant.addresses_file):
                self._close(row)
                return
            self._changes.undeclared.append(address)
        self.stay[address] = row

    def _unmatched_alias(self, address: str, row: AliasRow) -> None:
        """Remove an alias that is not declared, unless its whole file is missing."""
        owner = self._current.alias_tenant(row)
        if owner not in self._changes.settings.tenants:
            self._remove_alias(owner, row)
            return
        tenant = self._tenants.get(owner)
        if tenant and self._scope.has_alias(address):
            if self._is_ours(row.origin) and (self._options.explicit or tenant.addresses_file):
                self._remove_alias(owner, row)
                return
            if self._is_ours(row.origin):
                self._changes.undeclared.append(address)
            elif self._options.explicit:
                message = f"it is {self._current.holder(address)}; remove it there"
                self.problems.append(Problem("", 0, address, message))
        self.stay_aliases[address] = row

    def _create(self, tenant: Tenant, account: Account) -> None:
        if self._is_taken(tenant, account):
            return
        closed = self._current.closed.get((tenant.name, account.address))
        if closed is None or account.restore is False:
            if account.restore:
                self._changes.warnings.append(f"{account.address}: nothing to restore, it starts empty")
            self._add(
                "create",
                tenant.name,
                account,
                None,
                self._compare(new_account_row(account.local_part, account.domain), account),
            )
        elif account.restore:
            legacy_auth = self._changes.settings.legacy_auth(tenant.name)
            self._add("restore", tenant.name, account, closed, self._compare(closed, account, legacy_auth))
        else:
            message = (
                f'"{account.address}" was closed and its mailbox is still kept: '
                "restore: true gives it back, restore: false starts an empty one"
            )
            self._problem(tenant, account, message)

    def _create_alias(self, tenant: Tenant, alias: Alias) -> None:
        if not self._is_taken(tenant, alias):
            self._add_alias(tenant.name, None, alias)

    def _is_taken(self, tenant: Tenant, item: Account | Alias) -> bool:
        if item.address not in self.stay and item.address not in self.stay_aliases:
            return False
        row = self.stay.get(item.address)
        if row and row.tenant != tenant.name:
            way = "it moves only with its domain (moved_from)"
        else:
            way = "purge: true closes it first" if item.address in self._changes.undeclared else "remove it there first"
        self._problem(tenant, item, f'"{item.address}" is already {self._current.holder(item.address)}; {way}')
        return True

    def _problem(self, tenant: Tenant, item: Account | Alias, message: str) -> None:
        self.problems.append(Problem(tenant.addresses_file, item.line, path(item), message))

    def _add(self, action: Action, tenant: str, account: Account, row: AccountRow | None, found: Differences) -> None:
        self._changes.accounts.append(
            AccountChange(
                action,
                account.local_part,
                account.domain,
                tenant,
                row,
                found.fields,
                found.plain,
                found.enforced,
                recoverable=found.plain is not None and self._changes.settings.legacy_auth(tenant),
            )
        )

    def _close(self, row: AccountRow) -> None:
        self._changes.accounts.append(AccountChange("close", row.local_part, row.domain, row.tenant, row))

    def _add_alias(self, tenant: str, row: AliasRow | None, alias: Alias) -> None:
        self._changes.aliases.append(AliasChange(alias.local_part, alias.domain, tenant, row, alias.targets))

    def _remove_alias(self, tenant: str, row: AliasRow) -> None:
        self._changes.aliases.append(AliasChange(row.local_part, row.domain, tenant, row, None))
