# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the directory as a run will leave it: rows of other origins count too.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final

from .changes import Changes, Settings
from .model import (
    PROTOCOLS,
    RELAY_SENDERS,
    UNSET,
    Account,
    Alias,
    Desired,
    Domain,
    Tenant,
    effective,
    relay_seconds,
    relay_senders,
)
from .problems import Problem
from .reconcile_addresses import Addresses
from .rows import AccountRow, AliasRow, Current, TenantRow
from .rules_of_items import check, path
from .syntax import shown

_ONLY_DIRECT: Final = "; the plan's all@ cannot be a target"


def check_final(current: Current, desired: Desired, changes: Changes, addresses: Addresses) -> list[Problem]:
    """Problems of the tenants that a run touches and of the tenants that their mail is forwarded to.

    Adds a warning for every declared target that is in another tenant's domain and does not exist.
    """
    touched = _touched(changes)
    if not touched:
        return []
    final = _Final(current, desired, changes, addresses)
    tenants = final.with_targets(touched)
    problems = check(Desired(plans=changes.settings.plans, tenants=tenants), changes.settings.former_domains)
    problems += _missing_contacts(tenants, changes)
    return problems + list(_missing_targets(desired, tenants, changes))


def unloaded_targets(current: Current, desired: Desired) -> frozenset[str]:
    """The tenants outside a run's scope whose addresses it must load: mail is forwarded to them."""
    rows = (target for alias in current.aliases.values() for target in alias.targets)
    forwards = (target for row in current.accounts.values() for target in row.forward_to or ())
    declared = (target for tenant in desired.tenants.values() for target in targets(tenant))
    loaded = (row for row in current.tenants.values() if current.loaded is None or row.name in current.loaded)
    contacts = (address for row in loaded for address in row.contacts.values())
    catch_alls = (
        row.catch_all
        for row in current.domains.values()
        if row.catch_all and (current.loaded is None or row.tenant in current.loaded)
    )
    return current.not_loaded(chain(rows, forwards, declared, contacts, catch_alls))


def host_requirements(settings: Settings) -> dict[str, Any]:
    """The settings of the daemons' static configuration that follow from the tenants that are not closed."""
    live = {row.name: row for row in settings.tenants.values() if row.state != "closed"}
    kinds = {(row.plan, str(row.overrides)): row for row in live.values()}
    effects = [effective(settings.plans.get(row.plan, {}), row.overrides) for row in kinds.values()]
    hostnames = {name for row in settings.domains.values() if row.tenant in live for name in row.hostnames}
    protocols = {protocol for effect in effects for protocol in effect["protocols"]}
    scanned = [effect["virus"] for effect in effects if effect["virus"]]
    return {
        "hostnames": sorted(hostnames),
        "all_address": any(effect["all_address"] == "tenant" for effect in effects),
        "cleartext_auth": any(effect["cleartext_auth"] for effect in effects),
        "legacy_auth": any(effect["legacy_auth"] for effect in effects),
        "max_message_size": max((effect["max_message_size"] or 0 for effect in effects), default=0),
        "pop_before_smtp": max(map(relay_seconds, effects), default=0),
        "pop_before_smtp_senders": max(map(relay_senders, effects), key=RELAY_SENDERS.index, default=RELAY_SENDERS[0]),
        "quota_warnings": sorted({percent for effect in effects for percent in effect["quota_warnings"]}),
        "protocols": [protocol for protocol in PROTOCOLS if protocol in protocols],
        "virus": bool(scanned),
        "virus_pua": any(check["pua"] != "pass" for check in scanned),
        "max_unpacked_size": max((check["max_unpacked_size"] for check in scanned), default=0),
    }


def _touched(changes: Changes) -> set[str]:
    plans = {plan.name for plan in changes.plans}
    names = {row.name for row in changes.settings.tenants.values() if row.plan in plans} if plans else set()
    names.update(tenant.name for tenant in changes.tenants)
    names.update(domain.after.tenant for domain in changes.domains if domain.after)
    names.update(rename.tenant for rename in changes.renamed_domains)
    names.update(name for move in changes.moved_domains for name in (move.before, move.after))
    names.update(account.tenant for account in changes.accounts)
    names.update(alias.tenant for alias in changes.aliases)
    return {name for name in names if name in changes.settings.tenants}


