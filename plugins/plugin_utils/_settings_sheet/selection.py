# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the accounts that get a sheet.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from ...module_utils._directory import rules_of_items, syntax
from ...module_utils._directory.model import Account, Desired, Tenant, effective
from ...module_utils._directory.problems import Problem
from . import content


@dataclass
class Chosen:
    """An account that gets a sheet."""

    tenant: Tenant
    account: Account
    plan: dict[str, Any]  # the effective one


@dataclass
class Selection:
    """The accounts that were asked for.  If it has problems, no sheet may be written."""

    accounts: list[Chosen] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)  # those whose accounts are all selected
    without: list[str] = field(default_factory=list)  # addresses whose login cannot work
    problems: list[Problem] = field(default_factory=list)


def select(desired: Desired, addresses: Collection[str], tenants: Collection[str]) -> Selection:
    """The accounts of the named `tenants` and the named `addresses`; with neither, all accounts."""
    result = Selection()
    owners = rules_of_items.owners_of_domains(desired)
    chosen: dict[str, Chosen] = {}
    for tenant in _tenants(desired, addresses, tenants, result.problems):
        result.tenants.append(tenant.name)
        for account in tenant.accounts.values():
            candidate = _candidate(desired, tenant, account)
            if content.obstacle(tenant, account, candidate.plan):
                result.without.append(account.address)
            else:
                chosen[account.address] = candidate
    for text in addresses:
        try:
            named = _named(desired, owners, text)
        except ValueError as error:
            result.problems.append(Problem("", 0, "addresses", str(error)))
        else:
            chosen[named.account.address] = named
    result.accounts = list(chosen.values())
    return result


def without_password(accounts: Collection[Chosen], secrets: str) -> list[Problem]:
    """One problem for each account without a known password; `secrets` is the folder as messages name it."""
    problems = []
    for chosen in accounts:
        tenant, account = chosen.tenant, chosen.account
        if account.password is not None:
            continue
        known = "only the hash of its password is known" if account.password_hash else "its password is not known"
        mend = (
            "name the others (sheets_addresses), or run without sheets_with_password"
            if account.password_hash
            else f"add it to {secrets}/{tenant.name}.yml, or run without sheets_with_password"
        )
        message = f"{account.address}: {known}, and a sheet with the password was asked for: {mend}"
        problems.append(Problem(tenant.addresses_file, account.line, rules_of_items.path(account), message))
    return problems


def _tenants(
    desired: Desired, addresses: Collection[str], tenants: Collection[str], problems: list[Problem]
) -> list[Tenant]:
    """The tenants whose accounts are all selected."""
    if not tenants:
        everybody = [] if addresses else desired.tenants.values()
        return [tenant for tenant in everybody if tenant.addresses_managed_by != "panel"]
    found = []
    for name in tenants:
        tenant = desired.tenants.get(name)
        if tenant is None:
            problems.append(Problem("", 0, "tenants", f"{syntax.shown(name)} has no file in tenants_dir"))
        elif tenant.addresses_managed_by == "panel":
            message = f"{name} has addresses_managed_by: panel, so its accounts are in no file"
            problems.append(Problem(tenant.file, tenant.line, "tenants", message))
        else:
            found.append(tenant)
    return found


def _named(desired: Desired, owners: dict[str, Tenant], text: str) -> Chosen:
    address = syntax.address(text)
    tenant = owners.get(address.rpartition("@")[2])
    if tenant is None:
        raise ValueError(f"{address} is in a domain that no tenant has")
    account = tenant.accounts.get(address)
    if account is None:
        reason = f"is no account of tenant {tenant.name}"
        if address in tenant.aliases:
            reason = "is an alias: it has no mailbox and no login; name an account"
        elif tenant.addresses_managed_by == "panel":
            reason += ": its addresses are managed by the panel and in no file"
        raise ValueError(f"{address} {reason}")
    candidate = _candidate(desired, tenant, account)
    obstacle = content.obstacle(tenant, account, candidate.plan)
    if obstacle:
        raise ValueError(f"{address} gets no sheet: {obstacle}")
    return candidate


def _candidate(desired: Desired, tenant: Tenant, account: Account) -> Chosen:
    return Chosen(tenant, account, effective(desired.plans[tenant.plan], tenant.overrides))
