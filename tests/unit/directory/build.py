# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short forms of declarations."""

from __future__ import annotations

from itertools import count
from typing import Any

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    UNSET,
    Account,
    Alias,
    Desired,
    Domain,
    Forward,
    Tenant,
)
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.rows import (
    AccountRow,
    AliasRow,
    Current,
    DomainRow,
    TenantRow,
    forward_value,
    new_account_row,
)

MEBIBYTE = 1 << 20
PLANS: dict[str, dict[str, Any]] = {
    "basic": {
        "mailbox_quota": 20 * MEBIBYTE,
        "max_account_quota": None,
        "max_accounts": None,
        "protocols": ["pop3s", "submission"],
    },
    "large": {"mailbox_quota": None, "protocols": ["pop3s", "imaps", "submission"]},
}
HASH = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
OTHER_HASH = HASH.replace("AAAA", "BBBB")


def account(address: str, line: int = 3, **attributes: Any) -> Account:
    local_part, _at, domain = address.partition("@")
    return Account(local_part, domain, line=line, **attributes)


def alias(address: str, *targets: str, line: int = 9) -> Alias:
    local_part, _at, domain = address.partition("@")
    return Alias(local_part, domain, targets, line)


def forward(*to: str, keep: bool = True) -> Forward:
    return Forward(to, keep)


def tenant(name: str, *items: Account | Alias | str, domains: list[str] | None = None, **attributes: Any) -> Tenant:
    """A tenant with both files; a text is an account with only an address.

    Without `domains` it has NAME.example.
    """
    listed = [account(item) if isinstance(item, str) else item for item in items]
    return Tenant(
        name,
        **{
            "plan": "basic",
            "file": f"tenants/{name}.yml",
            "addresses_file": f"addresses/{name}.yml",
            "line": 1,
            **attributes,
        },
        domains={domain: Domain(domain, line=2) for domain in domains or [f"{name}.example"]},
        accounts={item.address: item for item in listed if isinstance(item, Account)},
        aliases={item.address: item for item in listed if isinstance(item, Alias)},
    )


def desired(*tenants: Tenant, plans: dict[str, dict[str, Any]] | None = None) -> Desired:
    return Desired(plans=PLANS if plans is None else plans, tenants={item.name: item for item in tenants})


def current_of(wanted: Desired, origin: str = "inventory", first_id: int = 1) -> Current:
    """The directory after a run of `wanted`, without former names."""
    ids = count(first_id)
    current = Current(plans=wanted.plans)
    for item in wanted.tenants.values():
        current.tenants[item.name] = TenantRow(
            item.name,
            item.plan,
            item.overrides,
            item.state,
            item.addresses_managed_by,
            item.language,
            item.contacts,
            origin,
            len(item.accounts),
        )
        for domain in item.domains.values():
            current.domains[domain.name] = DomainRow(domain.name, item.name, domain.hostnames, domain.catch_all)
        for declared in item.accounts.values():
            current.accounts[declared.address] = account_row(next(ids), item.name, declared, origin)
        for declared_alias in item.aliases.values():
            row = AliasRow(declared_alias.local_part, declared_alias.domain, list(declared_alias.targets), origin)
            current.aliases[declared_alias.address] = row
    return current


def account_row(number: int, tenant_name: str, declared: Account, origin: str) -> AccountRow:
    goes_to = declared.forward if isinstance(declared.forward, Forward) else None
    file = origin == "inventory"
    return new_account_row(declared.local_part, declared.domain)._replace(
        id=number,
        tenant=tenant_name,
        state=declared.state,
        quota=None if declared.quota is UNSET else declared.quota or 0,
        origin=origin,
        password=declared.password_hash or (HASH if declared.password else None),
        password_applied=True if declared.password_hash and file else None,
        forward_to=list(goes_to.to) if goes_to else None,
        forward_keep=goes_to.keep if goes_to else None,
        forward_applied=None if declared.forward is UNSET or not file else forward_value(goes_to),
    )