class _Final:
    """Builds tenants as they will be: what is declared, and what stays beside it."""

    def __init__(self, current: Current, desired: Desired, changes: Changes, addresses: Addresses) -> None:
        self._current = current
        self._desired = desired
        self._settings = changes.settings
        self._accounts: dict[str, list[AccountRow]] = defaultdict(list)
        self._aliases: dict[str, list[AliasRow]] = defaultdict(list)
        self._domains: dict[str, list[Domain]] = defaultdict(list)
        renamed = {change.address: change.row for change in changes.of("change") if change.renamed and change.row}
        restored = {change.address: change.row for change in changes.of("restore") if change.row}
        self._rows = {**restored, **renamed}
        self._new = {change.address for change in changes.of("create")}
        for row in addresses.stay.values():
            self._accounts[row.tenant].append(row)
        for alias in addresses.stay_aliases.values():
            self._aliases[current.alias_tenant(alias)].append(alias)
        for domain in self._settings.domains.values():
            self._domains[domain.tenant].append(Domain(domain.name, domain.hostnames, domain.catch_all))

    def with_targets(self, names: set[str]) -> dict[str, Tenant]:
        """The tenants `names`, and all tenants that mail for them can reach: a loop may lead through any of them."""
        tenants: dict[str, Tenant] = {}
        waiting = sorted(names)
        while waiting:
            name = waiting.pop()
            if name in tenants:
                continue
            tenants[name] = self._tenant(self._settings.tenants[name])
            for target in targets(tenants[name]):
                domain = self._settings.domains.get(self._settings.present(target.rpartition("@")[2]))
                if domain and domain.tenant in self._settings.tenants:
                    waiting.append(domain.tenant)
        return tenants

    def _tenant(self, row: TenantRow) -> Tenant:
        declared = self._desired.tenants.get(row.name)
        tenant = declared or Tenant(row.name, row.plan)
        closed = row.state == "closed"
        accounts = {} if closed else {a.address: self._as_it_will_be(a) for a in tenant.accounts.values()}
        accounts.update((stays.address, declare(stays)) for stays in self._accounts[row.name] if not closed)
        aliases = dict(tenant.aliases)
        aliases.update((stays.address, declare_alias(stays)) for stays in self._aliases[row.name])
        domains = {domain.name: domain for domain in self._domains[row.name]}
        domains.update((name, domain) for name, domain in tenant.domains.items() if name in domains)
        return replace(
            tenant,
            plan=row.plan,
            overrides=row.overrides,
            state=row.state,
            addresses_managed_by=row.addresses_managed_by,
            language=row.language,
            contacts=row.contacts,
            domains=domains,
            accounts=accounts,
            aliases=aliases,
        )

    def _as_it_will_be(self, account: Account) -> Account:
        """The account under its new name.  Where no forwarding is declared, with the one that its user chose."""
        # A new account may take an address that another account had.
        if account.forward is UNSET and account.address not in self._new:
            row = self._rows.get(account.address) or self._current.accounts.get(account.address)
            if row and row.forward:
                account = replace(account, forward=row.forward)
        return replace(account, renamed_from=None) if account.renamed_from else account


def declare(row: AccountRow) -> Account:
    """`row` as a declaration, without its password."""
    quota = UNSET if row.quota is None else row.quota or None
    return Account(row.local_part, row.domain, state=row.state, quota=quota, forward=row.forward or UNSET)


def declare_alias(row: AliasRow) -> Alias:
    """`row` as a declaration."""
    return Alias(row.local_part, row.domain, tuple(row.targets))


