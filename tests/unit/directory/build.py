# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short ways to say what is declared."""

from __future__ import annotations

from typing import Any

from ansible_collections.mailhosting.stack.plugins.module_utils._directory.model import (
    Account,
    Alias,
    Desired,
    Domain,
    Forward,
    Tenant,
)

MEBIBYTE = 1 << 20
PLANS: dict[str, dict[str, Any]] = {
    "basic": {"mailbox_quota": 20 * MEBIBYTE, "max_accounts": None, "protocols": ["pop3s", "submission"]},
    "large": {"mailbox_quota": None, "protocols": ["pop3s", "imaps", "submission"]},
}
HASH = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
OTHER_HASH = HASH.replace("A", "B")


def account(address: str, line: int = 3, **attributes: Any) -> Account:
    local_part, _at, domain = address.partition("@")
    return Account(local_part, domain, line=line, **attributes)


def alias(address: str, *targets: str, line: int = 9) -> Alias:
    local_part, _at, domain = address.partition("@")
    return Alias(local_part, domain, targets, line)


def forward(*to: str, keep: bool = True) -> Forward:
    return Forward(to, keep)


def tenant(name: str, *items: Account | Alias | str, domains: list[str] | None = None, **attributes: Any) -> Tenant:
    """A tenant with one file a kind; a text is an account with nothing but its address.

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