def declare_tenant(current: Current, row: TenantRow) -> Tenant:
    """`row` and its domains as a declaration, without addresses."""
    domains = (domain for domain in current.domains.values() if domain.tenant == row.name)
    return Tenant(
        row.name,
        row.plan,
        overrides=row.overrides,
        state=row.state,
        addresses_managed_by=row.addresses_managed_by,
        language=row.language,
        contacts=row.contacts,
        domains={domain.name: Domain(domain.name, domain.hostnames, domain.catch_all) for domain in domains},
    )


def targets(tenant: Tenant) -> Iterator[str]:
    """Every address that mail for `tenant` is forwarded to."""
    yield from tenant.contacts.values()
    yield from (domain.catch_all for domain in tenant.domains.values() if domain.catch_all)
    for alias in tenant.aliases.values():
        yield from alias.targets
    for account in tenant.accounts.values():
        if account.forward is not UNSET and account.forward:
            yield from account.forward.to


def _missing_contacts(tenants: dict[str, Tenant], changes: Changes) -> Iterator[Problem]:
    """A contact or a catch-all in a tenant's own domain has to exist."""
    for tenant in tenants.values():
        named = [(f"contacts.{role}", address, tenant.line) for role, address in tenant.contacts.items()]
        named += [
            (f"domains.{domain.name}.catch_all", domain.catch_all, domain.line)
            for domain in tenant.domains.values()
            if domain.catch_all
        ]
        for key, address, line in named:
            local_part, _at, written = address.rpartition("@")
            name = changes.settings.present(written)
            owner = changes.settings.domains.get(name)
            plain = f"{local_part.partition('+')[0]}@{name}"
            if owner and owner.tenant == tenant.name and name != written:
                changes.warnings.append(
                    f"tenant {tenant.name}: {key} {address} has the former name of {name}, which ends: write {name}"
                )
            if (
                owner
                and owner.tenant == tenant.name
                and tenant.state != "closed"
                and plain not in tenant.accounts.keys() | tenant.aliases.keys()
            ):
                yield Problem(tenant.file, line, key, f"{shown(address)} is neither an account nor an alias")


def _missing_targets(desired: Desired, tenants: dict[str, Tenant], changes: Changes) -> Iterator[Problem]:
    """A target that does not exist is an error, or only a warning if it is in another tenant's domain."""
    domains = changes.settings.domains
    for tenant in (tenants[name] for name in desired.tenants if name in tenants):
        if tenant.state == "closed":
            continue
        for item, key, index, target in _declared_targets(desired.tenants[tenant.name]):
            local_part, _at, written = target.rpartition("@")
            name = changes.settings.present(written)
            address = f"{local_part.partition('+')[0]}@{name}"
            owner = tenants.get(domains[name].tenant) if name in domains else None
            if owner is tenant and name != written:
                changes.warnings.append(
                    f"{item.address}: its target {target} has the former name of {name}, which ends: write {name}"
                )
            if owner is None or _exists(owner, address):
                continue
            if owner is tenant:
                message = (
                    f"{shown(target)} is neither an account nor an alias{_ONLY_DIRECT if local_part == 'all' else ''}"
                )
                yield Problem(tenant.addresses_file, item.line, f"{path(item)}{key}[{index}]", message)
            else:
                changes.warnings.append(f"{item.address}: its target {target} does not exist at tenant {owner.name}")


def _exists(tenant: Tenant, address: str) -> bool:
    """Whether `tenant` declares `address` or has it by a contact (postmaster@, abuse@)."""
    if address in tenant.accounts or address in tenant.aliases:
        return True
    return bool(tenant.contacts.get("technical")) and address.partition("@")[0] in ("postmaster", "abuse")


def _declared_targets(tenant: Tenant) -> Iterator[tuple[Account | Alias, str, int, str]]:
    """(item, key under its path, index, target) for every target that `tenant` declares."""
    for alias in tenant.aliases.values():
        for index, target in enumerate(alias.targets):
            yield alias, "", index, target
    for account in tenant.accounts.values():
        if account.forward is not UNSET and account.forward:
            for index, target in enumerate(account.forward.to):
                yield account, ".forward.to", index, target
